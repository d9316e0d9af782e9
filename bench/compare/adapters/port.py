"""The parts of an adapter: `serve` for its server, and `connect` for a client whose calls all answer rows."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import uvicorn

from bench.compare import tls
from bench.compare.adapters.rows import BRIEF

# An answer in the client's own types, already reduced to the requested fields.
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Selection:
    """The content of one call: the products `ids` (each a row of three fields), or, with `limit`, a page of `fields`.

    `how` names the way where a protocol has several: "one by one", "batched", "unbatched".
    """

    ids: tuple[str, ...] = ("42",)
    limit: int = 0
    fields: tuple[str, ...] = BRIEF
    how: str = ""


Call = Callable[[Selection], Awaitable[Rows]]


@dataclass(frozen=True, slots=True)
class Link:
    """The address for a client: a port of this machine, with headers (identity) and an adapter's own options.

    `server_port` is the server's own where `port` is a proxy's.
    """

    port: int
    options: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    server_port: int = 0

    @property
    def url(self) -> str:
        return f"http{'s' if tls.folder_of(self.options) else ''}://127.0.0.1:{self.port}"

    @property
    def trust(self) -> ssl.SSLContext | None:
        """The TLS context of the way; None: no TLS."""
        return tls.trusting(self.options)

    @property
    def connections(self) -> int:
        """Number of connections that HTTP/1.1 may have: six with the option "pool", as browsers do, else one."""
        return 6 if "pool" in self.options else 1

    @property
    def direct(self) -> str:
        """The server's own URL."""
        return f"http://127.0.0.1:{self.server_port or self.port}"


class Adapter(Protocol):
    """The shape of each adapter module."""

    def serve(self, options: Sequence[str]) -> AbstractAsyncContextManager[int]:
        """Serve on a free port of this machine until the block ends; yields the port."""

    def connect(self, link: Link) -> AbstractAsyncContextManager[Call]:
        """A client that keeps its connection until the block ends."""


@asynccontextmanager
async def asgi(app: Any, options: Sequence[str] = ()) -> AsyncIterator[int]:
    """Serve an ASGI application by uvicorn with its defaults, except for its logs; yields the port."""
    certificate, key = tls.files(options) or (None, None)
    quiet: dict[str, Any] = {"log_level": "warning", "access_log": False}
    config = uvicorn.Config(app, host="127.0.0.1", port=0, ssl_certfile=certificate, ssl_keyfile=key, **quiet)
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield int(listener.getsockname()[1])
    finally:
        await server.shutdown(sockets=[listener])
