"""Lessons in the console: what `shop lesson` keeps is shown beside the other views, and checked from there."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from chassis.errors import ShopError
from console.bootstrap import Settings, run
from console.views.lessons import Lessons
from shop.lessons.lesson import lesson, lessons
from tests.pages.accessibility import violations
from tests.pages.browser import browser_page
from tests.shop import free_ports
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Milliseconds for what a busy machine takes to start a command.
TIMEOUT = 60_000
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}},
}
SAID = "One query over 5 products made 5 calls of GET /v1/products instead of 1"
BROKEN = {"verdict": "BROKEN", "said": SAID, "details": "Its X-ray: shop trace 4711", "checks": 2}
KEPT = {"verdict": "KEPT", "said": "One call.", "checks": 3, "kept": True, "guess": "a"}


@asynccontextmanager
async def console(data_dir: Path, **settings: Any) -> AsyncIterator[str]:
    """A console alone; its URL."""
    port, otlp = free_ports(2)
    async with run(Settings(console_port=port, console_otlp_port=otlp, data_dir=data_dir, **settings)):
        yield f"http://127.0.0.1:{port}"


@pytest_asyncio.fixture(loop_scope="session")
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with console(tmp_path) as found:
        yield found


def keep(data_dir: Path, state: Mapping[str, object]) -> None:
    """Have lesson 1 started and in this state."""
    folder = data_dir / "lessons"
    (folder / "1" / ".git").mkdir(parents=True, exist_ok=True)
    (folder / "current").write_text("1")
    draft = folder / "draft"
    draft.write_text(json.dumps({"base": "0" * 40, **state}))
    draft.replace(folder / "1.json")


@asynccontextmanager
async def opened(chromium: Browser, url: str, view: str = "lessons", **looks: Any) -> AsyncIterator[Page]:
    """The page in a window of its own; an error in it fails the test."""
    looks = {"viewport": {"width": 1440, "height": 900}, **looks}
    async with browser_page(chromium, complaints=False, **looks) as page:
        await page.goto(f"{url}/#{view}")
        yield page


async def test_lessons_are_what_the_command_says(tmp_path: Path, url: str) -> None:
    """All lessons with the page's text; the explanation only once the repair is kept, and the verdict that was said."""
    keep(tmp_path, BROKEN)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        listed = (await http.get(f"{url}/api/lessons")).raise_for_status().json()
        assert listed["current"] == 1
        assert [each["number"] for each in listed["items"]] == [each.number for each in lessons()]
        first = listed["items"][0]
        assert (first["started"], first["verdict"], first["said"]) == (True, "BROKEN", SAID)
        assert "why" not in first
        assert lesson(1).sections["Why"] not in first["task"]
        keep(tmp_path, KEPT)
        first = (await http.get(f"{url}/api/lessons")).json()["items"][0]
        assert first["why"] == lesson(1).explanation
        assert (first["guess"], first["answer"]) == ("a", lesson(1).answer)


async def test_what_cannot_be_checked_is_refused(tmp_path: Path, url: str) -> None:
    """A lesson that was not started, one that is being checked, and what another site's page could send."""
    keep(tmp_path, {"checking": os.getpid()})
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        assert (await http.post(f"{url}/api/lessons/2/check", json={})).status_code == 404
        for number in ("9" * 5_000, "-1", "one"):
            assert (await http.post(f"{url}/api/lessons/{number}/check", json={})).status_code == 404
        assert (await http.post(f"{url}/api/lessons/1/check", json={})).json()["code"] == "OVERLOADED"
        assert (await http.post(f"{url}/api/lessons/1/check")).json()["code"] == "INVALID_INPUT"


COMMAND = """
import json, pathlib, sys, time
folder, *asked = sys.argv[1:]
if asked[0] == "list":
    print(json.dumps({"items": [{"number": 1, "started": True, "checking": False}]}))
else:
    with (pathlib.Path(folder) / "checks").open("a") as file:
        file.write("checked ")
    while not (pathlib.Path(folder) / "done").exists():
        time.sleep(0.01)
"""


