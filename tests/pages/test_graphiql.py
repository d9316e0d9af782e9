"""GraphiQL at `/graphql` in a real browser: it needs no network, and does what its reader is used to, and more."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.gateway.conftest import StartShop, exported, spans, start_shop  # noqa: F401  # fixtures
from tests.pages.browser import browser_page
from tests.shop import Shop, shop_in_one_loop

pytestmark = pytest.mark.asyncio(loop_scope="session")

RUN = ".graphiql-execute-button"
ANSWER = ".result-window .CodeMirror-lines"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with shop_in_one_loop(tmp_path_factory.mktemp("shop"), {"SHOP_REQUEST_BUDGET": "60"}) as running:
        yield running


async def opened(page: Page, shop: Shop) -> None:
    await page.goto(shop.address("SHOP_GATEWAY_URL") + "/graphql")
    await page.click('[data-account="demo"]')
    await expect(page.locator("#account")).to_have_text("signed in as demo@shop.test")


@pytest.mark.browser
@pytest.mark.timeout(240)
async def test_the_articles_query_and_its_x_ray(chromium: Browser, shop: Shop) -> None:
    """One click signs in, one runs the prepared query, and one leads to that answer's hops in the console."""
    async with browser_page(chromium) as page:
        await opened(page, shop)
        await page.click(RUN)
        await expect(page.locator(ANSWER)).to_contain_text('"email": "demo@shop.test"')
        async with page.context.expect_page() as other:
            await page.click("#xray")
        xray = await other.value
        await expect(xray.locator('[data-hop][data-protocol="GraphQL"]').first).to_be_visible()
        await expect(xray.locator('[data-hop][data-from="graphql_server"][data-protocol="REST"]')).to_have_count(3)


@pytest.mark.browser
@pytest.mark.timeout(240)
async def test_completion_and_documentation(chromium: Browser, shop: Shop) -> None:
    """Names are completed from the schema, and the schema's own words are shown."""
    async with browser_page(chromium) as page:
        await opened(page, shop)
        await page.get_by_role("button", name="Add tab").click()
        editor = page.locator(".graphiql-query-editor .CodeMirror")
        await editor.click()
        await page.keyboard.press("Control+A")
        await page.keyboard.type("{ prod")
        await page.keyboard.press("Control+Space")
        await expect(page.locator(".CodeMirror-hints")).to_contain_text("productsConnection")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Show Documentation Explorer").click()
        await page.locator(".graphiql-doc-explorer").get_by_role("link", name="Query", exact=True).click()
        await expect(page.locator(".graphiql-doc-explorer")).to_contain_text("Products in Relay's form.")


@pytest.mark.browser
@pytest.mark.timeout(240)
async def test_a_subscription_receives_an_order(chromium: Browser, shop: Shop) -> None:
    """The prepared subscription shows an order's changes as they happen, as the signed-in account."""
    async with browser_page(chromium) as page:
        await opened(page, shop)
        await page.get_by_role("tab", name="OrderUpdates").click()
        # GraphiQL learns the name of a tab's operation a moment after the tab is opened.
        spinner = page.locator(".graphiql-spinner")
        for _ in range(20):
            await page.click(RUN)
            await page.wait_for_timeout(300)
            if await spinner.is_visible():
                break
        await expect(spinner).to_be_visible()
        order_id = ""
        # An order that is placed before the subscription has begun is no news; so there is another one.
        for _ in range(20):
            placed = await shop.place(("42", 1))
            assert placed.status_code == 202, placed.text
            order_id = placed.json()["id"]
            if "orderUpdates" in await page.locator(ANSWER).inner_text():
                break
            await page.wait_for_timeout(500)
        await expect(page.locator(ANSWER)).to_contain_text(order_id)


async def test_the_page_allows_no_script_but_its_own(start_shop: StartShop) -> None:  # noqa: F811
    """Its policy allows nothing inline and nothing from elsewhere; a client without HTML in Accept gets no page."""
    async with start_shop() as shop:
        page = await shop.client.get("/graphql", headers={"accept": "text/html,*/*"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "//" not in page.text
        for name in ("graphiql.min.js", "react.production.min.js", "graphiql.js"):
            asset = await shop.client.get(f"/graphql/assets/{name}")
            assert asset.headers["content-type"] == "text/javascript; charset=utf-8"
            asset.content.decode()
        for name in ("..%2fgraphiql.py", "graphiql.py", "package.json"):
            assert (await shop.client.get(f"/graphql/assets/{name}")).status_code == 404
        refused = await shop.client.get("/graphql", headers={"accept": "text/html;q=0, application/json"})
        assert refused.status_code == 503, "passed on to the server behind, which is not there"


async def test_no_explorer_in_production(start_shop: StartShop) -> None:  # noqa: F811
    """In production a browser that opens the address gets no explorer."""
    async with start_shop(env="production", demo_data=False, capture=False) as shop:
        assert (await shop.client.get("/graphql", headers={"accept": "text/html"})).status_code == 503
