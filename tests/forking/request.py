"""One request for a process, as it travels to the server: a JSON object, and the descriptors that go with it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

# Bytes of one request at most; an environment is 10 KB.
_SIZE = 1 << 20
_MAX_DESCRIPTORS = 64
# These are read when an interpreter or a library starts, which in the server was earlier.
_READ_AT_START = re.compile(
    r"PYTHON(?!UNBUFFERED$)|LC_|LANG|LD_|TZ$|MALLOC_|GRPC_|OTEL_|NO_COLOR|FORCE_COLOR|TERMINAL_WIDTH|_?TYPER_"
)


@dataclass(frozen=True)
class Request:
    """What to run, and what the new process has.

    `targets` are the numbers that the descriptors get there, `ignored` the signals that it ignores from the start.
    """

    program: str
    arguments: list[str]
    env: dict[str, str]
    targets: list[int]
    new_session: bool = False
    group: int = -1
    ignored: list[int] = field(default_factory=list)

    def send(self, connection: socket.socket, descriptors: list[int]) -> None:
        socket.send_fds(connection, [json.dumps(asdict(self)).encode()], descriptors)


def receive(connection: socket.socket) -> tuple[Request, list[int]] | None:
    """The next request; None when there will be no other."""
    message, descriptors, _, _ = socket.recv_fds(connection, _SIZE, _MAX_DESCRIPTORS)
    return (Request(**json.loads(message)), descriptors) if message else None


def start_alike(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether an interpreter that is started with one environment is the same as with the other."""
    return all(one.get(name) == other.get(name) for name in {*one, *other} if _READ_AT_START.match(name))
