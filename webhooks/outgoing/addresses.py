"""Addresses that webhooks may be sent to: only those of the public Internet (SSRF).

A name is no protection: it may lead to one address when we look and to another when we connect. So the address itself
is checked, by the process that connects, at the moment in which it connects.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from chassis.errors import invalid
from webhooks.outgoing.lookup import AddressInfo

_LOOKUP_SECONDS = 1.5

# What Python's tables take for global, at least in some of its versions, and is not ours to call: IETF protocol
# assignments (192.0.0.192 is Oracle's metadata), 6to4 relays, Azure's host.
_REFUSED_V4 = tuple(IPv4Network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"))
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"), IPv6Network("::/96"))


def is_public(text: str) -> bool:
    """Whether an address (not a name) is one of the public Internet, as is any IPv4 address inside of it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        return is_public(str(inner)) if inner is not None else _is_public_v6(address)
    return _is_public_v4(address)


def _is_public_v4(address: IPv4Address) -> bool:
    refused = address.is_multicast or address.is_reserved or any(address in network for network in _REFUSED_V4)
    return address.is_global and not refused


def _is_public_v6(address: IPv6Address) -> bool:
    return address in _GLOBAL_UNICAST and not any(address in network for network in _REFUSED_V6)


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4, or translated (NAT64)."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


class RefusedAddress(OSError):
    """A connection that was not made, for where it would have led."""


def guarded_socket(permitted: Callable[[str], bool]) -> Callable[[AddressInfo], socket.socket]:
    """A factory of sockets for these addresses only. It is called after the lookup and right before `connect`."""

    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if not permitted(str(address[0])):
            raise RefusedAddress(errno.EACCES, "the address must be on the public Internet")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return make


async def check_target(
    host: str, port: int, permitted: Callable[[str], bool], look_up: Callable[[str, int], Awaitable[list[AddressInfo]]]
) -> None:
    """Raise INVALID_INPUT unless a host has addresses now and all of them are permitted."""
    try:
        async with asyncio.timeout(_LOOKUP_SECONDS):
            found = await look_up(host, port)
    except (OSError, UnicodeError) as error:
        raise invalid("the endpoint cannot be registered", url="must have a host that can be found") from error
    # The same words whatever the address is: they must not disclose our network.
    if not all(permitted(str(address[0])) for *_, address in found):
        raise invalid("the endpoint cannot be registered", url="must lead to the public Internet")
