"""The clients of a scenario: a customer who orders as one does who means it, readers, and listening WebSockets.

Arrivals are open-loop: each request is due at a time that the seed and the rate decide, whether the one before has been
answered or not, and its latency counts from then.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from chassis.background import wait
from shop.fault.faults.ground import Ground
from shop.fault.scenarios.scenario import Load

ORDER = "POST /v1/orders"
_TIMEOUT = aiohttp.ClientTimeout(total=15)
# Seconds until a client gives up an order that was not accepted.
_GIVE_UP = 60.0
_PAUSE = (0.1, 0.5)
_MAX_PAUSE = 5.0
_POLL = 0.4
_BATCH_SIZE = 50
_MAX_CONCURRENT = 300
_UNAUTHORIZED = 401
_CLOSED_BY_TOKEN = 4401
_PRODUCTS = range(1, 21)
TERMINAL = frozenset({"shipped", "rejected", "cancelled"})
_AGAIN = (0, 429, 500, 502, 503, 504)
_SALES = "GET /v1/reports/sales"
_READS = ("GET /v1/products", "GET /v1/products/{id}/availability", "GET /v1/orders", "POST /graphql", _SALES)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request: when it was due, seconds until its answer, and its status (0 without an answer)."""

    route: str
    due: float
    seconds: float
    status: int
    honest: bool = True
    # A problem's code and trace, where the answer was not honest.
    note: str = ""

    @property
    def failed(self) -> bool:
        return self.status == 0 or self.status >= 500


@dataclass(slots=True)
class Placed:
    """One order as its client has it: every id that was answered for its key, and when it ended."""

    key: str
    due: float
    tries: int = 0
    ids: set[str] = field(default_factory=set)
    accepted: float | None = None
    settled: float | None = None
    status: str = ""
    trace_id: str = ""


@dataclass(slots=True)
class Clients:
    """Observations of the clients. Times are monotonic seconds."""

    orders: list[Placed] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    # For each listener: event id -> how often it came, and (order, event type) pairs.
    received: list[Counter[str]] = field(default_factory=list)
    stories: list[set[tuple[str, str]]] = field(default_factory=list)
    reconnects: int = 0
    # Requests that were due and not made, because too many were under way.
    skipped: int = 0
    # Orders of this customer, as the shop lists them at the end; None while it could not be read.
    listed: list[dict[str, Any]] | None = None

    @property
    def failing(self) -> set[str]:
        """Routes whose newest request failed: whether they work again is not known yet."""
        newest: dict[str, Attempt] = {}
        for each in self.attempts:
            if each.route not in newest or each.due >= newest[each.route].due:
                newest[each.route] = each
        return {route for route, each in newest.items() if each.failed}

    @property
    def accepted(self) -> list[Placed]:
        return [order for order in self.orders if order.ids]


