"""Deadlines that travel, and breakers that open and close."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest

from chassis.background import background, ended, forever
from chassis.resilience.deadlines import CircuitBreaker, deadline_in, time_left


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(threshold=3, recovery=2.0, clock=clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.failed()


class TestBreaker:
    def test_opens_after_failures_in_a_row(self, breaker: CircuitBreaker) -> None:
        """As many failures as it takes, without a success in between, stop the calls."""
        fail(breaker, 2)
        breaker.succeeded()
        fail(breaker, 2)
        assert breaker.allows_call()
        fail(breaker, 1)
        assert (breaker.open, breaker.allows_call()) == (True, False)

    def test_lets_one_trial_through_per_period(self, breaker: CircuitBreaker, clock: Clock) -> None:
        """After the recovery time one call may try, and the others wait for another period."""
        fail(breaker, 3)
        clock.now += 1.9
        assert not breaker.allows_call()
        clock.now += 0.2
        assert [breaker.allows_call() for _ in range(3)] == [True, False, False]
        clock.now += 2.0
        assert breaker.allows_call()

    def test_successful_trial_closes(self, breaker: CircuitBreaker, clock: Clock) -> None:
        """An upstream that has answered the trial is called again, and has all its chances again."""
        fail(breaker, 3)
        clock.now += 2.0
        assert breaker.allows_call()
        breaker.succeeded()
        fail(breaker, 2)
        assert breaker.allows_call()

    def test_failed_trial_stays_open(self, breaker: CircuitBreaker, clock: Clock) -> None:
        """A trial that fails leaves it open for a whole period more."""
        fail(breaker, 3)
        clock.now += 2.0
        assert breaker.allows_call()
        breaker.failed()
        clock.now += 1.9
        assert not breaker.allows_call()

    def test_tells_when_to_come_again(self, breaker: CircuitBreaker, clock: Clock) -> None:
        """A refusal has the seconds until the next trial, never a negative number."""
        fail(breaker, 3)
        clock.now += 0.5
        assert breaker.retry_after() == pytest.approx(1.5)
        clock.now += 10
        assert breaker.retry_after() == 0


class TestDeadlines:
    def test_inner_deadline_never_outlasts_the_outer(self) -> None:
        """A call gets what is left, or less; after the block the outer deadline holds again."""
        with deadline_in(10):
            with deadline_in(60):
                assert (time_left() or 0) <= 10
            with deadline_in(1):
                assert (time_left() or 0) <= 1
            assert 9 < (time_left() or 0) <= 10
        assert time_left() is None

    def test_no_deadline_inherits(self) -> None:
        """A caller without a deadline of its own leaves the one there is."""
        with deadline_in(10), deadline_in(None):
            assert time_left() is not None

    def test_time_left_is_never_negative(self) -> None:
        """A deadline that has passed leaves nothing, not less."""
        with deadline_in(-5):
            assert time_left() == 0

    async def test_tasks_inherit_and_do_not_share(self) -> None:
        """A task begins with its creator's deadline and keeps its own from every other task."""

        async def hurried() -> float:
            with deadline_in(1):
                return time_left() or 0

        with deadline_in(10):
            assert await asyncio.create_task(hurried()) <= 1
            assert (time_left() or 0) > 9


class TestBackground:
    async def test_ends_with_the_block(self) -> None:
        """What runs beside the block is cancelled when it ends."""
        ended: list[bool] = []

        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        async with background(forever()):
            await asyncio.sleep(0)
        assert ended == [True]

    async def test_failure_ends_the_block(self) -> None:
        """A background task that fails takes the block down with it: half a process is worse than none."""

        async def fails() -> None:
            raise LookupError

        with pytest.raises(ExceptionGroup) as failure:
            async with background(fails()), asyncio.timeout(5):
                await asyncio.Event().wait()
        assert failure.group_contains(LookupError)


class TestForever:
    async def test_survives_and_pauses(self, caplog: pytest.LogCaptureFixture) -> None:
        """A step may raise anything: it comes again after growing pauses that no event shortens, and is logged once."""
        began: list[float] = []
        news = asyncio.Event()
        news.set()
        done = asyncio.Event()

        async def step() -> None:
            began.append(asyncio.get_running_loop().time())
            if len(began) <= 3:
                raise OSError(28, "No space left on device")
            news.clear()
            done.set()

        with caplog.at_level("WARNING"):
            loop = forever(step, name="test loop", every=60, on=news, start_grace=0)
            async with background(loop), asyncio.timeout(10):
                await done.wait()
                await asyncio.sleep(0)
        pauses = [later - earlier for earlier, later in pairwise(began)]
        assert len(pauses) == 3
        assert all(pause >= least for pause, least in zip(pauses, (0.08, 0.17, 0.35), strict=True))
        assert [record.message for record in caplog.records] == ["test loop paused", "test loop resumed"]

    async def test_what_has_not_started_yet_is_no_news(self, caplog: pytest.LogCaptureFixture) -> None:
        """A loop that fails because another process is still starting says nothing; later it says so."""
        failures = iter([ConnectionRefusedError(), None, ConnectionRefusedError(), None])
        done = asyncio.Event()

        async def step() -> float:
            failure = next(failures, "over")
            if isinstance(failure, OSError):
                raise failure
            if failure == "over":
                done.set()
            return 0.01

        with caplog.at_level("WARNING"):
            async with background(forever(step, name="test loop", every=60)), asyncio.timeout(10):
                await done.wait()
        assert [record.message for record in caplog.records] == ["test loop paused", "test loop resumed"]

    async def test_an_error_of_ours_is_told_with_its_traceback(self, caplog: pytest.LogCaptureFixture) -> None:
        """What no other system does to a loop is logged as an error, and does not end the loop either."""
        steps = iter([LookupError("a fault")])
        done = asyncio.Event()

        async def step() -> None:
            for error in steps:
                raise error
            done.set()

        async with background(forever(step, name="test loop", every=60)), asyncio.timeout(10):
            await done.wait()
        assert caplog.records[0].levelname == "ERROR"
        assert caplog.records[0].exc_info is not None

    @pytest.mark.parametrize("after", [None, ConnectionResetError()])
    async def test_a_cancellation_that_a_step_swallows_ends_the_loop(self, after: Exception | None) -> None:
        """A library that loses a cancellation, or lets another error overtake it, keeps no loop alive."""
        began, steps = asyncio.Event(), 0

        async def step() -> None:
            nonlocal steps
            steps += 1
            began.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            if after is not None:
                raise after

        loop = asyncio.create_task(forever(step, name="test loop", every=0))
        await began.wait()
        loop.cancel()
        await asyncio.wait({loop}, timeout=10)
        assert (loop.cancelled(), steps) == (True, 1)

    async def test_a_task_that_loses_its_cancellation_is_cancelled_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Until it has ended, and the log says so."""
        lost = 0

        async def losing() -> None:
            nonlocal lost
            while lost < 2:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    lost += 1

        task = asyncio.create_task(losing())
        await asyncio.sleep(0)
        await ended(task, name="test task", timeout=0.01)
        assert (task.done(), lost) == (True, 2)
        assert caplog.messages == ["test task did not end when it was cancelled: cancelled again"]
