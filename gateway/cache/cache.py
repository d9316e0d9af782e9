"""The edge's shared cache (RFC 9111) of the catalogue's public reads.

It does what our own `Cache-Control` allows any shared cache, and what only we can: it drops a product when the
catalogue's event shows that it has changed. Each answer shows in `Cache-Status` (RFC 9211) where it comes from.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chassis.background import wait
from chassis.errors import Kind, ShopError, timed_out
from chassis.http.middleware import Application, Message, Receive, Scope, Send
from chassis.observability.tracing import note
from chassis.resilience.deadlines import time_left
from gateway.cache.rules import Wanted, is_current, lifetime, varies_by
from gateway.cache.store import CacheStore, Header, Stored
from gateway.errors import answer
from gateway.middleware.compression import coding_for

log = logging.getLogger(__name__)

# Topics: a product's id, or this for whatever lists products.
_LISTS = ""
_ROOT = "/v1/products"
# Fetches by others that a request waits for, before it makes one itself.
_MAX_WAITS = 2
# Fields of a stored response that a 304 repeats (RFC 9110, section 15.4.5).
_OF_304 = frozenset({b"etag", b"cache-control", b"vary", b"content-location", b"expires"})
_CONDITIONS = frozenset({b"if-none-match", b"if-modified-since"})
# RFC 9110, section 9.2.1: they change nothing, so nothing that is stored becomes invalid by them.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def topic_of(path: str) -> str | None:
    """The invalidation key of a path; None for paths that are not cached."""
    if path == _ROOT:
        return _LISTS
    root, _, product_id = path.rpartition("/")
    return product_id if root == _ROOT and product_id else None


@dataclass(slots=True)
class _Fetched:
    """An answer from behind the cache, held until it is known what becomes of it."""

    status: int = 0
    headers: list[Header] | None = None
    body: bytes = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        else:
            self.body += message.get("body", b"")


@dataclass(frozen=True, slots=True)
class _Read:
    """A read that has to be forwarded: `stored` does not answer it, and `selecting` are the fields that select."""

    uri: str
    topic: str
    wanted: Wanted
    stored: Stored | None
    selecting: Mapping[bytes, bytes]


class EdgeCache:
    """Pure ASGI, in front of every handler of a read; behind identity and limits, also for stored responses."""

    def __init__(self, app: Application, store: CacheStore, *, seen: Callable[[str], None]) -> None:
        """`seen` is called with the result of each read: "hit", "miss" or "stale"."""
        self._app = app
        self._store = store
        self._seen = seen
        self._fetches: dict[str, asyncio.Event] = {}
        # Grows with each change of the catalogue: a response requested before one must not be stored after it.
        self._changes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        topic = topic_of(scope["path"])
        if topic is None:
            await self._app(scope, receive, send)
        elif scope["method"] == "GET":
            await self._read(topic, scope, receive, send)
        elif scope["method"] in _SAFE:
            await self._app(scope, receive, send)
        else:
            await self._write(topic, scope, receive, send)

    def changed(self, product_id: str) -> None:
        """Forget what is known of a product, and every list: any of them may have it."""
        self._changes += 1
        self._store.drop_topic(product_id)
        self._store.drop_topic(_LISTS)

    def forget(self) -> None:
        """Forget everything."""
        self._changes += 1
        self._store.clear()

    async def _write(self, topic: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Section 4.4: a write that is not refused makes what is stored of its target invalid."""

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self.changed(topic)
            await send(message)

        await self._app(scope, receive, noting)

    async def _read(self, topic: str, scope: Scope, receive: Receive, send: Send) -> None:
        request = dict(scope["headers"])
        wanted = Wanted.of(request)
        accepted = coding_for(request.get(b"accept-encoding", b"").decode("latin-1"))
        # Clients word the same choice in many ways; only the choice selects.
        selecting = {**request, b"accept-encoding": accepted.encode()}
        # As it was sent: decoded, "%3F" would look like the beginning of a query.
        uri, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        if query:
            uri = f"{uri}?{query}"
        stored = self._store.get(uri, selecting)
        waited = 0
        may_wait = wanted.store and not wanted.revalidate
        # The same request is under way: wait for its answer. A change meanwhile makes that one too old, and all who
        # waited wait for the next, which one of them makes.
        while may_wait and waited < _MAX_WAITS and not _usable(stored, wanted) and uri in self._fetches:
            if not await wait(self._fetches[uri], time_left()):
                await answer(timed_out("catalog"))(scope, receive, send)
                return
            stored, waited = self._store.get(uri, selecting), waited + 1
        if stored is not None and _usable(stored, wanted):
            self._seen("hit")
            note("cache_hit")
            status = f"gateway;hit;ttl={stored.lifetime - stored.age(time.monotonic()):.0f}"
            await _send_stored(stored, status + (";collapsed" if waited else ""), request, scope, send)
        elif wanted.only_stored:
            error = ShopError("NOT_STORED", "no stored response: leave out only-if-cached", Kind.TIMEOUT)
            await answer(error)(scope, receive, send)
        else:
            await self._forward(_Read(uri, topic, wanted, stored, selecting), scope, receive, send)

    async def _forward(self, read: _Read, scope: Scope, receive: Receive, send: Send) -> None:
        reason = "uri-miss" if read.stored is None else "request" if read.wanted.revalidate else "stale"
        self._seen("miss" if read.stored is None else "stale")
        fetched, kept = await self._fetch(read, scope, receive)
        status = f"gateway;fwd={reason};fwd-status={fetched.status}"
        if kept is not None:
            request = dict(scope["headers"])
            await _send_stored(
                kept, status + (";stored" if read.wanted.store else ""), request, scope, send, fresh=True
            )
            return
        headers = [*(fetched.headers or ()), (b"cache-status", status.encode())]
        await send({"type": "http.response.start", "status": fetched.status, "headers": headers})
        await send({"type": "http.response.body", "body": fetched.body})

    async def _fetch(self, read: _Read, scope: Scope, receive: Receive) -> tuple[_Fetched, Stored | None]:
        """Send the request on; return the answer, and its stored form (None when it cannot be stored)."""
        stored = read.stored
        own = asyncio.Event()
        self._fetches.setdefault(read.uri, own)
        changes = self._changes
        fetched = _Fetched()
        try:
            inner = {**scope, "headers": _unconditional(scope["headers"], stored)}
            await self._app(inner, receive, fetched.send)
            scope["route"] = inner.get("route")
            headers = dict(fetched.headers or ())
            if fetched.status == 304 and stored is not None:
                # Section 4.3.4: it is still what it was.
                known = _refreshed(stored.headers, headers)
                fresh = Stored(known, stored.body, stored.etag, lifetime(200, dict(known)), 0.0, stored.route)
            else:
                seconds = lifetime(fetched.status, headers)
                if not seconds:
                    return fetched, None
                fresh = Stored(
                    fetched.headers or [], fetched.body, headers.get(b"etag", b""), seconds, 0.0, scope["route"]
                )
            fresh.received_at = time.monotonic()
            if read.wanted.store and changes == self._changes:
                self._store.put(read.uri, read.topic, varies_by(dict(fresh.headers)), read.selecting, fresh)
            return fetched, fresh
        finally:
            if self._fetches.get(read.uri) is own:
                del self._fetches[read.uri]
            own.set()