@dataclass(slots=True)
class _Account:
    """An account with its newest token, which it gets by one request however many need it."""

    email: str
    password: str
    token: str = ""
    signing_in: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Customer:
    """Makes the load of one scenario, as an account of its own; an administrator reads the sales report beside it."""

    def __init__(self, ground: Ground, load: Load, seed: int, *, admin: tuple[str, str]) -> None:
        """`admin`: the email and password of the administrator."""
        self._admin = _Account(*admin)
        self._customer = _Account(f"{uuid.uuid4().hex[:12]}@faults.test", uuid.uuid4().hex)
        self.seen = Clients()
        self._load, self._seed = load, seed
        self._gateway = ground.env["SHOP_GATEWAY_URL"]
        self._notifier = ground.env["SHOP_NOTIFIER_URL"]
        self._http: aiohttp.ClientSession | None = None
        # Of each open order, when its status was read last, in looks.
        self._last_look: dict[str, int] = {}
        self._looks = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Register, sign in, and listen. Raises `aiohttp.ClientError` or `TimeoutError`."""
        self._http = aiohttp.ClientSession(self._gateway, timeout=_TIMEOUT, trust_env=False)
        account = {"name": "Fault lab", "email": self._customer.email, "password": self._customer.password}
        async with self._http.post("/v1/users", json=account) as answer:
            answer.raise_for_status()
        for each in (self._customer, self._admin):
            await self._sign_in(each, each.token)
        self._background = [asyncio.ensure_future(self._poll())]
        for number in range(self._load.listeners):
            received, story = Counter[str](), set[tuple[str, str]]()
            self.seen.received.append(received)
            self.seen.stories.append(story)
            listening = asyncio.Event()
            self._background.append(asyncio.ensure_future(self._listen(number, received, story, listening)))
            if not await wait(listening, 15):
                raise TimeoutError("a listener's WebSocket did not open within 15 s")

    async def _sign_in(self, account: _Account, refused: str) -> None:
        """Get a token in place of one that is refused, unless another request has done so meanwhile."""
        assert self._http is not None  # noqa: S101 - `open` came before
        async with account.signing_in:
            if account.token != refused:
                return
            credentials = {"username": account.email, "password": account.password}
            async with self._http.post("/v1/auth/token", data=credentials) as answer:
                answer.raise_for_status()
                account.token = str((await answer.json())["access_token"])

    def _random(self, stream: str) -> random.Random:
        """The source of one stream: of its own, so that no stream's load depends on how fast another is answered."""
        return random.Random(f"{self._seed}/{stream}")  # noqa: S311  # nosec B311 # a repeatable load, no secret

    async def close(self) -> None:
        """End everything."""
        for task in (*self._background, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._background, *self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    async def work(self, over: asyncio.Event) -> None:
        """Make requests at the load's rates until it is over, then wait for those under way."""
        streams = [self._arrivals("orders", self._load.orders_per_s, self._place, over)]
        if self._load.reads_per_s:
            streams.append(self._arrivals("reads", self._load.reads_per_s, self._read, over))
        await asyncio.gather(*streams)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GIVE_UP + 20)

    async def settled(self, within: float) -> None:
        """Wait until every accepted order has ended, and list this customer's orders."""
        deadline = time.monotonic() + within
        while any(order.settled is None for order in self.seen.accepted) and time.monotonic() < deadline:
            await asyncio.sleep(_POLL)
            await self._look()
        with suppress(aiohttp.ClientError, TimeoutError):
            self.seen.listed = await self._list()

    async def _arrivals(
        self, stream: str, rate: float, act: Callable[[float, random.Random], Awaitable[None]], over: asyncio.Event
    ) -> None:
        due, draw = time.monotonic(), self._random(stream)
        for number in itertools.count():
            due += draw.expovariate(rate)
            if await wait(over, max(0.0, due - time.monotonic())):
                return
            if len(self._tasks) >= _MAX_CONCURRENT:
                self.seen.skipped += 1
                continue
            task = asyncio.ensure_future(act(due, self._random(f"{stream}/{number}")))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _place(self, due: float, draw: random.Random) -> None:
        """Order once: with one key, again until it is accepted; without a key, once."""
        placed = Placed(uuid.UUID(int=draw.getrandbits(128)).hex, due)
        items = [{"product_id": str(draw.choice(_PRODUCTS)), "quantity": 1}]
        headers = {"Idempotency-Key": placed.key} if self._load.keys else {}
        self.seen.orders.append(placed)
        while time.monotonic() < due + _GIVE_UP:
            began = due if not placed.tries else time.monotonic()
            placed.tries += 1
            status, body, answered = await self._request(
                ORDER, "/v1/orders", began, json={"items": items}, headers=headers
            )
            if status == 202 and "id" in body:
                placed.ids.add(str(body.get("id")))
                placed.accepted = placed.accepted or time.monotonic()
                placed.trace_id = answered.get("traceparent", "--").split("-")[1]
                return
            if status not in _AGAIN or not self._load.keys:
                return
            # As a client should: after `Retry-After`, and more and more rarely.
            wait = float(answered.get("Retry-After", 0)) if answered.get("Retry-After", "").isdigit() else 0.0
            await asyncio.sleep(wait + draw.uniform(0.1, min(_MAX_PAUSE, 0.4 * 2**placed.tries)))

    async def _read(self, due: float, draw: random.Random) -> None:
        route = _READS[draw.randrange(len(_READS))]
        product = draw.choice(_PRODUCTS)
        # Words of no earlier request are in no cache.
        path = {
            "GET /v1/products": f"/v1/products?q={uuid.uuid4().hex[:8]}",
            "GET /v1/products/{id}/availability": f"/v1/products/{product}/availability",
            "GET /v1/orders": "/v1/orders?limit=5",
            "POST /graphql": "/graphql",
            _SALES: "/v1/reports/sales",
        }[route]
        query = {"query": "{ me { orders(limit: 3) { id items { product { name } } } } }"}
        account = self._admin if route == _SALES else self._customer
        await self._request(route, path, due, account, json=query if route.startswith("POST") else None)

    async def _request(
        self, route: str, path: str, due: float, account: _Account | None = None, **content: Any
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Make a request, as the customer unless an account is given."""
        status, body, headers = 0, {}, {}
        honest = True
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._authorized(route.partition(" ")[0], path, account or self._customer, **content) as answer:
                body = _object(await answer.read())
                status, headers = answer.status, dict(answer.headers)
                honest = _honest(status, headers, body)
        note = (
            "" if honest else f"{body.get('code', 'no code')} {body.get('detail', '')} (trace {body.get('trace_id')})"
        )
        self.seen.attempts.append(Attempt(route, due, time.monotonic() - due, status, honest, note))
        return status, body, headers

    @asynccontextmanager
    async def _authorized(
        self, method: str, path: str, account: _Account, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request of this account, which signs in again where its token has expired."""
        assert self._http is not None  # noqa: S101 - `open` came before
        shown = account.token
        async with self._http.request(method, path, headers={**(headers or {}), **account.header}, **content) as answer:
            if answer.status != _UNAUTHORIZED:
                yield answer
                return
        with suppress(aiohttp.ClientError, TimeoutError):  # then this request is refused again, which is seen
            await self._sign_in(account, shown)
        async with self._http.request(method, path, headers={**(headers or {}), **account.header}, **content) as answer:
            yield answer

    async def _poll(self) -> None:
        """Look after the orders that are not at their end."""
        while True:
            await asyncio.sleep(_POLL)
            await self._look()

    async def _look(self) -> None:
        """Request the status of the orders whose last look is the oldest, as many as one request may name."""
        open_ = {id_: order for order in self.seen.accepted if order.settled is None for id_ in order.ids}
        ids = sorted(open_, key=lambda id_: self._last_look.get(id_, 0))[:_BATCH_SIZE]
        if not ids:
            return
        self._looks += 1
        self._last_look.update(dict.fromkeys(ids, self._looks))
        route, path = "GET /v1/orders?ids=", f"/v1/orders?ids={','.join(ids)}"
        _, body, _ = await self._request(route, path, time.monotonic())
        for found in body.get("items", ()):
            open_[found["id"]].status = found["status"]
            if found["status"] in TERMINAL:
                open_[found["id"]].settled = time.monotonic()

    async def _list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            parameters = {"limit": 100, **({"cursor": cursor} if cursor else {})}
            async with self._authorized("GET", "/v1/orders", self._customer, params=parameters) as page:
                page.raise_for_status()
                content = await page.json()
            found += content["items"]
            cursor = content["next_cursor"] or ""
            if not cursor:
                return found

    async def _listen(
        self, number: int, received: Counter[str], story: set[tuple[str, str]], listening: asyncio.Event
    ) -> None:
        """Receive this customer's events, and resume after the last one."""
        after, draw = "", self._random(f"listener/{number}")
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, ConnectionError, ValueError):
                async for frame in self._frames(after):
                    if frame.get("type") == "subscribed":
                        after = after or str(frame.get("position", ""))
                        listening.set()
                    elif frame.get("id"):
                        after = str(frame["id"])
                        received[after] += 1
                        story.add((str(frame.get("subject")), str(frame.get("type"))))
            self.seen.reconnects += 1
            await asyncio.sleep(draw.uniform(*_PAUSE))

    async def _frames(self, after: str) -> Any:
        assert self._http is not None  # noqa: S101 - `open` came before
        shown = self._customer.token
        url = f"{self._notifier}/notifications"
        try:
            connection = await self._http.ws_connect(url, headers=self._customer.header, heartbeat=5)
        except aiohttp.WSServerHandshakeError as refused:
            if refused.status == _UNAUTHORIZED:
                await self._sign_in(self._customer, shown)
            raise
        async with connection as socket:
            await socket.send_json(
                {"action": "subscribe", "topics": ["order.*"], **({"after": after} if after else {})}
            )
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    yield json.loads(message.data)
            if socket.close_code == _CLOSED_BY_TOKEN:
                await self._sign_in(self._customer, shown)


def _object(content: bytes) -> dict[str, Any]:
    """The object in a body; an empty one for a body that is no JSON object, such as a text or a page of HTML."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _honest(status: int, headers: dict[str, str], body: object) -> bool:
    """Whether a failure is reported as it should be: 429, 503 or 504 with a problem's code and Retry-After."""
    if status < 500 and status != 429:
        return True
    coded = isinstance(body, dict) and bool(body.get("code") or body.get("errors"))
    return coded and status in (429, 503, 504) and "Retry-After" in headers
