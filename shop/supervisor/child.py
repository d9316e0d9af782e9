"""Start-up of a child process, and its detection of the supervisor's death."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from chassis.errors import REFUSED, wrong_setting
from shop.errors import Refused
from shop.process_table import ProcessSpec
from shop.supervisor import signals

log = logging.getLogger(__name__)

# The settings that name two inherited pipes: one to report "ready" on, one that ends when the supervisor does.
READY = "SHOP_READY_FD"
LIFELINE = "SHOP_LIFELINE_FD"
# The setting by which a fault lab sets the process's clock.
CLOCK = "SHOP_LAB_CLOCK"
TIMEOUT = 10.0


def live(spec: ProcessSpec, env: Mapping[str, str], *, leave: Iterable[int], command: tuple[str, ...]) -> NoReturn:
    """Run the process in a freshly forked child, or execute `command` if there is one, and end.

    Ends without unwinding: the frames below are a copy of the supervisor's, and their clean-up is not ours to do.
    """
    code = 1
    try:
        _leave_supervisor(env, leave)
        if command:
            for pipe in (READY, LIFELINE):
                os.set_inheritable(int(env[pipe]), True)
            os.execve(command[0], command, env)  # noqa: S606  # nosec B606 # no shell is wanted
        run(spec)
        code = 0
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException as error:  # noqa: BLE001  # none may climb into the frames below
        if refusal := str(error) if isinstance(error, Refused) else wrong_setting(error):
            log.critical("%s", refusal)
            code = REFUSED
        else:
            traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def prepare(task: Callable[[], None], *, lifeline: int, leave: Iterable[int]) -> NoReturn:
    """Prepare, in a freshly forked child, the first start of a process, and end.

    Its failures are shown and change nothing. It ends at a signal, and with the supervisor.
    """
    try:
        # As in `_leave_supervisor`: the supervisor decides what a Ctrl-C in the terminal ends.
        os.setpgid(0, 0)
        signals.forget()
        for descriptor in leave:
            os.close(descriptor)
        _watch(lifeline)
        task()
    except BaseException:  # noqa: BLE001  # none may climb into the frames below
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)


def run(spec: ProcessSpec) -> None:
    """Run one process here until a signal, or until its supervisor is gone if it has one."""
    lifeline = os.environ.pop(LIFELINE, "")
    if lifeline:
        _watch(int(lifeline))
    sys.argv = ["shop", "run", spec.name]
    # What `ps -o comm`, `top` and `pstree` show; without a /proc they show python.
    with suppress(OSError):
        Path("/proc/self/comm").write_text(spec.name[:15])
    module, _, attribute = spec.entry.partition(":")
    entry = getattr(import_module(module), attribute)
    if spec.plain:
        entry()
        return
    from chassis.process import run_process

    if clock := os.environ.get(CLOCK):
        _follow(clock)
    run_process(spec.name, entry)


def _follow(clock: str) -> None:
    """Use the wall clock of a lab: right, or as wrong as its fault makes it."""
    from chassis import wall_clock

    if os.environ.get("SHOP_ENV") == "production":
        raise SystemExit(f"{CLOCK} is refused where SHOP_ENV=production: it is there to break the shop; unset it")
    wall_clock.follow(Path(clock))


def _leave_supervisor(env: Mapping[str, str], leave: Iterable[int]) -> None:
    """Drop what a fork copies and a new process would not have (`random` sees to its seed itself)."""
    # A process group of its own: a terminal's Ctrl-C goes to the supervisor, which alone decides when each process
    # ends.
    os.setpgid(0, 0)
    signals.forget()
    for descriptor in leave:
        os.close(descriptor)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    logging.getLogger().handlers.clear()
    os.environ.clear()
    os.environ.update(env)
    gc.enable()


def _exit_code(end: SystemExit) -> int:
    """The exit code as in the interpreter: None is 0, and what is no number is a last word."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    sys.stderr.write(f"{end.code}\n")
    return 1


def _watch(lifeline: int) -> None:
    # The thread inherits the mask: signals stay the main thread's business, which may want to wait for them itself.
    with signals.held_back():
        threading.Thread(target=_end_with_supervisor, args=(lifeline,), name="lifeline", daemon=True).start()


def _end_with_supervisor(lifeline: int) -> None:
    """Nothing is written to this pipe; it ends when the supervisor, which alone holds its other end, is gone."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(TIMEOUT)
    os._exit(1)
