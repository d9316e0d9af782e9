"""Verdicts: kept, broken, or void; and the shortest schedule that still breaks a promise."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shop.audit import Report
from shop.audit.findings import State, different, lost, waiting
from shop.errors import Refused
from shop.fault.faults.ground import Ground
from shop.fault.links.client import Links
from shop.fault.scenarios import load, promises, runner
from shop.fault.scenarios.load import Attempt, Clients, Customer, Placed
from shop.fault.scenarios.promises import Evidence, Judgement
from shop.fault.scenarios.result import Bite, Result, Verdict, routes, verdict
from shop.fault.scenarios.scenario import Load, Planned, Scenario, of, read, suite
from shop.fault.scenarios.shrink import shortest
from tests.waiting import eventually

MET, MISSED = (Bite("kill orders", 1, 2, met, "killed", "back") for met in (7, 0))
KEPT = Judgement("nothing-lost", kept=True, checked=5, text="")
UNCHECKED = Judgement("recovers", kept=True, checked=0, text="")
BROKEN = Judgement("nothing-doubled", kept=False, checked=5, text="2 doubled")


@pytest.mark.parametrize(
    ("bites", "judged", "expected", "reason"),
    [
        ([MET], [KEPT], Verdict.KEPT, ""),
        ([MET, MISSED], [KEPT], Verdict.VOID, "`kill orders` met no traffic"),
        ([MET], [KEPT, UNCHECKED], Verdict.VOID, "recovers had nothing to check"),
        ([MISSED], [KEPT, BROKEN], Verdict.BROKEN, "nothing-doubled is broken: 2 doubled"),
    ],
)
def test_a_verdict_is_kept_only_when_faults_met_traffic_and_promises_were_checked(
    bites: list[Bite], judged: list[Judgement], expected: Verdict, reason: str
) -> None:
    """A broken promise comes first; what did not bite, or was not checked, makes it void."""
    found, reasons = verdict(bites, judged)
    assert found is expected
    assert "".join(reasons) == reason


def scenario(*faults: str, **given: object) -> Scenario:
    return of("tried", {"sentence": "…", "faults": [{"at_s": 1, "do": each} for each in faults], **given})


def evidence(clients: Clients, audit: Report | None, **given: object) -> Evidence:
    return Evidence(scenario("kill orders", **given), clients, audit, frozenset(), 10.0, 12.0, 1.0)


def seen(*orders: Placed, listed: int | None = None) -> Clients:
    ids = [id_ for order in orders for id_ in sorted(order.ids)]
    return Clients(list(orders), listed=[{"id": id_} for id_ in ids[:listed]])


def placed(*ids: str, tries: int = 1, settled: float | None = 20.0) -> Placed:
    return Placed("key", 1.0, tries, set(ids), 2.0, settled, "shipped" if settled else "pending")


def judged(name: str, found: Evidence) -> Judgement:
    return promises.PROMISES[name](found)


def test_an_accepted_order_that_is_not_listed_is_lost() -> None:
    """The customer has a 202 and the shop has no order: the order is the counterexample."""
    found = judged("nothing-lost", evidence(seen(placed("a"), placed("b"), listed=1), Report()))
    assert (found.kept, found.checked, found.counterexample) == (False, 2, "b")
    assert found.text == "1 lost of 2"


def test_what_the_audit_finds_lost_breaks_the_promise() -> None:
    """With the audit's words; what it had found before the run does not."""
    audit = Report()
    audit.add("a", [lost("no reservation")])
    fresh = evidence(seen(placed("a")), audit)
    found = judged("nothing-lost", fresh)
    assert not found.kept
    assert "no reservation" in found.text
    assert judged("nothing-lost", replace(fresh, before=frozenset(audit.listed[State.LOST]))).kept


def test_without_an_audit_nothing_was_checked() -> None:
    """Books that could not be read prove nothing."""
    assert judged("nothing-lost", evidence(seen(placed("a")), None)).checked == 0
    assert judged("nothing-doubled", evidence(seen(placed("a")), None)).checked == 0


def test_one_key_with_two_orders_is_doubled() -> None:
    """And so is an order more than were placed, and what the audit finds different."""
    assert not judged("nothing-doubled", evidence(seen(placed("a", "b", tries=2)), Report())).kept
    more = Clients([placed("a")], listed=[{"id": "a"}, {"id": "x"}])
    assert not judged("nothing-doubled", evidence(more, Report())).kept
    audit = Report()
    audit.add("a", [different("two payments")])
    assert not judged("nothing-doubled", evidence(seen(placed("a")), audit)).kept
    kept = judged("nothing-doubled", evidence(seen(placed("a", tries=3), placed("b")), Report()))
    assert kept.kept
    assert kept.text == "0 doubled or different of 2; 1 were sent again"


