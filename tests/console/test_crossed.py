"""The Wire tab with a lab: what crossed the link beside what the process kept, and which of the two is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from console.decoders.link_frames import Leg, chosen, legs
from console.domain import Trace
from console.hops import Hop
from console.views import link_tap
from tests.console.test_break_view import lab
from tests.console.test_lessons_view import console, opened
from tests.pages.accessibility import violations

__all__ = ["lab"]

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
LINKS = [
    {"name": f"{source}->{target}", "from": source, "to": target}
    for source, target in (
        ("gateway", "orders"),
        ("client", "notifier"),
        ("console", "notifier"),
        ("notifier", "console"),
        ("orders", "broker"),
        ("mailer", "broker"),
    )
]
# Milliseconds for an order, and for connections to be renewed, on a busy machine.
WITHIN = 60_000


def hop(origin: str, target: str, protocol: str = "gRPC") -> Hop:
    return Hop(
        span_id=SPAN,
        id=SPAN,
        offset_ms=1_000,
        protocol=protocol,
        origin=origin,
        target=target,
        operation="",
        duration_ms=500,
        bytes_sent=None,
        bytes_received=None,
        error="",
    )


def frame(at: float, stream: str, traceparent: str = "") -> dict[str, Any]:
    return {"connection": 1, "stream": stream, "traceparent": traceparent, "at": at}


def test_a_message_has_two_links_and_a_push_its_clients() -> None:
    """To the broker and from it; what a server sends by itself crosses the link that its client opened."""
    assert legs(hop("gateway", "orders"), LINKS) == [Leg("gateway->orders")]
    assert legs(hop("notifier", "client", "WebSocket"), LINKS) == [
        Leg("client->notifier"),
        Leg("console->notifier"),
    ]
    through = [Leg("orders->broker", "request"), Leg("mailer->broker", "answer")]
    assert legs(hop("orders", "mailer", "AMQP"), LINKS) == through
    # Two that call each other send messages through the broker's file all the same.
    assert legs(hop("gateway", "orders", "queue"), LINKS) == [Leg("orders->broker", "answer")]
    # An event log on Kafka is on no link: the lab has no proxy there.
    assert legs(hop("orders", "notifier", "Kafka"), LINKS) == []
    assert legs(hop("orders", "catalog"), LINKS) == []


def test_frames_are_found_by_the_trace_and_where_there_is_none_by_the_time() -> None:
    """Of two calls of one trace on one link only the hop's own; another trace's never."""
    mine, other = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{'1' * 16}-01"
    frames = [frame(101.1, "a", mine), frame(101.2, "a"), frame(101.2, "b", other), frame(101.3, "b")]
    assert chosen(frames, hop("gateway", "orders"), TRACE, 100.0) == ("trace", frames[:2])
    foreign = frame(101.2, "c", mine.replace(TRACE, "f" * 32))
    early, within = frame(99.0, ""), frame(101.2, "")
    assert chosen([early, within, foreign], hop("mailer", "smtp_sink", "SMTP"), TRACE, 100.0) == ("time", [within])


@pytest.mark.parametrize(
    ("found", "matched"),
    [
        (("trace", "time"), "time"),
        (("time", "trace"), "time"),
        (("trace", "trace"), "trace"),
        (("trace", ""), "trace"),
        (("", ""), "trace"),
    ],
)
async def test_one_leg_that_was_found_by_time_makes_the_whole_a_guess(
    monkeypatch: pytest.MonkeyPatch, found: tuple[str, str], matched: str
) -> None:
    """Whichever of a message's two links it is; a leg without frames says nothing."""

    class StubTap(link_tap.LinkTap):
        async def _call(self, method: str, path: str) -> dict[str, Any]:
            return {"links": LINKS, "watching": True, "frames": []}

    by_link = dict(zip(("orders->broker", "mailer->broker"), found, strict=True))

    def of(_frames: Any, leg: Leg, _trace: Trace, _hop: Hop) -> tuple[str, list[dict[str, Any]]]:
        by = by_link[leg.link]
        return by or "time", [{"offset_ms": 1.0}] if by else []

    monkeypatch.setattr(link_tap, "_of", of)
    answer = await StubTap("socket").frames(Trace(TRACE), hop("orders", "mailer", "AMQP"))
    assert answer["matched"] == matched