async def test_a_lesson_has_one_check_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several presses at once, one starts a check and the others are refused, however long it takes to start."""
    start = asyncio.create_subprocess_exec
    view = Lessons({}, (sys.executable, "-c", COMMAND, str(tmp_path)))
    looks = 0

    async def slowly(*command: str, **about: Any) -> asyncio.subprocess.Process:
        nonlocal looks
        looks += "list" in command
        if "check" in command:
            # The others wait for their turn; or one of them has looked already, as the third begins to (one at a time).
            await eventually(lambda: looks >= 3 or len(view._starting._waiters or ()) == 3)
        return await start(*command, **about)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slowly)
    answers = await asyncio.gather(*(view.check(1) for _ in range(4)), return_exceptions=True)
    refused = [each.code for each in answers if isinstance(each, ShopError)]
    (tmp_path / "done").touch()
    await view._checks[1]
    assert refused == ["OVERLOADED"] * 3
    assert (tmp_path / "checks").read_text() == "checked "


async def test_without_lessons(tmp_path: Path) -> None:
    """Where the command finds none, its reason is the answer; in production there is no command."""
    failing = (sys.executable, "-c", "import sys; sys.exit('shop: there are no lessons here')")
    with pytest.raises(ShopError, match="NOT_FOUND: there are no lessons here"):
        await Lessons({}, failing).all()
    async with console(tmp_path, env="production") as url, httpx.AsyncClient(trust_env=False, timeout=60) as http:
        assert (await http.get(f"{url}/api/lessons")).status_code == 403


@pytest.mark.browser
@pytest.mark.timeout(180)
async def test_a_lesson_stays_beside_the_other_views(chromium: Browser, tmp_path: Path, url: str) -> None:
    """By keyboard: the list, a lesson's text and verdict, and the same beside the map, until it is closed."""
    keep(tmp_path, BROKEN)
    async with opened(chromium, url) as page:
        page_of = page.locator("#lesson")
        await expect(page_of.locator("#verdict")).to_contain_text(f"BROKEN: {SAID}", timeout=TIMEOUT)
        assert await page.locator("#lesson-list button").count() == len(lessons())
        await page.focus('[data-lesson="2"]')
        await page.keyboard.press("Enter")
        await expect(page_of.locator("h2")).to_have_text(f"2. {lesson(2).title}")
        await expect(page_of.locator("#verdict")).to_contain_text("shop lesson start 2")
        await expect(page.locator("#check")).to_be_disabled()
        await page.focus('[data-lesson="1"]')
        await page.keyboard.press("Enter")
        await page.focus('[data-view="map"]')
        await page.keyboard.press("Enter")
        await expect(page.locator("#map")).to_be_visible()
        await expect(page_of).to_be_visible()
        await expect(page_of.locator("li").first).to_contain_text("a) 3: the customer")
        await page.focus("#close-lesson")
        await page.keyboard.press("Enter")
        await expect(page_of).to_be_hidden()


@pytest.mark.browser
@pytest.mark.timeout(180)
async def test_a_verdict_appears_by_itself(chromium: Browser, tmp_path: Path, url: str) -> None:
    """A check is watched until it says something, and the explanation comes with a repair that is kept."""
    keep(tmp_path, {"checking": os.getpid()})
    async with opened(chromium, url) as page:
        verdict = page.locator("#verdict")
        await expect(verdict).to_contain_text("Running your code", timeout=TIMEOUT)
        await expect(page.locator("#check")).to_be_disabled()
        keep(tmp_path, KEPT)
        await expect(verdict).to_have_text("KEPT: One call.", timeout=TIMEOUT)
        await expect(page.locator("#why")).to_contain_text("You predicted a; the answer is b.")
        await expect(page.locator("#why h3").first).to_have_text("Why")
        # There is no code in this copy, so no check can be made of it; that is said as well.
        await page.click("#check")
        await expect(verdict).to_contain_text("The shop does not start with your change", timeout=TIMEOUT)


@pytest.mark.browser
@pytest.mark.timeout(180)
@pytest.mark.parametrize("looks", LOOKS.values(), ids=LOOKS)
async def test_everybody_can_use_it(chromium: Browser, looks: dict[str, Any], tmp_path: Path, url: str) -> None:
    """Axe finds nothing with a lesson open, and nothing is wider than the screen."""
    keep(tmp_path, BROKEN)
    async with opened(chromium, url, **looks) as page:
        await expect(page.locator("#verdict")).to_contain_text("BROKEN", timeout=TIMEOUT)
        await page.locator("#lesson summary").last.click()
        assert await violations(page) == ""
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
