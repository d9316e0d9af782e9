"""Webhooks over HTTP: read at most 1 MiB, call one use case, answer. Nothing else happens before the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from chassis.errors import Kind, ShopError
from chassis.http.app import http_app, start_route
from chassis.http.problem_details import problem
from chassis.observability.tracing import current_traceparent, note
from chassis.webpages.start_page import StartPage
from webhooks.incoming.domain import MAX_BODY
from webhooks.incoming.use_cases import Receiving

_BODY_SECONDS = 10.0

# Headers of one value: of two, the sender and we could each mean another. `Stripe-Signature` is a list, and its lines
# are one list.
SINGULAR_HEADERS = frozenset(
    {
        b"webhook-id",
        b"webhook-signature",
        b"webhook-timestamp",
        b"x-github-delivery",
        b"x-github-event",
        b"x-hub-signature-256",
        b"x-shopify-hmac-sha256",
        b"x-shopify-topic",
        b"x-shopify-webhook-id",
    }
)

_STORED = b'{"status":"stored"}'
_DUPLICATE = b'{"status":"duplicate"}'


def application(receiving: Receiving, ready: Callable[[], Awaitable[bool]], start: StartPage) -> Starlette:
    """`POST /webhooks/{provider}`, `/healthz`, `/readyz`, and a start page."""

    async def receive(request: Request) -> Response:
        try:
            body = await _body(request)
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
            traceparent = current_traceparent()
            new = await receiving.receive(request.path_params["provider"], headers, body, traceparent=traceparent)
        except ShopError as error:
            return _refusal(error)
        if not new:
            note("duplicate_dropped")
        return Response(_STORED if new else _DUPLICATE, media_type="application/json")

    async def healthz(_: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    async def readyz(_: Request) -> Response:
        if await ready():
            return Response(b'{"status":"ready"}', media_type="application/json")
        return Response(b'{"status":"not ready"}', 503, media_type="application/json")

    return http_app(
        [
            Route("/webhooks/{provider}", receive, methods=["POST"]),
            Route("/", start_route(start)),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ]
    )


async def _body(request: Request) -> bytes:
    """The raw body. Raises BODY_TOO_LARGE (unread, where the length is announced), BODY_TOO_SLOW, INCOMPLETE_BODY."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > MAX_BODY:
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY:
                    raise _too_large()
                chunks.append(chunk)
    except TimeoutError as error:
        message = f"the body did not arrive within {_BODY_SECONDS:.0f} seconds"
        raise ShopError("BODY_TOO_SLOW", message, Kind.TIMEOUT) from error
    except ClientDisconnect as error:
        raise ShopError("INCOMPLETE_BODY", "the connection ended within the body", Kind.INVALID) from error
    return b"".join(chunks)


def _too_large() -> ShopError:
    return ShopError("BODY_TOO_LARGE", f"webhook must have at most {MAX_BODY} bytes", Kind.INVALID)


def _refusal(error: ShopError) -> Response:
    status, headers, content = problem(error)
    if error.kind is Kind.UNAUTHENTICATED:
        headers["www-authenticate"] = 'HMAC realm="webhooks"'
    # The unread rest of the body would be parsed as the next request.
    if error.code in {"BODY_TOO_LARGE", "BODY_TOO_SLOW"}:
        headers["connection"] = "close"
    return Response(content, status, headers)
