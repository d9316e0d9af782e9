"""Served hosts: a server without sign-in answers only under names that no other web site can have.

Else a page from elsewhere could have its own name resolved to this machine (DNS rebinding), and its scripts would count
as ours to the browser. A page has such a name; an address, `localhost` and a name without a dot are no page's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator
from pydantic_settings import NoDecode
from starlette.datastructures import Headers
from starlette.requests import Request

from chassis.errors import Kind, ShopError
from chassis.http.app import problem_response
from chassis.http.middleware import Application, Receive, Scope, Send

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def _names(text: object) -> object:
    if not isinstance(text, str):
        return text
    names = tuple(each.strip().lower() for each in text.split(",") if each.strip())
    for each in names:
        if not _NAME.fullmatch(each):
            raise ValueError(f"{each!r} is not a host name: write names as shop.example.com, separated by commas")
    return names


# A setting that holds names, separated by commas.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


def host_served(host: str, also: Collection[str] = ()) -> bool:
    """Whether `host`, with or without a port, is an address, this machine, a name without a dot or one of `also`."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return False
    if "." not in name or name.endswith(".localhost") or name in also:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class ServedHosts:
    """Pure ASGI: refuses requests under other names with HOST_NOT_SERVED."""

    def __init__(self, app: Application, also: Collection[str] = ()) -> None:
        """`also`: further names, in lower case."""
        self._app = app
        self._also = frozenset(also)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or host_served(Headers(scope=scope).get("host", ""), self._also):
            await self._app(scope, receive, send)
            return
        refusal = ShopError(
            "HOST_NOT_SERVED",
            "this server is not known by that name: use localhost or an address, or add the name to SHOP_CONSOLE_HOSTS",
            Kind.FORBIDDEN,
        )
        await (await problem_response(Request(scope), refusal))(scope, receive, send)
