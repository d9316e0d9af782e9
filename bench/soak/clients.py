"""The clients of `bench.soak`: six protocols together, each operation due at a time of its own (open loop).

Latency counts from when an operation was due, so a shop that stalls is charged for all that it made wait. News by
WebSocket and SSE count from when the order they are about was due.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp
from hdrh.histogram import HdrHistogram

from bench.stock import stay_signed_in
from partners import senders

# Microseconds up to two minutes, with three digits.
_HIGHEST = 120_000_000
_TIMEOUT = aiohttp.ClientTimeout(total=15)
_STREAM = aiohttp.ClientTimeout(total=None, sock_read=60)
_FILE = random.Random(1).randbytes(64 << 10)  # noqa: S311 - the same bytes each time
_FILE_SHA256 = hashlib.sha256(_FILE).hexdigest()
PRODUCTS = [str(number) for number in range(1, 21)]
_MAX_FLYING = 1_000
_PAUSE = 0.3
# How often each operation comes, of a hundred.
MIX: Mapping[str, int] = {"order": 10, "read": 50, "graphql": 25, "upload": 5, "webhook": 10}


class Failed(Exception):
    """An operation that was not answered as it should be; the words are counted."""


@dataclass
class Tally:
    """One protocol: latencies in microseconds, the number of operations done, and the number of each failure.

    An operation that failed has the highest latency that there is.
    """

    latencies: HdrHistogram = field(default_factory=lambda: HdrHistogram(1, _HIGHEST, 3))
    done: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def took(self, seconds: float) -> None:
        self.done += 1
        self.latencies.record_value(min(_HIGHEST, max(1, round(seconds * 1e6))))

    def failed(self, why: str) -> None:
        self.failures[why] += 1
        self.latencies.record_value(_HIGHEST)


class Crowd:
    """A customer's clients. `tallies` has one entry for each operation, and `websocket` and `sse` for news."""

    def __init__(self, gateway: str, notifier: str, webhooks: str, secret: str, seed: int) -> None:
        """`secret`: with which the sales channel signs."""
        self._gateway, self._notifier, self._webhooks = gateway, notifier, webhooks
        self._secret = secret
        self._draw = random.Random(seed)  # noqa: S311 - a repeatable load
        self.tallies = {name: Tally() for name in (*MIX, "websocket", "sse")}
        # Order id -> when it was due; and for each listener what it has received.
        self.accepted: dict[str, float] = {}
        self.received: list[tuple[str, Counter[str], set[str]]] = []
        # Order id -> the listeners that had its news before it was known to be accepted, and when.
        self._early_news: dict[str, list[tuple[str, float]]] = {}
        self._http: aiohttp.ClientSession | None = None
        self._account = f"{uuid.uuid4().hex[:12]}@soak.test", uuid.uuid4().hex
        self._listening: list[asyncio.Task[None]] = []

    async def open(self, listeners: int) -> None:
        """Register, sign in, and listen with so many WebSockets and as many event streams."""
        self._http = aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False)
        email, password = self._account
        account = {"name": "Soak", "email": email, "password": password}
        async with self.http.post(f"{self._gateway}/v1/users", json=account) as answer:
            answer.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {await self._token()}"
        for frames, name in ((self._websocket, "websocket"), (self._sse, "sse")):
            for _ in range(listeners):
                received: tuple[str, Counter[str], set[str]] = (name, Counter(), set())
                self.received.append(received)
                self._listening.append(asyncio.create_task(self._listen(frames, received)))
        self._listening.append(asyncio.create_task(stay_signed_in(self.http, self._token)))

    async def close(self) -> None:
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        await self.http.close()

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None
        return self._http

    async def capacity(self, seconds: float, clients: int = 12) -> float:
        """Operations a second of so many clients that call again as soon as they are answered."""
        until = time.monotonic() + seconds
        done = 0

        async def client() -> None:
            nonlocal done
            while time.monotonic() < until:
                with suppress(Failed, aiohttp.ClientError, TimeoutError):
                    await self._operation(self._next())(time.monotonic())
                    done += 1

        await asyncio.gather(*(client() for _ in range(clients)))
        return done / seconds

    async def work(self, rate: float, seconds: float) -> None:
        """Operations at this rate; returns when the last one is answered."""
        began, flying = time.monotonic(), set[asyncio.Task[None]]()
        for number in range(round(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            name = self._next()
            if len(flying) >= _MAX_FLYING:
                self.tallies[name].failed("too many on their way")
                continue
            task = asyncio.create_task(self._one(name, due))
            flying.add(task)
            task.add_done_callback(flying.discard)
        await asyncio.gather(*flying)

    def forget(self) -> None:
        """Begin the figures anew; what was accepted stays accepted."""
        self.tallies = {name: Tally() for name in self.tallies}

    def accept(self, order_id: str, due: float) -> None:
        """An order was accepted that was due then; news of it that arrived before is counted now."""
        self.accepted[order_id] = due
        for name, at in self._early_news.pop(order_id, []):
            self.tallies[name].took(max(0.0, at - due))

    def received_news(self, name: str, order_id: str, at: float) -> None:
        """Note that a listener has news of an order, perhaps before the order's own answer."""
        due = self.accepted.get(order_id)
        if due is None:
            self._early_news.setdefault(order_id, []).append((name, at))
        else:
            self.tallies[name].took(at - due)

    def missed(self) -> int:
        """Orders that a listener has not received."""
        return sum(len(self.accepted.keys() - orders) for _, _, orders in self.received)

    def twice(self) -> int:
        """Events that a listener has received more than once."""
        return sum(count > 1 for _, events, _ in self.received for count in events.values())

    async def all_received(self, within: float) -> None:
        """Wait until every listener has received every order."""
        deadline = time.monotonic() + within
        while self.missed() and time.monotonic() < deadline:  # noqa: ASYNC110 - two listeners fill it
            await asyncio.sleep(_PAUSE)

    def _next(self) -> str:
        return self._draw.choices(list(MIX), list(MIX.values()))[0]

    def _operation(self, name: str) -> Callable[[float], Awaitable[None]]:
        operations: Mapping[str, Callable[[float], Awaitable[None]]] = {
            "order": self._order,
            "read": self._read,
            "graphql": self._graphql,
            "upload": self._upload,
            "webhook": self._webhook,
        }
        return operations[name]

    async def _one(self, name: str, due: float) -> None:
        tally = self.tallies[name]
        try:
            await self._operation(name)(due)
        except Failed as failure:
            tally.failed(str(failure))
        except (aiohttp.ClientError, TimeoutError) as error:
            tally.failed(type(error).__name__)
        else:
            tally.took(time.monotonic() - due)

    async def _order(self, due: float) -> None:
        item = {"product_id": self._draw.choice(PRODUCTS), "quantity": 1}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        url = f"{self._gateway}/v1/orders"
        async with self.http.post(url, json={"items": [item]}, headers=headers) as answer:
            content = await answer.json()
            _expect(answer, 202)
            self.accept(content["id"], due)

    async def _read(self, _: float) -> None:
        async with self.http.get(f"{self._gateway}/v1/products/{self._draw.choice(PRODUCTS)}") as answer:
            await answer.read()
            _expect(answer, 200)

    async def _graphql(self, _: float) -> None:
        query = {"query": "{ me { orders(limit: 3) { id items { product { name } } } } }"}
        async with self.http.post(f"{self._gateway}/graphql", json=query) as answer:
            content = await answer.json()
            _expect(answer, 200)
            if content.get("errors"):
                raise Failed(content["errors"][0]["extensions"]["code"])

    async def _upload(self, _: float) -> None:
        async with self.http.post(f"{self._gateway}/v1/files", data=_FILE) as answer:
            content = await answer.json()
            _expect(answer, 201)
            if content["sha256"] != _FILE_SHA256:
                raise Failed("another digest")

    async def _webhook(self, _: float) -> None:
        product = self._draw.choice(PRODUCTS)
        webhook = senders.example("shopify", secret=self._secret, product_id=product)
        url = f"{self._webhooks}/webhooks/{webhook.provider}"
        async with self.http.post(url, data=webhook.body, headers=dict(webhook.headers)) as answer:
            await answer.read()
            _expect(answer, 200)

    async def _token(self) -> str:
        form = dict(zip(("username", "password"), self._account, strict=True))
        async with self.http.post(f"{self._gateway}/v1/auth/token", data=form) as answer:
            answer.raise_for_status()
            return str((await answer.json())["access_token"])

    async def _listen(
        self,
        follow: Callable[[str, Callable[[str, bytes], None]], Awaitable[None]],
        received: tuple[str, Counter[str], set[str]],
    ) -> None:
        """Receive news of this customer's orders, and resume where the connection broke."""
        name, events, orders = received
        after = "0"

        def on_event(position: str, data: bytes) -> None:
            nonlocal after
            after = position
            events[position] += 1
            event = json.loads(data)
            if event.get("type") == "order.placed":
                orders.add(event["subject"])
                self.received_news(name, event["subject"], time.monotonic())

        while True:
            with suppress(aiohttp.ClientError, TimeoutError, ConnectionError, ValueError):
                await follow(after, on_event)
            self.tallies[name].failures["reconnects"] += 1
            await asyncio.sleep(_PAUSE)

    async def _websocket(self, after: str, on_event: Callable[[str, bytes], None]) -> None:
        async with self.http.ws_connect(f"{self._notifier}/notifications", heartbeat=10) as socket:
            await socket.send_json({"action": "subscribe", "topics": ["order.*"], "after": after})
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    frame = json.loads(message.data)
                    if frame.get("id"):
                        on_event(str(frame["id"]), message.data.encode())

    async def _sse(self, after: str, on_event: Callable[[str, bytes], None]) -> None:
        url = f"{self._notifier}/notifications/stream?topics=order.*"
        async with self.http.get(url, headers={"Last-Event-ID": after}, timeout=_STREAM) as answer:
            answer.raise_for_status()
            position = ""
            async for line in answer.content:
                field_, _, value = line.rstrip(b"\r\n").partition(b": ")
                if field_ == b"id":
                    position = value.decode()
                elif field_ == b"data" and position:
                    on_event(position, value)


def _expect(answer: aiohttp.ClientResponse, status: int) -> None:
    if answer.status != status:
        raise Failed(str(answer.status))


def internal_errors(tallies: Iterable[Tally]) -> int:
    """Answers 500, which no kill explains."""
    return sum(tally.failures["500"] for tally in tallies)
