"""An upstream that is known to be away costs no time, and a slow ERP costs only freshness."""

import asyncio
import os
import signal
import time

import httpx

from lessons import kit
from lessons.kit import FAULT, Broken, Process, Shop, Void

ERP = os.environ["SHOP_LEGACY_SOAP_URL"]
ENOUGH, LATER = 12, 20
# Seconds between two of the later ones, so that they come over two of the breaker's recovery periods.
BETWEEN = 0.1
# So many of the later ones may be calls all the same: the trials that find out whether the catalogue is back.
TRIALS = 4
# Seconds.
BACK_WITHIN = kit.LIMIT / 3
NORMAL_DAY, BAD_DAY = 0.3, 5.0


async def read(shop: Shop, product: int | str) -> tuple[httpx.Response, float]:
    """A read that no cache answers, and the seconds that it took."""
    began = time.monotonic()
    answer = await shop.get(f"/v1/products/{product}", {"Cache-Control": "no-cache"})
    return answer, time.monotonic() - began


async def one_by_one(shop: Shop) -> list[tuple[httpx.Response, float]]:
    """Reads of the later ones, each begun a little after the one before, whether that has been answered or not."""
    reading = []
    for product in range(1, LATER + 1):
        reading.append(asyncio.create_task(read(shop, product)))
        await asyncio.sleep(BETWEEN)
    return await asyncio.gather(*reading)


async def availability(shop: Shop, delay: float, product: int = 42) -> tuple[httpx.Response, float]:
    """The stock of a product while the ERP takes so many seconds for each answer."""
    await shop.http.post(f"{ERP}/_faults", json={"delay_ms": int(delay * 1000)})
    began = time.monotonic()
    try:
        return await shop.get(f"/v1/products/{product}/availability"), time.monotonic() - began
    finally:
        await shop.http.post(f"{ERP}/_faults", json={})


async def away(shop: Shop) -> None:
    """The catalogue is stopped; after enough failures, later customers get the refusal at once."""
    # The connection is there before the catalogue hangs: one that cannot be made is another fault.
    (await read(shop, 42))[0].raise_for_status()
    async with Process("catalog").stopped():
        if not FAULT:
            Process("catalog").signal(signal.SIGCONT)
        first = await asyncio.gather(*(read(shop, product) for product in range(1, ENOUGH + 1)))
        if any(answer.is_success for answer, _ in first):
            raise Void("the catalogue answered, so there was nothing to wait for")
        before = await shop.calls_to("catalog")
        later = await one_by_one(shop)
        calls, longest = await shop.calls_to("catalog") - before, max(took for _, took in later)
        if calls > TRIALS:
            raise Broken(
                f"The catalogue does not answer, and {calls} of {LATER} customers waited up to {longest:.1f} s "
                f"to be told so, after {ENOUGH} before them had found out"
            )
        if bare := [answer.status_code for answer, _ in later if "retry-after" not in answer.headers]:
            raise Broken(f"The catalogue is away, and a customer was answered {bare[0]} without Retry-After")
        other = await shop.get("/v1/products/42/availability")
        if not other.is_success:
            raise Broken(
                f"The catalogue is away, and the stock of product 42, which is not there, became {other.status_code}"
            )


async def back(shop: Shop) -> None:
    """The catalogue runs again."""
    began = time.monotonic()

    async def sold() -> bool:
        return (await read(shop, 42))[0].is_success

    if not await kit.eventually(sold, within=BACK_WITHIN):
        seconds = time.monotonic() - began
        raise Broken(f"The catalogue has been back for {seconds:.0f} s, and product 42 is still refused")


async def refusals(shop: Shop) -> None:
    """A refusal is an answer, of a process that is well."""
    for number in range(LATER):
        answer = await shop.get("/v1/products", cursor=f"no-such-page-{number}")
        if not answer.is_client_error:
            raise Broken(
                f"{number} customers asked for pages that do not exist, and then the catalogue, which is well, "
                f"was taken for away ({answer.status_code})"
            )
    answer, _ = await read(shop, 42)
    if not answer.is_success:
        raise Broken(f"Customers asked for pages that do not exist, and product 42 became {answer.status_code}")


async def slow_erp(shop: Shop) -> None:
    answer, took = await availability(shop, BAD_DAY)
    if not answer.is_success:
        raise Broken(
            f"The ERP was slow, and the stock of product 42 became {answer.status_code} after {took:.1f} s "
            "instead of the last known figure"
        )
    if answer.json()["stale"] is not True:
        raise Broken("The ERP had not answered yet, and the stock of product 42 was shown as if it had")
    # Each time another product: an answer that comes too late for one customer must not be there for the next.
    for product in range(8, 8 + TRIALS):
        answer, _ = await availability(shop, NORMAL_DAY, product)
        if answer.is_success and answer.json()["stale"] is False:
            return
    normally = f"The ERP took {NORMAL_DAY} s, as on a normal day"
    raise Broken(f"{normally}, and the stock that was shown was not its figure but an old one")


async def check(shop: Shop) -> str:
    await availability(shop, 0)
    await away(shop)
    await back(shop)
    await refusals(shop)
    await slow_erp(shop)
    return "A catalogue that is away costs milliseconds and is called again afterwards; a slow ERP costs freshness."


kit.run(check)
