"""Connection limit of a server, and the idle connection that is closed when one more arrives."""

from __future__ import annotations

import ipaddress
import resource
from collections import defaultdict
from collections.abc import Callable, Hashable
from functools import lru_cache

# Connections beyond the limit, for health checks while all others are at work.
RESERVE = 64
# File descriptors that a process needs for anything else.
_OTHER_DESCRIPTORS = 256


class Connections:
    """The connections of one server, by the address of their client.

    A connection is idle until its next request's header is complete. Where one more would be too many, the one that
    has been idle longest among those of the address with the most connections is closed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._close_of: dict[Hashable, Callable[[], None]] = {}
        self._by_address: defaultdict[str, set[Hashable]] = defaultdict(set)
        self._idle: defaultdict[str, dict[Hashable, None]] = defaultdict(dict)
        self._idle_count = 0

    @property
    def working(self) -> int:
        """Connections with a request under way."""
        return len(self) - self._idle_count

    def __len__(self) -> int:
        return len(self._close_of)

    def opened(self, connection: Hashable, address: str, close: Callable[[], None], *, others: int = 0) -> None:
        """Keep an idle connection, and close another one, or this one, if there are too many.

        `others`: connections that are never idle, WebSockets, which are counted elsewhere.
        """
        self._close_of[connection] = close
        self._by_address[address].add(connection)
        self._rest(connection, address)
        total = len(self) + others
        if total > self.limit:
            victim = self._idlest(besides=connection)
            if victim is not None:
                self._close_of[victim[0]]()
                self.closed(*victim)
            elif total > self.limit + RESERVE:
                close()
                self.closed(connection, address)

    def closed(self, connection: Hashable, address: str) -> None:
        """Forget a connection, which may be unknown already."""
        if self._close_of.pop(connection, None) is None:
            return
        self.begins(connection, address)
        self._by_address[address].discard(connection)
        if not self._by_address[address]:
            del self._by_address[address]

    def begins(self, connection: Hashable, address: str) -> None:
        """A request is under way on a connection."""
        idle = self._idle.get(address)
        if idle is not None and connection in idle:
            del idle[connection]
            self._idle_count -= 1
            if not idle:
                del self._idle[address]

    def rests(self, connection: Hashable, address: str) -> None:
        """The last request on a connection is answered."""
        if connection in self._close_of and connection not in self._idle.get(address, ()):
            self._rest(connection, address)

    def _rest(self, connection: Hashable, address: str) -> None:
        self._idle[address][connection] = None
        self._idle_count += 1

    def _idlest(self, *, besides: Hashable) -> tuple[Hashable, str] | None:
        """The longest idle connection of the address with the most connections."""
        candidates = [address for address, idle in self._idle.items() if idle.keys() != {besides}]
        if not candidates:
            return None
        greediest = max(candidates, key=lambda address: len(self._by_address[address]))
        return next((each, greediest) for each in self._idle[greediest] if each != besides)


def client_network(address: str) -> str:
    """An IPv4 address as it is, also where it arrives as an IPv6 one (RFC 4291, 2.5.5.2), as at a listener for both.

    Of an IPv6 address its /64, of which a client may take any address.
    """
    return _network(address) if ":" in address else address


@lru_cache(maxsize=10_000)
def _network(address: str) -> str:
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


def connections_possible(wanted: int) -> int:
    """Number of the wanted connections that this process may have open; it raises its descriptor limit for them.

    Without a free descriptor nothing is accepted at all, health checks included.
    """
    needed = wanted + RESERVE + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    return max(1, soft - RESERVE - _OTHER_DESCRIPTORS)
