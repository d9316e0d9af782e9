"""A program that says what it finds around it: `python -m tests.forking.probe [EXIT]`, a line of JSON.

Then it ends as its argument says: with an exit status, a last word, an error, a Ctrl-C, or by a thread of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path


def around() -> dict[str, object]:
    """What does not differ between two processes that are started in the same way."""
    streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
    main = sys.modules["__main__"]
    return {
        "argv": sys.argv,
        "path": sys.path,
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
        "descriptors": sorted(int(name) for name in os.listdir("/dev/fd") if Path("/dev/fd", name).exists()),  # noqa: PTH208
        "threads": threading.active_count(),
        "parent": os.getppid(),
        "leads_session": os.getsid(0) == os.getpid(),
        "leads_group": os.getpgrp() == os.getpid(),
        "signals": {each.name: str(signal.getsignal(each)) for each in signal.Signals if each.name != "SIGCHLD"},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "wakeup": signal.set_wakeup_fd(-1),
        "streams": {
            name: [stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.isatty()]
            for name, stream in streams.items()
        },
        "main": [main.__name__, main.__file__, main.__spec__ is not None and main.__spec__.name],
        "limits": Path("/proc/self/limits").read_text(),
        "umask": Path("/proc/self/status").read_text().partition("Umask:")[2].split()[0],
        "name": Path("/proc/self/comm").read_text(),
    }


def interrupt() -> None:
    raise KeyboardInterrupt


ENDS: dict[str, Callable[[], object]] = {
    "status": lambda: sys.exit(3),
    "word": lambda: sys.exit("a last word"),
    "error": lambda: 1 / 0,
    "interrupt": interrupt,
    "thread": threading.Thread(target=lambda: sys.stdout.write("a thread's word\n")).start,
    "wait": signal.pause,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}

if __name__ == "__main__":
    atexit.register(sys.stdout.write, "at exit\n")
    given = "" if sys.stdin.isatty() else sys.stdin.readline()
    sys.stdout.write(json.dumps({"found": around(), "given": given, "drawn": [random.random(), os.getpid()]}) + "\n")  # noqa: S311
    if sys.argv[1:]:
        sys.stdout.flush()
        ENDS[sys.argv[1]]()
