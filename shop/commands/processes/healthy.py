"""`shop healthy`: checks that a process on this machine is ready. It is the containers' health check.

Every container runs this every few seconds, within its own memory limit: so it takes a bare interpreter and a socket,
and no gRPC client. `python -m shop.commands.processes.healthy` does without the command line, too; without a name it
checks the process that the container runs.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

from shop.errors import Refused
from shop.process_table import TABLE, Port, ProcessSpec, select
from shop.supervisor import state

_TIMEOUT = 3.0
_HIGHEST = 65535
# Where a process answers over HTTP, other than `/readyz` on its first port.
_PAGES = {"legacy_soap": "/?wsdl", "smtp_sink": "/healthz"}
_HEALTH_PORT = Port("SHOP_HEALTH_PORT", 8030)

# HTTP/2 (RFC 9113): frame types and flags, and what a connection begins with.
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS = 1, 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# grpc.health.v1.HealthCheckResponse: field 1 is 1, SERVING.
_SERVING = b"\x08\x01"


def healthy(name: str, env: Mapping[str, str]) -> bool:
    """Whether the process reports that it is ready. Raises `Refused` for an unknown name, and a port that is none."""
    (spec,) = select(TABLE, only=[name])
    # Where there are several (one of the mail sink's serves SMTP, one of the console's gRPC), the one that has a URL.
    with_url = [port for port in spec.ports if any(name.endswith("_URL") for name in port.addresses)]
    port = [_HEALTH_PORT, *spec.ports, *with_url][-1]
    number = _number(port, env)
    tls = env.get("SHOP_TLS_DIR", "")
    try:
        if _speaks_grpc(spec):
            return _grpc_serving(number, _client_certificate(tls, name))
        return _answers(number, _PAGES.get(name, "/readyz"), _trust(tls) if port.ends_tls else None)
    except (OSError, http.client.HTTPException):
        return False


def main() -> None:
    """Exit code 0: healthy; 1: not."""
    name = sys.argv[1] if len(sys.argv) > 1 else _own_process()
    try:
        sys.exit(0 if healthy(name, os.environ) else 1)
    except Refused as refusal:
        sys.stderr.write(f"shop: {refusal}\n")
        sys.exit(1)


def _number(port: Port, env: Mapping[str, str]) -> int:
    text = env.get(port.setting) or "0"
    if not (text.isascii() and text.isdigit() and int(text) <= _HIGHEST):
        raise Refused(f"{port.setting}={text} must be a port (1 to {_HIGHEST})")
    # 0 ("any free one") does not show where the process listens.
    return int(text) or _running(env).get(port.setting, port.default)


def _own_process() -> str:
    """The process that the container's `shop run PROCESS` runs."""
    return Path("/proc/1/cmdline").read_bytes().rstrip(b"\0").rpartition(b"\0")[2].decode()


def _running(env: Mapping[str, str]) -> Mapping[str, int]:
    return state.ports_of_running(Path(env.get("SHOP_DATA_DIR") or ".shop"))


def _speaks_grpc(spec: ProcessSpec) -> bool:
    return len(spec.ports) == 1 and any(name.endswith("_ADDRESS") for name in spec.ports[0].addresses)


def _trust(folder: str) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=f"{folder}/ca.pem") if folder else None


def _client_certificate(folder: str, name: str) -> ssl.SSLContext | None:
    context = _trust(folder)
    if context is not None:
        context.load_cert_chain(f"{folder}/{name}.pem", f"{folder}/{name}.key")
        context.set_alpn_protocols(["h2"])
    return context


def _answers(port: int, path: str, tls: ssl.SSLContext | None) -> bool:
    connection = (
        http.client.HTTPConnection("localhost", port, timeout=_TIMEOUT)
        if tls is None
        else http.client.HTTPSConnection("localhost", port, timeout=_TIMEOUT, context=tls)
    )
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()


def _grpc_serving(port: int, tls: ssl.SSLContext | None) -> bool:
    """Call grpc.health.v1.Health/Check for the whole server: an empty message, and SERVING back."""
    with socket.create_connection(("localhost", port), timeout=_TIMEOUT) as plain:
        connection = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        headers = {
            ":method": "POST",
            ":scheme": "http" if tls is None else "https",
            ":path": "/grpc.health.v1.Health/Check",
            ":authority": "localhost",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        connection.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_HEADERS, _END_HEADERS, 1, b"".join(_field(*each) for each in headers.items()))
            + _frame(_DATA, _END_STREAM, 1, bytes(5))  # not compressed, no bytes long
        )
        with connection.makefile("rb") as received:
            while head := received.read(9):
                size, kind, stream = int.from_bytes(head[:3], "big"), head[3], int.from_bytes(head[5:], "big")
                payload = received.read(size)
                if kind == _DATA and stream == 1:
                    return payload[5:] == _SERVING
                if kind in (_RST_STREAM, _GOAWAY):
                    return False
    return False


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _field(name: str, value: str) -> bytes:
    """A header as HPACK's literal without indexing (RFC 7541, 6.2.2); names and values are shorter than 127."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


if __name__ == "__main__":
    main()
