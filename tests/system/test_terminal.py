"""What a person sees of `shop up` in a terminal, and what a machine reads of it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.shop import Shop, surroundings
from tests.waiting import eventually

pytestmark = pytest.mark.system
LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+(\w+) +(.+)")
STORY = ["order placed", "order confirmed", "order paid", "order shipped"]


@asynccontextmanager
async def shop_in_terminal(data_dir: Path, *, terminal: bool) -> AsyncIterator[tuple[Shop, bytearray]]:
    """`shop up` with a pseudo-terminal, or a pipe, as its output; and what it prints."""
    around = surroundings(data_dir)
    env = {name: value for name, value in around.shared.items() if not name.startswith("SHOP_WEBHOOK_SECRET")}
    env |= {"SHOP_LOG_LEVEL": "info", "COLUMNS": "80"}
    env.pop("SHOP_LOG_FORMAT", None)
    reading, writing = pty.openpty() if terminal else os.pipe()
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shop", "up"), env=env, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing
    )
    os.close(writing)
    printed = bytearray()
    reader = asyncio.create_task(asyncio.to_thread(_read, reading, printed))
    try:
        async with httpx.AsyncClient(base_url=around.shared["SHOP_GATEWAY_URL"], timeout=60) as http:
            await eventually(lambda: b"all processes are ready" in printed, within=90)
            yield Shop(around, http), printed
    finally:
        supervisor.send_signal(signal.SIGTERM)
        await asyncio.wait_for(supervisor.wait(), 30)
        await reader
        os.close(reading)


def _read(descriptor: int, into: bytearray) -> None:
    while True:
        try:
            chunk = os.read(descriptor, 1 << 16)
        except OSError:  # a terminal's way to say that its last writer has gone
            return
        if not chunk:
            return
        into += chunk


async def test_terminal_shows_one_format_and_the_orders_story(tmp_path: Path) -> None:
    """In a terminal all lines are text, starting warns of nothing, and an order's story can be read, with its trace."""
    async with shop_in_terminal(tmp_path, terminal=True) as (shop, printed):
        await eventually(lambda: b"Ctrl-C stops everything" in printed)
        welcome = printed.decode()
        order_id = (await shop.place(("42", 1))).json()["id"]
        await eventually(lambda: b"order shipped" in printed, within=30)
        # Before it stops: a mail that is on its way then is rightly said to be tried again.
        told = printed.decode().rpartition("\n")[0]
    console = welcome.index(shop.address("SHOP_CONSOLE_URL"))
    assert console < welcome.index(shop.address("SHOP_GATEWAY_URL")), "the console's address comes first"
    lines = [line for line in told.splitlines() if line and not line.startswith(" ")]
    found = [LINE.fullmatch(line) for line in lines]
    assert [line for line, match in zip(lines, found, strict=True) if match is None] == []
    assert [match[0] for match in found if match and match[1] not in ("DEBUG", "INFO")] == []
    story = [match[3] for match in found if match and order_id in match[3] and match[3].startswith("order ")]
    assert [" ".join(line.split()[:2]) for line in story] == STORY
    assert len({line.split("trace_id=")[1] for line in story}) == 1
    (accepted,) = [match[3] for match in found if match and match[3].startswith("POST /v1/orders 202")]
    assert accepted.split("trace_id=")[1] == story[0].split("trace_id=")[1]


async def test_elsewhere_every_line_is_json(tmp_path: Path) -> None:
    """Where the output is no terminal, every line of every process is a JSON object, and none is a warning."""
    async with shop_in_terminal(tmp_path, terminal=False) as (shop, printed):
        order_id = (await shop.place(("42", 1))).json()["id"]
        await eventually(lambda: b'"order shipped"' in printed, within=30)
        while_it_ran = printed.count(b"\n")
    lines = [json.loads(line) for line in printed.splitlines()]
    assert {line["level"] for line in lines[:while_it_ran]} == {"info"}
    assert {"shop", "gateway", "orders", "order_worker", "legacy_soap", "mailer"} <= {line["process"] for line in lines}
    assert [
        line["message"] for line in lines if line.get("order_id") == order_id and "order " in line["message"]
    ] == STORY
