"""The console's page in a real browser: an order on every wire, compare, play, map; by keyboard, and accessible."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from shop.process_table import TABLE
from tests.conftest import own_postgres
from tests.pages.accessibility import violations
from tests.pages.browser import browser_page
from tests.rabbitmq import own_rabbitmq
from tests.shop import Shop, shop_in_one_loop
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="session")]

ROOT = Path(__file__).parents[2]
PROTOCOLS = {"REST", "gRPC", "queue", "SOAP", "HTTP", "webhook", "SMTP", "WebSocket"}
SETTLED = "#order[data-settled]"
VIEWS = ("order", "play", "map", "break", "compare", "protocols")
READ = "rows => rows.map(row => ({...row.dataset}))"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """One for all tests here: each finds its own order by what its own window shows."""
    async with shop_in_one_loop(tmp_path_factory.mktemp("shop")) as running:
        yield running


Opened = Callable[..., AbstractAsyncContextManager[Page]]


@pytest.fixture
def opened(chromium: Browser) -> Opened:
    """The console of a shop in a window of its own; whatever goes wrong in it fails the test."""

    @asynccontextmanager
    async def opening(shop: Shop, **looks: Any) -> AsyncIterator[Page]:
        async with browser_page(chromium, **{"viewport": {"width": 1440, "height": 900}, **looks}) as page:
            await page.goto(shop.address("SHOP_CONSOLE_URL") + "/")
            yield page

    return opening


async def placed(page: Page) -> list[dict[str, str]]:
    """Place an order by the page's button; its rows once it has settled."""
    await page.click("#place-order")
    await page.wait_for_selector(SETTLED)
    rows: list[dict[str, str]] = await page.eval_on_selector_all("[data-hop]", READ)
    return rows


async def test_an_order_is_seen_on_every_wire(opened: Opened, shop: Shop) -> None:
    """From the page's button at least 40 hops with all eight protocols arrive, and each protocol's bytes are shown."""
    async with opened(shop) as page:
        rows = await placed(page)
        assert len(rows) >= 40
        assert {row["protocol"] for row in rows} == PROTOCOLS
        assert {row["state"] for row in rows} == {"landed"}
        assert {(row["from"], row["to"]) for row in rows} >= {("client", "gateway"), ("erp_adapter", "legacy_soap")}
        for protocol in sorted(PROTOCOLS):
            await page.focus(f'[data-hop][data-protocol="{protocol}"]')
            await page.keyboard.press("Enter")
            await page.click('[data-tab="wire"]')
            await expect(page.locator("#hop .hex").first).to_contain_text("0000")
            await expect(page.locator("#hop .parts li").first).to_be_visible()
            for tab in ("meaning", "cost", "code"):
                await page.click(f'[data-tab="{tab}"]')
                await expect(page.locator("#hop [role=tabpanel]")).not_to_be_empty()
                await expect(page.locator("#hop [role=tabpanel]")).not_to_contain_text("[object ")
            await page.keyboard.press("Escape")


@pytest.mark.rabbitmq
@pytest.mark.postgres
async def test_the_same_page_on_rabbitmq_and_postgresql(opened: Opened, tmp_path: Path) -> None:
    """The AMQP hops of an order show real AMQP frames and properties, and the map how many consumers each queue has."""
    async with (
        own_rabbitmq(Topology.load(TOPOLOGY)) as broker,
        own_postgres() as databases,
        shop_in_one_loop(tmp_path, {"SHOP_BROKER_URL": broker, "SHOP_DATABASE_URL": databases}) as shop,
        opened(shop) as page,
    ):
        rows = await placed(page)
        assert {row["protocol"] for row in rows} == PROTOCOLS - {"queue"} | {"AMQP"}
        await page.focus('[data-hop][data-protocol="AMQP"]')
        await page.keyboard.press("Enter")
        await expect(page.locator("#hop [role=tabpanel]")).to_contain_text("cloudEvents:type")
        await page.click('[data-tab="wire"]')
        await expect(page.locator("#hop .parts li").first).to_be_visible()
        await page.keyboard.press("Escape")
        await page.click('[data-view="map"]')
        await expect(page.locator("#topology")).to_contain_text("order-mail 0")
        await expect(page.locator("#topology tr", has_text="order-mail").locator("td").nth(1)).to_have_text("1")


