"""What the lessons' scripts stand on: a shop seen from outside, waiting for a condition, and a verdict in one sentence.

Nothing of the shop's code is imported: a check has what any client has, and the list of processes.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar, overload

import httpx

T = TypeVar("T")
# A hop as the console's API shows it.
Hop = dict[str, Any]

# Seconds for a whole check. A slow machine may be given more; nothing is judged by it.
LIMIT = float(os.environ.get("LESSON_SECONDS") or 15)
# Below those that Linux and macOS hand out by themselves.
_PORTS = range(10_000, 12_000)
# Whether the check makes its fault happen; without it there is nothing to judge.
FAULT = os.environ.get("LESSON_FAULT") != "off"


class Broken(Exception):
    """A promise is broken: the sentence says which, of which order, and what happened. `details` come below it."""

    def __init__(self, sentence: str, details: str = "") -> None:
        super().__init__(sentence)
        self.details = details


class Void(Exception):
    """The fault has met nothing, or the check could not be made: there is nothing to judge."""


class Shop:
    """A running shop, found by the `SHOP_…` settings, as its clients see it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.gateway = os.environ["SHOP_GATEWAY_URL"]
        self._tokens: dict[str, str] = {}

    async def bearer(self, email: str = "demo@shop.test", password: str = "demo") -> dict[str, str]:  # noqa: S107
        """Headers of an account that has signed in."""
        if email not in self._tokens:
            form = {"username": email, "password": password}
            response = await self.http.post(f"{self.gateway}/v1/auth/token", data=form)
            self._tokens[email] = response.raise_for_status().json()["access_token"]
        return {"Authorization": f"Bearer {self._tokens[email]}"}

    def sign_out(self) -> None:
        """Forget all tokens, so that the next request is made with a new one."""
        self._tokens.clear()

    async def admin(self) -> dict[str, str]:
        return await self.bearer("admin@shop.test", "admin")

    async def get(self, path: str, headers: dict[str, str] | None = None, **parameters: str | int) -> httpx.Response:
        return await self.http.get(f"{self.gateway}{path}", headers=headers, params=parameters or None)

    async def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.http.post(f"{self.gateway}{path}", json=body, headers=headers)

    async def place(self, *items: tuple[str, int], key: str = "", **as_user: str) -> str:
        """Place an order, and return its id."""
        headers = await self.bearer(**as_user) | ({"Idempotency-Key": key} if key else {})
        body = {"items": [{"product_id": product, "quantity": quantity} for product, quantity in items]}
        return str((await self.post("/v1/orders", body, headers)).raise_for_status().json()["id"])

    async def status(self, order: str) -> str:
        return str((await self.get(f"/v1/orders/{order}", await self.bearer())).raise_for_status().json()["status"])

    async def frees(self, product: str, count: int) -> bool:
        """Cancel the demo customer's pending orders, which hold stock; whether so many of a product are there then."""
        mine = await self.bearer()
        for order in (await self.get("/v1/orders", mine, limit=100)).raise_for_status().json()["items"]:
            if order["status"] == "pending":
                await self.post(f"/v1/orders/{order['id']}/cancel", {}, mine)

        async def enough() -> bool:
            answer = await self.get(f"/v1/products/{product}/availability")
            return bool(answer.raise_for_status().json()["available"] >= count)

        return await eventually(enough, within=LIMIT / 3)

    async def calls(self, url: str = "") -> Counter[tuple[str, str]]:
        """Requests that a process (the gateway, unless a URL says which) has answered, by method and route."""
        counted: Counter[tuple[str, str]] = Counter()
        for line in (await self.http.get(f"{url or self.gateway}/metrics")).text.splitlines():
            if line.startswith("http_server_request_duration_seconds_count{"):
                labels = dict(part.split("=", 1) for part in line[line.index("{") + 1 : line.index("}")].split(","))
                counted[labels["method"].strip('"'), labels["route"].strip('"')] += int(float(line.split()[-1]))
        return counted

    async def calls_to(self, peer: str) -> int:
        """How many gRPC calls to another process the gateway has made; one that it refused to make is none."""
        count = 0
        for line in (await self.http.get(f"{self.gateway}/metrics")).text.splitlines():
            if line.startswith("rpc_client_call_duration_seconds_count") and f'peer="{peer}"' in line:
                count += int(float(line.split()[-1]))
        return count

    def xray(self, response: httpx.Response) -> str:
        """Where to look at what a request has caused."""
        trace = response.headers.get("traceparent", "--").split("-")[1]
        console = os.environ["SHOP_CONSOLE_URL"]
        return f"Its X-ray: shop trace {trace}, or {console}/?trace={trace}#order"

    async def hops(self, response: httpx.Response, enough: Callable[[list[Hop]], object]) -> list[Hop]:
        """The hops that a request has caused, once there are enough; they come in within a second or two."""
        trace = response.headers["traceparent"].split("-")[1]
        found: list[Hop] = []

        async def ask() -> bool:
            answer = await self.http.get(f"{os.environ['SHOP_CONSOLE_URL']}/api/traces/{trace}/hops")
            found[:] = answer.json()["hops"] if answer.is_success else []
            return bool(enough(found))

        await eventually(ask, within=LIMIT / 3)
        return found


