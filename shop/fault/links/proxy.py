"""The links: each listens on a port, and leads its connections to another, through the toxics that are set."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shop.fault.links import connection as connections
from shop.fault.links.connection import Active, Connection, State
from shop.fault.links.toxics import Direction, Kind, Toxic

if TYPE_CHECKING:
    from shop.fault.tap.capture import Tap

log = logging.getLogger(__name__)

Address = tuple[str, int]
_BACKLOG = 512
# Seconds for a connection to the other end, and for connections to end when the proxy does.
_CONNECT_TIMEOUT = 5.0
# The latest chunks of a link, whose times are remembered.
_REMEMBERED = 2_000
MAX_SECONDS = 3_600.0
_MAX_FAULTS = 100
_FAULT_ID = re.compile(r"[0-9a-f]{8}")
# Seconds without a byte that are a pause, and until a connection is ended without one.
_PAUSE, _RENEWED_WITHIN = 0.2, 5.0
_ENDED_KEPT = 100
# Seconds between two attempts to listen on a port that another program has taken.
_LISTEN_AGAIN = 0.2


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A link: who connects to whom, in which protocol, where it listens and where that leads."""

    name: str
    source: str
    target: str
    protocol: str
    listen: Address
    upstream: Address


@dataclass(slots=True)
class Counts:
    """The traffic of a link."""

    opened: int = 0
    failed: int = 0
    bytes: Counter[Direction] = field(default_factory=Counter)
    chunks: Counter[Direction] = field(default_factory=Counter)


