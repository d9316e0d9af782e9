"""A file far larger than any process's share of memory goes both ways through the edge, in real processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from shop.process_table import TABLE
from tests.forking.popen import fresh_interpreters
from tests.internal.standstill import standstill
from tests.shop import Shop, surroundings
from tests.waiting import eventually

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not Path("/proc/self/clear_refs").exists(),
        reason="not run: needs /proc/PID/clear_refs and /proc/PID/io (Linux)",
    ),
]

NEEDED = ("users", "storage", "gateway")
PIECE = 1 << 20
# 1024 by hand (the figure): BIG_FILE_MIB=1024 pytest tests/internal/test_big_files.py
PIECES = int(os.environ.get("BIG_FILE_MIB", "256"))
SLOWLY_READ = 128 << 20
MAX_GROWTH = 64 << 20
STALLED_READERS = 80
# What a reader that has stopped may cost a process, its open request included, as the system counts memory.
MAX_FOR_A_READER = 256 << 10
STALLED_FILE = 32 << 20


@asynccontextmanager
async def processes(data_dir: Path) -> AsyncIterator[tuple[Shop, dict[str, int]]]:
    """Those of the shop's processes that files need; their pids by name."""
    around = surroundings(data_dir, {"SHOP_MAX_FILE_BYTES": str(2 << 30), "SHOP_OTLP_URL": ""})
    pids = {}
    async with AsyncExitStack() as stack:
        for spec in TABLE:
            if spec.name in NEEDED:
                # What the warm interpreter has freed and left to them, forked ones could fill without growing.
                with fresh_interpreters():
                    process = await asyncio.create_subprocess_exec(
                        sys.executable, "-m", "shop", "run", spec.name, env=around.of(spec)
                    )
                stack.push_async_callback(_ended, process)
                pids[spec.name] = process.pid
        url = around.shared["SHOP_GATEWAY_URL"]
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60))
        shop = Shop(around, http)

        async def ready() -> bool:
            try:
                return (await http.get("/v1/files/product-42")).status_code == 200 and bool(await shop.token())
            except (httpx.TransportError, AssertionError):
                return False

        await eventually(ready, within=30)
        yield shop, pids


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    await process.wait()


class Memory:
    """How much a process's memory has grown at its highest since now."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the highest mark begins anew
        self._before = self._read("VmRSS")

    def growth(self) -> int:
        return self._read("VmHWM") - self._before

    def growth_now(self) -> int:
        """By how much it is larger now."""
        return self._read("VmRSS") - self._before

    def _read(self, name: str) -> int:
        line = next(line for line in self._status.read_text().splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024


def has_read(pid: int) -> int:
    """The MiB that a process has read so far; what it reads in its databases from time to time is far less."""
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["rchar"]) >> 20


def piece(number: int) -> bytes:
    """The piece with a number: no two are alike, none can be compressed."""
    return hashlib.shake_128(str(number % 64).encode()).digest(PIECE - 8) + number.to_bytes(8, "big")


@pytest.mark.timeout(300)
async def test_a_big_file_moves_in_constant_memory(tmp_path: Path) -> None:
    """256 MiB up and down again, whole: neither the gateway nor storage grows by 64 MB."""
    digest = hashlib.sha256()

    async def body() -> AsyncIterator[bytes]:
        for number in range(PIECES):
            digest.update(content := piece(number))
            yield content

    async with processes(tmp_path) as (shop, pids):
        headers = await shop.bearer()
        memory = {name: Memory(pid) for name, pid in pids.items() if name != "users"}
        response = await shop.http.post("/v1/files", content=body(), headers=headers)
        assert response.status_code == 201, response.text
        assert (response.json()["size"], response.json()["sha256"]) == (PIECES * PIECE, digest.hexdigest())
        growth = {f"{name} up": each.growth() for name, each in memory.items()}
        memory = {name: Memory(pid) for name, pid in pids.items() if name != "users"}
        received = hashlib.sha256()
        async with shop.http.stream("GET", response.headers["location"], headers=headers) as download:
            async for content in download.aiter_raw(PIECE):
                received.update(content)
        assert received.hexdigest() == digest.hexdigest()
        growth |= {f"{name} down": each.growth() for name, each in memory.items()}
        sys.stdout.write(f"grown by { ({name: f'{size / 1e6:.1f} MB' for name, size in growth.items()}) }\n")
        assert max(growth.values()) < MAX_GROWTH, growth


@pytest.mark.timeout(120)
async def test_a_slow_reader_holds_up_the_disk_and_not_the_memory(tmp_path: Path) -> None:
    """A client that stops reading in the middle makes storage stop reading its disk: nothing is piled up in between."""
    async with processes(tmp_path) as (shop, pids):
        headers = await shop.bearer()

        async def body() -> AsyncIterator[bytes]:
            for number in range(SLOWLY_READ // PIECE):
                yield piece(number)

        response = await shop.http.post("/v1/files", content=body(), headers=headers)
        memory = {name: Memory(pid) for name, pid in pids.items() if name != "users"}
        before = has_read(pids["storage"])
        reader, writer = await asyncio.open_connection("127.0.0.1", shop.around.ports["SHOP_GATEWAY_PORT"], limit=1)
        writer.write(
            f"GET {response.headers['location']} HTTP/1.1\r\nHost: shop\r\n"
            f"Authorization: {headers['Authorization']}\r\nConnection: close\r\n\r\n".encode()
        )
        await reader.readexactly(12)
        stopped = await standstill(lambda: has_read(pids["storage"]), since=before)
        assert stopped - before < (SLOWLY_READ >> 20) // 2
        assert max(each.growth() for each in memory.values()) < MAX_GROWTH
        writer.close()


@pytest.mark.timeout(120)
async def test_little_waits_for_readers_that_have_stopped(tmp_path: Path) -> None:
    """However many clients stop reading a large file, at most 256 KiB wait for each in the gateway and in storage."""
    async with processes(tmp_path) as (shop, pids), AsyncExitStack() as stack:
        headers = await shop.bearer()

        async def body() -> AsyncIterator[bytes]:
            for number in range(STALLED_FILE // PIECE):
                yield piece(number)

        response = await shop.http.post("/v1/files", content=body(), headers=headers)

        async def stalled() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", shop.around.ports["SHOP_GATEWAY_PORT"], limit=1)
            stack.callback(writer.close)
            writer.write(
                f"GET {response.headers['location']} HTTP/1.1\r\nHost: shop\r\n"
                f"Authorization: {headers['Authorization']}\r\n\r\n".encode()
            )
            assert await reader.readexactly(12) == b"HTTP/1.1 200"

        async def stalled_together(count: int) -> None:
            before = has_read(pids["storage"])
            await asyncio.gather(*(stalled() for _ in range(count)))
            read = await standstill(lambda: has_read(pids["storage"]), since=before) - before
            assert read < count * (STALLED_FILE >> 20) // 2, "they were not stopped"

        await stalled_together(10)  # what is made once for all of them
        memory = {name: Memory(pid) for name, pid in pids.items() if name != "users"}
        await stalled_together(STALLED_READERS)
        growth = {name: each.growth_now() // STALLED_READERS for name, each in memory.items()}
        sys.stdout.write(f"grown for each by { ({name: f'{size >> 10} KiB' for name, size in growth.items()}) }\n")
        assert max(growth.values()) <= MAX_FOR_A_READER, growth
