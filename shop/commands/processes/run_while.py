"""`shop run PROCESS --while COMMAND`: a process beside the shop for as long as a command runs."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial

from shop.commands.processes import settings_list
from shop.commands.processes.up import RUN_COMMAND
from shop.errors import Refused
from shop.process_table import TABLE, ProcessSpec
from shop.process_table import select as choose
from shop.started_shop import running, stop, unwound_by_signals
from shop.supervisor import child
from shop.supervisor.supervisor import READY_WITHIN
from shop.user_command import run_shell

_STOP_TIMEOUT = 10.0


def run_while(name: str, command: str, env: Mapping[str, str], *, table: Sequence[ProcessSpec] = TABLE) -> int:
    """Start one process, run a shell command once it is ready, and stop the process; returns the command's exit code.

    A signal that ends this program ends both. Raises `Refused` for a name or setting that is not valid, and where the
    process ends before it is ready, or is not ready in time.
    """
    choose(table, only=[name])
    settings_list.check(env)
    ready, writable = os.pipe()
    lifeline, held = os.pipe()

    def start() -> subprocess.Popen[bytes]:
        descriptors = {child.READY: str(writable), child.LIFELINE: str(lifeline)}
        try:
            return subprocess.Popen(  # noqa: S603  # nosec B603 # our own program
                [*RUN_COMMAND, name], env={**env, **descriptors}, pass_fds=[writable, lifeline]
            )
        finally:
            os.close(writable)
            os.close(lifeline)

    with (
        unwound_by_signals(),
        open(ready, "rb", buffering=0) as news,  # noqa: PTH123
        open(held, "wb", buffering=0),  # noqa: PTH123
        running(start, partial(stop, within=_STOP_TIMEOUT)),
    ):
        if not select.select([news], [], [], READY_WITHIN)[0]:
            raise Refused(f"{name} was not ready within {READY_WITHIN:.0f} s")
        if not news.read(1):
            raise Refused(f"{name} ended before it was ready")
        return run_shell(command, env=env)
