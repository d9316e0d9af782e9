"""Starts each process as an operating system process of its own, restarts those that end, and stops them all.

One thread, no event loop, nothing of gRPC at work: what it forks must be a clean copy.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chassis.errors import REFUSED
from shop.process_table import ProcessSpec
from shop.supervisor import child, restarts, signals, state
from shop.supervisor.state import ProcessState, State

log = logging.getLogger(__name__)

READY_WITHIN = 30.0
GRACE = 10.0
# Seconds after which what could not be written is written again.
SAVE_AGAIN = 1.0


@dataclass(slots=True)
class Child:
    """One process to keep running. Times are the clock's: `due` is when to start it, `ready_at` when it was ready.

    `ready_fd` is where it will say so, while it has not.
    """

    spec: ProcessSpec
    env: Mapping[str, str]
    ports: Mapping[str, int]
    state: State = State.WAITING
    pid: int | None = None
    due: float = 0.0
    started_at: float = 0.0
    ready_at: float | None = None
    ready_fd: int | None = None
    reported_late: bool = False
    delay: float = 0.0
    restarts: int = 0

    def snapshot(self) -> ProcessState:
        """The public state of a process."""
        port = next(iter(self.ports.values()), None)
        return ProcessState(self.spec.name, self.pid, self.state, self.restarts, port, dict(self.ports))


class Supervisor:
    """Keeps the children running until a signal stops them.

    `on_ready` is called once, when all are ready for the first time. Where `command` gives
    one, a child executes it instead of running its entry in the forked copy. `settings` are
    published with the states, for commands beside the shop.
    """

    def __init__(
        self,
        children: Sequence[Child],
        data_dir: Path,
        *,
        on_ready: Callable[[], None],
        command: Callable[[ProcessSpec], tuple[str, ...]] = lambda _: (),
        settings: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = children
        self._data_dir = data_dir
        self._on_ready = on_ready
        self._command = command
        self._settings = settings
        self._clock = clock
        self._all_were_ready = False
        self._stopping = False
        self._kill_at = float("inf")
        self._killed = False
        self._refused = False
        self._saved: list[ProcessState] = []
        # When to try again, after a failure.
        self._save_at = 0.0
        self._selector = selectors.PollSelector()
        # The children hold the end to read from; it ends when the supervisor dies, which alone holds the other.
        self._lifeline, self._lifeline_end = os.pipe()

    def run(self, prepare: Callable[[], None] = lambda: None, first: Callable[[], None] | None = None) -> int:
        """Prepare (import what the children share), have a fork do `first`, then supervise the children.

        SIGINT, SIGTERM and SIGHUP end each of these but the imports.

        Returns 0 when every process ended in time, 1 when one had to be killed, 2 when one was refused at its first
        start: it would be at each, so that the others are stopped.
        """
        with signals.received() as arrived:
            self._selector.register(arrived, selectors.EVENT_READ)
            try:
                self._save()
                prepare()
                if first is not None:
                    self._do(first)
                while not self._stopping or self._alive():
                    self._step()
            finally:
                self._end()
        return REFUSED if self._refused else int(self._killed)

    def _do(self, task: Callable[[], None]) -> None:
        """Have a fork do it, and wait for that or for a signal to stop, which ends the fork."""
        leave = [self._lifeline_end, *(key.fd for key in self._selector.get_map().values())]
        with signals.held_back():
            pid = os.fork()
            if pid == 0:
                child.prepare(task, lifeline=self._lifeline, leave=leave)
        while not os.waitpid(pid, os.WNOHANG)[0]:
            for key, _ in self._selector.select():  # SIGCHLD ends the wait, too
                self._obey(os.read(key.fd, 100))
            if self._stopping:
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)
                return

    def _alive(self) -> list[tuple[Child, int]]:
        return [(each, each.pid) for each in self._children if each.pid is not None]

    def _step(self) -> None:
        """Wait until something happens or is due, and deal with it."""
        for key, _ in self._selector.select(self._pause()):
            if isinstance(key.data, Child):
                self._on_ready_byte(key.data, key.fd)
            else:
                self._obey(os.read(key.fd, 100))
        now = self._clock()
        for each in self._children:
            self._reap(each, now)
            if each.state is State.WAITING and now >= each.due:
                self._start(each, now)
            elif each.state is State.STARTING and now >= each.started_at + READY_WITHIN and not each.reported_late:
                each.reported_late = True
                log.warning("%s is not ready yet", each.spec.name, extra={"pid": each.pid, "seconds": READY_WITHIN})
        if now >= self._kill_at:
            self._kill()
        self._save()

    def _pause(self) -> float | None:
        """Seconds until something is due; None when nothing is."""
        due = [self._kill_at, self._save_at or float("inf")]
        for each in self._children:
            if each.state is State.WAITING:
                due.append(each.due)
            elif each.state is State.STARTING and not each.reported_late:
                due.append(each.started_at + READY_WITHIN)
        soonest = min(due)
        return None if soonest == float("inf") else max(0.0, soonest - self._clock())

    def _start(self, each: Child, now: float) -> None:
        readable, writable = os.pipe()
        leave = [readable, self._lifeline_end, *(key.fd for key in self._selector.get_map().values())]
        env = {**each.env, child.READY: str(writable), child.LIFELINE: str(self._lifeline)}
        command = self._command(each.spec)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # a full disk: what it holds back is written later
                stream.flush()
        each.started_at, each.ready_at, each.reported_late = now, None, False
        try:
            with signals.held_back():
                each.pid = os.fork()
                if each.pid == 0:
                    child.live(each.spec, env, leave=leave, command=command)
        except OSError as error:  # no memory or no process number left, for now
            os.close(readable)
            self._postpone(each, now, {"error": error.strerror})
            return
        finally:
            os.close(writable)
        each.state, each.ready_fd = State.STARTING, readable
        self._selector.register(readable, selectors.EVENT_READ, each)

    def _on_ready_byte(self, each: Child, ready_fd: int) -> None:
        """Mark the process as ready; a pipe that ends without a byte means that it is about to end."""
        word = os.read(ready_fd, 1)
        self._close_ready_fd(each)
        if not word or each.state is not State.STARTING:
            return
        each.state, each.ready_at = State.READY, self._clock()
        seconds = f"{each.ready_at - each.started_at:.2f}"
        log.log(
            logging.INFO if each.restarts else logging.DEBUG, "%s is ready", each.spec.name, extra={"seconds": seconds}
        )
        if not self._all_were_ready and all(other.state is State.READY for other in self._children):
            self._all_were_ready = True
            try:
                self._on_ready()
            except OSError as error:  # it greets on standard output
                log.warning("start-up banner not written", extra={"reason": str(error)})

    def _close_ready_fd(self, each: Child) -> None:
        if each.ready_fd is not None:
            self._selector.unregister(each.ready_fd)
            os.close(each.ready_fd)
            each.ready_fd = None

    def _reap(self, each: Child, now: float) -> None:
        if each.pid is None:
            return
        ended, status = os.waitpid(each.pid, os.WNOHANG)
        if not ended:
            return
        self._close_ready_fd(each)
        each.pid = None
        if self._stopping:
            each.state = State.STOPPED
        elif os.WIFEXITED(status) and os.WEXITSTATUS(status) == REFUSED and not each.restarts:
            log.critical("%s has invalid settings (see its line above): the shop stops", each.spec.name)
            self._refused = True
            self._stop()
        else:
            self._postpone(each, now, _cause(status))

    def _postpone(self, each: Child, now: float, cause: Mapping[str, object]) -> None:
        """Start it again after a while."""
        healthy_for = 0.0 if each.ready_at is None else now - each.ready_at
        each.delay = restarts.next_delay(each.delay, healthy_for)
        each.state, each.due, each.restarts = State.WAITING, now + each.delay, each.restarts + 1
        log.warning("%s ended and will be restarted", each.spec.name, extra={**cause, "delay": f"{each.delay:g}s"})

    def _obey(self, arrived: bytes) -> None:
        """Stop at the first signal to stop; kill at a Ctrl-C after that."""
        for number in arrived:
            if number not in signals.STOPPING:
                continue
            if not self._stopping:
                self._stop()
            elif number == signal.SIGINT:
                self._kill()

    def _stop(self) -> None:
        log.info("stopping", extra={"processes": len(self._alive())})
        self._stopping, self._kill_at = True, self._clock() + GRACE
        for each in self._children:
            if each.pid is None:
                each.state = State.STOPPED
            else:
                os.kill(each.pid, signal.SIGTERM)

    def _kill(self) -> None:
        self._kill_at = float("inf")
        for each, pid in self._alive():
            self._killed = True
            log.warning("%s did not stop in time: killed", each.spec.name, extra={"pid": pid})
            os.kill(pid, signal.SIGKILL)

    def _end(self) -> None:
        """Leave nothing behind, also when something in here went wrong."""
        self._kill()
        for each, pid in self._alive():
            os.waitpid(pid, 0)
            each.pid = None
        for each in self._children:
            self._close_ready_fd(each)
            each.state = State.STOPPED
        self._save()
        self._selector.close()
        os.close(self._lifeline)
        os.close(self._lifeline_end)

    def _save(self) -> None:
        current = [each.snapshot() for each in self._children]
        if current == self._saved or self._clock() < self._save_at:
            return
        try:
            state.write(self._data_dir, current, self._settings)
        except OSError as error:
            if not self._save_at:
                log.warning("process state file not written", extra={"reason": str(error)})
            self._save_at = self._clock() + SAVE_AGAIN
        else:
            self._saved, self._save_at = current, 0.0


def _cause(status: int) -> dict[str, object]:
    code = os.waitstatus_to_exitcode(status)
    names = {number.value: number.name for number in signal.Signals}
    return {"signal": names.get(-code, -code)} if code < 0 else {"exit_code": code}