async def test_without_a_lab_the_reason_is_given(tmp_path: Path) -> None:
    """Links are watched for the page alone, and never in production; an unknown trace is not found."""
    async with console(tmp_path) as url, httpx.AsyncClient(timeout=60) as http:
        assert (await http.get(f"{url}/api/traces/{TRACE}/link?hop={SPAN}")).status_code == 404
        assert (await http.post(f"{url}/api/links/watch", content=b"{}")).status_code == 422
        answer = await http.post(f"{url}/api/links/watch", json={})
        assert (answer.status_code, "shop up --lab" in answer.json()["detail"]) == (404, True)
    async with (
        console(tmp_path, link_proxy_socket=str(tmp_path / "gone.sock")) as url,
        httpx.AsyncClient(timeout=60) as http,
    ):
        answer = await http.post(f"{url}/api/links/watch", json={})
        assert (answer.status_code, "link proxy" in answer.json()["detail"]) == (503, True)
    async with console(tmp_path, env="production") as url, httpx.AsyncClient(timeout=60) as http:
        assert (await http.post(f"{url}/api/links/watch", json={})).status_code == 403
        assert (await http.get(f"{url}/api/traces/{TRACE}/link?hop={SPAN}")).status_code == 403


async def shown(page: Page, **hop: str) -> None:
    """Open the Wire tab of the first hop like this."""
    if await page.locator("#hop:not([hidden])").count():
        await page.keyboard.press("Escape")
    await page.focus("".join(["[data-hop]", *(f'[data-{name}="{value}"]' for name, value in hop.items())]))
    await page.keyboard.press("Enter")
    await page.click('[data-tab="wire"]')


async def placed(page: Page) -> None:
    await page.click("#place-order")
    await page.wait_for_selector("#order[data-settled]", timeout=WITHIN)


@pytest.mark.browser
@pytest.mark.system
@pytest.mark.timeout(400)
@pytest.mark.asyncio(loop_scope="session")
async def test_the_wire_tab_shows_what_crossed_the_link(chromium: Browser, lab: str) -> None:
    """Nothing until the links are watched; then HTTP/2 frames with HPACK, and a switch back to what was captured."""
    async with opened(chromium, lab, "order") as page:
        await placed(page)
        await shown(page, to="orders", protocol="gRPC")
        process, link = (page.locator(f'#wire [data-source="{name}"]') for name in ("process", "link"))
        await expect(process).to_have_attribute("aria-pressed", "true")
        await link.click()
        await page.locator("#watch-links").click()
        await expect(page.locator("#wire")).to_contain_text("is being watched", timeout=WITHIN)
        await placed(page)
        await shown(page, **{"from": "gateway", "to": "orders"})
        frames = page.locator("#wire h4")
        await expect(frames.filter(has_text="→ HEADERS stream")).to_have_count(1)
        await expect(frames.filter(has_text="→ DATA stream")).to_have_count(1)
        await expect(frames.filter(has_text="← HEADERS stream")).not_to_have_count(0)
        await expect(page.locator("#wire")).to_contain_text("Crossed the link gateway->orders")
        parts = page.locator("#wire .parts li")
        await expect(parts.filter(has_text="header :path")).to_contain_text("PlaceOrder")
        await expect(parts.filter(has_text="header authorization")).to_contain_text(re.compile(r"\*{20,}"))
        await expect(parts.filter(has_text="1 items.product_id").first).to_be_visible()
        await expect(page.locator("#wire .hex .c3").first).to_be_visible()
        assert await violations(page) == ""
        await process.click()
        await expect(page.locator("#wire")).to_contain_text("Captured in the process")
        await expect(frames.first).to_contain_text("Sent by gateway")
        await link.click()
        for protocol, text in (("SOAP", "SOAPAction"), ("SMTP", "command MAIL"), ("WebSocket", "MASK and length")):
            await shown(page, protocol=protocol)
            await expect(page.locator("#wire .parts").filter(has_text=text).first).to_be_visible()
        await shown(page, protocol="queue")
        await expect(page.locator("#wire")).to_contain_text("an embedded broker and SQLite are files")
