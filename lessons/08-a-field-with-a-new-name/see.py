"""Two clients of last year, and what the contract's own check says of the second."""

import asyncio
import sys

from lessons import kit
from lessons.label_printer import printed


async def show(shop: kit.Shop) -> None:
    row = (await shop.get("/v1/products/42")).raise_for_status().json()
    print(f"GET /v1/products/42 answers\n  {row}")
    print("The app of last year does this with it:  total += Decimal(row['price'])")
    try:
        print(f"  {row['price']}")
    except KeyError as error:
        print(f"  KeyError: {error}")
    print(f"The label printer, with field 5 of the contract of last year, prints\n  {await printed('42')!r}")
    print("\n$ python -m protos check   (the catalogue's contract, against what callers rely on)", flush=True)
    checking = await asyncio.create_subprocess_exec(sys.executable, "-m", "protos", "check")
    print("nothing is broken" if await checking.wait() == 0 else "")


kit.see(show)
