"""Chromium for tests of pages: one for all of a worker's tests, which each have a window of their own.

The fixture `chromium` (`tests/conftest.py`) lives in the session's event loop; so does each test that uses it:
`pytest.mark.asyncio(loop_scope="session")`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.conftest import chromium_program

# Milliseconds for what a shop does on a busy machine.
TIMEOUT = 60_000
expect.set_options(timeout=TIMEOUT)
LARGE = {"width": 1280, "height": 800}


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """A Chromium without a window yet."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_program(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def browser_page(chromium: Browser, *, complaints: bool = True, **looks: Any) -> AsyncIterator[Page]:
    """A page that shares nothing with another and may load from this machine alone; an error in it fails the test.

    So do `complaints` in its console, unless the test provokes some.
    """
    context = await chromium.new_context(**{"viewport": LARGE, **looks})
    try:
        page = await context.new_page()
        page.set_default_timeout(TIMEOUT)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if _elsewhere(request.url) else None)
        if complaints:
            page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        yield page
    finally:
        await context.close()
    assert wrong == []


def _elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws") and parts.hostname not in ("127.0.0.1", "localhost")