def test_an_order_without_an_end_breaks_the_promise_and_so_does_a_dead_letter() -> None:
    """Neither moves by itself."""
    assert not judged("all-settle", evidence(seen(placed("a", settled=None)), Report())).kept
    audit = Report()
    audit.add("a", [waiting("a dead letter in order-mail")])
    assert not judged("all-settle", evidence(seen(placed("a")), audit)).kept
    assert judged("all-settle", evidence(seen(placed("a")), Report())).kept


@pytest.mark.parametrize(
    ("status", "headers", "body", "honest"),
    [
        (202, {}, {}, True),
        (404, {}, {}, True),
        (503, {"Retry-After": "1"}, {"code": "UNAVAILABLE"}, True),
        (503, {}, {"code": "UNAVAILABLE"}, False),
        (503, {"Retry-After": "1"}, {}, False),
        (504, {"Retry-After": "1"}, {"code": "DEADLINE_EXCEEDED"}, True),
        (504, {}, {"code": "DEADLINE_EXCEEDED"}, False),
        (429, {"Retry-After": "1"}, {"code": "RATE_LIMITED"}, True),
        (429, {}, {"code": "RATE_LIMITED"}, False),
        (429, {"Retry-After": "1"}, {}, False),
        (500, {}, {"code": "INTERNAL"}, False),
        (502, {}, {"code": "BAD"}, False),
    ],
)
def test_a_failure_is_honest_with_a_code_and_when_to_come_again(
    status: int, headers: dict[str, str], body: dict[str, str], honest: bool
) -> None:
    """An internal error never is."""
    assert load._honest(status, headers, body) is honest


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def customer_of(answer: Answer, given: Load, seed: int = 1) -> AsyncIterator[Customer]:
    """A customer who has signed in at a gateway that answers each request so; the tokens are t1, t2 and so on."""
    tokens = itertools.count(1)

    async def token(_request: web.Request) -> web.Response:
        return web.json_response({"access_token": f"t{next(tokens)}"})

    async def user(_request: web.Request) -> web.Response:
        return web.json_response({})

    gateway = web.Application()
    gateway.router.add_post("/v1/users", user)
    gateway.router.add_post("/v1/auth/token", token)
    gateway.router.add_route("*", "/{rest:.*}", answer)
    async with TestServer(gateway) as server:
        url = str(server.make_url("")).rstrip("/")
        env = {"SHOP_GATEWAY_URL": url, "SHOP_NOTIFIER_URL": url}
        ground = Ground(env, Path("/nonexistent"), Links(Path("/nonexistent")))
        customer = Customer(ground, given, seed, admin=("a@shop.test", "a"))
        try:
            await customer.open()
            yield customer
        finally:
            await customer.close()


async def answered(answer: web.Response) -> Clients:
    """What a customer has seen whose orders all get this answer."""
    over = asyncio.Event()

    async def rest(_request: web.Request) -> web.Response:
        over.set()
        return web.Response(status=answer.status, text=answer.text, content_type=answer.content_type)

    only_orders = Load(orders_per_s=50, reads_per_s=0, keys=False, listeners=0)
    async with customer_of(rest, only_orders) as customer:
        await customer.work(over)
    return customer.seen


async def test_a_seed_repeats_its_load_however_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders that are tried again, and the reads beside them, change nothing of the orders that follow."""
    monkeypatch.setattr(load, "_GIVE_UP", 1.0)
    loads = []
    for status in (202, 503):
        over, bodies = asyncio.Event(), dict[str, str]()

        async def rest(request: web.Request) -> web.Response:
            if request.method == "POST" and request.path == "/v1/orders":
                bodies.setdefault(request.headers["Idempotency-Key"], await request.text())  # noqa: B023 - awaited in this turn
            if len(bodies) >= 20:  # noqa: B023
                over.set()  # noqa: B023
            return web.json_response({"id": "o-1"}, status=status)  # noqa: B023

        async with customer_of(rest, Load(orders_per_s=50, reads_per_s=50, listeners=0)) as customer:
            await asyncio.wait_for(customer.work(over), 30)
        loads.append([(order.key, bodies.get(order.key)) for order in customer.seen.orders][:15])
    assert loads[0] == loads[1]


async def test_a_load_that_is_not_made_is_counted_and_void(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrivals beyond the bound are no requests: the result says how many there were, and judges nothing."""
    monkeypatch.setattr(load, "_MAX_CONCURRENT", 1)
    over = asyncio.Event()

    async def rest(_request: web.Request) -> web.Response:
        await eventually(lambda: getattr(customer.seen, "skipped", 0) > 2)
        over.set()
        return web.json_response({"id": "o-1"}, status=202)

    async with customer_of(rest, Load(orders_per_s=100, reads_per_s=0, listeners=0)) as customer:
        await asyncio.wait_for(customer.work(over), 30)
    skipped = customer.seen.skipped
    assert verdict([MET], [KEPT], skipped) == (Verdict.VOID, [f"{skipped} requests of the load were not made"])
    result = Result(scenario("kill orders"), Verdict.VOID, [], [], [], [], None, 0, 0, skipped=skipped)
    assert result.as_dict()["skipped"] == skipped
    assert f"{skipped} requests were not made" in result.as_text()


