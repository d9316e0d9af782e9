"""Makes the page's calls, each in a trace of its own that begins at the client.

Only outside production. A page from elsewhere cannot use it: it takes JSON, for which a browser sends a preflight, and
no other origin is allowed.
"""

from __future__ import annotations

import asyncio
import contextvars
import hmac
import re
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from xml.sax.saxutils import escape  # nosec B406 # it writes, and parses nothing

import httpx

from chassis.errors import Kind, ShopError
from chassis.observability.tracing import SpanKind, Telemetry, current_trace_id
from console.play.call import ACCOUNTS, Answer, Call, filled
from console.play.events import EventCalls
from console.play.grpc_calls import GrpcCalls
from console.play.http_calls import HttpCalls, Received
from console.play.listener import Listener
from console.play.log_reading import LogReading
from console.play.streams import StreamCalls

_ORDER = b'{"items": [{"product_id": "42", "quantity": 1}]}'
_LOGIN = """<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" xmlns:erp="%s"><soap:Body><erp:Login>\
<erp:User>%s</erp:User><erp:Password>%s</erp:Password></erp:Login></soap:Body></soap:Envelope>"""
_SESSION = re.compile(r"<(?:\w{1,64}:)?SessionId>([0-9A-Fa-f]{1,128})<")
ERP_NAMESPACE = "urn:erp:sales:2004"
# Seconds before its end from which on a token is no longer used.
_TOKEN_MARGIN = 30.0
# A token that is refused, by HTTP, WebSocket and gRPC.
_TOKEN_REFUSED = (401, 4401, "UNAUTHENTICATED", "INVALID_TOKEN")


