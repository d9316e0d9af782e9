"""The plan of the links: from the arrows of docs/architecture.toml to ports, and to each process's own addresses.

A process reaches its peers by settings (`SHOP_ORDERS_ADDRESS`); with a lab each process gets values of its own, which
lead through a link of its own, so that one arrow can be cut and no other. Clients and partners come in on the port that
is known to them: there the link listens, and the process behind it moves.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chassis.wall_clock import LabClock
from shop.errors import Refused
from shop.fault.links.proxy import Address, LinkSpec
from shop.process_table import Port, ProcessSpec
from shop.supervisor import ports
from shop.supervisor.child import CLOCK
from shop.supervisor.environment import Surroundings

PLAN = "SHOP_LAB_PLAN"
_ARCHITECTURE = Path(__file__).parents[3] / "docs/architecture.toml"
_FILE = "links.json"
# Callers from outside, to the public port.
_OUTSIDE = ("client", "partners")
# Servers that are no processes of the table: the setting that leads to each, its scheme, and the scheme's port.
_SERVERS = {
    "broker": ("SHOP_BROKER_URL", "amqp", 5672),
    "database": ("SHOP_DATABASE_URL", "postgresql", 5432),
    "redis": ("SHOP_RATE_LIMIT_URL", "redis", 6379),
}


# A Unix socket's address has at most 108 bytes on Linux, 104 on macOS.
_MAX_PATH = 100
# The console shows what crossed a link, and requests it there.
_SOCKET = "SHOP_LINK_PROXY_SOCKET"
_SHOWING = "console"

LINK_PROXY = ProcessSpec(
    "link_proxy", "shop.fault.links.bootstrap:run", "the lab's links, which can be broken", identity=False
)


@dataclass(frozen=True, slots=True)
class Arrow:
    """The two ends of a link, and its protocols; `kinds` are the picture's (empty: drawn)."""

    source: str
    target: str
    protocols: tuple[str, ...]
    kinds: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.source}->{self.target}"