async def test_an_expired_token_is_renewed() -> None:
    """A 401 lets the customer sign in again, once for all requests, and the request is made with the new token."""
    over = asyncio.Event()

    async def rest(request: web.Request) -> web.Response:
        if request.headers["Authorization"] in ("Bearer t1", "Bearer t2"):
            return web.json_response({}, status=401)
        if len(customer.seen.attempts) > 5:
            over.set()
        return web.json_response({"id": "o-1"} if request.method == "POST" else {"items": []}, status=202)

    async with customer_of(rest, Load(orders_per_s=100, reads_per_s=0, listeners=0)) as customer:
        await asyncio.wait_for(customer.work(over), 30)
        assert {each.status for each in customer.seen.attempts} == {202}
        assert customer._customer.token == "t3"


@pytest.mark.parametrize("upgraded", [True, False], ids=["closed with 4401", "refused with 401"])
async def test_a_listener_renews_an_expired_token(*, upgraded: bool) -> None:
    """However the notifier says it, before or after the upgrade, the listener comes back with a new token."""

    async def notifications(request: web.Request) -> web.StreamResponse:
        expired = request.headers["Authorization"] == "Bearer t1"
        if expired and not upgraded:
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if expired:
            await socket.close(code=4401)
        else:
            await socket.send_json({"type": "subscribed", "position": "1"})
            await socket.receive()
            await socket.receive()
        return socket

    async with customer_of(notifications, Load(listeners=1)) as customer:
        assert customer.seen.reconnects == 1


async def test_every_open_order_is_asked_for_in_turn() -> None:
    """Orders that do not end do not keep the others from being seen at their end."""
    asked: set[str] = set()

    async def rest(request: web.Request) -> web.Response:
        asked.update(request.query["ids"].split(","))
        return web.json_response({"items": []})

    async with customer_of(rest, Load(listeners=0)) as customer:
        customer.seen.orders += [placed(f"o-{number}", settled=None) for number in range(120)]
        for _ in range(3):
            await customer._look()
    assert len(asked) == 120


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=500, text="Internal Server Error"),
        web.Response(status=502, text="<html><h1>Bad Gateway</h1></html>", content_type="text/html"),
    ],
)
async def test_a_failure_that_is_no_problem_document_breaks_the_promise_of_honest_answers(answer: web.Response) -> None:
    """A text or a page is the least honest answer, and it counts with its status."""
    clients = await answered(answer)
    assert {(each.status, each.honest) for each in clients.attempts} == {(answer.status, False)}
    found = judged("answers-honest", evidence(clients, Report()))
    assert not found.kept
    assert f"was answered {answer.status}" in found.text


async def test_an_acceptance_without_an_order_is_no_accepted_order() -> None:
    """A 202 that names no order gives the customer nothing to look for."""
    assert (await answered(web.Response(status=202, text="queued"))).accepted == []


def test_unrelated_routes_may_not_fail_while_something_is_broken() -> None:
    """Those of the scenario, and only what was due meanwhile."""
    route = "GET /v1/orders"
    clients = Clients(attempts=[Attempt(route, 5, 0.1, 503), Attempt(route, 11, 0.1, 200)])
    fine = evidence(clients, Report(), unrelated=[route], promises=["unrelated-flat"])
    assert judged("unrelated-flat", fine).kept
    clients.attempts.append(Attempt(route, 11.5, 0.1, 503))
    assert not judged("unrelated-flat", fine).kept


