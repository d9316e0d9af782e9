"""The client's address behind proxies: uvicorn's middleware, with the networks that the proxies are in.

It reads `X-Forwarded-For` from its end, where each proxy appends the address it saw, and stops at the first address
that is not a proxy's: anything before it could have been written by anyone. `X-Forwarded-Proto` is read, too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, cast

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from chassis.http.middleware import Application

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV4_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96 (RFC 4291, 2.5.5.2): an IPv4 client of a socket that serves both
_IPV4_MAPPED_PREFIX = 96


def behind_proxies(app: Application, trusted: Sequence[Network]) -> Application:
    """Believe forwarding headers of requests from these networks."""
    proxies: Any = ProxyHeadersMiddleware(cast("Any", app), [str(network) for network in trusted])
    return cast("Application", proxies)


def networks(text: str) -> list[Network]:
    """Networks from their comma-separated CIDR notation, an IPv4 one also in its IPv6 form.

    Raises `ValueError` for what is not a network.
    """
    given = [ipaddress.ip_network(each.strip()) for each in text.split(",") if each.strip()]
    return [*given, *(_mapped(each) for each in given if isinstance(each, ipaddress.IPv4Network))]


def _mapped(network: ipaddress.IPv4Network) -> ipaddress.IPv6Network:
    return ipaddress.IPv6Network((_IPV4_MAPPED | int(network.network_address), _IPV4_MAPPED_PREFIX + network.prefixlen))
