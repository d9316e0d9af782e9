"""`make bench-orders`: what its floor, its verdicts and its results are made of, without a shop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench import stock
from bench.orders import engines as orders_engines
from bench.orders import floor as orders_floor
from bench.orders import result as orders_result
from bench.orders import run as orders
from bench.orders import waiting as orders_waiting
from bench.orders.engines import SERVERS, Engine, Spent
from bench.orders.load import Customer, Placed, Run
from bench.orders.waiting import Stage, Waiting
from tests.waiting import eventually


class StubbedServers(Engine):
    """PostgreSQL's answers, as they are given; whoever asks for its sessions' time works for a fifth of a second."""

    answers: list[Any]

    async def spent(self, database: str = "") -> Spent:
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
        return await super().spent(database)

    async def _ask(self, query: str, *values: str) -> list[Any]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, list) else [answer]


def stubbed(*answers: Any) -> StubbedServers:
    engine = StubbedServers(SERVERS, postgres="postgresql://there", rabbitmq="amqp://there", prefix="bench_1_")
    engine.answers = list(answers)
    return engine


def measured(name: str, *, refused: int = 0, **cpu_ms: float) -> orders_result.Result:
    """A result of one quick order on an engine."""
    run = Run(1.0, [Placed(0.0, 0.1, "a", 0.2, 0.3)], Counter({"503": refused}), drained=0.3)
    figures = run.figures()
    return orders_result.Result(
        name, figures, figures, None, 1.0, {"open loop": cpu_ms}, {}, hops={"publish": 1}, floor_ms={"publish": 10.0}
    )


class StubbedCustomer(Customer):
    """Its orders have been shipped when it looks for them; `signals` are those that the worker was sent.

    With `broken`, none can be placed while the worker is stopped. With `full`, each second order is refused after that.
    """

    def __init__(self, signals: list[int]) -> None:
        self._signals = signals
        self.placed_while = Counter[bool]()
        self.read_paths: set[str] = set()
        self.broken = False
        self.full = False

    @property
    def _stopped(self) -> bool:
        return self._signals[-1:] == [signal.SIGSTOP]

    async def place(self, run: Run, intended: float, number: int) -> None:
        if self.broken and self._stopped:
            raise RuntimeError(number)
        self.placed_while[self._stopped] += 1
        if self.full and self._signals[-1:] == [signal.SIGCONT] and number % 2:
            run.refused["503"] += 1
            return
        run.orders.append(Placed(intended, time.time(), str(number)))

    async def read(self, path: str, intended: float) -> float:
        self.read_paths.add(path)
        return 0.001

    async def history(self, order: Placed) -> bool:
        order.paid = order.shipped = order.accepted
        return True


def waiting(*, accepted: float = 100.0, order: float = 4.0, refused: tuple[int, int, int] = (0, 0, 0)) -> Waiting:
    """What waiting orders have done to the newest ones, and to the read of an order; refusals by stage."""
    figures = {f"{name}_p{part}_ms": 4.0 for name in ("accepted", "product", "order") for part in (50, 99)}
    changed = figures | {"accepted_p99_ms": accepted, "order_p99_ms": order}
    at_rest, stopped, worked_off = refused
    return Waiting(100, Stage(figures, 0, at_rest), Stage(changed, 1_100, stopped), Stage(changed, 900, worked_off))


async def test_the_floor_of_an_exchange_is_without_the_look_at_the_servers() -> None:
    """That costs more than the exchange."""

    async def nothing() -> None:
        pass

    ms, counted = await orders_floor.milliseconds(nothing, os.getpid(), stubbed({"pid": 1}, {"pid": 1}))
    assert (ms < 0.2, counted) == (True, False)


async def test_a_process_that_is_no_session_of_ours_is_not_counted() -> None:
    """PostgreSQL's process ids are those of its own container or machine."""
    spent = await stubbed({"pid": os.getpid()}).spent()
    assert spent.sessions is None
    assert "postgresql" not in spent.since(Spent())


