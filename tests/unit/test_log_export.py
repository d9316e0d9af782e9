"""Log lines that are sent to the console: what happens when it does not take them."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1 import logs_pb2 as pb

from chassis.observability import log_export
from chassis.observability.log_export import OtlpLogs
from tests.waiting import eventually


def line(severity: str, text: str = "") -> bytes:
    return pb.LogRecord(severity_text=severity, body=AnyValue(string_value=text)).SerializeToString()


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives each connection the next of these answers, and closes it; the bodies that it got."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as request:
                    fields = dict(line.split(b": ", 1) for line in iter(request.readline, b"\r\n") if b": " in line)
                    got.append(request.read(int(fields[b"Content-Length"])))
                    connection.sendall(answer)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", got
        serving.join(10)


async def test_an_answer_that_is_no_http_ends_no_export() -> None:
    """A collector that is killed in the middle of its answer gets the lines once it is back."""
    with answering(b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, got):
        logs = OtlpLogs("test", url)
        logs._export.add(line("INFO"))
        await eventually(lambda: len(got) == 2)
        logs.close()


async def test_lines_go_to_the_collector_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy for the web, which the environment names, has no part in it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, got):
        logs = OtlpLogs("test", url)
        logs._export.add(line("INFO"))
        await eventually(lambda: len(got) == 1)
        logs.close()


@pytest.mark.parametrize("status", [b"429", b"502", b"503", b"504"])
async def test_a_collector_that_is_busy_gets_the_lines_later(status: bytes) -> None:
    """Answers that OTLP says to retry lose no line."""
    busy = b"HTTP/1.1 %s Busy\r\nContent-Length: 0\r\n\r\n" % status
    with answering(busy, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, got):
        logs = OtlpLogs("test", url)
        logs._export.add(line("INFO"))
        await eventually(lambda: len(got) == 2)
        logs.close()
    assert all(b"INFO" in request for request in got)


def test_what_has_gathered_goes_in_exports_that_a_collector_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight megabytes of lines that waited are sent in order, in requests of little more than one."""
    logs = OtlpLogs("test", "http://127.0.0.1:1")
    sent: list[bytes] = []

    def takes(request: bytes) -> int:
        sent.append(request)
        return 200

    monkeypatch.setattr(logs._export._collector, "take", takes)
    logs._export._put_back([line(str(number), "x" * 4_096) for number in range(2_000)])
    assert logs._export._send()
    logs.close()
    assert max(map(len, sent)) < 1.1 * (1 << 20)
    exports = [ExportLogsServiceRequest.FromString(each).resource_logs[0].scope_logs[0].log_records for each in sent]
    assert [record.severity_text for export in exports for record in export] == [str(number) for number in range(2_000)]


def test_the_newest_lines_are_kept_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch that could not be sent, as much stays as what came meanwhile leaves room for."""
    logs = OtlpLogs("test", "http://127.0.0.1:1")
    export = logs._export
    export._put_back([line("old")] * 10)
    room = 3

    def away(_: bytes) -> int:
        nonlocal room
        export._put_back([line("new")] * (log_export._MAX_WAITING - room))
        raise OSError("away")

    monkeypatch.setattr(export._collector, "take", away)
    for left in (3, 0):
        room = left
        assert not export._send()
        kept = Counter(pb.LogRecord.FromString(each).severity_text for each in export._waiting)
        assert (kept["old"], kept["new"]) == (left, log_export._MAX_WAITING - left)
        while export._take():
            pass
        export._put_back([line("old")] * 10)
    while export._take():
        pass
    logs.close()
