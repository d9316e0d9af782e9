"""watch.py is told each news once, whatever happens to its connection and its token, and asks for none of it."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from lessons import kit
from lessons.kit import FAULT, LIMIT, Broken, Shop, Void
from lessons.link import Link

WATCH = Path("lessons/10-are-we-there-yet/watch.py")
ORDERS, TRIES = 3, 3
# Seconds without news, and without a connection.
QUIET, AWAY = 1.5, 1.5
# Requests for which there may be a reason: a token, and a look at what there is at the beginning.
MAX_ASKED, MAX_ATTEMPTS = 8, 4
SOON = LIMIT / 3
TOKEN = float(os.environ.get("SHOP_TOKEN_LIFETIME") or 5)


class Watch:
    """A running watch.py with ways of its own to the gateway and the notifier, and what it has said."""

    def __init__(self, gateway: Link, notifier: Link) -> None:
        self.gateway = gateway
        self.notifier = notifier
        self.lines: list[str] = []
        self.since = time.monotonic()
        self.connections = 0

    async def read(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.lines.append(line.decode().strip())

    def of(self, order: str) -> list[str]:
        """What it has said of an order."""
        return [line.split()[-1] for line in self.lines if line.startswith(order)]

    @property
    def age(self) -> float:
        """Seconds since it was ready, and at least so old is the token with which it began."""
        return time.monotonic() - self.since


@asynccontextmanager
async def watching(shop: Shop) -> AsyncIterator[Watch]:
    links = Link(shop.gateway), Link(os.environ["SHOP_NOTIFIER_URL"])
    async with links[0] as gateway, links[1] as notifier:
        env = {**os.environ, "SHOP_GATEWAY_URL": gateway.url, "SHOP_NOTIFIER_URL": notifier.url}
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        running = await asyncio.create_subprocess_exec(sys.executable, str(WATCH), env=env, stdout=pipe, stderr=nothing)
        assert running.stdout
        watch = Watch(gateway, notifier)
        reading = asyncio.create_task(watch.read(running.stdout))
        try:
            if not await kit.eventually(lambda: "watching" in watch.lines, within=SOON):
                raise Broken("watch.py was started, and has not said that it is watching")
            watch.since, watch.connections = time.monotonic(), notifier.taken
            yield watch
        finally:
            with suppress(ProcessLookupError):
                running.terminate()
            await running.wait()
            await reading


async def placed_and_cancelled(shop: Shop) -> str:
    """An order of which there are two news, one right after the other."""
    shop.sign_out()  # a token lasts for seconds here
    order = await shop.place(("42", 1))
    (await shop.post(f"/v1/orders/{order}/cancel", None, await shop.bearer())).raise_for_status()
    return order


async def said(watch: Watch, order: str, when: str) -> None:
    """It says both news of an order, each once. `when` says what was special about the time."""
    await kit.eventually(lambda: "cancelled" in watch.of(order), within=SOON)
    for news in ("placed", "cancelled"):
        if news not in watch.of(order):
            raise Broken(f"Order {order[:8]} was {news} {when}, and watch.py never said so")


async def quiet(shop: Shop, watch: Watch) -> None:
    """Some news, and then a while without any."""
    orders = [await placed_and_cancelled(shop) for _ in range(ORDERS if FAULT else 0)]
    if not orders:
        raise Void("there was no news, so its delivery could not be checked")
    await kit.eventually(lambda: watch.gateway.requests > MAX_ASKED, within=QUIET)
    if watch.gateway.requests > MAX_ASKED:
        raise Broken(f"For {2 * ORDERS} news of {ORDERS} orders watch.py has asked {watch.gateway.requests} times")
    for order in orders:
        await said(watch, order, "while watch.py was there")


async def cut_off(shop: Shop) -> Watch:
    """The connection is cut, and for a while there is none; the token is as good as ever."""
    for _ in range(TRIES):
        async with watching(shop) as watch:
            await watch.notifier.cut()
            order = await placed_and_cancelled(shop)
            await kit.eventually(lambda watch=watch: watch.notifier.refused > MAX_ATTEMPTS, within=AWAY)  # type: ignore[misc]
            if (attempts := watch.notifier.refused) > MAX_ATTEMPTS:
                raise Broken(f"The notifier was away, and watch.py tried {attempts} connections within {AWAY} s")
            watch.notifier.mend()
            if watch.age < TOKEN - 1:
                await said(watch, order, "while watch.py was cut off")
                return watch
    raise Void("the token of watch.py expired while it was cut off; is the machine busy?")


async def expired(shop: Shop, watch: Watch) -> None:
    """The notifier ends a stream when the token has expired with which it began."""
    await kit.eventually(lambda: watch.notifier.taken > watch.connections, within=max(0.0, TOKEN - watch.age) + SOON)
    order = await placed_and_cancelled(shop)
    await said(watch, order, "after the token of watch.py had expired")


async def check(shop: Shop) -> str:
    async with watching(shop) as watch:
        await quiet(shop, watch)
        other = await cut_off(shop)
        await expired(shop, watch)
    for lines in (watch.lines, other.lines):
        if twice := next((line for line in lines if line != "watching" and lines.count(line) > 1), ""):
            order, _, news = twice.partition(" ")
            raise Broken(f"Order {order[:8]} was {news} once, and watch.py said so {lines.count(twice)} times")
    return "watch.py is told each news once, across cuts and expired tokens, and asks for none of it."


kit.run(check)
