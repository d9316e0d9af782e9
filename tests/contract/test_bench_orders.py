"""`make bench-orders`: what its floor, its verdicts and its results are made of, without a shop."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from bench import orders, orders_engines, orders_floor, stock
from bench.orders_engines import SERVERS, Engine, Spent
from bench.orders_load import Placed, Run
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


def measured(name: str, *, refused: int = 0, **cpu_ms: float) -> orders.Result:
    """A result of one quick order on an engine."""
    run = Run(1.0, [Placed(0.0, 0.1, "a", 0.2, 0.3)], Counter({"503": refused}), drained=0.3)
    figures = run.figures()
    return orders.Result(
        name, figures, figures, None, 1.0, {"open loop": cpu_ms}, 0.0, hops={"publish": 1}, floor_ms={"publish": 10.0}
    )


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
    orders.show(measured(SERVERS, gateway=15.0))
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


def test_a_result_is_written_before_the_next_engine_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is there when that one fails, and what it has missed is known."""
    monkeypatch.setattr(orders, "RESULTS", tmp_path)
    kept = orders.Kept()
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
