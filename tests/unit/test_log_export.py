"""Log lines that are sent to the console: what happens when it does not take them."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.proto.logs.v1 import logs_pb2 as pb

from chassis.observability import log_export
from chassis.observability.log_export import OtlpLogs
from tests.waiting import eventually


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives each connection the next of these answers, and closes it; what it got."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    got.append(connection.recv(1 << 16))
                    connection.sendall(answer)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", got
        serving.join(10)


async def test_an_answer_that_is_no_http_ends_no_export() -> None:
    """A collector that is killed in the middle of its answer gets the lines once it is back."""
    with answering(b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, got):
        logs = OtlpLogs("test", url)
        logs._waiting.append(pb.LogRecord(severity_text="INFO"))
        logs._something.set()
        await eventually(lambda: len(got) == 2)
        logs.close()


async def test_lines_go_to_the_collector_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy for the web, which the environment names, has no part in it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, got):
        logs = OtlpLogs("test", url)
        logs._waiting.append(pb.LogRecord(severity_text="INFO"))
        logs._something.set()
        await eventually(lambda: len(got) == 1)
        logs.close()


def test_the_newest_lines_are_kept_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch that could not be sent, as much stays as what came meanwhile leaves room for."""
    logs = OtlpLogs("test", "http://127.0.0.1:1")
    logs._waiting.extend([pb.LogRecord(severity_text="old")] * 10)
    room = 3

    def away(*_: object, **__: object) -> None:
        nonlocal room
        logs._waiting.extend([pb.LogRecord(severity_text="new")] * (log_export._MAX_WAITING - room))
        raise OSError("away")

    monkeypatch.setattr(logs._direct, "open", away)
    for left in (3, 0):
        room = left
        assert not logs._send()
        kept = Counter(record.severity_text for record in logs._waiting)
        assert (kept["old"], kept["new"]) == (left, log_export._MAX_WAITING - left)
        logs._waiting.clear()
        logs._waiting.extend([pb.LogRecord(severity_text="old")] * 10)
    logs._waiting.clear()
    logs.close()