@lru_cache
def arrows() -> tuple[Arrow, ...]:
    """The arrows of the architecture in the direction in which connections are opened, each pair once."""
    content = tomllib.loads(_ARCHITECTURE.read_text("utf-8"))
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for arrow in content["arrows"]:
        source, target = arrow["from"], arrow["to"]
        if source == "broker" or arrow.get("opened_by") == target:
            source, target = target, source
        found.setdefault((source, target), []).append(arrow)
    for process in content["processes"]:
        for target, protocol in (("database", "PostgreSQL"), ("redis", "Redis")):
            if process.get("database" if target == "database" else "counts"):
                found[process["name"], target] = [{"protocol": protocol}]
    return tuple(
        Arrow(
            source,
            target,
            tuple(dict.fromkeys(str(each["protocol"]) for each in given)),
            frozenset(str(each.get("kind", "")) for each in given),
        )
        for (source, target), given in found.items()
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """The links, and the settings in which a process's environment differs from what all share."""

    links: tuple[LinkSpec, ...]
    own: Mapping[str, Mapping[str, str]]


def plan(table: Sequence[ProcessSpec], around: Surroundings) -> Plan:
    """Links for every arrow between processes of the table, the broker and the databases.

    An embedded broker and SQLite are files: there is no link to them. Raises `Refused` where one broker or database
    has several hosts.
    """
    host = ports.reachable(around.host)
    specs = {spec.name: spec for spec in table}
    taken = set(around.ports.values())
    own: dict[str, dict[str, str]] = {name: {} for name in specs}
    links: list[LinkSpec] = []

    def free() -> Address:
        port = ports.any_free(around.host, taken)
        taken.add(port)
        return host, port

    behind = _moved(specs, own, free)
    for arrow in arrows():
        if arrow.source in _OUTSIDE and arrow.target in behind:
            known = around.ports[behind[arrow.target].setting]
            inside = (host, int(own[arrow.target][behind[arrow.target].setting]))
            links.append(_link(arrow, (around.host, known), inside))
            continue
        if arrow.source not in specs:
            continue
        for setting in _settings(arrow, specs, around.shared):
            given = around.shared[setting]
            target = _address(setting, given)
            if arrow.target in behind and target[1] == around.ports[behind[arrow.target].setting]:
                target = (target[0], int(own[arrow.target][behind[arrow.target].setting]))
            link = next((each for each in links if (each.name, each.upstream) == (arrow.name, target)), None)
            if link is None:
                link = _link(arrow, free(), target)
                links.append(link)
            own[arrow.source][setting] = _replaced(given, link.listen)
    return Plan(tuple(_once(links)), own)


def _moved(
    specs: Mapping[str, ProcessSpec], own: Mapping[str, dict[str, str]], free: Callable[[], Address]
) -> dict[str, Port]:
    """The public ports of processes; each of these processes listens on another now."""
    moved: dict[str, Port] = {}
    for arrow in arrows():
        if arrow.source in _OUTSIDE and arrow.target in specs and arrow.target not in moved:
            moved[arrow.target] = specs[arrow.target].ports[0]
            own[arrow.target][specs[arrow.target].ports[0].setting] = str(free()[1])
    return moved


def _settings(arrow: Arrow, specs: Mapping[str, ProcessSpec], shared: Mapping[str, str]) -> Iterator[str]:
    """The settings by which the source of an arrow finds its target."""
    if arrow.target in specs:
        wanted = "_ADDRESS" if arrow.protocols[0] in ("gRPC", "SMTP") else "_URL"
        for port in specs[arrow.target].ports:
            yield from (setting for setting in port.addresses if setting.endswith(wanted) and setting in shared)
        return
    for target, (setting, scheme, _) in _SERVERS.items():
        if arrow.target == target and shared.get(setting, "").startswith((f"{scheme}://", f"{scheme}s://")):
            yield setting


def _address(setting: str, value: str) -> Address:
    """Host and port of an address or URL. Raises `Refused`."""
    default = next((port for known, _, port in _SERVERS.values() if known == setting), 80)
    try:
        parts = urlsplit(value if "://" in value else f"//{value}")
        return parts.hostname or "127.0.0.1", parts.port or default
    except ValueError as error:
        raise Refused(f"{setting}={value}: a lab needs one host and port there ({error})") from error


def _replaced(value: str, listen: Address) -> str:
    """The address or URL with another host and port."""
    host = f"[{listen[0]}]" if ":" in listen[0] else listen[0]
    if "://" not in value:
        return f"{host}:{listen[1]}"
    parts = urlsplit(value)
    user, at, _ = parts.netloc.rpartition("@")
    return value.replace(f"//{parts.netloc}", f"//{user}{at}{host}:{listen[1]}", 1)


def _link(arrow: Arrow, listen: Address, upstream: Address) -> LinkSpec:
    return LinkSpec(arrow.name, arrow.source, arrow.target, arrow.protocols[0], listen, upstream)


def _once(links: Sequence[LinkSpec]) -> Iterator[LinkSpec]:
    """The links, of which a second one between the same two bears its protocol's port in its name."""
    seen: set[str] = set()
    for link in links:
        name = link.name if link.name not in seen else f"{link.name}:{link.upstream[1]}"
        seen.add(name)
        yield replace(link, name=name)


def socket_path(data_dir: Path) -> Path:
    """Path of the control socket of the shop in this data directory."""
    path = data_dir.absolute() / "links.sock"
    if len(os.fsencode(path)) <= _MAX_PATH:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"shop-{os.getuid()}-{name}.sock"


def clock_file(data_dir: Path, process: str) -> Path:
    """Path of the file in which the lab sets the error of a process's clock."""
    return data_dir.absolute() / "clocks" / process


def follows_clock(spec: ProcessSpec) -> bool:
    """Whether a process takes the time from `chassis.wall_clock`: the legacy ERP, another system's, does not."""
    return not spec.plain


def write(links: Sequence[LinkSpec], data_dir: Path) -> Path:
    """Write the links down for the proxy; returns the file."""
    path = data_dir / _FILE
    path.write_text(json.dumps([asdict(link) for link in links], indent=1))
    return path


def read(path: Path) -> list[LinkSpec]:
    """The links that were written down."""
    return [
        LinkSpec(**{**link, "listen": tuple(link["listen"]), "upstream": tuple(link["upstream"])})
        for link in json.loads(path.read_text())
    ]


def routed(chosen: Sequence[ProcessSpec], around: Surroundings) -> Surroundings:
    """The surroundings in which these processes reach each other through links, which are written down.

    Raises `Refused` in production, where nothing is broken on purpose.
    """
    if around.shared.get("SHOP_ENV") == "production":
        raise Refused("--lab is refused where SHOP_ENV=production: it is there to break the shop")
    made = plan(chosen, around)
    file = write(made.links, around.data_dir)
    own = {name: dict(settings) for name, settings in made.own.items()}
    own.setdefault(_SHOWING, {})[_SOCKET] = str(socket_path(around.data_dir))
    for spec in filter(follows_clock, chosen):
        clock = clock_file(around.data_dir, spec.name)
        clock.parent.mkdir(exist_ok=True)
        LabClock.create(clock)
        own.setdefault(spec.name, {})[CLOCK] = str(clock)
    return replace(around, own={**own, LINK_PROXY.name: {PLAN: str(file)}})