class Link:
    """One link at work."""

    def __init__(self, spec: LinkSpec) -> None:
        self.spec = spec
        self.counts = Counts()
        self.state = State()
        self.tap: Tap | None = None
        self._faults: dict[str, tuple[Active, ...]] = {}
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()
        self._retry: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Take connections. Raises `OSError` for a port that is taken."""
        family = socket.AF_INET6 if ":" in self.spec.listen[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(self.spec.listen)
            self._server = await asyncio.start_server(self._accept, sock=listener, backlog=_BACKLOG)
        except OSError:
            listener.close()
            raise

    async def close(self) -> None:
        """Stop listening, and end every connection."""
        if self._retry is not None:
            self._retry.cancel()
        self._stop_listening()
        for connection in self._open:
            connection.reset()
        for task in self._open.values():
            task.cancel()
        await asyncio.gather(*self._open.values(), return_exceptions=True)

    def apply(self, fault: str, toxics: Iterable[Toxic]) -> None:
        """Set toxics, at once for the connections that are there and for new ones."""
        self._faults[fault] = tuple(Active(toxic) for toxic in toxics)
        self._refresh()
        for active in self._faults[fault]:
            self._at_once(active)

    def remove(self, fault: str) -> int:
        """Take away what `apply` has set; returns how much it has met. `listen_again` opens its port where need be."""
        removed = self._faults.pop(fault, ())
        for active in removed:
            if active.toxic.kind is Kind.HALF_OPEN:
                for connection in self._concerned(active.toxic):
                    connection.reset()
        self._refresh()
        return sum(active.met for active in removed)

    async def listen_again(self) -> None:
        """Listen, where no fault refuses connections.

        Raises `OSError` for a port that is taken, and tries again until it is free, or a fault refuses connections.
        """
        try:
            await self._open_port()
        except OSError as error:
            if self._retry is None or self._retry.done():
                self._retry = asyncio.create_task(self._until_listening())
            host, port = self.spec.listen
            why = f"{self.spec.name} is not listening yet: port {port} of {host} cannot be had ({error.strerror})"
            raise OSError(error.errno, f"{why}; it is tried again until it can") from error

    async def _open_port(self) -> None:
        async with self._opening:  # two faults may end at once
            if self._server is None and not self._active(Kind.REFUSE):
                await self.listen()
                if self._active(Kind.REFUSE):  # set meanwhile
                    self._stop_listening()

    async def _until_listening(self) -> None:
        while self._server is None and not self._active(Kind.REFUSE):
            await asyncio.sleep(_LISTEN_AGAIN)
            with suppress(OSError):
                await self._open_port()

    async def watch(self, seconds: float) -> None:
        """Watch what crosses from now on, for so many seconds. Raises `ValueError`.

        HTTP/2 can be read only from a connection's first byte: those of gRPC that are open are ended, each in a pause.
        """
        from shop.fault.tap.capture import Tap  # its parsers are needed by no link that is not watched

        self.tap = tap = Tap(self.spec.protocol, seconds)
        old = list(self._open) if self.spec.protocol == "gRPC" else []
        deadline = time.monotonic() + _RENEWED_WITHIN
        while old := [each for each in old if each in self._open]:
            for connection in old:
                if connection.quiet(_PAUSE) or time.monotonic() > deadline:
                    connection.reset()
            await asyncio.sleep(_PAUSE / 2)
        tap.forget()

    def watch_on(self, seconds: float) -> None:
        """Watch for so many seconds from now on, and keep what was seen. Raises `ValueError`."""
        if self.tap is None or not self.tap.watching:
            raise ValueError(f"{self.spec.name} is not watched: watch it anew")
        self.tap.last(seconds)

    def met(self, fault: str) -> int:
        """The traffic that a fault has met on this link so far."""
        return sum(active.met for active in self._faults.get(fault, ()))

    def snapshot(self, within: float) -> dict[str, Any]:
        """Names, addresses, toxics and counts; `recent` is the chunks of the last `within` seconds."""
        since = time.monotonic() - within
        return {
            "name": self.spec.name,
            "from": self.spec.source,
            "to": self.spec.target,
            "protocol": self.spec.protocol,
            "listen": list(self.spec.listen),
            "upstream": list(self.spec.upstream),
            "toxics": [{**active.toxic.as_dict(), "met": active.met} for active in self.state.toxics],
            "open": len(self._open),
            "opened": self.counts.opened,
            "failed": self.counts.failed,
            "recent": sum(moment >= since for moment in self._recent),
            **{f"{way}_bytes": self.counts.bytes[way] for way in (Direction.REQUEST, Direction.ANSWER)},
            **{f"{way}_chunks": self.counts.chunks[way] for way in (Direction.REQUEST, Direction.ANSWER)},
        }

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """One for each open connection."""
        return list(self._open.values())

    def _refresh(self) -> None:
        self.state.set([active for actives in self._faults.values() for active in actives])

    def _active(self, kind: Kind) -> list[Active]:
        return [active for active in self.state.toxics if active.toxic.kind is kind]

    def _at_once(self, active: Active) -> None:
        """A toxic's effect on the connections that are open when it is set."""
        kind, direction = active.toxic.kind, active.toxic.direction
        if kind is Kind.REFUSE:
            self._stop_listening()
        for connection in self._concerned(active.toxic):
            if kind is Kind.REFUSE or (kind is Kind.RESET and direction is Direction.BOTH):
                active.met += 1
                connection.reset()
            elif kind is Kind.HALF_OPEN:
                active.met += 1
                connection.leave_half_open()

    def _concerned(self, toxic: Toxic) -> list[Connection]:
        return [each for each in self._open if toxic.concerns(each.number, Direction.REQUEST)]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.opened += 1
        number = self.counts.opened

        def saw(direction: Direction, chunk: bytes) -> None:
            self.counts.bytes[direction] += len(chunk)
            self.counts.chunks[direction] += 1
            self._recent.append(time.monotonic())
            if self.tap is not None:
                self.tap.saw(number, direction, chunk)

        connection = Connection(number, self.state, saw, amqp=self.spec.protocol == "AMQP")
        self._open[connection] = asyncio.ensure_future(self._lead(connection, reader, writer))

    async def _lead(self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                server = await asyncio.open_connection(*self.spec.upstream)
        except (OSError, TimeoutError):
            self.counts.failed += 1
            connections.reset(writer)
        else:
            await connection.run((reader, writer), server)
        finally:
            del self._open[connection]


@dataclass(slots=True)
class Fault:
    """Toxics on links, set together, and the timer that takes them away. `met` is final once it has ended."""

    id: str
    links: tuple[str, ...]
    toxics: tuple[Toxic, ...]
    timer: asyncio.Task[None] | None = None
    ended: bool = False
    met: Mapping[str, int] = field(default_factory=dict)


class Proxy:
    """All links, and the faults on them, each of which ends by itself."""

    def __init__(self, specs: Sequence[LinkSpec]) -> None:
        self.links = {spec.name: Link(spec) for spec in specs}
        self._faults: dict[str, Fault] = {}

    def set(self, names: Sequence[str], toxics: Sequence[Toxic], seconds: float, fault_id: str = "") -> Fault:
        """Set toxics on links, all at once, for so many seconds. Raises `ValueError`.

        `fault_id` is the caller's own, a new one; else one is made.
        """
        if fault_id and (not _FAULT_ID.fullmatch(fault_id) or fault_id in self._faults):
            raise ValueError("id must be a new one, of 8 hexadecimal digits")
        if unknown := [name for name in names if name not in self.links]:
            raise ValueError(f"unknown link {', '.join(unknown)}; known links: {', '.join(self.links) or 'none'}")
        if not names or not toxics or not 0 < seconds <= MAX_SECONDS:
            raise ValueError(f"name at least one link and one toxic, for at most {MAX_SECONDS:g} s")
        if running := [fault.id for fault in self._faults.values() if not fault.ended][_MAX_FAULTS - 1 :]:
            raise ValueError(f"{_MAX_FAULTS} faults are at work; end one, such as {running[0]}")
        wrong = [name for name in names if self.links[name].spec.protocol != "AMQP"]
        if wrong and any(toxic.kind is Kind.ALARM for toxic in toxics):
            raise ValueError(f"alarm must be on a link to RabbitMQ, and {wrong[0]} is not")
        fault = Fault(fault_id or uuid.uuid4().hex[:8], tuple(names), tuple(toxics))
        for name in names:
            self.links[name].apply(fault.id, toxics)
        fault.timer = asyncio.ensure_future(self._expire(fault, seconds))
        self._faults[fault.id] = fault
        while len(self._faults) > _MAX_FAULTS + _ENDED_KEPT:
            self._faults.pop(next(id_ for id_, each in self._faults.items() if each.ended))
        return fault

    def get(self, fault_id: str) -> Fault:
        """A fault with what it has met by now. Raises `KeyError`."""
        fault = self._faults[fault_id]
        if not fault.ended:
            fault.met = {name: self.links[name].met(fault.id) for name in fault.links}
        return fault

    @property
    def faults(self) -> list[Fault]:
        """The faults at work."""
        return [self.get(each.id) for each in self._faults.values() if not each.ended]

    async def end(self, fault_id: str) -> Fault:
        """Take a fault away, from all of its links. Raises `KeyError`, and `OSError` as `Link.listen_again`."""
        fault = self._faults[fault_id]
        if fault.ended:
            return fault
        fault.ended = True
        if fault.timer is not None and fault.timer is not asyncio.current_task():
            fault.timer.cancel()
        links = {name: self.links[name] for name in fault.links}
        fault.met = {name: link.remove(fault.id) for name, link in links.items()}
        listening = await asyncio.gather(*(link.listen_again() for link in links.values()), return_exceptions=True)
        for failure in filter(None, listening):
            raise failure
        return fault

    async def _expire(self, fault: Fault, seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            await self.end(fault.id)
        except OSError as error:
            log.warning("fault lab: link does not listen yet", extra={"fault": fault.id, "reason": error.strerror})
        log.info("fault lab: fault on links ended", extra={"fault": fault.id, "met": sum(fault.met.values())})

    async def drained(self, seconds: float) -> None:
        """Wait until no connection is open, for at most so many seconds: ending processes need their links."""
        if ending := [task for link in self.links.values() for task in link.tasks]:
            await asyncio.wait(ending, timeout=seconds)


@asynccontextmanager
async def proxying(specs: Sequence[LinkSpec]) -> AsyncIterator[Proxy]:
    """Serve the links while the block runs. Raises `OSError` for a port that is taken."""
    proxy = Proxy(specs)
    try:
        for link in proxy.links.values():
            await link.listen()
        yield proxy
    finally:
        for fault in proxy.faults:
            if fault.timer is not None:
                fault.timer.cancel()
        await asyncio.gather(*(link.close() for link in proxy.links.values()))
