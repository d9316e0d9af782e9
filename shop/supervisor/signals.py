"""Signals as bytes in a pipe, so that one loop can wait for them and for everything else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HANDLED = (*STOPPING, signal.SIGCHLD)


@contextmanager
def received() -> Iterator[int]:
    """A descriptor from which each signal that arrives can be read as one byte: its number."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    wakeup = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    # Under nohup a hang-up stays ignored.
    wanted = [number for number in _HANDLED if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in wanted}
    try:
        yield readable
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(readable)
        os.close(writable)


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait: between fork and `forget` a child must not take one for its parent's."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def forget() -> None:
    """Make a forked child as deaf to the parent's signals, and as open to its own, as a new process."""
    descriptor = signal.set_wakeup_fd(-1)
    if descriptor >= 0:  # from Python 3.13 on asyncio has taken it away by then, in its own fork handler
        os.close(descriptor)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    # A Ctrl-C that came with the fork was meant for the parent: ignoring it drops it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    signal.signal(signal.SIGINT, signal.default_int_handler)
