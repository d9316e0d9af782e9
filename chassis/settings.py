"""Settings: environment variables that begin with `SHOP_`, read once by a process's `bootstrap.py`."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from chassis.auth.tls import Tls, client_context

if TYPE_CHECKING:
    from chassis.observability.tracing import Telemetry

TOPOLOGY = Path(__file__).parent.parent / "protos/shop/events/v1/topology.toml"

_PREFIX = "SHOP_"
_FILE = "_FILE"
# Former names of settings, which still work: former -> current.
RENAMED = {
    "SHOP_NOTIFIER_PATIENCE": "SHOP_NOTIFIER_TIMEOUT",
    "SHOP_UPLOAD_PATIENCE": "SHOP_UPLOAD_TIMEOUT",
}
# Of a list of delays; and the shortest and the longest of them, in seconds.
_MAX_DELAYS = 200
_MIN_DELAY, _MAX_DELAY = 0.01, 7 * 86_400.0


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have these environment variables while the block runs, and no others; for processes that are at work already.

    `os.environ` is another mapping meanwhile. Changing the one that is there would change the environment of the C
    library, which threads without an interpreter read (gRPC's, to look up a name): that ends the process at times.
    """
    before = os.environ
    os.environ = dict(variables)  # type: ignore[assignment]  # noqa: B003 - that is what is wanted
    try:
        yield
    finally:
        os.environ = before  # noqa: B003 - as it was


def _growing(delays: tuple[float, ...]) -> tuple[float, ...]:
    if list(delays) != sorted(delays):
        raise ValueError("none of the delays may be shorter than the one before it")
    return delays


# Seconds before each retry. A shorter one than the shortest would be a loop that does nothing else.
Delays = Annotated[
    tuple[Annotated[float, Field(ge=_MIN_DELAY, le=_MAX_DELAY)], ...],
    Field(max_length=_MAX_DELAYS),
    AfterValidator(_growing),
]


