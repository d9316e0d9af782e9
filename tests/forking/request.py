"""One request for a process, as it travels to the server: a JSON object, and the descriptors that go with it."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass

# Bytes of one request at most; an environment is 10 KB.
_SIZE = 1 << 20
_MAX_DESCRIPTORS = 64


@dataclass(frozen=True)
class Request:
    """What to run, and what the new process has: `targets` are the numbers that the descriptors get there."""

    program: str
    arguments: list[str]
    env: dict[str, str]
    targets: list[int]
    new_session: bool = False
    group: int = -1

    def send(self, connection: socket.socket, descriptors: list[int]) -> None:
        socket.send_fds(connection, [json.dumps(asdict(self)).encode()], descriptors)


def receive(connection: socket.socket) -> tuple[Request, list[int]] | None:
    """The next request; None when there will be no other."""
    message, descriptors, _, _ = socket.recv_fds(connection, _SIZE, _MAX_DESCRIPTORS)
    return (Request(**json.loads(message)), descriptors) if message else None
