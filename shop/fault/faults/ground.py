"""The shop that is to be broken, and what a fault is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from shop.errors import Refused
from shop.fault.links.client import Links, LinkState
from shop.fault.links.plan import arrows
from shop.process_table import TABLE
from shop.supervisor import lock, state
from shop.supervisor.environment import running
from shop.supervisor.state import ProcessState

_OWN_BUSINESS = frozenset({"telemetry"}), frozenset({"identity"})


class Fault(Protocol):
    """One way to break something. `momentary` ones are over once they have begun."""

    words: str
    momentary: bool

    def begin(self) -> str:
        """Break it; returns a sentence about it. Raises `Refused`, with nothing broken."""

    def end(self) -> str:
        """Undo it; returns a sentence about that. Never raises for what has gone meanwhile."""

    def met(self) -> int | None:
        """The traffic that it has met so far, after `end` in all; None where that cannot be known."""


@dataclass
class Ground:
    """A running shop: the environment that its processes share, and its links where it runs with `--lab`.

    `secrets` are those of its services and its partners by setting, as far as they are known here.
    """

    env: Mapping[str, str]
    data_dir: Path
    links: Links
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    lab: bool = field(init=False)

    def __post_init__(self) -> None:
        self.lab = self.links.there()

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Ground:
        """The shop that this environment names. Raises `Refused` in production, and where none runs."""
        if env.get("SHOP_ENV") == "production":
            raise Refused("faults are refused where SHOP_ENV=production: use a shop of your own, `shop up --lab`")
        around = running(TABLE, env)
        _running(around.data_dir)
        return cls(around.shared, around.data_dir, Links(around.data_dir), around.secrets)

    def process(self, name: str) -> ProcessState:
        """A running process. Raises `Refused` for one that is unknown or not running."""
        known = {each.name: each for each in _running(self.data_dir)}
        if name not in known:
            raise Refused(f"unknown process {name}; running processes: {', '.join(known)}")
        if known[name].pid is None:
            raise Refused(f"{name} is not running just now (it is {known[name].state})")
        return known[name]

    def pids(self) -> dict[int, str]:
        """The processes that run just now: pid -> name."""
        return {each.pid: each.name for each in _running(self.data_dir) if each.pid is not None}

    def supervised(self) -> bool:
        """Whether the shop still runs."""
        return lock.is_held(self.data_dir)

    def all_links(self, within: float = 1.0) -> Mapping[str, LinkState]:
        """Every link by name; none without a lab, or once it has gone with its shop."""
        if not self.lab:
            return {}
        try:
            return self.links.all(within)
        except Refused:
            return {}

    def links_of(self, process: str, within: float = 1.0) -> list[LinkState]:
        """The links that lead to or from a process, without those for spans and tokens that start from it.

        None without a lab, or once it has gone with its shop.
        """
        own = {arrow.name for arrow in arrows() if arrow.source == process and arrow.kinds in _OWN_BUSINESS}
        return [
            link
            for link in self.all_links(within).values()
            if process in (link.source, link.target) and link.name not in own
        ]


def _running(data_dir: Path) -> list[ProcessState]:
    found = state.read(data_dir)
    if not any(process.pid for process in found):
        raise Refused(f"no shop runs in {data_dir}: start one with `shop up --lab`, or set SHOP_DATA_DIR")
    return found