@dataclass(frozen=True, slots=True)
class Play:
    """`secrets` are what the prepared calls need: "stripe" signs webhooks, "erp_user" and "erp_password" sign in.

    `tokens` are those of the accounts that have been signed in, with the moment of `clock` (seconds) from which on
    another one is needed.
    """

    telemetry: Telemetry
    http: HttpCalls
    rpc: GrpcCalls
    streams: StreamCalls
    events: EventCalls
    listener: Listener
    reading: LogReading
    secrets: Mapping[str, str] = field(repr=False)
    clock: Callable[[], float] = time.monotonic
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)

    async def make(self, call: Call) -> dict[str, Any]:
        """The answer, with the id of its trace. Raises INVALID_INPUT, or UPSTREAM_UNAVAILABLE without one."""
        # In a context of its own: the page's request for this belongs to a trace that is recorded nowhere.
        return await asyncio.create_task(self._make(call), context=contextvars.Context())

    async def _make(self, call: Call) -> dict[str, Any]:
        token = await self._token(call.account) if call.account else ""
        values = await self._values(call)
        with self.telemetry.span(_name(call), SpanKind.INTERNAL, protocol=""):
            if "erp_session" in call.placeholders():
                values["erp_session"] = await self._erp_session()
            answer = await self._made(call, token, values)
            if answer.status in _TOKEN_REFUSED and call.account:
                self.tokens.pop(call.account, None)  # another shop than the one that it was signed in at
            return answer.json(current_trace_id())

    async def _made(self, call: Call, token: str, values: Mapping[str, str]) -> Answer:
        makers: dict[str, Callable[[], Coroutine[Any, Any, Answer]]] = {
            "http": lambda: self._over_http(call, token, values),
            "grpc": lambda: self.rpc.make(call.target, call.path.lstrip("/"), filled(call.body, values), token),
            "websocket": lambda: self.streams.websocket(call.path, call.body, token, lambda: self._order(token)),
            "sse": lambda: self.streams.events(call.path, token, lambda: self._order(token)),
            "event": lambda: self.events.publish_again(call.path),
        }
        return await makers[call.protocol]()

    async def _over_http(self, call: Call, token: str, values: Mapping[str, str]) -> Answer:
        body = filled(call.body, values).encode()
        known = dict(values)
        if "stripe_signature" in call.placeholders():
            known["stripe_signature"] = self._stripe_signature(body)
        headers = {name: filled(value, known) for name, value in call.headers.items()}
        if call.account:
            headers["authorization"] = f"Bearer {token}"
            if (call.target, call.method, call.path) == ("gateway", "POST", "/v1/orders"):
                await self.listener.listen(call.account, token)
        return await self.http.make(call.target, call.method, filled(call.path, known), headers, body)

    async def _order(self, token: str) -> None:
        headers = {
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "idempotency-key": uuid.uuid4().hex,
        }
        await self.http.make("gateway", "POST", "/v1/orders", headers, _ORDER)

    async def _values(self, call: Call) -> dict[str, str]:
        """Values of the call's placeholders, as far as they are known before the call."""
        wanted = call.placeholders()
        values = {"uuid": uuid.uuid4().hex, "now": str(int(time.time()))}
        if wanted & {"order_id", "payment_id"}:
            values["order_id"] = await self._newest_order()
        if "payment_id" in wanted:
            values["payment_id"] = await self._payment_of(values["order_id"])
        return values

    async def _newest_order(self) -> str:
        """The demo customer's, of which there is one in the demo data."""
        items = await self._read("/v1/orders?limit=1")
        if not items:
            raise ShopError("NO_ORDER", "the demo customer has no order yet: place one first", Kind.PRECONDITION)
        return str(items[0]["id"])

    async def _payment_of(self, order_id: str) -> str:
        """The payment that the saga has requested from the provider, by the order's history."""
        for event in await self._read(f"/v1/orders/{order_id}/events"):
            if event["type"] == "order.confirmed":
                return str(event["data"]["payment_id"])
        message = f"order {order_id} has no payment: place one that is accepted, and wait for a moment"
        raise ShopError("NO_PAYMENT", message, Kind.PRECONDITION)

    async def _read(self, path: str) -> list[dict[str, Any]]:
        response = await self._read_once(path)
        if response.status == 401:
            self.tokens.pop("demo", None)
            response = await self._read_once(path)
        if response.status != 200:
            message = f"GET {path} failed ({response.status})"
            raise ShopError("UPSTREAM_UNAVAILABLE", message, Kind.UNAVAILABLE)
        return list(response.json()["items"])

    async def _read_once(self, path: str) -> Received:
        headers = {"authorization": f"Bearer {await self._token('demo')}"}
        return await self.http.send("GET", self.http.base("gateway") + path, headers=headers)

    def _stripe_signature(self, body: bytes) -> str:
        """`t=…,v1=…` over the time and the body, as https://docs.stripe.com/webhooks#verify-manually has it."""
        secret = self._secret("stripe", "SHOP_WEBHOOK_SECRET_STRIPE")
        now = int(time.time())
        digest = hmac.new(secret.encode(), b"%d." % now + body, sha256).hexdigest()
        return f"t={now},v1={digest}"

    async def _erp_session(self) -> str:
        user = self._secret("erp_user", "SHOP_LEGACY_SOAP_USER")
        password = self._secret("erp_password", "SHOP_LEGACY_SOAP_PASSWORD")
        headers = {"content-type": "text/xml; charset=utf-8", "soapaction": '"Login"'}
        body = (_LOGIN % (ERP_NAMESPACE, escape(user), escape(password))).encode()
        answer = await self.http.make("legacy_soap", "POST", "/", headers, body)
        found = _SESSION.search(answer.body)
        if found is None:
            raise ShopError("ERP_LOGIN_FAILED", f"the ERP refused the login: {answer.body[:200]}", Kind.PRECONDITION)
        return found[1]

    def _secret(self, name: str, setting: str) -> str:
        if not (found := self.secrets.get(name, "")):
            raise ShopError("NO_SECRET", f"the console needs {setting} for this call", Kind.PRECONDITION)
        return found

    async def _token(self, account: str) -> str:
        token, until = self.tokens.get(account, ("", 0.0))
        if not token or self.clock() >= until:
            username, password = ACCOUNTS[account]
            response = await self.http.send(
                "POST",
                f"{self.http.base('gateway')}/v1/auth/token",
                headers={"content-type": "application/x-www-form-urlencoded"},
                content=str(httpx.QueryParams({"username": username, "password": password})).encode(),
            )
            if (status := response.status) != 200:
                cure = ": load the demo accounts with SHOP_DEMO_DATA=true" if status in (400, 401) else ""
                message = f"sign-in as {account} failed ({status}){cure}"
                raise ShopError("SIGN_IN_FAILED", message, Kind.PRECONDITION)
            issued = response.json()
            token = issued["access_token"]
            self.tokens[account] = token, self.clock() + issued["expires_in"] - _TOKEN_MARGIN
        return token


def _name(call: Call) -> str:
    match call.protocol:
        case "http":
            return f"{call.method} {call.path.partition('?')[0]}"
        case "event":
            return f"publish {call.path}"
        case "grpc":
            return call.path.lstrip("/")
        case _:
            return f"{call.protocol} {call.path.partition('?')[0]}"
