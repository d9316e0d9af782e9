"""`python -m PROGRAM …` for shells: `python -I -S tests/forking/command.py SOCKET -m PROGRAM …` has it forked.

It stands for the process: it has the same streams, hands on each signal that it receives, and ends as that one ends.
What cannot be forked (`tests.forking`) is executed in its place. It imports little, since it is there to be quick.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - quicker
HANDED_ON = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}


def main() -> None:
    """Have it forked and end as it ends, or execute it."""
    place, *arguments = sys.argv[1:]
    if len(arguments) >= 2 and arguments[0] == "-m" and os.getcwd() == ROOT:  # noqa: PTH109 - quicker
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)  # until there is a process to hand them to
        status = _forked(place, arguments[1], arguments[2:])
        if status is not None:
            if os.WIFSIGNALED(status):
                if os.WTERMSIG(status) != signal.SIGKILL:
                    signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
                os.kill(os.getpid(), os.WTERMSIG(status))
            os._exit(os.waitstatus_to_exitcode(status))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606


def _forked(place: str, program: str, arguments: list[str]) -> int | None:
    """The exit status of the forked process; None if the server forks no such one."""
    ignored = [number for number in HANDED_ON if signal.getsignal(number) == signal.SIG_IGN]
    request = {
        "program": program,
        "arguments": arguments,
        "env": dict(os.environ),
        "targets": [0, 1, 2],
        "ignored": [int(number) for number in ignored],
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(place)
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        answer = connection.recv(20)
        if not answer:
            return None
        pid = int(answer)
        for number in HANDED_ON.difference(ignored):
            signal.signal(number, lambda given, _: os.kill(pid, given))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
        ended = connection.recv(20)
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    return int(ended) if ended else 1


if __name__ == "__main__":
    main()
