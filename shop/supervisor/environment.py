"""The environment of each process: the others' addresses, and the secrets it may have. What is set already stays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shop.errors import Refused
from shop.process_table import TABLE, ProcessSpec, Scheme
from shop.supervisor import keyring, ports, state

_ALL_SERVICE_SECRETS = "SHOP_SERVICE_SECRETS"
_OWN_SERVICE_SECRET = "SHOP_SERVICE_SECRET"  # noqa: S105  # nosec B105 # the setting's name
METRICS_PORT = "SHOP_METRICS_PORT"
_SECRET_SETTINGS = frozenset({_ALL_SERVICE_SECRETS, *(scheme.setting for scheme in Scheme)})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Decisions of one start of the shop: ports by setting, the environment all share, and the secrets."""

    host: str
    data_dir: Path
    ports: Mapping[str, int]
    shared: Mapping[str, str]
    secrets: Mapping[str, str]
    service_secrets: Mapping[str, str]
    # Process name -> settings that hold for it alone.
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, spec: ProcessSpec) -> dict[str, str]:
        """The environment of this process: the shared one and only those secrets that are its business.

        `SHOP_METRICS_PORT` is the first of a run of ports, one for each process in the order of the table.
        """
        env = dict(self.shared)
        mine = {scheme.setting for scheme in spec.schemes} | ({_ALL_SERVICE_SECRETS} if spec.name == "users" else set())
        env |= {setting: secret for setting, secret in self.secrets.items() if setting in mine}
        if spec.name in self.service_secrets:
            env.setdefault(_OWN_SERVICE_SECRET, self.service_secrets[spec.name])
        first = env.get(METRICS_PORT, "")
        if spec in TABLE and first.isdecimal() and int(first):
            env[METRICS_PORT] = str(int(first) + TABLE.index(spec))
        return {**env, **self.own.get(spec.name, {})}


def survey(table: Sequence[ProcessSpec], env: Mapping[str, str], *, starting: bool = False) -> Surroundings:
    """Decide everything that `env` leaves open. Raises `Refused` when a setting makes no sense.

    `starting`: outside production this makes the data directory and its secrets. A command that only looks at a shop
    makes neither, and has the secrets that are there.
    """
    host = env.get("SHOP_HOST") or "127.0.0.1"
    data_dir = _data_dir(env)
    assigned = ports.assign(table, env, host)
    secrets = _secrets(table, env, data_dir, starting=starting)
    shared = {
        **_addresses(table, assigned, ports.reachable(host), tls=bool(env.get("SHOP_TLS_DIR"))),
        **{name: value for name, value in env.items() if name not in _SECRET_SETTINGS},
        **{setting: str(port) for setting, port in assigned.items()},
        "SHOP_DATA_DIR": str(data_dir),
    }
    return Surroundings(host, data_dir, assigned, shared, secrets, _service_secrets(secrets))


def running(table: Sequence[ProcessSpec], env: Mapping[str, str]) -> Surroundings:
    """The shop that commands beside it read: what `env` sets, then the ports of the one that runs, then the defaults.

    A port of 0 ("any free one") does not show where a shop listens, and counts as unset. Raises `Refused` as `survey`
    does.
    """
    settings = {port.setting for spec in table for port in spec.ports}
    given = {name: value for name, value in env.items() if not (name in settings and value.strip("0") == "")}
    listening = {name: str(port) for name, port in state.ports_of_running(_data_dir(env)).items() if name in settings}
    return survey(table, {**listening, **given})


def signing_secret(scheme: Scheme, secrets: Mapping[str, str], data_dir: Path) -> str:
    """The secret that a partner signs webhooks with: the first of the setting's, or the one that `shop up` has made.

    Raises `Refused` where there is neither.
    """
    secret = secrets.get(scheme.setting, "").partition(",")[0].strip()
    if not secret:
        raise Refused(f"no shop has run in {data_dir}: set {scheme.setting}, or SHOP_DATA_DIR")
    return secret


def _data_dir(env: Mapping[str, str]) -> Path:
    return Path(env.get("SHOP_DATA_DIR") or ".shop").absolute()


def _addresses(table: Sequence[ProcessSpec], assigned: Mapping[str, int], host: str, *, tls: bool) -> dict[str, str]:
    authority = f"[{host}]" if ":" in host else host
    return {
        address: f"{port.scheme(address, tls=tls)}{authority}:{assigned[port.setting]}"
        for spec in table
        for port in spec.ports
        for address in port.addresses
    }


def _secrets(table: Sequence[ProcessSpec], env: Mapping[str, str], data_dir: Path, *, starting: bool) -> dict[str, str]:
    given = {name: env[name] for name in _SECRET_SETTINGS if env.get(name)}
    if env.get("SHOP_ENV") == "production" or env.get("SHOP_KEYRING") == "off":
        return given  # Nothing is made up there: a process that misses a secret logs it and does not start.
    if not (starting or (data_dir / keyring.FILE).exists()):
        return given
    ring = keyring.load(data_dir, table)
    made = {scheme.setting: ring.webhooks[scheme.value] for scheme in Scheme}
    return {_ALL_SERVICE_SECRETS: json.dumps(dict(ring.services)), **made, **given}


def _service_secrets(secrets: Mapping[str, str]) -> dict[str, str]:
    wrong = Refused(f"{_ALL_SERVICE_SECRETS} must be a JSON object of process names and secrets")
    try:
        found = json.loads(secrets.get(_ALL_SERVICE_SECRETS, "{}"))
    except ValueError as error:
        raise wrong from error
    if not isinstance(found, dict) or not all(isinstance(secret, str) for secret in found.values()):
        raise wrong
    return found
