"""A full disk under the whole embedded shop: it refuses and says when to come back, and forgets nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.small_disk import Filler, SmallDisk, small_disk
from tests.system.real_shop import RealShop, real_shop
from tests.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

MOUNTED_BYTES = 48 << 20
UPLOAD_BYTES = 300_000
# The disk stays full until so many orders and uploads have been refused.
REFUSED = Counter(orders=10, uploads=10)
ORDERS = {202: "", 503: "STORE_UNAVAILABLE"}
UPLOADS = {201: "", 503: "STORE_UNAVAILABLE", 507: "INSUFFICIENT_STORAGE"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", MOUNTED_BYTES) as mounted:
        yield mounted


@dataclass
class Customers:
    """Those who place orders and upload files all the while, and what they were answered."""

    shop: RealShop
    orders: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    done: bool = False

    async def order(self) -> None:
        """Place one order after another; one that is refused is sent again with its key until it is accepted."""
        key = uuid.uuid4().hex
        while not self.done:
            response = await self.shop.place(("42", 1), key=key)
            if self._taken(response, "orders", ORDERS):
                self.orders[key] = response.json()["id"]
                key = uuid.uuid4().hex

    async def upload(self) -> None:
        while not self.done:
            content = os.urandom(UPLOAD_BYTES)
            headers = {**await self.shop.bearer(), "Content-Type": "application/octet-stream"}
            response = await self.shop.http.post("/v1/files", content=content, headers=headers)
            if self._taken(response, "uploads", UPLOADS):
                self.uploads[response.json()["id"]] = content

    def _taken(self, response: httpx.Response, what: str, documented: dict[int, str]) -> bool:
        """Whether it was accepted; an answer that is not as documented is kept for the end."""
        if response.is_success and response.status_code in documented:
            return True
        self.refused[what] += 1
        code = response.json().get("code")
        retry_after = response.headers.get("retry-after", "")
        if documented.get(response.status_code) != code or not retry_after.isdecimal() or int(retry_after) < 1:
            self.wrong.append(f"{what}: {response.status_code} Retry-After {retry_after!r} {response.text}")
        return False


@asynccontextmanager
async def customers_of(shop: RealShop) -> AsyncIterator[Customers]:
    """Customers who are busy until the end of the block."""
    customers = Customers(shop)
    await shop.token()
    busy = [asyncio.create_task(work()) for work in (customers.order, customers.order, customers.upload)]
    try:
        await eventually(lambda: len(customers.orders) >= 5 and len(customers.uploads) >= 2)
        yield customers
    finally:
        customers.done = True
        await asyncio.gather(*busy)


async def while_full(filler: Filler, condition: Callable[[], bool]) -> None:
    """Keep the disk full until the condition holds."""

    def holds() -> bool:
        filler.grow()
        return condition()

    await eventually(holds, within=60)


async def test_full_disk_refuses_and_loses_nothing(disk: SmallDisk) -> None:
    """Orders and uploads are refused as documented while the disk is full; what was accepted is there afterwards."""
    filler = Filler(disk.from_outside / "filler")
    async with real_shop(disk.from_outside, inside=disk) as shop:
        before = {name: row["pid"] for name, row in shop.processes().items()}
        async with customers_of(shop) as customers:
            await while_full(filler, lambda: not REFUSED - customers.refused)
            accepted = len(customers.orders)
            filler.free()
            await eventually(lambda: len(customers.orders) >= accepted + 5, within=60)
        assert customers.wrong == []
        # No process had to be started again, and the supervisor can write its state.
        assert shop.all_ready()
        assert {name: row["pid"] for name, row in shop.processes().items()} == before
        await nothing_is_lost(shop, customers, disk)


async def test_processes_that_die_on_a_full_disk_come_back(disk: SmallDisk) -> None:
    """Every process is killed and started again while there is no room: all are back once there is, with all orders."""
    filler = Filler(disk.from_outside / "filler")
    async with real_shop(disk.from_outside, inside=disk) as shop:
        async with customers_of(shop) as customers:
            pass
        filler.grow()
        killed = {name: shop.kill(name) for name in shop.processes()}
        started: set[int] = set()

        def all_started_again() -> bool:
            started.update(shop.children() - set(killed.values()))
            return len(started) >= len(killed)

        await while_full(filler, all_started_again)
        filler.free()
        for name, old_pid in killed.items():
            await shop.is_back(name, old_pid)
        await nothing_is_lost(shop, customers, disk)


async def nothing_is_lost(shop: RealShop, customers: Customers, disk: SmallDisk) -> None:
    """Each accepted order ships, uploads are whole or absent, and the audit agrees."""
    assert len(set(customers.orders.values())) == len(customers.orders)
    for order_id in customers.orders.values():

        async def shipped(order_id: str = order_id) -> bool:
            return await shop.status(order_id) == "shipped"

        await eventually(shipped, within=30)
    await uploads_are_whole_or_absent(shop, customers.uploads, disk.from_outside / "files")
    assert await audited(shop, disk) == (0, "")


async def uploads_are_whole_or_absent(shop: RealShop, uploads: dict[str, bytes], files: Path) -> None:
    """Each upload that was accepted can be read; of the others nothing is left that is not whole."""
    for file_id, content in uploads.items():
        response = await shop.http.get(f"/v1/files/{file_id}", headers=await shop.bearer())
        assert response.status_code == 200
        assert response.content == content
    assert list((files / "incoming").iterdir()) == []
    stored = contents_of(files)
    assert stored.keys() >= {hashlib.sha256(content).hexdigest() for content in uploads.values()}
    assert [name for name, content in stored.items() if hashlib.sha256(content).hexdigest() != name] == []


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*/*")}


async def audited(shop: RealShop, disk: SmallDisk) -> tuple[int, str]:
    """The exit code of `shop audit`, and what it says where that is not 0."""
    process = await asyncio.create_subprocess_exec(
        *(*disk.enter, sys.executable, "-m", "shop", "audit", "--wait", "30"),
        env={**shop.around.shared, "SHOP_DATA_DIR": str(disk.place)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode() if process.returncode else ""
