"""Who the client is when it comes through proxies: `X-Forwarded-For`, believed only from those that are ours."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from chassis.http import Application, Receive, Scope, Send

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Addresses that a chain may have; more is nothing that our proxies have made.
_LONGEST = 20


class Forwarded:
    """Pure ASGI: makes the request's client the one that the nearest stranger says it is, as far as we can know."""

    def __init__(self, app: Application, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client:
            chain = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
            if chain:
                scope["client"] = (client_address(client[0], ",".join(chain), self._trusted), 0)
        await self._app(scope, receive, send)


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address nearest to us that is none of our proxies.

    Each proxy appends whom it has seen, so the chain is read from its end and left at the first that is not trusted:
    what stands before that, anybody can have written.
    """
    address = peer
    for claimed in reversed(forwarded_for.split(",")[-_LONGEST:]):
        if not _is_trusted(address, trusted):
            break
        parsed = _parsed(claimed)
        if parsed is None:
            break
        address = str(parsed)
    return address


def networks(text: str) -> list[Network]:
    """Networks from their comma-separated CIDR notation. Raises `ValueError` for what is none."""
    return [ipaddress.ip_network(each.strip()) for each in text.split(",") if each.strip()]


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in trusted)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
