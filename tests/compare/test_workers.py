"""What was given up does not go on, and does not answer the next question."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

pytest.importorskip("hdrh", reason="not run: needs hdrhistogram, of the development environment")
pytest.importorskip("connectrpc", reason="not run: needs connectrpc, of the development environment")

from bench.compare.adapters.port import Selection
from bench.compare.adapters.rows import brief
from bench.compare.bench import Bench, Pair, check_equal, opened
from bench.compare.experiments import lie
from bench.compare.measure.folder import Folder
from bench.compare.measure.statistics import digest
from bench.compare.measure.together import together
from bench.compare.measure.workers import Worker, WorkerFailed, worker
from bench.compare.variants import READS

SILENT = f"{__name__}:Silent"


class Silent:
    """What runs in a worker here: one method answers, the other never does."""

    async def answer(self) -> str:
        return "here"

    async def never(self) -> None:
        await asyncio.Event().wait()


async def test_the_first_error_stops_the_others_and_is_raised_as_it_is() -> None:
    """Nothing of a failed experiment goes on beside the next one, and its error is no group."""
    over = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            over.append("waits")

    async def fails() -> None:
        raise LookupError("one of them")

    with pytest.raises(LookupError, match="one of them"):
        await together((waits(), fails(), waits()))
    assert over == ["waits", "waits"]


async def test_what_is_done_together_is_returned_in_its_order() -> None:
    """The second is done first, and stands second."""
    second_done = asyncio.Event()

    async def first() -> int:
        await second_done.wait()
        return 1

    async def second() -> int:
        second_done.set()
        return 2

    assert await together((first(), second())) == [1, 2]


def assert_ended(running: Worker) -> None:
    assert running.ended
    assert not psutil.pid_exists(running.pid)


@pytest.mark.timeout(120)
async def test_no_answer_is_taken_for_that_of_a_later_call() -> None:
    """A worker that did not answer in time is ended, and says so to the next call."""
    async with worker(SILENT) as running:
        assert await running.call("answer") == "here"
        with pytest.raises(WorkerFailed, match="never: no answer within"):
            await running.call("never", timeout=0.1)
        assert_ended(running)
        with pytest.raises(WorkerFailed, match="answer: the process has ended"):
            await running.call("answer", timeout=0.1)


@pytest.mark.timeout(120)
async def test_a_call_that_is_cancelled_ends_its_worker() -> None:
    """What was asked there is not worked at beside what comes next."""
    async with worker(SILENT) as running:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await running.call("never")
        assert_ended(running)


async def test_a_server_that_was_stopped_goes_on_when_its_measurement_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first lie stops a server for a while: stopped by Ctrl-C meanwhile, it leaves no server stopped."""
    sent: list[int] = []
    stopped = asyncio.Event()

    def kill(_: int, number: int) -> None:
        sent.append(number)
        stopped.set()

    async with worker(SILENT) as running:
        monkeypatch.setattr(os, "kill", kill)
        measuring = asyncio.create_task(lie.stalled(Pair(READS[0], running, 0, running), asyncio.Event().wait()))
        await stopped.wait()
        measuring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await measuring
        assert sent == [signal.SIGSTOP, signal.SIGCONT]
        monkeypatch.undo()


@pytest.mark.timeout(240)
async def test_an_experiment_has_processes_that_work_after_one_that_failed(tmp_path: Path) -> None:
    """Experiments share a variant's processes; those that a failed one has ended are started anew."""
    async with AsyncExitStack() as stack:
        bench = Bench(Folder(tmp_path), stack, quick=True, bare=True)
        before = await bench.pair(READS[0])
        async with opened(before) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.call("capacity", selection=Selection(), seconds=60, at_once=1)
            assert_ended(client)
        after = await bench.pair(READS[0])
        assert await check_equal([after], Selection()) == digest([brief("42")])
        assert await bench.pair(READS[0]) == after