class Process:
    """A process of the shop, by the name that `shop status` shows."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _row(self) -> dict[str, Any]:
        table = json.loads((Path(os.environ["SHOP_DATA_DIR"]) / "processes.json").read_text())
        row: dict[str, Any] = next(each for each in table["processes"] if each["name"] == self.name)
        return row

    @property
    def pid(self) -> int:
        return int(self._row()["pid"] or 0)

    def signal(self, number: signal.Signals) -> int:
        """Send a signal; the process that got it, 0 where none runs."""
        pid = self.pid
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid

    async def kill(self) -> None:
        """End it at once (kill -9), and wait until it was started anew and is ready."""
        old = self.signal(signal.SIGKILL)
        await eventually(lambda: self._row()["state"] == "ready" and self.pid not in (0, old), within=LIMIT)

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Keep it from running for a while (SIGSTOP): it is there, and answers nothing."""
        pid = self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@overload
async def eventually(probe: Callable[[], Awaitable[T]], *, within: float = 5.0) -> T: ...


@overload
async def eventually(probe: Callable[[], T], *, within: float = 5.0) -> T: ...


async def eventually(probe: Callable[[], Any], *, within: float = 5.0) -> Any:
    """Ask again and again until the answer is true, and return it; the last answer when the seconds are over."""
    deadline = time.monotonic() + within
    pause = 0.01
    while True:
        outcome = probe()
        answer = await outcome if inspect.isawaitable(outcome) else outcome
        if answer or time.monotonic() > deadline:
            return answer
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.1)


async def command(*words: str) -> tuple[int, str]:
    """Run `shop …` against this shop: its exit code, and what it prints."""
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    running = await asyncio.create_subprocess_exec(sys.executable, "-m", "shop", *words, stdout=pipe, stderr=nothing)
    try:
        printed, _ = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
    return running.returncode or 0, printed.decode()


@asynccontextmanager
async def process(name: str, **settings: str) -> AsyncIterator[None]:
    """One more process of the shop (`shop run`), with settings of its own, once it says that it is ready."""
    command = (sys.executable, "-m", "shop", "run", name)
    out, err = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    running = await asyncio.create_subprocess_exec(*command, env={**os.environ, **settings}, stdout=out, stderr=err)
    ready = asyncio.Event()

    async def read(lines: asyncio.StreamReader) -> None:
        async for line in lines:
            if b"ready" in line:
                ready.set()

    assert running.stdout
    reading = asyncio.create_task(read(running.stdout))
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), LIMIT)
        if not ready.is_set():
            raise Void(f"one more {name} was not ready in time; is the machine busy?")
        yield
    finally:
        with suppress(ProcessLookupError):
            running.terminate()
        await running.wait()
        await reading


@asynccontextmanager
async def copy_of(name: str, setting: str, http: httpx.AsyncClient, ready: str) -> AsyncIterator[str]:
    """Another copy of a process, on a port of its own; its URL, once it is ready."""
    url = f"http://127.0.0.1:{(port := free_port())}"

    async def answers() -> bool:
        with suppress(httpx.TransportError):
            return (await http.get(f"{url}{ready}")).is_success
        return False

    async with process(name, **{setting: str(port), f"{setting.removesuffix('_PORT')}_URL": ""}):
        if not await eventually(answers, within=LIMIT):
            raise Void(f"a second copy of {name} was not ready in time; is the machine busy?")
        yield url


@asynccontextmanager
async def new_erp() -> AsyncIterator[None]:
    """Another ERP behind a second adapter, and a second worker whose orders go there; both are ready."""
    address = f"127.0.0.1:{(port := free_port())}"
    adapter = process("erp_adapter", SHOP_ERP="modern", SHOP_ERP_ADAPTER_PORT=str(port))
    async with adapter, process("order_worker", SHOP_ERP_ADAPTER_ADDRESS=address):
        yield


def free_port() -> int:
    """A TCP port that nothing listens on, and that the system gives to no connection before a process listens there."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Void(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free")


@asynccontextmanager
async def shop() -> AsyncIterator[Shop]:
    """The shop that the settings name."""
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        yield Shop(http)


def run(check: Callable[[Shop], Awaitable[str]]) -> NoReturn:
    """Make a check, print its verdict (what it returns is what was kept), and end with 0 kept, 1 broken, 2 void."""
    word, sentence, details = asyncio.run(_judged(check))
    print(f"{word}: {sentence}" + (f"\n{details}" if details else ""), flush=True)
    sys.exit(["KEPT", "BROKEN", "VOID"].index(word))


async def _judged(check: Callable[[Shop], Awaitable[str]]) -> tuple[str, str, str]:
    try:
        async with asyncio.timeout(LIMIT), shop() as found:
            return "KEPT", await check(found), ""
    except Broken as broken:
        return "BROKEN", str(broken), broken.details
    except Void as void:
        return "VOID", str(void), ""
    except TimeoutError:
        return "VOID", f"the check was not through after {LIMIT:.0f} s; LESSON_SECONDS=60 gives a busy machine more", ""
    except (httpx.TransportError, httpx.HTTPStatusError) as error:
        where = error.request.url.path
        return (
            "VOID",
            f"{error.request.method} {where} failed ({error}); does `shop status` say ready?".replace("\n", " "),
            "",
        )


def see(show: Callable[[Shop], Awaitable[None]]) -> None:
    """Run what shows a lesson's fault."""

    async def shown() -> None:
        async with shop() as found:
            await show(found)

    try:
        asyncio.run(shown())
    except (httpx.TransportError, httpx.HTTPStatusError) as error:
        sys.exit(f"{error.request.method} {error.request.url} failed: {error}")