def test_unrelated_routes_may_not_become_slow_while_something_is_broken() -> None:
    """Typically, that is; a single slow answer is the machine's, and so is what was slow before."""
    route = "GET /v1/orders"
    clients = Clients(
        attempts=[Attempt(route, 5, 0.1, 200), Attempt(route, 11, 0.1, 200), Attempt(route, 11, 0.1, 200)]
    )
    fine = evidence(clients, Report(), unrelated=[route], promises=["unrelated-flat"])
    clients.attempts.append(Attempt(route, 11.1, 4.0, 200))
    assert judged("unrelated-flat", fine).kept
    clients.attempts += [Attempt(route, 11.2, 4.0, 200)] * 3
    assert not judged("unrelated-flat", fine).kept
    assert "typically took 4.00 s, 0.10 before" in judged("unrelated-flat", fine).text
    clients.attempts += [Attempt(route, 5, 2.0, 200)] * 3
    assert judged("unrelated-flat", fine).kept


def test_a_silent_upstream_is_soon_answered_for_at_once() -> None:
    """Timeouts until a breaker has opened are allowed; those afterwards are faults."""
    route = "GET /v1/products"
    early = [Attempt(route, 10.5, 2.0, 504) for _ in range(9)]
    given = {"affected": [route], "promises": ["fails-fast"]}
    fast = Evidence(scenario("kill orders", **given), Clients(attempts=[*early]), None, frozenset(), 10.0, 18.0, 1.0)
    assert judged("fails-fast", fast).checked == 0
    fast.clients.attempts += [
        Attempt(route, 15.0, 0.1, 503),
        Attempt(route, 16.0, 0.1, 503),
        Attempt(route, 17, 2, 504),
    ]
    assert (judged("fails-fast", fast).kept, judged("fails-fast", fast).checked) == (True, 3)
    fast.clients.attempts += [Attempt(route, 17.5, 2.0, 504)] * 3
    assert not judged("fails-fast", fast).kept


def test_a_route_that_failed_last_has_not_recovered() -> None:
    """Others that work say nothing about it."""
    clients = Clients(attempts=[Attempt("a", 12.5, 0.1, 503), Attempt("b", 13, 0.1, 200)])
    assert clients.failing == {"a"}
    assert runner._recovered(clients, 12.0) is None
    clients.attempts.append(Attempt("a", 14, 0.1, 200))
    assert clients.failing == set()
    assert runner._recovered(clients, 12.0) == pytest.approx(0.6)


def test_listeners_miss_nothing_and_hear_nothing_twice() -> None:
    """Each of them, each step of each shipped order."""
    clients = seen(placed("a"))
    told = {("a", f"order.{step}") for step in ("placed", "confirmed", "paid", "shipped")}
    clients.received.append(Counter({"1": 1, "2": 1, "3": 1, "4": 1}))
    clients.stories.append(set(told))
    assert judged("listeners-hear-once", evidence(clients, Report())).kept
    clients.received[0]["2"] += 1
    assert not judged("listeners-hear-once", evidence(clients, Report())).kept
    clients.received[0]["2"] -= 1
    clients.stories[0].discard(("a", "order.paid"))
    found = judged("listeners-hear-once", evidence(clients, Report()))
    assert (found.kept, found.counterexample) == (False, "a")


def test_requests_are_told_apart_by_what_was_broken_when_they_were_due() -> None:
    """Before, during and after, with errors and percentiles."""
    attempts = [Attempt("r", due, due / 100, 503 if due == 11 else 200) for due in (1, 2, 11, 30)]
    (found,) = routes(attempts, 10, 12)
    assert [(each.count, each.errors) for each in (found.before, found.during, found.after)] == [(2, 0), (1, 1), (1, 0)]
    assert (found.before.p50, found.before.p99) == (0.02, 0.02)


def test_a_schedule_shrinks_to_the_faults_that_matter() -> None:
    """Of five faults two together break the promise; the other three are dropped, with the same seed."""
    whole = scenario("kill users", "kill orders", "freeze mailer", "broker down", "erp html", seed=9)
    tried: list[Scenario] = []

    def run(given: Scenario) -> Result:
        tried.append(given)
        broken = {"kill orders", "broker down"} <= {fault.do for fault in given.faults}
        return Result(given, Verdict.BROKEN if broken else Verdict.KEPT, [], [], [], [], None, 0, 0)

    found = shortest(run(whole), run)
    assert [fault.do for fault in found.scenario.faults] == ["kill orders", "broker down"]
    assert {given.seed for given in tried} == {9}


