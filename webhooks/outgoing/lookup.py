"""Names of endpoints, looked up apart from every other name that this process looks up.

An event loop has a few places for lookups, and one that was given up keeps its place until the system's resolver gives
up, too: a customer whose name server does not answer would stop the webhooks of all others.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from aiohttp.abc import AbstractResolver, ResolveResult

# An address as `getaddrinfo` has it: family, type, protocol, canonical name, socket address.
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]
# At once: more than there are endpoints that are served at once.
_MAX_LOOKUPS = 256

Result = TypeVar("Result")


class EndpointNames(AbstractResolver):
    """A thread for each name that is being looked up; requests for the same one meanwhile share its answer."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_MAX_LOOKUPS)
        self._under_way: dict[tuple[str, int], asyncio.Task[list[AddressInfo]]] = {}

    async def look_up(self, host: str, port: int) -> list[AddressInfo]:
        """The addresses for a TCP connection. Raises `OSError`, and `UnicodeError` for what is no name."""
        place = (host, port)
        lookup = self._under_way.get(place)
        if lookup is None:
            lookup = self._under_way[place] = asyncio.create_task(self._look_up(host, port))
            lookup.add_done_callback(partial(self._ended, place))
        return await asyncio.shield(lookup)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The same in aiohttp's form."""
        found = await self.look_up(host, port)
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=found_family, proto=protocol, flags=numeric
            )
            for found_family, _, protocol, _, address in found
            if family in (socket.AF_UNSPEC, found_family)
        ]

    async def close(self) -> None:
        """Nothing is kept; what is being looked up ends by itself, or with the process."""

    async def _look_up(self, host: str, port: int) -> list[AddressInfo]:
        async with self._places:
            return await _in_a_thread(partial(_addresses, host, port))

    def _ended(self, place: tuple[str, int], lookup: asyncio.Task[list[AddressInfo]]) -> None:
        del self._under_way[place]
        if not lookup.cancelled():
            lookup.exception()  # raised in the waiting tasks, which may all have been cancelled


def _addresses(host: str, port: int) -> list[AddressInfo]:
    return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)]


async def _in_a_thread(work: Callable[[], Result]) -> Result:
    """The result of `work`, from a daemon thread, so that it does not delay the end of the process."""
    outcome: Future[Result] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            outcome.set_exception(error)

    threading.Thread(target=run, name="endpoint lookup", daemon=True).start()
    return await asyncio.wrap_future(outcome)