def with_files(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which each `SHOP_…_FILE` has become `SHOP_…`: what the file holds, less a newline at its end.

    So a secret can be mounted, and is in no process's environment. Raises `ValueError`, naming the variables, when both
    are set or the file is no text that can be read.
    """
    found = dict(environ)
    for variable, path in environ.items():
        if not (variable.startswith(_PREFIX) and variable.endswith(_FILE) and path):
            continue
        setting = variable.removesuffix(_FILE)
        if environ.get(setting):
            raise ValueError(f"{setting} and {variable} are both set: set only one of them")
        del found[variable]
        try:
            found[setting] = Path(path).read_text("utf-8").removesuffix("\n")
        except OSError as error:
            raise ValueError(f"{variable}={path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ValueError(f"{variable}={path} is not UTF-8") from None  # its own words show what the file holds
    return found


class _EnvironmentAndFiles(EnvSettingsSource):
    """Environment variables, and files that they name."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        values = with_files(os.environ)
        former = {RENAMED[name]: values[name] for name in RENAMED.keys() & values.keys()}
        return {name.lower(): value for name, value in {**former, **values}.items()}


# Numbers of settings. A wait of 0 s would be a loop without a pause, and an infinite one would never end.
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AtLeastOne = Annotated[int, Field(ge=1)]
ZeroOrMore = Annotated[int, Field(ge=0)]


class ProcessSettings(BaseSettings):
    """Settings of every process. A process adds its own fields; `orders_port` is read from `SHOP_ORDERS_PORT`."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", frozen=True)

    # development: demo data, reflection and captured messages are on; production: they are off, and no secret is made.
    env: Literal["development", "production"] = "development"
    # IP address to listen on; loopback by default.
    host: str = "127.0.0.1"
    # Directory of the state: databases, files, secrets.
    data_dir: Path = Path(".shop")
    # Format of log lines: text or json; empty: text in a terminal, else JSON.
    log_format: Literal["", "text", "json"] = ""
    # Lowest level of log lines that are written.
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # URL that receives spans (OTLP over HTTP); empty: spans are not sent.
    otlp_url: str = "http://127.0.0.1:8003"
    # The share of traces that is recorded, from 0 to 1.
    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    # Capture of messages in spans: heads and bodies, up to 4 KiB each, without secrets; by default only in
    # development.
    capture: bool | None = None
    # Port of `/metrics` for a process that serves no other HTTP; 0: none. To `shop up` it is the first of a run of
    # ports.
    metrics_port: int = 0
    # Port of `/healthz` and `/readyz` for a process with no other port; 0: none.
    health_port: int = 0
    # URL of the broker: embedded:PATH or amqp://…; empty for the embedded broker in `data_dir`.
    broker_url: str = ""
    # URL of an event log on Kafka: kafka://HOST:9092/TOPIC (kafkas: with TLS); empty for the broker's own event log.
    event_log_url: str = ""
    # URL of the databases: sqlite:///PATH or postgresql://…, with {service} in place of the service's name; empty for
    # SQLite in `data_dir`.
    database_url: str = ""
    # Password of the database role, for a URL without one: the URL is configuration, and the password a secret.
    database_password: str = ""
    # Each process migrates its database's schema at start; false: it waits for `shop migrate`.
    migrate: bool = True
    # Folder of certificates (see chassis/auth/tls.py): gRPC uses mutual TLS, and the edge serves HTTPS and WSS.
    tls_dir: Path | None = None
    users_address: str = "127.0.0.1:50051"
    # Seconds for a gRPC call of another service, 0.1 at least, within the caller's deadline. Calls with a timeout of
    # their own keep it: 5 s for a step of the saga and an invoice, 0.5 to 1 s for a stock lookup.
    call_timeout: Annotated[float, Field(ge=0.1, allow_inf_nan=False)] = 2.0
    # Secret that authenticates this process to `users` for its own access token; empty when it needs none.
    service_secret: str = ""
    # Loading of demo products, users and orders on first start; by default only in development.
    demo_data: bool | None = None
    # Seconds before each retry of a failed delivery, one or more, none shorter than the one before; after the last it
    # is dead-lettered.
    retry_delays: Annotated[Delays, Field(min_length=1)] = (0.5, 2, 8, 30, 120)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings' shape
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments by name first, then the environment; `SHOP_X_FILE` names a file that holds `SHOP_X`."""
        return (init_settings, _EnvironmentAndFiles(settings_cls))

    def broker(self) -> str:
        """The broker's URL."""
        return self.broker_url or f"embedded:{self.data_dir / 'broker.sqlite'}"

    def database(self, service: str) -> str:
        """The URL of a service's own database."""
        template = self.database_url or f"sqlite:///{self.data_dir / '{service}.sqlite'}"
        scheme, slashes, rest = template.replace("{service}", service).partition("://")
        role, at, place = rest.rpartition("@")
        if not (self.database_password and at) or ":" in role:
            return scheme + slashes + rest
        return f"{scheme}://{role}:{quote(self.database_password, safe='')}@{place}"

    def telemetry(self, process: str, *, serves_http: bool = False) -> AbstractAsyncContextManager[Telemetry]:
        """Telemetry of a process. `serves_http`: it shows its metrics, if any, on an HTTP port of its own."""
        # Imported here: a process that reads only settings does not pay for it.
        from chassis.observability.telemetry import telemetry

        metrics_at = (self.host, self.metrics_port) if self.metrics_port and not serves_http else None
        return telemetry(
            process, self.otlp_url, sample_ratio=self.trace_sample_ratio, metrics_at=metrics_at, capture=self.captures()
        )

    def captures(self) -> bool:
        """Whether messages are captured. Raises `ValueError` in production, where they must not be."""
        message = "SHOP_CAPTURE and SHOP_ENV=production exclude each other: captured messages hold customers' data"
        return self._for_development(self.capture, message)

    def tls(self, process: str) -> Tls | None:
        """The process's TLS files; None when TLS is off. Raises `FileNotFoundError`."""
        return None if self.tls_dir is None else Tls.of(self.tls_dir, process)

    def trust(self) -> ssl.SSLContext | None:
        """The TLS context of a client of our HTTPS and WSS servers; None when TLS is off."""
        return None if self.tls_dir is None else client_context(self.tls_dir / "ca.pem")

    def demo(self) -> bool:
        """Whether to load the demo data on first start. Raises `ValueError` in production, where it must not be."""
        message = "SHOP_DEMO_DATA and SHOP_ENV=production exclude each other: demo accounts have public passwords"
        return self._for_development(self.demo_data, message)

    def _for_development(self, setting: bool | None, message: str) -> bool:
        """The setting or, if it is not set, whether this is development. Raises `ValueError` if on in production."""
        wanted = self.env == "development" if setting is None else setting
        if wanted and self.env == "production":
            raise ValueError(message)
        return wanted
