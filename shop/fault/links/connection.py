"""One proxied connection: in each direction chunks are taken, treated by the link's toxics, and passed on."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from shop.fault.links import alarm
from shop.fault.links.toxics import Direction, Kind, Toxic

_CHUNK = 64 * 1024
# Bytes that wait in one direction before its sender is no longer read.
_MAX_WAITING = 1024 * 1024
_SLICES_PER_SECOND = 20
_NO_LINGER: Final = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class Active:
    """A toxic at work on a link; `met` counts chunks delayed, slowed or held, bytes lost, and connections ended."""

    toxic: Toxic
    met: int = 0


@dataclass(slots=True)
class State:
    """A link as its connections see it: the toxics of now, and an event that is replaced when they change."""

    toxics: Sequence[Active] = ()
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, toxics: Sequence[Active]) -> None:
        """Replace the toxics, for every connection at once."""
        self.toxics = toxics
        self.changed.set()
        self.changed = asyncio.Event()


# Direction, bytes, and the moment (monotonic) at which they were passed on.
Saw = Callable[[Direction, bytes], None]


class _Ended(Exception):
    """The connection was ended on purpose."""


class Connection:
    """A connection of a link, from being accepted until both ends are closed."""

    def __init__(self, number: int, state: State, saw: Saw, *, amqp: bool = False) -> None:
        """`amqp`: its frames are followed, for an alarm of RabbitMQ's."""
        self.number = number
        self._amqp = amqp
        self._state = state
        self._saw = saw
        self._ends: list[asyncio.StreamWriter] = []
        self._over = asyncio.get_running_loop().create_future()
        self._last = time.monotonic()

    def passed(self, direction: Direction, chunk: bytes) -> None:
        """Note what was passed on."""
        self._last = time.monotonic()
        self._saw(direction, chunk)

    def quiet(self, seconds: float) -> bool:
        """Whether nothing has been passed on for so long."""
        return time.monotonic() - self._last >= seconds

    async def run(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass bytes both ways until both directions have ended, or one is cut."""
        self._ends = [client[1], server[1]]
        request = _Way(self.number, self._state, Direction.REQUEST, client[0], server[1], self.passed)
        answer = _Way(self.number, self._state, Direction.ANSWER, server[0], client[1], self.passed)
        if self._amqp:
            request.frames = alarm.Frames()
            request.answers = answer.frames = alarm.Answers(client[1])
        ways = [request, answer]
        tasks = [asyncio.ensure_future(step) for way in ways for step in (way.receive(), way.send())]
        both = asyncio.ensure_future(_passed(tasks))
        try:
            await asyncio.wait([both, self._over], return_when=asyncio.FIRST_COMPLETED)
            if not both.done() or not both.result():
                self.reset()
        finally:
            for task in (both, *tasks):
                task.cancel()
            await asyncio.gather(both, *tasks, return_exceptions=True)
            for writer in self._ends:
                writer.close()

    def reset(self) -> None:
        """Send both ends a reset (RST), as a host does without state of the connection."""
        for writer in self._ends:
            reset(writer)
        if not self._over.done():
            self._over.set_result(None)

    def leave_half_open(self) -> None:
        """Let the far end go; the near one gets no sign of it."""
        for writer in self._ends[1:]:
            reset(writer)


async def _passed(tasks: Sequence[asyncio.Task[None]]) -> bool:
    """Whether both directions ended in order."""
    try:
        await asyncio.gather(*tasks)
    except (_Ended, OSError):
        return False
    return True


def reset(writer: asyncio.StreamWriter) -> None:
    """End one side with a reset (RST) instead of an orderly end."""
    if writer.transport.is_closing():
        writer.transport.abort()
        return
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


class _Way:
    """One direction of a connection. An empty chunk is its orderly end, None a reset."""

    def __init__(
        self,
        number: int,
        state: State,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        saw: Saw,
    ) -> None:
        self._number, self._state, self._direction = number, state, direction
        self._reader, self._writer, self._saw = reader, writer, saw
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._size = 0
        self._arrived, self._room = asyncio.Event(), asyncio.Event()
        # Bytes that may still pass, for each toxic that cuts.
        self._left: dict[Active, int] = {}
        # Of AMQP: this direction's, and the other's where that is the server's answers.
        self.frames: alarm.Frames | None = None
        self.answers: alarm.Answers | None = None
        self._jitter = random.Random(f"{number}/{direction}")  # noqa: S311  # nosec B311 # repeatable, no secret

    async def receive(self) -> None:
        """Take what arrives, up to a bound."""
        chunk: bytes | None = b"-"
        while chunk:
            try:
                chunk = await self._reader.read(_CHUNK)
            except ConnectionError:
                chunk = None
            self._waiting.append((time.monotonic(), chunk))
            self._size += len(chunk or b"")
            self._arrived.set()
            while self._size > _MAX_WAITING:
                self._room.clear()
                await self._room.wait()

    async def send(self) -> None:
        """Pass it on, under the toxics. Raises `_Ended` when it is cut, `OSError` when the receiver is gone."""
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            arrived, chunk = self._waiting.popleft()
            if not await self._treat(arrived, chunk):
                continue
            if chunk is None:
                raise _Ended
            if not chunk:
                if not self._writer.is_closing():
                    self._writer.write_eof()
                return
            self._size -= len(chunk)
            self._room.set()

    def _toxics(self, *kinds: Kind) -> list[Active]:
        return [
            active
            for active in self._state.toxics
            if active.toxic.kind in kinds and active.toxic.concerns(self._number, self._direction)
        ]

    async def _treat(self, arrived: float, chunk: bytes | None) -> bool:
        """Apply the toxics to a chunk, and write it; False where it vanished."""
        await self._held()
        await self._delayed(arrived)
        if gone := self._toxics(Kind.HALF_OPEN):
            gone[0].met += 1
            self._size -= len(chunk or b"")
            self._room.set()
            return False
        if not chunk:
            return True
        if resetting := self._toxics(Kind.RESET):
            resetting[0].met += 1
            raise _Ended
        chunk = await self._under_alarm(chunk)
        cut, passing = self._cut(chunk)
        await self._write(passing)
        if cut is not None:
            cut.met += 1
            raise _Ended
        return True

    async def _held(self) -> None:
        """Wait for as long as there is a black hole."""
        counted: set[Active] = set()
        while holes := self._toxics(Kind.BLACK_HOLE):
            for hole in holes:
                if hole not in counted:
                    hole.met += 1
                    counted.add(hole)
            await self._state.changed.wait()

    async def _under_alarm(self, chunk: bytes) -> bytes:
        """Pass on what precedes a publication, and hold the rest for as long as there is an alarm."""
        alarms = self._toxics(Kind.ALARM)
        if not alarms or self.frames is None or self.answers is None:
            return chunk
        before = self.frames.before_publish(chunk)
        if before == len(chunk):
            return chunk
        await self._write(chunk[:before])
        alarms[0].met += 1
        self.answers.write(alarm.BLOCKED)
        while self._toxics(Kind.ALARM):
            await self._state.changed.wait()
        self.answers.write(alarm.UNBLOCKED)
        return chunk[before:]

    async def _delayed(self, arrived: float) -> None:
        """Wait until the chunk is due; what changes meanwhile holds at once."""
        drawn = self._jitter.uniform(-1, 1)
        counted: set[Active] = set()
        while late := self._toxics(Kind.DELAY, Kind.JITTER):
            seconds = sum(each.toxic.amount * (drawn if each.toxic.kind is Kind.JITTER else 1) for each in late)
            for each in late:
                if each not in counted:
                    each.met += 1
                    counted.add(each)
            left = arrived + seconds - time.monotonic()
            if left <= 0:
                return
            await self._change(left)

    async def _change(self, seconds: float) -> None:
        """Wait that long, or until the toxics change."""
        changed = asyncio.ensure_future(self._state.changed.wait())
        try:
            await asyncio.wait([changed], timeout=seconds)
        finally:
            changed.cancel()

    def _cut(self, chunk: bytes) -> tuple[Active | None, bytes]:
        """The toxic that cuts within this chunk, if one does, and what passes before."""
        cutting: Active | None = None
        passing = chunk
        for active in self._toxics(Kind.CUT):
            left = self._left.setdefault(active, int(active.toxic.amount))
            if left <= len(passing):
                cutting, passing = active, passing[:left]
            self._left[active] = left - len(passing)
        return cutting, passing

    async def _write(self, chunk: bytes) -> None:
        while chunk:
            slow = self._toxics(Kind.RATE)
            size = len(chunk)
            if slow:
                rate = min(each.toxic.amount for each in slow)
                size = max(1, int(rate / _SLICES_PER_SECOND))
                for each in slow:
                    each.met += 1
                await self._change(min(size, len(chunk)) / rate)
            piece, chunk = chunk[:size], chunk[size:]
            if self._writer.is_closing():
                raise _Ended  # the receiver has gone meanwhile
            self._writer.write(piece)
            self._saw(self._direction, piece)
            if self.frames is not None:
                self.frames.passed(piece)
            await self._writer.drain()
