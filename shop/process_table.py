"""The process table: what `shop up` starts, and where each process listens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from shop.errors import Refused, nearest


@dataclass(frozen=True, slots=True)
class Port:
    """A TCP port: the setting that moves it, its default, and the settings that hold its address for others.

    An address setting that ends in `_URL` gets `http://host:port`, any other `host:port`. Where it
    `ends_tls`, that is `https://` once TLS is on.
    """

    setting: str
    default: int
    addresses: tuple[str, ...] = ()
    ends_tls: bool = False

    def scheme(self, address: str, *, tls: bool) -> str:
        """URL scheme of an address setting, with `://`; empty where it has none."""
        if not address.endswith("_URL"):
            return ""
        return "https://" if tls and self.ends_tls else "http://"


class Scheme(Enum):
    """A webhook signature scheme: the value ends the name of its secret's setting."""

    STRIPE = "STRIPE"
    GITHUB = "GITHUB"
    SHOPIFY = "SHOPIFY"
    STANDARD = "STANDARD"

    @property
    def setting(self) -> str:
        return f"SHOP_WEBHOOK_SECRET_{self.value}"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process.

    `entry` is `module:attribute`: a `bootstrap.run` for `chassis.process.main`, or, where `plain`, a function that
    takes nothing and returns when the process is done. `identity` is whether it has a secret of its own to sign in
    with at `users`; `schemes` are the webhook secrets that it is given; `late` names modules that it imports only when
    it runs, and that the supervisor imports for it.
    """

    name: str
    entry: str
    purpose: str
    ports: tuple[Port, ...] = ()
    plain: bool = False
    identity: bool = True
    schemes: tuple[Scheme, ...] = ()
    late: tuple[str, ...] = ()


def _grpc(name: str, default: int, purpose: str) -> ProcessSpec:
    prefix = f"SHOP_{name.upper()}"
    port = Port(f"{prefix}_PORT", default, (f"{prefix}_ADDRESS",))
    return ProcessSpec(name, f"services.{name}.bootstrap:run", purpose, (port,))


TABLE: tuple[ProcessSpec, ...] = (
    ProcessSpec(
        "gateway",
        "gateway.bootstrap:run",
        "the edge: REST, policies, GraphQL passed on",
        (Port("SHOP_GATEWAY_PORT", 8000, ("SHOP_GATEWAY_URL",), ends_tls=True),),
    ),
    ProcessSpec(
        "notifier",
        "services.notifier.bootstrap:run",
        "events to browsers: WebSocket and SSE",
        (Port("SHOP_NOTIFIER_PORT", 8001, ("SHOP_NOTIFIER_URL",), ends_tls=True),),
    ),
    ProcessSpec(
        "webhooks",
        "webhooks.bootstrap:run",
        "incoming webhooks: verified and stored",
        (Port("SHOP_WEBHOOKS_PORT", 8002, ("SHOP_WEBHOOKS_URL",)),),
        identity=False,
        schemes=tuple(Scheme),
        late=("webhooks.incoming.intake.sqlite",),
    ),
    ProcessSpec(
        "webhook_worker",
        "webhooks.worker:run_worker",
        "processes what was received; delivers outgoing webhooks",
        (Port("SHOP_WEBHOOKS_GRPC_PORT", 50057, ("SHOP_WEBHOOKS_ADDRESS",)),),
    ),
    ProcessSpec(
        "console",
        "console.bootstrap:run",
        "receives every process's spans (OTLP) and shows them",
        (Port("SHOP_CONSOLE_PORT", 8003, ("SHOP_CONSOLE_URL", "SHOP_OTLP_URL")), Port("SHOP_CONSOLE_OTLP_PORT", 4317)),
        # It signs the page's prepared webhook; in production it makes no calls.
        schemes=(Scheme.STRIPE,),
    ),
    ProcessSpec(
        "graphql_server",
        "graphql_server.bootstrap:run",
        "GraphQL, resolved through the gateway's REST API",
        (Port("SHOP_GRAPHQL_PORT", 8010, ("SHOP_GRAPHQL_URL",)),),
        late=("strawberry.federation.schema_directives",),
    ),
    ProcessSpec(
        "mcp_server",
        "mcp_server.bootstrap:run",
        "MCP for agents, resolved through the gateway's REST API",
        (Port("SHOP_MCP_PORT", 8011, ("SHOP_MCP_URL",)),),
        late=("anyio._backends._asyncio", "anyio.streams.tls", "rich.logging"),
    ),
    _grpc("users", 50051, "accounts, passwords, tokens"),
    _grpc("catalog", 50052, "products and prices"),
    _grpc("orders", 50053, "orders and their history"),
    ProcessSpec("order_worker", "services.orders.bootstrap:run_worker", "the order saga: takes orders to their end"),
    _grpc("inventory", 50054, "stock and reservations"),
    _grpc("storage", 50055, "files"),
    _grpc("erp_adapter", 50056, "the ERP in our words: gRPC to SOAP"),
    _grpc("reports", 50058, "sales, counted from the event log"),
    ProcessSpec("mailer", "services.mailer.bootstrap:run", "mails to customers"),
    ProcessSpec(
        "legacy_soap",
        "partners.observed_erp.bootstrap:main",
        "their ERP of 2004 (SOAP)",
        (Port("SHOP_LEGACY_SOAP_PORT", 8020, ("SHOP_LEGACY_SOAP_URL",)),),
        plain=True,
        identity=False,
        late=("legacy_soap.soap_api", "chassis.observability.capture.wsgi"),
    ),
    ProcessSpec(
        "payment_provider",
        "partners.payment_provider.bootstrap:run",
        "stand-in for the payment provider",
        (Port("SHOP_PAYMENT_PORT", 8021, ("SHOP_PAYMENT_URL",)),),
        identity=False,
        schemes=(Scheme.STRIPE,),
    ),
    ProcessSpec(
        "smtp_sink",
        "partners.smtp_sink.bootstrap:run",
        "keeps the mails that the shop sends",
        (Port("SHOP_SMTP_PORT", 8025, ("SHOP_SMTP_ADDRESS",)), Port("SHOP_MAIL_PORT", 8026, ("SHOP_MAIL_URL",))),
        identity=False,
    ),
)


def select(
    table: Sequence[ProcessSpec], *, only: Iterable[str] = (), without: Iterable[str] = ()
) -> tuple[ProcessSpec, ...]:
    """The processes named by `only` (all when empty) less those named by `without`, in the table's order.

    Raises `Refused` for a name that is not in the table, and when nothing is left.
    """
    known = {spec.name for spec in table}
    wanted, unwanted = set(only) or known, set(without)
    if unknown := (wanted | unwanted) - known:
        listed = "; known processes: " + ", ".join(spec.name for spec in table)
        raise Refused("\n".join(f'unknown process "{each}"{nearest(each, known, listed)}' for each in sorted(unknown)))
    chosen = tuple(spec for spec in table if spec.name in wanted - unwanted)
    if not chosen:
        raise Refused("no process is left to start")
    return chosen
