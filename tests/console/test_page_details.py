"""Details of the console's page in a real browser, with answers made by hand in place of a shop's."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from console.bootstrap import Settings, run
from tests.pages.browser import browser_page
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="session")]

TRACE = "01" * 16
Opened = Callable[..., AbstractAsyncContextManager[Page]]
# Notes the address of each answer once the page has read it and done with it what it does.
NOTE_ANSWERS = """() => {
  const { json } = Response.prototype;
  window.answered = [];
  Response.prototype.json = async function () {
    const body = await json.call(this);
    setTimeout(() => window.answered.push(this.url));
    return body;
  };
}"""


@pytest.fixture
def opened(chromium: Browser) -> Opened:
    """The page of a console without a shop; `answers` are given in place of the console's own, by their path."""

    @asynccontextmanager
    async def opening(link: str, **answers: Callable[[Route], Any]) -> AsyncIterator[Page]:
        settings = Settings(console_port=0, console_otlp_port=0, otlp_url="")
        async with run(settings) as console, browser_page(chromium, complaints=False) as page:
            for name, answer in answers.items():
                await page.route(f"**/api/{name}*" if name != "events" else "**/api/traces/*/events", answer)
            await page.goto(f"http://127.0.0.1:{console.port}/{link}")
            yield page

    return opening


def hop(identity: str, **facts: Any) -> dict[str, Any]:
    """A call of 100 ms, as the console has it."""
    whole: dict[str, Any] = {
        "id": identity, "span_id": identity, "kind": "call", "state": "landed", "parent": None, "links": [],
        "offset_ms": 0.0, "protocol": "gRPC", "from": "gateway", "to": "orders", "operation": "GetOrder",
        "duration_ms": 100.0, "bytes_sent": 1, "bytes_received": 1, "queue": None, "waiting_ms": None,
        "attempt": None, "note": "", "error": None, "code": {}, "wire": {}, "decoded": {},
    }  # fmt: skip
    return {**whole, **facts}


def stream(found: list[dict[str, Any]]) -> Callable[[Route], Any]:
    """Server-sent events: these hops, and the end of the connection."""

    async def answer(route: Route) -> None:
        body = "retry: 50\n\n" + "".join(f"event: hop\ndata: {json.dumps(each)}\n\n" for each in found)
        await route.fulfill(body=body, content_type="text/event-stream")

    return answer


@pytest.mark.parametrize(
    ("card", "path", "address"),
    [
        (
            "refused",
            "/v1/orders/it's {{order_id}}?a=$HOME",
            "http://localhost:8000/v1/orders/it's $ORDER?a=$HOME",
        ),
        ("sse", "/notifications/stream?topics=it's", "http://localhost:8001/notifications/stream?topics=it's"),
        ("websocket", "/notifications?since=7", "ws://localhost:8001/notifications?since=7&token=$TOKEN"),
        ("websocket", "/notifications", "ws://localhost:8001/notifications?token=$TOKEN"),
    ],
)
async def test_a_command_calls_the_path_that_was_written(opened: Opened, card: str, path: str, address: str) -> None:
    """Whatever stands in the path, the shell takes it as one word, with the values of placeholders in it."""
    async with opened("#play") as page:
        await page.fill(f'[data-call="{card}"] input', path)
        command = await page.text_content(f'[data-call="{card}"] details pre')
        assert command is not None
        assert address in shlex.split(command.replace("\\\n", " "))


async def test_calls_of_one_press_have_one_idempotency_key(opened: Opened) -> None:
    """The order that is placed twice has the same key both times, and another one at the next press."""
    keys: list[str] = []

    async def answer(route: Route) -> None:
        keys.append((route.request.post_data_json or {})["headers"]["idempotency-key"])
        made = {"status": 202, "reason": "", "headers": [], "body": "", "sent": 0, "size": 0, "duration_ms": 1.0}
        await route.fulfill(json={**made, "decoded": None, "frames": None, "failed": False, "trace_id": TRACE})

    async with opened("#play", play=answer) as page:
        for presses in (1, 2):
            await page.click('[data-call="idempotent"] button.primary')
            await expect(page.locator('#answer[data-answered="idempotent"]')).to_be_visible()
            assert len(keys) == 2 * presses
    first, again, second, once_more = keys
    assert (first == again, second == once_more, first == second) == (True, True, False)


async def test_a_late_answer_does_not_replace_a_newer_one(opened: Opened) -> None:
    """The map shows the minute that the slider stands at, in whatever order the answers come."""
    newer_shown = asyncio.Event()

    async def answer(route: Route) -> None:
        minutes = int(route.request.url.rpartition("=")[2])
        if minutes == 5:
            await newer_shown.wait()
        arrow: dict[str, Any] = {
            "from": "a",
            "protocol": "gRPC",
            "to": "b",
            "count": minutes or 9,
            "rate": 1.0,
            "failed": 0,
        }
        arrow |= {"p50_ms": 1.0, "p95_ms": 1.0, "breaker_open": False, "points": None}
        box = {"name": "a", "at": [0, 0], "role": ""}
        await route.fulfill(json={"boxes": [box], "band": [0, 0, 1, 1], "queues": [], "arrows": [arrow], "unread": {}})

    async with opened("#map", topology=answer) as page:
        summary = page.locator("#map-summary")
        await expect(summary).to_contain_text("9 hops")
        await page.evaluate(NOTE_ANSWERS)
        slide = "(slider, minutes) => { slider.value = minutes; slider.dispatchEvent(new Event('input')); }"
        for minutes in ("5", "3"):
            await page.eval_on_selector("#map-until", slide, minutes)
        await expect(summary).to_contain_text("3 hops")
        newer_shown.set()
        await eventually(lambda: page.evaluate("() => window.answered.some((url) => url.endsWith('minutes_ago=5'))"))
        await expect(summary).to_contain_text("3 hops")