async def test_a_hop_has_an_address(opened: Opened, shop: Shop) -> None:
    """A permalink opens the same trace with the same hop and tab in another window."""
    async with opened(shop) as page:
        await placed(page)
        await page.focus('[data-hop][data-protocol="SOAP"]')
        await page.keyboard.press("Enter")
        await page.click('[data-tab="wire"]')
        title = await page.locator("#hop h3").text_content()
        address = page.url
        await page.goto("about:blank")
        await page.goto(address)
        await expect(page.locator("#hop h3")).to_have_text(title or "")
        await expect(page.locator('[data-tab="wire"]')).to_have_attribute("aria-selected", "true")
        assert "Envelope" in (await page.locator("#hop").text_content() or "")


async def test_a_chosen_hop_is_brought_into_sight(opened: Opened, shop: Shop) -> None:
    """The arrow of a hop far to the right is within the visible width of the diagram, beside the panel that opened."""
    async with opened(shop) as page:
        await placed(page)
        await page.focus('[data-hop][data-protocol="SMTP"]')
        await page.keyboard.press("Enter")
        await expect(page.locator("#hop")).to_be_visible()
        diagram = await page.locator("#diagram").bounding_box()
        arrow = await page.locator("#diagram g.hop.p-smtp line.shaft").first.bounding_box()
        assert diagram is not None
        assert arrow is not None
        assert diagram["x"] <= arrow["x"]
        assert arrow["x"] + arrow["width"] <= diagram["x"] + diagram["width"]


async def test_a_shipped_order_is_compared_with_a_rejected_one(opened: Opened, shop: Shop) -> None:
    """What one order has and the other lacks is marked, row by row."""
    async with opened(shop) as page:
        await placed(page)
        shipped = (await page.locator("#recent").input_value()) or ""
        await page.click('[data-view="play"]')
        await page.click('[data-call="order-too-many"] button.primary')
        await page.click("#answer button")
        await page.wait_for_selector(SETTLED)
        await page.click('[data-view="compare"]')
        rejected = await page.locator("#right option", has_text="POST /v1/orders").first.get_attribute("value")
        await page.select_option("#left", shipped)
        await page.select_option("#right", rejected)
        await page.click("#compare-them")
        await page.wait_for_selector('#rows [data-mark="missing"]')
        marks = set(await page.eval_on_selector_all("#rows [data-mark]", "rows => rows.map(row => row.dataset.mark)"))
        assert {"same", "missing", "extra"} <= marks


async def test_a_prediction_reveals_what_was_measured(opened: Opened, shop: Shop) -> None:
    """Nothing is shown before a choice; then every protocol has its figure, gRPC-Web and Connect among them."""
    async with opened(shop) as page:
        await page.click('[data-view="protocols"]')
        first = page.locator('[data-question="0"]')
        await expect(first.locator("button").first).to_be_visible()
        assert await first.locator("table").count() == 0
        await first.locator('[data-predict="gRPC in Python"]').click()
        await expect(first.locator("[data-verdict]")).to_have_attribute("data-verdict", "wrong")
        shown = await first.locator("tbody th").all_text_contents()
        assert {"gRPC-Web", "Connect (JSON)", "Connect (protobuf)", "REST (JSON)"} <= set(shown)
        assert await first.locator("button:not([disabled])").count() == 0
        verdicts = await page.eval_on_selector_all("#words tr", "rows => rows.map(row => row.dataset.word)")
        assert set(verdicts) == {"supported", "qualified", "contradicted"}


async def test_the_news_plane_moves_with_how_often_something_happens(opened: Opened, shop: Shop) -> None:
    """When events are rare, pushes cost a thousandth and move left; polling costs the same; kinds differ in colour."""

    async def shown(page: Page, way: str) -> tuple[float, float]:
        """Bytes an hour in the table, and how far to the right the mark stands in the picture."""
        cell = await page.locator(f'#news-rows [data-way="{way}"] td').last.text_content()
        moved = await page.locator(f'[data-news="{way}"]').get_attribute("transform")
        return float((cell or "").replace(",", "")), float((moved or "").removeprefix("translate(").split()[0])

    async with opened(shop) as page:
        await page.click('[data-view="protocols"]')
        kinds = [page.locator(f'[data-news="{way}"]') for way in ("polling, 1 s", "SSE", "webhook")]
        fills = {str(await mark.evaluate("mark => getComputedStyle(mark).fill")) for mark in kinds}
        assert len(fills - {"rgb(0, 0, 0)"}) == len(kinds)
        slider = page.locator("#news-rate")
        await slider.press("End")
        await expect(page.locator("#news-said")).to_have_text("an event a second")
        often = {way: await shown(page, way) for way in ("SSE", "polling, 100 ms")}
        await slider.press("Home")
        await expect(page.locator("#news-said")).to_have_text("an event an hour")
        await expect(slider).to_have_attribute("aria-valuetext", "an event an hour")
        seldom = {way: await shown(page, way) for way in often}
    assert seldom["SSE"][0] < often["SSE"][0] / 1_000
    assert seldom["SSE"][1] < often["SSE"][1] - 50
    assert seldom["polling, 100 ms"][0] > often["polling, 100 ms"][0] * 0.9
    assert often["SSE"][0] < seldom["polling, 100 ms"][0]


