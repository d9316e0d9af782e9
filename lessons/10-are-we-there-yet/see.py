"""The cost of polling, and the cost of a push."""

import asyncio
import os
import sys
from pathlib import Path

from lessons import kit
from lessons.link import Link

WATCH = Path("lessons/10-are-we-there-yet/watch.py")
SECONDS = 3.0


async def placed_and_cancelled(shop: kit.Shop) -> str:
    order = await shop.place(("42", 1))
    (await shop.post(f"/v1/orders/{order}/cancel", None, await shop.bearer())).raise_for_status()
    return order


async def show(shop: kit.Shop) -> None:
    async with Link(os.environ["SHOP_GATEWAY_URL"]) as gateway:
        env = {**os.environ, "SHOP_GATEWAY_URL": gateway.url}
        pipe = asyncio.subprocess.PIPE
        watching = await asyncio.create_subprocess_exec(sys.executable, str(WATCH), env=env, stdout=pipe)
        assert watching.stdout
        await watching.stdout.readline()
        order = await placed_and_cancelled(shop)
        await asyncio.sleep(SECONDS)
        watching.terminate()
        said = (await watching.stdout.read()).decode()
        await watching.wait()
    print(f"watch.py, in {SECONDS:.0f} s: {gateway.requests} requests, {gateway.size} bytes. It says")
    print("".join(f"  {line}\n" for line in said.splitlines()) or "  nothing\n", end="")
    shop.sign_out()
    stream = f"{os.environ['SHOP_NOTIFIER_URL']}/notifications/stream"
    print(f"\nGET {stream}: one request. It says")
    async with shop.http.stream("GET", stream, headers=await shop.bearer()) as answer:
        order = await placed_and_cancelled(shop)
        size = 0
        async for line in answer.aiter_lines():
            size += len(line) + 1
            if line.startswith("data:") and order in line:
                print(f"  {line[:110]} …")
                if "order.cancelled" in line:
                    break
    print(f"  in {size} bytes")


kit.see(show)
