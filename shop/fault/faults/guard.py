"""A guard: undoes a fault whose command was killed, and can undo it no more itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

_CODE = """
import sys
if sys.stdin.read() != "done":
    from {module} import {name}
    {name}(sys.argv[1:])
"""
_TIMEOUT = 10.0


class Guard:
    """A process that waits for the end of this one, and then calls a function that undoes what this one has broken.

    It is there before the fault, and with all that it needs: between the two this program could be killed. It has a
    session of its own: what ends this program's process group, or its terminal, does not end it.
    """

    def __init__(self, undo: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> None:
        """`undo` is a function of a module, which takes the arguments."""
        code = _CODE.format(module=undo.__module__, name=undo.__name__)
        self._process = subprocess.Popen(  # noqa: S603  # nosec B603 # names, pids and addresses of ours alone go in
            [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, start_new_session=True
        )

    def dismiss(self) -> None:
        """All is undone: the guard ends without doing anything."""
        try:
            self._process.communicate(b"done", timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
