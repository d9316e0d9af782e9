"""The page at `/` of each public port, and the lists of mails and traces: for people as HTML, for programs as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from chassis.webpages.html import accepts_html
from chassis.webpages.start_page import Link, StartPage
from tests.pages.browser import browser_page
from tests.shop import Shop, shop_in_one_loop
from tests.waiting import eventually

# What Chromium sends.
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
PORTS = {
    "Gateway": "SHOP_GATEWAY_PORT",
    "Notifier": "SHOP_NOTIFIER_PORT",
    "Webhooks": "SHOP_WEBHOOKS_PORT",
    "Mails": "SHOP_MAIL_PORT",
    "ERP": "SHOP_LEGACY_SOAP_PORT",
    "Payment provider": "SHOP_PAYMENT_PORT",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with shop_in_one_loop(tmp_path_factory.mktemp("shop"), {"SHOP_REQUEST_BUDGET": "60"}) as running:
        yield running


@pytest.mark.asyncio(loop_scope="session")
async def test_every_port_says_what_is_here(shop: Shop) -> None:
    """Each public port answers `/` with a page or JSON, and every link in it can be opened."""
    async with httpx.AsyncClient(timeout=30) as client:
        for name, setting in PORTS.items():
            url = f"http://127.0.0.1:{shop.address(setting)}/"
            page = await client.get(url, headers={"accept": BROWSER})
            assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
            assert "<script" not in page.text
            found = await client.get(url, headers={"accept": "application/json"})
            assert found.json()["name"] == name
            for link in found.json()["links"]:
                if link["href"]:
                    answer = await client.get(httpx.URL(url).join(link["href"]), headers={"accept": BROWSER})
                    assert answer.status_code == 200, link
        console = await client.get(
            f"http://127.0.0.1:{shop.address('SHOP_CONSOLE_PORT')}/", headers={"accept": BROWSER}
        )
        assert console.status_code == 200


@pytest.mark.browser
@pytest.mark.timeout(240)
@pytest.mark.asyncio(loop_scope="session")
async def test_a_newcomer_finds_the_way(chromium: Browser, shop: Shop) -> None:
    """From the gateway's page a browser gets to the mails and to an order's X-ray, with nothing from elsewhere."""
    placed = await shop.place(("42", 1))
    order_id = placed.json()["id"]

    async def shipped() -> bool:
        mails = await shop.http.get(f"http://127.0.0.1:{shop.address('SHOP_MAIL_PORT')}/mails?order_id={order_id}")
        return len(mails.json()) == 2

    await eventually(shipped, within=60)
    async with browser_page(chromium) as page:
        await page.goto(shop.address("SHOP_GATEWAY_URL") + "/")
        await page.get_by_role("link", name="Mails", exact=True).click()
        await page.get_by_role("link", name="The mails", exact=True).click()
        await page.get_by_role("link", name=order_id, exact=True).first.click()
        await expect(page.locator("tbody tr")).to_have_count(2)
        await page.goto(f"http://127.0.0.1:{shop.address('SHOP_CONSOLE_PORT')}/api/traces")
        await page.get_by_role("row", name=order_id).get_by_role("link").first.click()
        await expect(page.locator("[data-hop]").first).to_be_visible()


@pytest.mark.asyncio(loop_scope="session")
async def test_lists_are_json_for_programs(shop: Shop) -> None:
    """A client that does not accept HTML gets the mails and the traces as JSON, as before."""
    for setting, path in (("SHOP_MAIL_PORT", "/mails"), ("SHOP_CONSOLE_PORT", "/api/traces")):
        answer = await shop.http.get(f"http://127.0.0.1:{shop.address(setting)}{path}", headers={"accept": "*/*"})
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() is not None


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=0", False),
    ],
)
def test_who_accepts_html(accept: str, html: bool) -> None:
    """HTML is for who names it and wants it no less than JSON."""
    assert accepts_html(accept) is html


@pytest.mark.parametrize("host", ['x"><script>', "evil/../", "a b", ""])
def test_a_host_that_is_none(host: str) -> None:
    """Links to other ports are never made of a Host header that is no host name."""
    page = StartPage("x", "y", (), elsewhere=(Link(":8003/", "Console", ""),))
    assert b'href="http://localhost:8003/"' in page.answer(accept="text/html", host=host).body


def test_production_lists_no_other_ports() -> None:
    """In production a page names its own port alone."""
    assert StartPage.of("Gateway", "y", env="production").elsewhere == ()
    assert {link.title for link in StartPage.of("Gateway", "y", env="development").elsewhere} >= {"Console", "Mails"}
