"""Processes that a command starts for itself end with it, whenever a signal arrives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shop.started_shop import running, unwound_by_signals

SIGNALS = [(signal.SIGTERM, SystemExit(143)), (signal.SIGHUP, SystemExit(129)), (signal.SIGINT, KeyboardInterrupt())]


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as a program has it that was started in a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "unwound"), SIGNALS)
def test_a_signal_during_the_start_of_a_process_ends_it(number: signal.Signals, unwound: BaseException) -> None:
    """One that arrives before it is known what to end unwinds the program as soon as that is known."""
    ended, reached = [], []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        os.kill(os.getpid(), number)
        return process

    def end(process: subprocess.Popen[bytes]) -> None:
        ended.append(process)
        process.communicate(b"\n")

    with pytest.raises(type(unwound)) as raised, unwound_by_signals(), running(start, end):
        reached.append(1)
    assert raised.value.args == unwound.args
    assert [process.returncode for process in ended] == [0]
    assert reached == []


@pytest.mark.parametrize(("number", "unwound"), SIGNALS)
def test_a_signal_during_a_start_that_fails_ends_the_program(number: signal.Signals, unwound: BaseException) -> None:
    """There is nothing to end then."""

    def start() -> subprocess.Popen[bytes]:
        os.kill(os.getpid(), number)
        raise FileNotFoundError

    with pytest.raises(type(unwound)) as raised, unwound_by_signals(), running(start, lambda process: process.wait()):
        pass
    assert raised.value.args == unwound.args


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    """As in the background of a script, during the start, too."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def start() -> subprocess.Popen[bytes]:
        os.kill(os.getpid(), signal.SIGINT)
        return subprocess.Popen([sys.executable, "-c", ""])

    with running(start, lambda process: process.wait()) as process:
        pass
    assert process.returncode == 0
    signal.signal(signal.SIGINT, before)
