"""The ERP's web server: waitress, with a reserve for health checks, and a bound on the time that a head may take."""

from __future__ import annotations

import socket
import time
from collections import Counter
from http import HTTPStatus
from typing import Any
from wsgiref.types import WSGIApplication

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from legacy_soap.http.parser import MAX_HEAD_BYTES, PROBES, Refusal, StrictChannel, StrictParser

THREADS = 8
MAX_CONNECTIONS = 1_000
# Connections beyond the most, for health checks while all others are at work.
RESERVE = 16
IDLE_SECONDS = 30
HEAD_SECONDS = 10.0
# waitress counts its listener and its trigger as connections.
_OWN_DESCRIPTORS = 2


class Channel(StrictChannel):
    """A connection; one of the reserve is only for health checks."""

    request: StrictParser | None

    def __init__(self, server: Server, sock: socket.socket, addr: Any, adj: Adjustments, map: Any = None) -> None:  # noqa: A002  # waitress's name
        self.reserved = False
        super().__init__(server, sock, addr, adj, map)
        self.address: str = addr[0]
        self.reserved = server.make_room_for(self)

    @property
    def idle(self) -> bool:
        """Whether no request on it is being answered."""
        return not (self.requests or self.total_outbufs_len or self.will_close)

    def refuse_late_head(self, now: float) -> None:
        """Answer 408 where a head has begun and is not complete in its time."""
        with self.requests_lock:
            late = self.request
            if late is None or late.headers_finished or self.requests or now - late.began < HEAD_SECONDS:
                return
            self.request = None
            late.error = Refusal(HTTPStatus.REQUEST_TIMEOUT, f"a head must be complete in {HEAD_SECONDS:.0f} seconds")
            late.version = "1.1"
            late.completed = True
            self.requests.append(late)
        self.server.add_task(self)


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress has no types
    """waitress's threads for calls, and one more for what takes no time: health checks and refusals."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._quick = ThreadedTaskDispatcher()
        self._quick.set_thread_count(1)
        self.set_thread_count(threads)

    def add_task(self, task: Channel) -> None:
        """Have the first request of a connection answered."""
        request = task.requests[0]
        probe = request.error is None and request.path in PROBES
        if task.reserved and not probe and request.error is None:
            request.error = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many calls are under way", retry_after=1)
        if probe or request.error is not None:
            self._quick.add_task(task)
        else:
            super().add_task(task)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:  # noqa: FBT002  # waitress's
        """End all threads."""
        self._quick.shutdown(cancel_pending, timeout)
        ended: bool = super().shutdown(cancel_pending, timeout)
        return ended


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Serves an application at a listening socket; `run` blocks."""

    channel_class = Channel

    def __init__(
        self,
        application: WSGIApplication,
        listener: socket.socket,
        *,
        max_body: int,
        threads: int = THREADS,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._max_connections = max_connections
        adjustments = Adjustments(
            sockets=[listener],
            max_request_body_size=max_body,
            max_request_header_size=MAX_HEAD_BYTES,
            # The last resort: before it is reached, idle connections are closed.
            connection_limit=max_connections + RESERVE + _OWN_DESCRIPTORS + 1,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=1,
            asyncore_use_poll=True,
            ident=None,
        )
        place = (listener.family, listener.type, listener.proto, listener.getsockname())
        super().__init__(
            application,
            _sock=listener,
            dispatcher=Dispatcher(threads),
            adj=adjustments,
            sockinfo=place,
            bind_socket=False,
        )

    def make_room_for(self, newest: Channel) -> bool:
        """Close an idle connection where there is one too many; True where none is idle, so that the reserve is used.

        The reserve is for those beyond the most: what is idle there makes room for others of the reserve only.
        """
        others = [each for each in self.active_channels.values() if each is not newest and not each.will_close]
        ordinary = [each for each in others if not each.reserved]
        if len(ordinary) < self._max_connections:
            return False
        if _close_idlest(ordinary):
            return False
        reserved = [each for each in others if each.reserved]
        if len(reserved) >= RESERVE and not _close_idlest(reserved):
            newest.will_close = True
        return True

    def maintenance(self, now: float) -> None:
        """Close what has been idle too long, and refuse heads that are late."""
        super().maintenance(now)
        for channel in list(self.active_channels.values()):
            channel.refuse_late_head(time.monotonic())


def _close_idlest(channels: list[Channel]) -> bool:
    """Close what has been idle longest of the address with the most; False where nothing is idle."""
    idle = [each for each in channels if each.idle]
    if not idle:
        return False
    count = Counter(each.address for each in channels)
    min(idle, key=lambda each: (-count[each.address], each.last_activity)).will_close = True
    return True
