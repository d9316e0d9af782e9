"""The Break view: a fault chosen on the map, a load beside it, and the verdict; and where nothing may be broken."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from console import bootstrap
from console.views import shop_command
from console.views.breaking import Breaking
from shop.fault.faults.ground import Ground
from shop.fault.scenarios.own_shop import own_shop
from shop.supervisor.supervisor import GRACE
from tests.console.test_lessons_view import console, opened
from tests.pages.accessibility import violations
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAULT = {"do": "kill orders", "seconds": 1}
# Milliseconds for a load of seconds, what it leaves to be done, and reading all books, on a busy machine.
VERDICT_WITHIN = 180_000
# A `shop fault` that reports that it runs, and does not end at SIGTERM as expected.
STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(3_600)
"""
TALKATIVE = """
import pathlib, signal, sys, time
def undo(*_):
    sys.stdout.write("x" * 1_000_000)
    pathlib.Path(sys.argv[1] + ".undone").touch()
    sys.exit()
signal.signal(signal.SIGTERM, undo)
pathlib.Path(sys.argv[1]).touch()
time.sleep(3_600)
"""


@pytest_asyncio.fixture(loop_scope="session")
async def lab() -> AsyncIterator[str]:
    """The console of a shop that can be broken; its URL."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    async with AsyncExitStack() as stack:
        started = own_shop(clean)
        env = await asyncio.to_thread(started.__enter__)
        stack.push_async_callback(asyncio.to_thread, started.__exit__, None, None, None)
        yield Ground.of(env).env["SHOP_CONSOLE_URL"]


@pytest.mark.browser
@pytest.mark.system
@pytest.mark.timeout(400)
async def test_a_fault_is_chosen_on_the_map_and_judged(chromium: Browser, lab: str) -> None:
    """A click on the order worker, and the verdict with its promises, and the X-rays of two orders."""
    async with opened(chromium, lab, "break") as page:
        await page.locator('#break-map [data-where="order_worker"]').click()
        await expect(page.locator("#break-where")).to_have_value("order_worker")
        await page.locator("#break-what").select_option(label="kill")
        await page.locator("#break-seconds").fill("2")
        await page.locator("#break-it").click()
        await expect(page.locator("#break-it")).to_be_disabled()
        async with httpx.AsyncClient(timeout=60) as http:
            assert (await http.post(f"{lab}/api/break", json=FAULT)).status_code == 503
        await expect(page.locator("#break-word")).to_be_visible(timeout=VERDICT_WITHIN)
        promises = page.locator("#break-verdict table", has_text="nothing-doubled").locator("tbody tr")
        await expect(promises).to_have_count(5)
        await expect(promises.filter(has_text="nothing-lost")).to_contain_text("kept")
        await expect(page.locator("#break-verdict table").first).to_contain_text("order_worker started again")
        await expect(page.locator("#break-healthy [data-hop]").first).to_be_visible()
        await expect(page.locator("#break-worst [data-hop]").first).to_be_visible()
        assert await violations(page) == ""


async def test_nothing_is_broken_without_a_lab_or_in_production(tmp_path: Path) -> None:
    """And the page says how to get a shop that can be broken; only the page itself may ask."""
    async with console(tmp_path) as url, httpx.AsyncClient(timeout=60) as http:
        answer = await http.get(f"{url}/api/break")
        assert "shop up --lab" in answer.json()["why"]
        assert (await http.post(f"{url}/api/break", content=b'{"do": "kill orders"}')).status_code == 422
        wrongs: list[object] = [
            {},
            [],
            {"do": ""},
            {"do": "kill\norders"},
            {**FAULT, "seconds": 1e9},
            {**FAULT, "seconds": True},
        ]
        for wrong in wrongs:
            assert (await http.post(f"{url}/api/break", json=wrong)).status_code == 422, wrong
        assert (await http.post(f"{url}/api/break", json={"do": "x" * 10_000})).status_code == 422
        answer = await http.post(f"{url}/api/break", json={"do": "x" * 201})
        assert answer.json()["errors"] == [
            {"field": "do", "detail": "must be a fault of at most 200 printable characters"}
        ]
    async with console(tmp_path, env="production") as url, httpx.AsyncClient(timeout=60) as http:
        assert (await http.get(f"{url}/api/break")).status_code == 403
        assert (await http.post(f"{url}/api/break", json=FAULT)).status_code == 403


async def _broken_by(code: str, marker: Path) -> Breaking:
    """Something is being broken by a command of this code, which has touched the marker."""
    found = Breaking({}, (sys.executable, "-c", code, str(marker)))
    found.start("kill orders", 1)

    async def begun() -> bool:
        return await asyncio.to_thread(marker.exists)

    await eventually(begun)
    return found


async def test_a_command_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The console ends although what it has started ignores SIGTERM."""
    monkeypatch.setattr(shop_command, "_ENDING_GRACE", 0.1)
    stubborn = await _broken_by(STUBBORN, tmp_path / "begun")
    async with asyncio.timeout(20):
        await stubborn.close()
    assert stubborn.progress()["running"] == ""


async def test_what_is_broken_is_ended_before_the_server_drains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that watches a trace takes nothing of the command's time, which is less than the supervisor's."""
    marker = tmp_path / "begun"
    command = (sys.executable, "-c", TALKATIVE, str(marker))
    monkeypatch.setattr(bootstrap, "Breaking", lambda shop: Breaking(shop, command))
    async with AsyncExitStack() as stack, httpx.AsyncClient(timeout=60) as http:
        url = await stack.enter_async_context(console(tmp_path))
        async with http.stream("GET", f"{url}/api/traces/{'01' * 16}/events") as events:
            watching = asyncio.create_task(events.aread())
            assert (await http.post(f"{url}/api/break", json=FAULT)).status_code == 202
            await eventually(marker.exists)
            ending = asyncio.create_task(stack.aclose())
            await eventually((tmp_path / "begun.undone").exists)
            assert not watching.done()  # the server waits for it
            watching.cancel()
            await asyncio.wait({watching})
    await ending
    assert shop_command._ENDING_GRACE < GRACE - 2


async def test_a_command_that_is_ended_is_read_meanwhile(tmp_path: Path) -> None:
    """It undoes what it has broken although it prints more than a pipe holds."""
    talkative = await _broken_by(TALKATIVE, tmp_path / "begun")
    async with asyncio.timeout(20):
        await talkative.close()
    assert (tmp_path / "begun.undone").exists()


async def test_a_command_that_cannot_be_started_is_the_error() -> None:
    """The page shows why there is no verdict."""
    missing = Breaking({}, ("/nowhere/shop",))
    missing.start("kill orders", 1)

    async def ended() -> str:
        return str(missing.progress()["error"])

    assert "/nowhere/shop" in await eventually(ended)
