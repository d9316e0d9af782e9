"""`shop run PROCESS --while COMMAND`: a process beside the shop for as long as a command runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from shop.commands.processes import settings_list
from shop.commands.processes.up import RUN_COMMAND
from shop.errors import Refused
from shop.process_table import TABLE, ProcessSpec, select
from shop.supervisor import child


def run_while(name: str, command: str, env: Mapping[str, str], *, table: Sequence[ProcessSpec] = TABLE) -> int:
    """Start one process, run a shell command once it is ready, and stop the process; returns the command's exit code.

    Raises `Refused` for a name or setting that is not valid, and where the process ends before it is ready.
    """
    select(table, only=[name])
    settings_list.check(env)
    readable, writable = os.pipe()
    with open(readable, "rb", buffering=0) as ready:  # noqa: PTH123 - a descriptor
        try:
            process = subprocess.Popen(  # noqa: S603  # nosec B603 # our own program
                [*RUN_COMMAND, name], env={**env, child.READY: str(writable)}, pass_fds=[writable]
            )
        finally:
            os.close(writable)
        try:
            if not ready.read(1):
                raise Refused(f"{name} ended before it was ready")
            # The user's own command line, as the user's own shell would run it.
            return subprocess.run(command, shell=True, env=env, check=False).returncode  # noqa: S602  # nosec B602 # the user's own
        finally:
            process.terminate()
            process.wait()
