"""What the tour demands of a journey, and how it prints one."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner
from websockets.sync.server import serve

from shop.cli import app
from shop.commands.orders import trace
from shop.commands.orders.tour import journey
from shop.commands.orders.tour.journey import travel
from shop.commands.orders.tour.page import LEGEND, Page, as_json, hop_lines, via
from shop.commands.orders.tour.verdict import DELIVERED, REJECTED, Hop, Journey, Trip
from shop.errors import Refused
from shop.gateway_client import Gateway, GatewayError, problem
from shop.logs.command import lines
from shop.notifier_client import LostError, live
from shop.supervisor import lock, state
from shop.supervisor.state import ProcessState, State
from shop.urls import url_of

PROTOCOLS = ("REST", "gRPC", "queue", "SOAP", "HTTP", "webhook", "SMTP", "SMTP", "WebSocket")


def _hop(protocol: str, **facts: Any) -> Hop:
    hop: Hop = {
        "offset_ms": 1.0,
        "protocol": protocol,
        "from": "here",
        "to": "there",
        "operation": "do",
        "duration_ms": 2.0,
        "bytes_sent": 10,
        "bytes_received": None,
        "queue": None,
        "waiting_ms": None,
        "attempt": None,
        "error": None,
    }
    return {**hop, **facts}


def _journey(hops: Sequence[Hop], *, events: Sequence[str] = ("order.placed", "order.shipped")) -> Journey:
    return Journey(
        "o-1", events, Trip("order o-1", "t1", hops), Trip("GraphQL query", "t2", [_hop("GraphQL"), _hop("REST")])
    )


def _whole() -> list[Hop]:
    return [_hop(protocol) for protocol in PROTOCOLS]


def test_a_whole_journey_has_no_problems() -> None:
    """Every expected kind of hop, all well, and the last event seen: nothing to complain of."""
    assert DELIVERED.complete(_whole())
    assert DELIVERED.problems(_journey(_whole())) == []


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("REST", "no hop is a REST call"),
        ("gRPC", "no hop is a gRPC call"),
        ("queue", "no hop is an event through the broker"),
        ("SOAP", "no hop is a SOAP call"),
        ("HTTP", "no hop is an HTTP call to the payment provider"),
        ("webhook", "no hop is a webhook"),
        ("SMTP", "no hop is a mail (SMTP)"),
        ("WebSocket", "no hop is a message on the WebSocket"),
    ],
)
def test_a_missing_kind_of_hop_is_named(protocol: str, said: str) -> None:
    """A journey without one kind of hop is not complete, and the problem says which kind."""
    hops = [hop for hop in _whole() if hop["protocol"] != protocol]
    assert not DELIVERED.complete(hops)
    assert DELIVERED.problems(_journey(hops)) == [f"order o-1: {said}"]


def test_rabbitmq_is_a_queue_too() -> None:
    """An AMQP hop is as good as one through the embedded broker."""
    hops = [{**hop, "protocol": "AMQP"} if hop["protocol"] == "queue" else hop for hop in _whole()]
    assert DELIVERED.problems(_journey(hops)) == []


def test_each_mail_is_expected() -> None:
    """A delivered order sends two mails; one alone is a problem."""
    assert DELIVERED.problems(_journey(_whole()[:-3] + _whole()[-2:])) == [
        "order o-1: only 1 of 2 hops are a mail (SMTP)"
    ]


def test_a_failed_hop_is_named() -> None:
    """A hop with an error is a problem with its number, ends and error."""
    problems = DELIVERED.problems(_journey([*_whole(), _hop("SOAP", error="ERP_DOWN: no answer")]))
    assert problems == ["order o-1: hop 10 failed (SOAP here -> there): ERP_DOWN: no answer"]


@pytest.mark.parametrize("code", ["UPSTREAM_UNAVAILABLE", "DEADLINE_EXCEEDED"])
def test_call_that_was_answered_later_is_no_problem(code: str) -> None:
    """A hop that a busy machine did not answer in time may fail where a later one of the same operation went well."""
    late = _hop("SOAP", operation="createOrder", error=f"{code}: legacy_soap took too long")
    again = _hop("SOAP", operation="createOrder")
    assert DELIVERED.problems(_journey([*_whole(), late, again])) == []
    assert DELIVERED.problems(_journey([*_whole(), late, late, again])) == []
    for hops in ([late], [again, late], [late, _hop("SOAP", operation="other")], [late, {**again, "to": "other"}]):
        assert len(DELIVERED.problems(_journey([*_whole(), *hops]))) == 1
    refused = {**late, "error": "ERP_DOWN: no"}
    assert len(DELIVERED.problems(_journey([*_whole(), refused, again]))) == 1


def test_quote_does_without_availability() -> None:
    """That no availability came in time is no problem; any other error of that call is one."""
    asked = _hop("gRPC", operation="shop.inventory.v1.InventoryService/CheckAvailability")
    assert DELIVERED.problems(_journey([*_whole(), {**asked, "error": "DEADLINE_EXCEEDED: inventory"}])) == []
    assert len(DELIVERED.problems(_journey([*_whole(), {**asked, "error": "INTERNAL: oops"}]))) == 1


def test_hops_without_an_end_are_counted() -> None:
    """What no process has said the end of is a problem of the journey."""
    hops = [*_whole(), _hop("SOAP", state="flying"), _hop("gRPC", state="flying")]
    assert DELIVERED.problems(_journey(hops)) == ["order o-1: 2 hops have no end"]


@pytest.fixture
def closing_notifier() -> Iterator[str]:
    """The URL of a stub of the notifier that refuses every token, as it does after the upgrade."""
    with serve(lambda connection: connection.close(4401, "bad token"), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def test_a_token_that_the_notifier_refuses_ends_the_tour(
    closing_notifier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the notifier's reason, and no traceback."""
    monkeypatch.setattr(Gateway, "sign_in", lambda *_: "token")
    with pytest.raises(Refused, match="the notifier closed the WebSocket: 4401 bad token"):
        travel({"SHOP_NOTIFIER_URL": closing_notifier, "SHOP_GATEWAY_URL": "http://127.0.0.1:1"}, DELIVERED)