async def test_a_session_that_ends_while_it_is_looked_at_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are visible, so all are; a database that has no session has used nothing."""
    monkeypatch.setattr(orders_engines, "_is_session", lambda pid, _: pid == os.getpid())
    spent = await stubbed([{"pid": os.getpid()}, {"pid": 1}]).spent()
    assert list(spent.sessions or {}) == [os.getpid()]
    assert (await stubbed([]).spent()).sessions == {}


def test_each_process_is_compared_with_itself() -> None:
    """One that has ended takes nothing off the others."""
    before, after = Spent({1: 5.0, 2: 9.0}, {7: 1.0}), Spent({1: 6.0, 3: 0.5}, {7: 3.0})
    assert after.since(before) == {"postgresql": 1.5, "rabbitmq (whole)": 2.0}


def test_a_ratio_without_postgresqls_part_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said, and neither held nor missed."""
    verdicts = [held for *_, held in measured(SERVERS, gateway=15.0).bars()]
    assert verdicts[1] is None
    orders_result.show(measured(SERVERS, gateway=15.0))
    shown = capsys.readouterr().out
    assert "PostgreSQL: NOT COUNTED: its processes are not visible here" in shown
    assert "bar 2: NOT JUDGED" in shown
    whole = measured(SERVERS, gateway=15.0, postgresql=4.0)
    assert whole.bars()[1][-1] is True
    assert replace(whole, floor_counted=False).bars()[1][-1] is None


def test_refused_orders_miss_the_bars_of_those_that_wait() -> None:
    """The percentiles are of accepted orders alone."""
    assert [held for *_, held in measured("", gateway=1.0).bars()[2:]] == [True, True]
    assert [held for *_, held in measured("", refused=1, gateway=1.0).bars()[2:]] == [False, False]


@pytest.mark.parametrize(
    ("beside", "held"),
    [
        (waiting(), [True, True]),
        (waiting(accepted=300.0), [False, True]),
        (waiting(refused=(1, 0, 0)), [False, True]),
        (waiting(refused=(0, 1, 0)), [False, True]),
        (waiting(refused=(0, 0, 1)), [True, True]),
        (waiting(order=7.0), [True, False]),
    ],
)
def test_orders_that_wait_have_bars_of_their_own(beside: Waiting, held: list[bool]) -> None:
    """The newest one is accepted in time, and the read that has grown most is at most half as slow again as at rest.

    What is refused while they are worked off has no bar.
    """
    assert [each for *_, each in replace(measured("", gateway=1.0), waiting=beside).bars()[4:]] == held


def test_a_result_says_what_is_not_in_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """The idle shop by process, RabbitMQ's fsyncs, and gRPC's own threads."""
    result = replace(measured(SERVERS, gateway=15.0, postgresql=4.0), idle_ms={"gateway": 60.0, "orders": 30.0})
    orders_result.show(
        replace(result, rate=9.0, kinds_ms={"gateway": {"calls": 15.0}}, waiting=waiting(refused=(0, 0, 3)))
    )
    shown = capsys.readouterr().out
    assert "an idle shop, ms a second: 90.0 (gateway 60.0, orders 30.0)" in shown
    assert "at 9.0/s that is 10.0 ms of each order's, and not taken off them" in shown
    assert "RabbitMQ's own, of its queues and of the event log, are NOT COUNTED" in shown
    assert "the time of gRPC's own threads" in shown
    assert "order_worker stopped     1100 wait at its end, 0 refused; accepted 4.0, 100.0;" in shown
    assert "worked off, no bar        900 wait at its end, 3 refused; accepted 4.0, 100.0;" in shown


def test_a_shop_that_records_a_part_of_its_traces_has_a_higher_bar() -> None:
    """It is sustained where orders came at that rate and none was left waiting."""
    result = replace(measured("", gateway=1.0), shipped_bar=orders_result.SAMPLED_BAR_PER_S)
    at_bar = result.steady | {"refused": 0, "drained_s": 1.0, "shipped_per_s": 58.0}
    assert replace(result, at_bar=at_bar).bars()[0][1:] == (60.0, 60.0, True)
    assert replace(result, at_bar=at_bar | {"drained_s": 9.0}).bars()[0][1:] == (58.0, 60.0, False)


def test_a_floor_without_a_trace_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """With sampling, it may be that no order of the run that counts was recorded: its other figures are there."""
    result = replace(measured("", gateway=1.0), hops={})
    assert result.bars()[1][-1] is None
    orders_result.show(result)
    assert "floor NOT COUNTED: no trace of these orders was recorded" in capsys.readouterr().out