STATUSES = {
    "order": ["202"],
    "order-too-many": ["202"],
    "three-ways": ["200", "200", "OK"],
    "twice": ["200", "200", "304"],
    "idempotent": ["202", "202"],
    "graphql": ["200"],
    "websocket": ["101"],
    "sse": ["200"],
    "signed": ["200"],
    "forged": ["401"],
    "soap": ["200"],
    "availability": ["200"],
    "event": ["published"],
    "upload": ["201"],
    "mails": ["200"],
    "refused": ["401"],
}


async def played(page: Page, call: str) -> str:
    """Make a card's calls; what the answer says."""
    await page.click('[data-view="play"]')
    await page.click(f'[data-call="{call}"] button.primary')
    await page.wait_for_selector(f'#answer[data-answered="{call}"]')
    return await page.locator("#answer").text_content() or ""


async def test_every_call_answers(opened: Opened, shop: Shop) -> None:
    """Each prepared call is answered as its text promises, and opens its own X-ray, which begins at the client."""
    async with opened(shop) as page:
        await placed(page)  # the calls about an order find one that is paid
        await page.click('[data-view="play"]')
        calls = await page.eval_on_selector_all("[data-call]", "calls => calls.map(call => call.dataset.call)")
        assert calls == list(STATUSES)
        for call in calls:
            text = await played(page, call)
            statuses = await page.eval_on_selector_all("#answer section", "all => all.map(each => each.dataset.status)")
            assert statuses == STATUSES[call], f"{call}: {text}"
            await page.locator("#answer section button").last.click()
            await page.wait_for_selector('#order [data-hop][data-from="client"]')


async def test_what_the_calls_show(opened: Opened, shop: Shop) -> None:
    """SOAP is decoded and as it came, streams come event by event, what was refused or dropped says so in its X-ray."""
    async with opened(shop) as page:
        await placed(page)
        soap = await played(page, "soap")
        assert '"OnHand": "0000' in soap
        assert "GetStockLevelResponse>" in soap
        assert [name for name in ("REST", "GraphQL", "gRPC") if f"{name}: " in await played(page, "three-ways")] == [
            "REST",
            "GraphQL",
            "gRPC",
        ]
        for stream in ("websocket", "sse"):
            told = await played(page, stream)
            assert "order.placed" in told
            assert "order.shipped" in told
        for call, note in (("forged", "webhook_refused"), ("event", "duplicate_dropped")):
            await played(page, call)
            trace = await page.locator("#answer section").last.get_attribute("data-trace")

            async def noted(trace: str | None = trace, note: str = note) -> bool:
                url = f"{shop.address('SHOP_CONSOLE_URL')}/api/traces/{trace}/hops"
                hops = (await shop.http.get(url)).json()["hops"]
                return note in {hop["note"] for hop in hops}

            await eventually(noted)


async def test_the_commands_do_the_same(opened: Opened, shop: Shop, tmp_path: Path) -> None:
    """What a card shows to be copied runs in a terminal as it stands (at this shop's ports), and is answered alike."""
    async with opened(shop) as page:
        await placed(page)
        await page.click('[data-view="play"]')
        read = "calls => calls.map(call => [call.dataset.call, call.querySelector('details pre').textContent])"
        commands = dict(await page.eval_on_selector_all("[data-call]", read))
    ports = {port.default: shop.around.shared[port.setting] for spec in TABLE for port in spec.ports}
    (tmp_path / ".shop").symlink_to(shop.around.data_dir)
    for call, command in commands.items():
        local = re.sub(r"localhost:(\d+)", lambda found: f"127.0.0.1:{ports[int(found[1])]}", command)
        expected = {
            "three-ways": "Mechanical Keyboard",
            "websocket": "subscribed",
            "sse": "retry:",
            "event": "published",
        }
        until = expected[call] if call in ("websocket", "sse") else ""

        async def printed(local: str = local, until: str = until) -> str | None:
            """What it prints, unless this machine is too busy to answer in time."""
            out = await _in_a_terminal(local, shop, tmp_path, until)
            return None if " 503 " in out or " 504 " in out else out

        out = await eventually(printed, within=60)
        for status in STATUSES[call]:
            if status.isdigit() and status not in ("101", "304"):
                assert f" {status} " in out or call == "sse", f"{call}: {local}\n{out}"
        assert expected.get(call, "") in out, f"{call}: {local}\n{out}"


