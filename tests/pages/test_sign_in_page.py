"""The page on which a user lets an agent act, in a real browser: what its policy allows is what it needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest
from aiohttp import web
from playwright.async_api import Browser, expect

from tests.gateway.conftest import StartShop, exported, spans, start_shop  # noqa: F401  # fixtures
from tests.gateway.test_oauth import CHALLENGE
from tests.pages.browser import browser_page
from tests.shop import free_ports


@asynccontextmanager
async def program(port: int, told: list[dict[str, str]]) -> AsyncIterator[str]:
    """The agent's program on the user's computer: its redirect URI, and what it is told there."""

    async def called_back(request: web.Request) -> web.Response:
        told.append(dict(request.query))
        return web.Response(text="You may close this page.")

    async def no_icon(_: web.Request) -> web.Response:
        return web.Response(status=204)

    app = web.Application()
    app.router.add_get("/callback", called_back)
    app.router.add_get("/favicon.ico", no_icon)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/callback"
    finally:
        await runner.cleanup()


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_a_browser_signs_in_and_goes_to_the_program(chromium: Browser, start_shop: StartShop) -> None:  # noqa: F811
    """The form is sent, and its answer brings the code to the program, past the page's own content policy."""
    told: list[dict[str, str]] = []
    [port] = free_ports(1)
    async with start_shop() as shop, program(port, told) as callback, browser_page(chromium) as page:
        client = (await shop.client.post("/oauth/register", json={"redirect_uris": [callback]})).json()["client_id"]
        asked = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": callback,
            "state": "a state",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        await page.goto(f"{str(shop.client.base_url).rstrip('/')}/oauth/authorize?{urlencode(asked)}")
        await page.get_by_label("Email").fill("demo@shop.test")
        await page.get_by_label("Password").fill("demo")
        await page.get_by_role("button", name="Sign in and allow").click()
        await expect(page.locator("body")).to_contain_text("You may close this page.")
    assert (told[0]["state"], "code" in told[0]) == ("a state", True)