async def test_hops_are_those_of_the_newest_order_that_was_recorded() -> None:
    """Nine traces of ten are not there when one in ten is recorded."""

    async def found(request: web.Request) -> web.Response:
        order = request.query["order_id"]
        items = [{"trace_id": order}] if order in {"a", "b"} else []
        return web.json_response({"items": items})

    async def trace(request: web.Request) -> web.Response:
        return web.json_response({"spans": [{"of": request.match_info["trace_id"]}]})

    app = web.Application()
    app.add_routes([web.get("/api/traces", found), web.get("/api/traces/{trace_id}", trace)])
    placed = [Placed(0.0, 0.1, name) for name in ("b", "a", "c")]
    async with TestServer(app) as console:
        url = str(console.make_url("/"))
        assert await orders.newest_trace(url, placed) == [{"of": "a"}]
        assert await orders.newest_trace(url, placed[2:]) == []


async def test_hops_are_of_orders_of_the_run_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another load an order has other hops: none is taken from another run."""
    monkeypatch.setattr(orders, "COUNTS_SECONDS", 0.0)
    runs = iter([Run(1.0, [Placed(0.0, 0.1, "loaded")]), Run(1.0, [Placed(0.0, 0.1, "counted")])])
    looked_for = []

    class Stubbed(orders.Measured):
        async def run(self, *_: Any, **__: Any) -> Run:
            return next(runs)

        async def hops(self, orders: Sequence[Placed], syncs: float) -> dict[str, int]:
            looked_for.append([order.id for order in orders])
            return {}

    shop: Any = SimpleNamespace(pids=dict)
    stub = Stubbed(shop, Engine("embedded"), StubbedCustomer([]))
    await stub.run()
    await orders._count(stub, measured("embedded"), 1.0)
    assert looked_for == [["counted"]]


async def test_orders_that_wait_wait_for_a_stopped_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on afterwards, also when something fails; reads are of an order that was shipped."""
    signals: list[int] = []
    monkeypatch.setattr(orders_waiting, "READS_RATE", 1_000.0)
    monkeypatch.setattr(orders_waiting, "ORDERS_RATE", 1_000.0)
    monkeypatch.setattr(os, "kill", lambda _, number: signals.append(number))
    customer = StubbedCustomer(signals)
    found = await orders_waiting.measured(customer, 7, 20)
    assert (found.newest, found.stopped.left, found.worked_off.left, found.refused) == (2, 22, 0, 0)
    assert [customer.placed_while[number] for number in (False, True)] == [4, 22]
    assert customer.read_paths == {"/v1/products/42", "/v1/orders/0"}
    signals.clear()
    customer.full = True
    found = await orders_waiting.measured(customer, 7, 20)
    assert [each.refused for each in (found.at_rest, found.stopped, found.worked_off)] == [0, 0, 1]
    assert found.refused == 0
    signals.clear()
    customer.broken = True
    with pytest.raises(RuntimeError):
        await orders_waiting.measured(customer, 7, 20)
    assert signals == [signal.SIGSTOP, signal.SIGCONT]


def test_a_result_is_written_before_the_next_engine_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is there when that one fails, and what it has missed is known."""
    monkeypatch.setattr(orders_result, "RESULTS", tmp_path)
    kept = orders_result.Kept()
    for name in ("first", "second"):
        kept.add(measured(name, gateway=1.0))
        assert json.loads((tmp_path / "orders.json").read_text())["engines"][-1]["engine"] == name
    assert kept.missed


async def test_fsyncs_are_counted_where_postgresql_18_has_them() -> None:
    """Or said not to be counted."""
    gone, commits, statements = asyncpg.UndefinedColumnError(), ("bench_1_orders", 3), ("bench_1_orders", 4)
    counts = await stubbed(commits, gone, (7,), statements).counts()
    assert counts == orders_engines.Counts({"orders": 3}, 7, {"orders": 4})
    counts = await stubbed(commits, gone, asyncpg.UndefinedTableError(), statements).counts()
    assert counts == orders_engines.Counts({"orders": 3}, None, {"orders": 4})


async def test_a_long_load_does_not_end_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session takes a new one again and again."""
    monkeypatch.setattr(stock, "SIGN_IN_SECONDS", 0.0)
    tokens = iter(["second", "third"])

    async def token() -> str:
        return next(tokens, "third")

    session: Any = SimpleNamespace(headers={"Authorization": "Bearer first"})
    signing_in = asyncio.create_task(stock.stay_signed_in(session, token))
    await eventually(lambda: session.headers["Authorization"] == "Bearer third")
    signing_in.cancel()
