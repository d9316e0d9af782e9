"""`shop trace`: an order's hops in a terminal."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shop.commands.orders import trace as command
from shop.commands.orders.trace import trace
from shop.errors import Refused
from tests.shop import Shop, shop_in_one_loop
from tests.waiting import eventually


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop_in_one_loop(tmp_path) as running:
        yield running


async def traced(shop: Shop, order: str) -> tuple[bool, list[str]]:
    out = io.StringIO()
    fine = await asyncio.to_thread(trace, order, shop.around.shared, out)
    return fine, out.getvalue().splitlines()


async def test_an_order_is_followed_to_its_end(shop: Shop) -> None:
    """While the order runs, its hops are printed in at most 80 columns, each once, and all went well."""
    order = (await shop.place(("42", 1))).json()

    async def shipped() -> bool:
        url = f"{shop.address('SHOP_CONSOLE_URL')}/api/orders/{order['id']}/xray"
        return (await shop.http.get(url)).status_code == 200 and await shop.status(order["id"]) == "shipped"

    await eventually(shipped, within=30)
    fine, lines = await traced(shop, order["id"])
    assert fine
    assert max(map(len, lines)) <= 80
    for protocol in ("REST", "gRPC", "queue", "SOAP", "HTTP", "webhook", "SMTP"):
        assert any(f" {protocol} " in line for line in lines), protocol
    assert lines[-1] == "Every hop went well."


async def test_what_is_not_known_is_refused(shop: Shop) -> None:
    """An order that the console has no trace of is said to be unknown."""
    with pytest.raises(Refused, match="no trace of 'nothing'"):
        await traced(shop, "nothing")


HOP = {
    "id": "1",
    "span_id": "1",
    "state": "landed",
    "offset_ms": 0.0,
    "protocol": "gRPC",
    "from": "gateway",
    "to": "orders",
    "operation": "PlaceOrder",
    "duration_ms": 1.0,
    "waiting_ms": None,
    "note": "",
    "error": None,
}


def sent(name: str, content: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()


@contextmanager
def stub_console(*events: bytes, stays: bool) -> Iterator[dict[str, str]]:
    """A console with one trace, which sends these events; it `stays` connected, and says so, or ends the answer."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stream = self.path.endswith("/events")
            self.send_response(200)
            self.send_header("content-type", "text/event-stream" if stream else "application/json")
            self.end_headers()
            if not stream:
                self.wfile.write(b'{"trace_id": "t1"}')
                return
            for each in events:
                self.wfile.write(each)
            while stays and not over.wait(0.01):
                self.wfile.write(b": still here\n\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield {"SHOP_CONSOLE_URL": f"http://127.0.0.1:{server.server_address[1]}"}
        finally:
            over.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("flying", "said"), [(1, "1 hop has no end: "), (2, "2 hops have no end: ")], ids=["one", "two"]
)
def test_a_hop_whose_process_was_killed_has_no_end(monkeypatch: pytest.MonkeyPatch, flying: int, said: str) -> None:
    """After a while without news the command ends, with the hops that have no end, and not as if all went well."""
    monkeypatch.setattr(command, "_NEWS_TIMEOUT", 0.05)
    hops = [sent("hop", {**HOP, "id": str(each), "span_id": str(each), "state": "flying"}) for each in range(2, 4)]
    out = io.StringIO()
    with stub_console(sent("hop", HOP), *hops[:flying], stays=True) as env:
        assert trace("o1", env, out) is False
    lines = out.getvalue().splitlines()
    assert sum("PlaceOrder, no end" in line for line in lines) == flying
    assert lines[-1].startswith(said)


@pytest.mark.parametrize(
    ("last", "why"),
    [(lambda: sent("evicted", {}), "no longer has the trace t1"), (lambda: b"", "ended the stream of the trace t1")],
    ids=["evicted", "ended"],
)
def test_a_trace_whose_stream_ends_early_did_not_go_well(last: Callable[[], bytes], why: str) -> None:
    """One that the console has deleted, or of which it sends no more, has no verdict."""
    with stub_console(sent("hop", HOP), last(), stays=False) as env, pytest.raises(Refused, match=why):
        trace("o1", env, io.StringIO())