def test_a_connection_that_was_closed_takes_no_message(closing_notifier: str) -> None:
    """What is said in a room over it is lost with it, as a subscription is."""
    with live(closing_notifier, "token") as connection:
        with pytest.raises(LostError):
            connection.frame()
        with pytest.raises(LostError, match="4401 bad token") as lost:
            next(connection.chat("o-1", "hello"))
    assert lost.value.expired


def test_an_order_that_does_not_end_is_a_problem() -> None:
    """Without its last event on the WebSocket the journey is not a success."""
    assert DELIVERED.problems(_journey(_whole(), events=["order.placed"])) == [
        "order.shipped did not come over the WebSocket"
    ]


def test_showing_hops_and_following_share_the_time_of_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of it is waited for, and what has arrived when none is left is read all the same."""
    waited = []

    class Arrived:
        def frames(self, within: float) -> Iterator[dict[str, str]]:
            waited.append(within)
            yield {"subject": "o-1", "type": "order.placed"}
            yield {"subject": "o-1", "type": "order.shipped"}

    def settled(_console: httpx.Client, _trace_id: str, *, news_timeout: float) -> Iterator[Hop]:
        waited.append(news_timeout)
        yield _hop("REST", state="done")

    connection: Any = Arrived()
    shown: list[Hop] = []
    monkeypatch.setattr(journey, "_read_trace", lambda *_: {"hops": [{}]})
    monkeypatch.setattr(journey, "finished", settled)
    for left, most in ((20.0, 20.0), (-20.0, journey.QUIET)):
        waited.clear()
        deadline = time.monotonic() + left
        journey._show_hops("http://console.test", "t1", shown.append, deadline)
        assert journey._follow(connection, "o-1", "order.shipped", deadline) == ["order.placed", "order.shipped"]
        assert len(waited) == 2
        assert all(journey.QUIET <= each <= most for each in waited)
    assert len(shown) == 2


def test_a_rejection_may_refuse_but_not_fail() -> None:
    """On the way of a rejected order OUT_OF_STOCK is the expected answer; any other error is a failure."""
    hops = [_hop(protocol) for protocol in ("REST", "queue", "SMTP", "WebSocket")]
    events = ["order.placed", "order.rejected"]
    assert (
        REJECTED.problems(_journey([*hops, _hop("gRPC", error="OUT_OF_STOCK: not enough of 42")], events=events)) == []
    )
    assert len(REJECTED.problems(_journey([*hops, _hop("gRPC", error="INTERNAL: oops")], events=events))) == 1


def test_the_page_tells_every_hop_and_the_totals() -> None:
    """The text has each hop with its queue, waiting time and bytes, once, and a total for each protocol."""
    out = io.StringIO()
    queued = _hop("queue", operation="order.placed", queue="order-processing", waiting_ms=3.25, attempt=2)
    call = _hop("gRPC", operation="shop.orders.v1.OrderService/PlaceOrder", bytes_received=7)
    page = Page(out)
    page.hop(call)
    page.rest([call, queued])
    page.end(_journey([call, queued]), ["something is wrong"], ["a note"])
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert lines.count(["1", "gRPC", "here", ">", "there:", "OrderService/PlaceOrder", "2", "10", "7"]) == 1
    assert "by order-processing, waited 3 ms; attempt 2" in out.getvalue()
    assert ["gRPC", "1", "2", "10", "7"] in lines
    assert "a note\nPROBLEM something is wrong" in out.getvalue()


@pytest.mark.parametrize(
    ("hop", "said"),
    [
        (_hop("queue", queue="order-mail", waiting_ms=1.0), "queue"),
        (_hop("AMQP", queue="event-log", waiting_ms=1.0), "log"),
        (_hop("queue"), "broker"),
        (_hop("REST"), "REST"),
    ],
)
def test_queue_log_and_broker_are_told_apart(hop: Hop, said: str) -> None:
    """A work queue, the event log, and an event that no consumer wants have names of their own."""
    assert via(hop) == said


def test_every_line_fits_eighty_columns() -> None:
    """However long names are, no line is longer than a terminal of 80 columns, and the operation is not lost."""
    long = {"from": "payment_provider", "to": "graphql_server", "operation": "POST /v1/payment_intents/and/more/of/it"}
    for hop in (
        _hop("HTTP", **long),
        _hop("queue", **long, queue="webhook-processing", waiting_ms=123456.0, attempt=12),
    ):
        lines = hop_lines(hop)
        assert all(len(line) <= 80 for line in lines)
        assert any(long["operation"] in line for line in lines)
    assert all(len(line) <= 80 for line in LEGEND.splitlines())


def test_modern_erp_needs_no_soap() -> None:
    """Where the shop runs on the modern ERP, a journey without SOAP is whole."""
    hops = [hop for hop in _whole() if hop["protocol"] != "SOAP"]
    assert DELIVERED.without_soap().problems(_journey(hops)) == []


def test_the_json_has_everything() -> None:
    """`--json` prints the ids, the hops of both traces and the problems."""
    content = json.loads(as_json(_journey(_whole()), ["wrong"]))
    assert (content["order_id"], content["trace_id"], content["problems"]) == ("o-1", "t1", ["wrong"])
    assert [hop["protocol"] for hop in content["hops"]] == list(PROTOCOLS)
    assert [hop["protocol"] for hop in content["graphql"]["hops"]] == ["GraphQL", "REST"]


def _answer(status: int, **content: Any) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("POST", "http://gateway/v1/orders"), **content)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (
            lambda: _answer(
                422,
                json={
                    "detail": "cannot be accepted",
                    "code": "INVALID_INPUT",
                    "trace_id": "abc",
                    "errors": [{"field": "items", "detail": "must not be empty"}],
                },
            ),
            (
                "POST /v1/orders failed with 422 INVALID_INPUT: cannot be accepted (trace abc)\n"
                "  items: must not be empty"
            ),
        ),
        (lambda: _answer(502, text="<html>"), "POST /v1/orders failed with 502: <html>"),
        (lambda: _answer(503, json=[]), "POST /v1/orders failed with 503: []"),
        (lambda: _answer(503, json={"detail": "no", "errors": ["x"]}), "POST /v1/orders failed with 503: no"),
        (lambda: _answer(503, json={"detail": "no", "errors": True}), "POST /v1/orders failed with 503: no"),
    ],
    ids=["problem", "html", "other json", "errors of another kind", "no errors"],
)
def test_a_refusal_becomes_a_sentence(response: Callable[[], httpx.Response], said: str) -> None:
    """A gateway's refusal is printed with the request, the reason and the field; any other error as it came."""
    assert str(problem(response())) == said