@pytest.mark.parametrize("tab", ["nothing", "toString", ""])
async def test_a_link_to_an_unknown_tab_shows_the_meaning(opened: Opened, tab: str) -> None:
    """As one without a tab does."""
    async with opened(f"?trace={TRACE}&hop=a&tab={tab}#order", events=stream([hop("a")])) as page:
        await expect(page.locator('#hop [data-tab="meaning"]')).to_have_attribute("aria-selected", "true")
        await expect(page.locator("#hop-panel")).to_contain_text("gateway called orders")


async def test_time_in_calls_is_counted_once(opened: Opened) -> None:
    """Calls at the same time, or beyond the hop's end, make no more of its time than there is."""
    found = [
        hop("a", duration_ms=100.0),
        hop("b", parent="a", offset_ms=10.0, duration_ms=40.0),
        hop("c", parent="a", offset_ms=20.0, duration_ms=40.0),
        hop("d", parent="a", offset_ms=80.0, duration_ms=90.0),
        hop("e", parent="a", offset_ms=5.0, duration_ms=70.0, kind="message"),
    ]
    async with opened(f"?trace={TRACE}&hop=a&tab=cost#order", events=stream(found)) as page:
        await expect(page.locator("#hop-panel tr", has_text="In calls from here")).to_contain_text("70 ms in 3 calls")
        await expect(page.locator("#hop-panel tr", has_text="Own work and the way")).to_contain_text("30 ms")


async def test_hops_that_are_gone_after_a_reconnect_are_not_shown(opened: Opened) -> None:
    """A new connection sends the whole trace: what it lacks is no longer shown."""
    first, following = stream([hop("a"), hop("b")]), stream([hop("b")])
    connections, lost = 0, asyncio.Event()

    async def answer(route: Route) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await first(route)
        else:
            await lost.wait()
            await following(route)

    async with opened(f"?trace={TRACE}#order", events=answer) as page:
        await expect(page.locator('[data-hop="a"]').first).to_be_visible()
        lost.set()
        await expect(page.locator('[data-hop="a"]')).to_have_count(0)
        await expect(page.locator('[data-hop="b"]').first).to_be_visible()


async def test_hops_stay_after_a_reconnect_without_any(opened: Opened) -> None:
    """A console that was restarted has nothing of the trace: the picture and the chosen hop stay as they were."""
    first, following = stream([hop("a")]), stream([])
    connections = 0

    async def answer(route: Route) -> None:
        nonlocal connections
        connections += 1
        await (first if connections == 1 else following)(route)

    async with opened(f"?trace={TRACE}&hop=a#order", events=answer) as page:
        await eventually(lambda: connections >= 3)  # by then the page has met the second one
        await page.click("#scale")  # draws at once
        await expect(page.locator("#summary")).to_contain_text("1 hops")
        await expect(page.locator("#hop-panel")).to_contain_text("gateway called orders")


async def test_choosing_the_logs_again_reads_them_again(opened: Opened) -> None:
    """Lines that arrive after the hop has settled are shown at the next press of the tab."""
    line = {"time": "2026-01-01T00:00:00.000", "level": "info", "service": "orders", "message": "written"}
    kept: list[dict[str, Any]] = []

    async def answer(route: Route) -> None:
        await route.fulfill(json={"items": kept})

    events = stream([hop("a")])
    async with opened(f"?trace={TRACE}&hop=a&tab=logs#order", events=events, **{"traces/*/logs": answer}) as page:
        await expect(page.locator("#hop-panel")).to_contain_text("No line was written")
        kept.append({**line, "hop": "a", "attributes": {}})
        await page.click("#tab-logs")
        await expect(page.get_by_label("Log lines of this hop")).to_contain_text("orders: written")


async def test_log_lines_are_asked_for_once(opened: Opened) -> None:
    """A redraw in which nothing of the hop has changed shows the answer that is there."""
    asked: list[str] = []

    async def answer(route: Route) -> None:
        asked.append(route.request.url)
        line = {"time": "2026-01-01T00:00:00.000", "level": "info", "service": "orders", "message": "written"}
        await route.fulfill(json={"items": [{**line, "hop": "a", "attributes": {}}]})

    events = stream([hop("a")])
    async with opened(f"?trace={TRACE}&hop=a&tab=logs#order", events=events, **{"traces/*/logs": answer}) as page:
        lines = page.get_by_label("Log lines of this hop")
        await expect(lines).to_contain_text("orders: written")
        for _ in range(3):
            await page.click("#scale")
            await expect(lines).to_contain_text("orders: written")
        assert len(asked) == 1
