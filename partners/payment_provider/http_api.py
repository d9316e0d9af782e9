"""The part of Stripe's Payment Intents API that a shop of our size uses.

https://docs.stripe.com/api/payment_intents; amounts are in minor units, bodies are forms (as Stripe has them) or JSON.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chassis import wall_clock
from chassis.http.app import http_app, start_route
from chassis.observability.tracing import current_traceparent
from chassis.webpages.start_page import Link, StartPage
from partners.payment_provider import domain
from partners.payment_provider.domain import PaymentIntent, Refused, Status, as_json
from partners.payment_provider.ledger import Answer, Change, Ledger, PendingEvent

_MAX_BODY = 64 << 10
_MAX_PAGE = 1_000

ABOUT = "A stand-in for a payment provider: it collects the money a little later, and says so by a signed webhook."
LINKS = (
    Link("/v1/payment_intents", "/v1/payment_intents", "the requested payments"),
    Link("/v1/refunds", "/v1/refunds", "what was given back"),
    Link("/v1/events", "/v1/events", "the webhooks to the shop, and how often each was tried"),
    Link("/healthz", "/healthz", "whether the process is alive"),
)
EXAMPLE = "shop partner pay ORDER"


class PaymentApi:
    def __init__(self, ledger: Ledger, wake: Callable[[], None], *, delay: float) -> None:
        """`wake`: called for a payment to collect or a webhook to send; `delay`: seconds until money is collected."""
        self._ledger = ledger
        self._wake = wake
        self._delay = delay

    async def create(self, request: Request) -> Response:
        parameters = await _parameters(request)
        metadata = parameters.get("metadata")
        order_id = metadata.get("order_id", "") if isinstance(metadata, dict) else ""
        checked = domain.check_request(parameters.get("amount"), parameters.get("currency"), order_id)
        fingerprint = _fingerprint(parameters)
        key = request.headers.get("idempotency-key", "")
        traceparent = current_traceparent()

        def make() -> tuple[Answer, PaymentIntent | None]:
            try:
                domain.check_card(checked[0])
            except Refused as refusal:
                return Answer(refusal.status, {"error": refusal.fields}), None
            now = wall_clock.seconds()
            identity = f"pi_{uuid.uuid4().hex}"
            intent = PaymentIntent(identity, *checked, Status.PROCESSING, now, now + self._delay, traceparent)
            return Answer(200, as_json(intent)), intent

        answer = await self._ledger.answer_once(key, fingerprint, make)
        self._wake()
        return JSONResponse(answer.body, answer.status)

    async def listing(self, request: Request) -> Response:
        query, limit = request.query_params, _limit(request)
        found = await self._ledger.page(query.get("order_id"), query.get("starting_after", ""), limit + 1)
        return _listed([as_json(intent) for intent in found], limit)

    async def close(self, request: Request) -> Response:
        """Let an order be paid no more: what was not collected is cancelled, later payments are refused."""
        intents = await self._ledger.close_order(request.path_params["order_id"])
        self._wake()
        return JSONResponse({"object": "list", "data": [as_json(intent) for intent in intents], "has_more": False})

    async def refund(self, request: Request) -> Response:
        parameters = await _parameters(request)
        refund = domain.check_refund(parameters.get("payment_intent"), parameters.get("amount", domain.ALL_LEFT))
        answer = await self._ledger.refund(
            request.headers.get("idempotency-key", ""), _fingerprint(parameters), *refund
        )
        self._wake()
        return JSONResponse(answer.body, answer.status)

    async def refunds(self, request: Request) -> Response:
        query, limit = request.query_params, _limit(request)
        found = await self._ledger.refunds(query.get("order_id"), query.get("starting_after", ""), limit + 1)
        return _listed([domain.refund_as_json(refund) for refund in found], limit)

    async def events(self, request: Request) -> Response:
        """Stripe's list of events: `delivery_success=false` for those that the shop has not taken yet."""
        query, limit = request.query_params, _limit(request)
        undelivered = query.get("delivery_success", "") == "false"
        found = await self._ledger.events(query.get("starting_after", ""), limit + 1, undelivered=undelivered)
        return _listed([_event_json(event) for event in found], limit)

    async def show(self, request: Request) -> Response:
        return JSONResponse(as_json(await self._ledger.get(request.path_params["id"])))

    def changing(self, change: Change) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that changes one intent; repeating it changes nothing more."""

        async def endpoint(request: Request) -> Response:
            intent = await self._ledger.change(request.path_params["id"], change)
            self._wake()
            return JSONResponse(as_json(intent))

        return endpoint


def application(api: PaymentApi, start: StartPage) -> Starlette:
    """`/v1/payment_intents`, `/v1/refunds`, `/v1/events`, `/v1/orders/{order_id}/close`, `/healthz`, `/readyz`."""

    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "ready"})

    one = "/v1/payment_intents/{id}"
    return http_app(
        [
            Route("/v1/payment_intents", api.create, methods=["POST"]),
            Route("/v1/payment_intents", api.listing, methods=["GET"]),
            Route(one, api.show, methods=["GET"]),
            Route(f"{one}/cancel", api.changing(domain.withdrawn), methods=["POST"]),
            Route(f"{one}/pay", api.changing(domain.paid), methods=["POST"]),
            Route(f"{one}/fail", api.changing(domain.failed), methods=["POST"]),
            Route("/v1/orders/{order_id}/close", api.close, methods=["POST"]),
            Route("/v1/refunds", api.refund, methods=["POST"]),
            Route("/v1/refunds", api.refunds, methods=["GET"]),
            Route("/v1/events", api.events, methods=["GET"]),
            Route("/", start_route(start)),
            Route("/healthz", alive),
            Route("/readyz", alive),
        ],
        errors={Refused: _refusal},
    )


def _event_json(event: PendingEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "object": "event",
        "type": event.type,
        "created": int(event.created),
        "data": {"object": event.object},
        "attempts": event.attempts,
    }


async def _refusal(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    return JSONResponse({"error": error.fields}, error.status)


def _limit(request: Request) -> int:
    limit = request.query_params.get("limit", str(_MAX_PAGE))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= len(str(_MAX_PAGE)) and 0 < int(limit) <= _MAX_PAGE):
        raise domain.invalid_parameter("limit", f"a whole number from 1 to {_MAX_PAGE}")
    return int(limit)


def _listed(found: list[dict[str, Any]], limit: int) -> Response:
    """A page of what was found, which is one more than the page where there is another page."""
    return JSONResponse({"object": "list", "data": found[:limit], "has_more": len(found) > limit})


def _fingerprint(parameters: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(parameters, sort_keys=True)
    except RecursionError as error:  # orjson reads deeper than this writes
        raise domain.invalid_parameter("body", "a JSON object that is nested less deeply") from error
    return hashlib.sha256(text.encode()).hexdigest()


async def _parameters(request: Request) -> Mapping[str, Any]:
    """The body's parameters; a form's `metadata[order_id]` becomes `{"metadata": {"order_id": …}}`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise domain.invalid_parameter("body", f"at most {_MAX_BODY} bytes")
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            parameters = orjson.loads(body)  # which refuses lone surrogates: no database takes them
        except ValueError:
            parameters = None
        if not isinstance(parameters, dict):
            raise domain.invalid_parameter("body", "a JSON object")
        return parameters
    return _form(body.decode("latin-1"))


def _form(text: str) -> Mapping[str, Any]:
    parameters: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        group, bracket, member = name.partition("[")
        if bracket:
            inner = parameters.setdefault(group, {})
            if isinstance(inner, dict):
                inner[member.removesuffix("]")] = value
        else:
            parameters[name] = value
    return parameters