def test_a_gateway_that_is_not_there_is_said_to_be() -> None:
    """A connection that is refused becomes a sentence that names the gateway."""
    with (
        Gateway("http://127.0.0.1:1") as gateway,
        pytest.raises(GatewayError, match=r"no shop is running here .*127\.0\.0\.1:1"),
    ):
        gateway.call("GET", "/v1/products")


@contextmanager
def another_program(status: int, kind: str = "text/html", body: bytes = b"<html>hello {") -> Iterator[str]:
    """A stub: answers everything with one page; yields its URL."""

    class Answering(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize(
    "words",
    ["token demo@shop.test", "tour", "trace o-1", "logs o-1", "logs --trace t-1", "partner pay o-1", "queues"],
)
def test_another_program_on_the_port_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, status: int
) -> None:
    """A command that finds a page of HTML where the shop should be is refused, with the URL, and with no traceback."""
    with another_program(status) as url:
        for name in ("GATEWAY", "CONSOLE", "NOTIFIER", "PAYMENT", "BROKER_METRICS"):
            monkeypatch.setenv(f"SHOP_{name}_URL", url)
        monkeypatch.setenv("SHOP_DATA_DIR", str(tmp_path))
        if words == "queues":
            monkeypatch.setenv("SHOP_BROKER_URL", "amqp://127.0.0.1:1")
            monkeypatch.setattr("shop.commands.messages.queues._depths", _no_depths)
        done = CliRunner().invoke(app, words.split())
    assert isinstance(done.exception, Refused), done.exc_info
    assert url in str(done.exception) or f"failed with {status}" in str(done.exception)