def test_a_result_is_a_file_to_replay(tmp_path: Path) -> None:
    """What `run --json` prints holds the scenario as it was."""
    whole = scenario("kill users", "link 'a->b' cut=9", seed=3, needs=["rabbitmq"])
    file = tmp_path / "result.json"
    file.write_text(json.dumps(Result(whole, Verdict.VOID, [], [], [], [], None, 0, 0).as_dict()))
    assert read(file) == whole


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ({}, "no faults"),
        ({"faults": [{"at_s": 1, "do": "kill orders"}], "promisses": []}, "unknown promisses"),
        ({"faults": [{"at": 1, "do": "kill orders"}]}, "at"),
        ({"faults": [{"at_s": 1, "do": "kill orders"}], "promises": []}, "no promises"),
        ({"faults": [{"at_s": 1, "do": "kill orders"}], "promises": ["unrelated-flat"]}, "routes in `unrelated`"),
        ({"faults": [{"at_s": 1, "do": "x"}], "load": {"for_s": 1e9}}, r"load\.for_s"),
        ({"faults": [{"at_s": 1, "do": "x"}], "needs": ["kafka"]}, "needs are"),
        ({"faults": [{"at_s": "1s", "do": "x"}]}, "fault 1: at_s must be a number, and is '1s'"),
        ({"faults": [{"at_s": 1, "do": "x", "for_s": "6"}]}, "fault 1: for_s must be a number"),
        ({"faults": [{"at_s": True, "do": "x"}]}, "fault 1: at_s must be a number"),
        ({"faults": [{"at_s": 1, "do": 5}]}, "fault 1: do must be a text"),
        ({"faults": [{"at_s": 1}]}, "fault 1: do is missing"),
        ({"faults": ["kill orders"]}, "fault 1: it must be an object"),
        ({"faults": "kill orders"}, "faults must be a list"),
        ({"faults": [{"at_s": 1, "do": "x"}], "load": {"for_s": "6"}}, "load: for_s must be a number"),
        ({"faults": [{"at_s": 1, "do": "x"}], "load": {"keys": 0}}, "load: keys must be true or false"),
        ({"faults": [{"at_s": 1, "do": "x"}], "load": {"listeners": 10**9}}, r"load\.listeners must be"),
        ({"faults": [{"at_s": 1, "do": "x"}], "load": 5}, "load: it must be an object"),
        ({"faults": [{"at_s": 1, "do": "x"}], "recover_within_s": "60"}, "recover_within_s must be a number"),
        ({"faults": [{"at_s": 1, "do": "x"}], "recover_within_s": 1e9}, "recover_within_s must be up to 600"),
        (
            {"faults": [{"at_s": 1, "do": "x"}], "unrelated": "GET /v1/orders"},
            "unrelated must be a list of texts",
        ),
        ({"faults": [{"at_s": 1, "do": "x"}], "seed": 1.5}, "seed must be an integer"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused(content: dict[str, object], advice: str) -> None:
    """Before anything is broken, with what to change."""
    with pytest.raises(Refused, match=advice):
        of("bad", content)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.json", '[{"at_s": 1, "do": "kill orders"}]'),
        ("scenario.json", '{"scenario": 5}'),
        ("nested.json", "[" * 100_000),
        ("at.toml", 'faults = [{ at_s = "1s", do = "kill orders" }]'),
    ],
)
def test_a_mistyped_file_is_refused_on_the_command_line(tmp_path: Path, name: str, text: str) -> None:
    """With exit code 2, the file's own mistake, and no traceback; no shop is started for it."""
    file = tmp_path / name
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "shop", "fault", "run", str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr, "no shop runs" in done.stderr) == (2, False, False)
    assert file.stem in done.stderr


def test_the_suite_is_long_enough_and_says_what_it_tries() -> None:
    """At least 45 scenarios, each with a sentence, a fault and known promises; twenty pairs that stay the same."""
    found = suite()
    assert len(found) >= 45
    assert all(each.sentence.endswith(".") and each.faults for each in found.values())
    assert all(set(each.promises) <= promises.PROMISES.keys() for each in found.values())
    pairs = [each.faults[0].do for name, each in found.items() if name.startswith("pair")]
    assert len(pairs) == 20
    assert pairs == [each.faults[0].do for name, each in suite().items() if name.startswith("pair")]
    assert found["pair-1"].faults == (Planned(2, pairs[0]),)


@pytest.mark.parametrize("name", ["nothing-lost", "nothing-doubled"])
def test_books_that_could_not_be_read_leave_nothing_checked(name: str) -> None:
    """What is not known is not kept: the verdict is void."""
    audit = Report(unread={"mails": "away"})
    assert judged(name, evidence(seen(placed("a")), audit)).checked == 0
    assert judged(name, evidence(seen(placed("a")), Report())).checked == 1