def _usable(stored: Stored | None, wanted: Wanted) -> bool:
    return stored is not None and wanted.accepts(stored.age(time.monotonic()), stored.lifetime)


def _unconditional(headers: list[Header], stored: Stored | None) -> list[Header]:
    """The request without its client's conditions, which are answered here, and with our own."""
    kept = [header for header in headers if header[0] not in _CONDITIONS]
    if stored is not None and stored.etag:
        kept.append((b"if-none-match", stored.etag))
    return kept


def _refreshed(stored: list[Header], news: Mapping[bytes, bytes]) -> list[Header]:
    """The stored fields, with those that a 304 has brought in place of the old ones (section 3.2)."""
    updates = {name: value for name, value in news.items() if name in _OF_304}
    return [*((name, value) for name, value in stored if name not in updates), *updates.items()]


async def _send_stored(
    stored: Stored, status: str, request: Mapping[bytes, bytes], scope: Scope, send: Send, *, fresh: bool = False
) -> None:
    """Answer with a stored response, or with a 304 when the client has it."""
    headers = [*stored.headers, (b"cache-status", status.encode())]
    if not fresh:
        headers.append((b"age", str(int(stored.age(time.monotonic()))).encode()))
        scope["route"] = stored.route
    if is_current(request.get(b"if-none-match"), stored.etag):
        headers = [header for header in headers if header[0] in _OF_304 or header[0] in (b"age", b"cache-status")]
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": stored.body})
