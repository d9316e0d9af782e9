"""`shop run PROCESS --while COMMAND`: a process beside the shop for as long as a command runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from shop.commands.processes import settings_list
from shop.commands.processes.up import RUN_COMMAND
from shop.errors import Refused
from shop.process_table import TABLE, ProcessSpec, select
from shop.started_shop import stop, unwound_by_signals
from shop.supervisor import child
from shop.user_command import run_shell

_STOP_TIMEOUT = 10.0


def run_while(name: str, command: str, env: Mapping[str, str], *, table: Sequence[ProcessSpec] = TABLE) -> int:
    """Start one process, run a shell command once it is ready, and stop the process; returns the command's exit code.

    A signal that ends this program ends both. Raises `Refused` for a name or setting that is not valid, and where the
    process ends before it is ready.
    """
    select(table, only=[name])
    settings_list.check(env)
    ready, writable = os.pipe()
    lifeline, held = os.pipe()
    with unwound_by_signals(), open(ready, "rb", buffering=0) as news, open(held, "wb", buffering=0):  # noqa: PTH123
        descriptors = {child.READY: str(writable), child.LIFELINE: str(lifeline)}
        try:
            process = subprocess.Popen(  # noqa: S603  # nosec B603 # our own program
                [*RUN_COMMAND, name], env={**env, **descriptors}, pass_fds=[writable, lifeline]
            )
        finally:
            os.close(writable)
            os.close(lifeline)
        try:
            if not news.read(1):
                raise Refused(f"{name} ended before it was ready")
            return run_shell(command, env=env)
        finally:
            stop(process, within=_STOP_TIMEOUT)
