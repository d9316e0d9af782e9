"""The ERP as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.legacy.conftest import Customer, http_call, switch_faults
from tests.shop import free_ports

CANCEL = (
    '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:erp:sales:2004">'
    "<e:Header><SessionHeader><SessionId>{}</SessionId></SessionHeader></e:Header>"
    "<e:Body><CancelSalesOrder><CustRef>order-1</CustRef></CancelSalesOrder></e:Body></e:Envelope>"
)

ROOT = Path(__file__).parent.parent.parent


def start(data_dir: Path, port: int, **settings: str) -> tuple[subprocess.Popen[str], bytes]:
    """Start the process and wait until it says that it is ready; what it said comes too."""
    readable, writable = os.pipe()
    environment = os.environ | {
        "SHOP_LEGACY_SOAP_PORT": str(port),
        "SHOP_DATA_DIR": str(data_dir),
        "SHOP_READY_FD": str(writable),
        "SHOP_LEGACY_SOAP_SEED": "none",
        **settings,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "legacy_soap"],
        cwd=ROOT,
        env=environment,
        pass_fds=[writable],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(writable)
    with os.fdopen(readable, "rb") as ready:
        return process, ready.read()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_calls_in_flight(tmp_path: Path, signum: signal.Signals) -> None:
    """On SIGTERM, the process refuses new connections, answers what it is working on, and exits with 0."""
    (port,) = free_ports(1)
    process, said = start(tmp_path, port)
    assert said == b"\n"
    session = Customer(port).session
    switch_faults(port, delay_ms=60_000)
    call = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    call.request("POST", "/", CANCEL.format(session), {"Content-Type": "text/xml"})
    # The ERP takes calls in the order in which they come: once this one is answered, it has the other.
    assert http_call(port, "GET", "/_faults")[0] == 200
    process.send_signal(signum)
    answer = call.getresponse()
    assert answer.status == 200
    assert b"<tns:Stat>90</tns:Stat>" in answer.read()
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    with pytest.raises(ConnectionRefusedError):
        http_call(port, "GET")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_taken_port_is_a_clear_error(tmp_path: Path, log_format: str) -> None:
    """The message names the port and the variable that moves it, in the format of all lines."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process, said = start(tmp_path, port, SHOP_LOG_FORMAT=log_format)
        output, _ = process.communicate(timeout=20)
    assert said == b""
    if log_format == "json":
        (line,) = [json.loads(line) for line in output.splitlines()]
        assert line["level"] == "critical"
    assert process.returncode == 1
    assert str(port) in output
    assert "SHOP_LEGACY_SOAP_PORT" in output
    assert "Traceback" not in output


def test_where_logs_are_json_every_line_is(tmp_path: Path) -> None:
    """All that it writes, faults included, is a JSON object a line, as of the shop's other processes."""
    (port,) = free_ports(1)
    process, _ = start(tmp_path, port, SHOP_LOG_FORMAT="json")
    switch_faults(port, delay_ms=1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=20)
    lines = [json.loads(line) for line in said.splitlines()]
    # Two threads, so in any order.
    assert sorted((line["process"], line["level"]) for line in lines) == [
        ("legacy_soap", "info"),
        ("legacy_soap", "warning"),
    ]
    assert f"listening on port {port}" in {line["message"] for line in lines}


def test_an_uncaught_error_is_json_too(tmp_path: Path) -> None:
    """What ends the process is logged in the format of all its lines."""
    (port,) = free_ports(1)
    (tmp_path / "legacy_soap.sqlite").mkdir()
    process, said = start(tmp_path, port, SHOP_LOG_FORMAT="json")
    output, _ = process.communicate(timeout=20)
    assert (said, process.returncode) == (b"", 1)
    (line,) = [json.loads(line) for line in output.splitlines()]
    assert (line["level"], "OperationalError" in line["exception"].splitlines()[-1]) == ("critical", True)


@pytest.mark.parametrize(
    ("setting", "value"), [("SHOP_LEGACY_SOAP_FAULTS", '{"delay_ms": -1}'), ("SHOP_LEGACY_SOAP_SESSION_SECONDS", "-1")]
)
def test_a_wrong_setting_is_named_in_one_line(tmp_path: Path, setting: str, value: str) -> None:
    """Without a traceback, and with the exit code that says that another start would be in vain."""
    (port,) = free_ports(1)
    process, said = start(tmp_path, port, SHOP_LOG_FORMAT="json", **{setting: value})
    output, _ = process.communicate(timeout=20)
    assert (said, process.returncode) == (b"", 2)
    (line,) = [json.loads(line) for line in output.splitlines()]
    assert (line["level"], "exception" in line) == ("critical", False)
    assert line["message"].startswith(f"{setting} is wrong")
