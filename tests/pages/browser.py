"""Chromium for tests of pages: whatever goes wrong in a page fails its test."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from playwright.async_api import Page, async_playwright, expect

# Milliseconds for what a shop does on a busy machine.
TIMEOUT = 45_000
expect.set_options(timeout=TIMEOUT)


@asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    """A page that may load from this machine alone; errors in it, its console included, fail the test."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
        )
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(TIMEOUT)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: wrong.append(request.url) if _elsewhere(request.url) else None)
        try:
            yield page
        finally:
            await browser.close()
        assert wrong == []


def _elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws") and parts.hostname not in ("127.0.0.1", "localhost")
