"""Processes that a command starts for itself end with it, whenever a signal arrives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from shop.started_shop import running, unwound_by_signals


def test_a_signal_during_the_start_of_a_process_ends_it() -> None:
    """One that arrives before it is known what to end unwinds the program as soon as that is known."""
    ended, reached = [], []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    def end(process: subprocess.Popen[bytes]) -> None:
        ended.append(process)
        process.communicate(b"\n")

    with pytest.raises(SystemExit, match="143"), unwound_by_signals(), running(start, end):
        reached.append(1)
    assert [process.returncode for process in ended] == [0]
    assert reached == []


def test_a_signal_during_a_start_that_fails_ends_the_program() -> None:
    """There is nothing to end then."""

    def start() -> subprocess.Popen[bytes]:
        os.kill(os.getpid(), signal.SIGTERM)
        raise FileNotFoundError

    with pytest.raises(SystemExit, match="143"), unwound_by_signals(), running(start, lambda process: process.wait()):
        pass