async def _in_a_terminal(command: str, shop: Shop, folder: Path, until: str) -> str:
    """All that a command prints; a stream, which does not end, up to this text."""
    python = Path(sys.executable)
    named = f'shop() {{ "{python}" -m shop "$@"; }}; websockets() {{ "{python}" -m websockets "$@"; }}'
    env = {**shop.around.shared, "PATH": f"{python.parent}:{shop.around.shared['PATH']}", "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f"{named}; {command}",
        cwd=folder,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    out = b""
    try:
        async with asyncio.timeout(60):
            while (printed := await process.stdout.read(65_536)) and not (until and until.encode() in out + printed):
                out += printed
            out += printed
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return out.decode(errors="replace")


async def test_an_order_can_be_taken_along(opened: Opened, shop: Shop, tmp_path: Path) -> None:
    """Mermaid for a ticket, a picture, OTLP for another tool, and one page that opens without the shop."""
    async with opened(shop) as page:
        await placed(page)
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])

        async def copied() -> list[str] | None:
            """The diagram's arrows, once it has all rows: a step's second try comes after the order has shipped."""
            await page.click("#copy-mermaid")
            await expect(page.locator("#toast")).to_have_text("Mermaid copied")
            text: str = await page.evaluate("navigator.clipboard.readText()")
            # A hop that failed, as a step that came too early does, has a note as well.
            lines = [line for line in text.splitlines() if not line.startswith("  Note over ")]
            return lines if len(lines) == 1 + await page.locator("[data-hop]").count() else None

        lines = await eventually(copied, within=60)
        assert lines[0] == "sequenceDiagram"
        assert "  client->>gateway: REST POST /v1/orders" in lines
        saved = {}
        for button in ("save-svg", "save-otlp", "save-html"):
            async with page.expect_download() as download:
                await page.click(f"#{button}")
            saved[button] = tmp_path / (await download.value).suggested_filename
            await (await download.value).save_as(saved[button])
        assert saved["save-svg"].read_text().startswith("<svg")
        assert json.loads(saved["save-otlp"].read_text())["resourceSpans"]
        await page.goto(saved["save-html"].as_uri())
        assert await page.locator("details").count() >= len(lines) - 1
        await expect(page.locator("figure svg .label").first).to_contain_text("POST /v1/orders")


async def test_it_needs_no_mouse(opened: Opened, shop: Shop) -> None:
    """An order is placed, followed, opened and closed again by keyboard alone."""
    async with opened(shop) as page:
        while await page.evaluate("document.activeElement.id") != "place-order":
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_selector(SETTLED)
        while not await page.evaluate("document.activeElement.dataset.hop ?? ''"):
            await page.keyboard.press("Tab")
        first = await page.evaluate("document.activeElement.dataset.hop")
        await page.keyboard.press("ArrowDown")
        second = await page.evaluate("document.activeElement.dataset.hop")
        assert second not in ("", first)
        await page.keyboard.press("Enter")
        await expect(page.locator("#hop")).to_be_visible()
        while await page.evaluate("document.activeElement.dataset.tab ?? ''") != "meaning":
            await page.keyboard.press("Tab")
        await page.keyboard.press("ArrowRight")
        assert await page.evaluate("document.activeElement.dataset.tab") == "wire"
        await page.keyboard.press("Escape")
        await expect(page.locator("#hop")).to_be_hidden()
        assert await page.evaluate("document.activeElement.dataset.hop") == second


LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}},
}


async def test_everybody_can_use_it(opened: Opened, shop: Shop) -> None:
    """Axe finds nothing in any view, light, dark or on a phone, where nothing is wider than the screen."""
    async with opened(shop) as page:
        await placed(page)
        await page.focus("[data-hop]")
        await page.keyboard.press("Enter")
        await page.click('[data-tab="wire"]')
        address = page.url
    for name, looks in LOOKS.items():
        async with opened(shop, **looks) as page:
            await page.goto(address)
            await page.wait_for_selector("#hop .hex")
            for view in VIEWS:
                await page.click(f'[data-view="{view}"]')
                if view == "map":
                    await page.wait_for_selector("#topology table")
                found = await violations(page, colours_only=name == "dark")
                assert found == "", f"{name}, {view}: {found}"
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name}, {view}"
