"""A catalogue that hangs, and an ERP that is slow."""

import os
import time

from lessons import kit

ERP = os.environ["SHOP_LEGACY_SOAP_URL"]


async def show(shop: kit.Shop) -> None:
    # The gateway's connection is there before the catalogue hangs: one that cannot be made is refused sooner.
    (await shop.get("/v1/products/42", {"Cache-Control": "no-cache"})).raise_for_status()
    print("The catalogue hangs:")
    async with kit.Process("catalog").stopped():
        first = time.monotonic()
        for product in range(1, 13):
            began = time.monotonic()
            answer = await shop.get(f"/v1/products/{product}", {"Cache-Control": "no-cache"})
            print(f"  GET /v1/products/{product:<3} {answer.status_code} after {time.monotonic() - began:.3f} s")
        print(f"  The last answer came {time.monotonic() - first:.1f} s after the first request.")
    print("The ERP takes three seconds for each answer:")
    await shop.http.post(f"{ERP}/_faults", json={"delay_ms": 3000})
    began = time.monotonic()
    answer = await shop.get("/v1/products/42/availability")
    print(
        f"  GET /v1/products/42/availability {answer.status_code} after {time.monotonic() - began:.3f} s: {answer.text}"
    )
    await shop.http.post(f"{ERP}/_faults", json={})


kit.see(show)