async def _no_depths() -> list[Any]:
    return []


@pytest.mark.parametrize("status", [200, 404])
def test_another_program_on_the_consoles_port_has_no_hops(status: int) -> None:
    """Nor a stream of them; its answer is not taken for that of a trace which is not there yet."""
    with another_program(status) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as console:
        refusal = rf"the program at {url} is not the shop's \(answered {status}, text/html\)"
        with pytest.raises(Refused, match=refusal):
            journey._read_trace(console, "t-1")
        with pytest.raises(Refused, match=refusal):
            list(trace.finished(console, "t-1", news_timeout=1.0))


def test_a_console_that_fails_is_not_said_to_have_no_trace() -> None:
    """Its own answer is shown."""
    with another_program(500, "application/problem+json", b'{"code": "INTERNAL", "detail": "oops"}') as url:
        with pytest.raises(Refused, match="500 INTERNAL: oops"):
            trace.trace("o-1", {"SHOP_CONSOLE_URL": url}, io.StringIO())
        with pytest.raises(Refused, match="500 INTERNAL: oops"):
            list(lines("/api/traces/t-1/logs", {"SHOP_CONSOLE_URL": url}, follow=False))


def test_a_shop_is_found_where_it_was_said_to_be(tmp_path: Path) -> None:
    """An address is the environment's first, then that of the shop in the data directory, then the default."""
    env = {"SHOP_DATA_DIR": str(tmp_path)}
    assert url_of("console", env) == "http://127.0.0.1:8003"
    running = ProcessState("console", 1, State.READY, 0, 4711, {"SHOP_CONSOLE_PORT": 4711})
    state.write(tmp_path, [running])
    assert url_of("console", env) == "http://127.0.0.1:8003", "that shop has ended without a word"
    held = lock.hold(tmp_path)
    assert url_of("console", env) == "http://127.0.0.1:4711"
    assert url_of("console", {**env, "SHOP_CONSOLE_PORT": "99", "SHOP_HOST": "::"}) == "http://[::1]:99"
    assert url_of("console", {**env, "SHOP_CONSOLE_URL": "https://console.test/"}) == "https://console.test"
    os.close(held)
