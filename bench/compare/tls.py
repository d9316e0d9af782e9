"""TLS for the adapters: one certificate by an authority of the run's own, which is all that its clients trust.

A folder is handed about as an option, "tls=FOLDER"; without it there is no TLS. TLS 1.3, a full handshake for each
connection, no client certificates.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio
import trustme

_OPTION = "tls="
_CERTIFICATE, _KEY, _AUTHORITY = "server.pem", "server.key", "ca.pem"


def made(folder: Path) -> str:
    """Make the certificate; returns the option that names it."""
    authority = trustme.CA(organization_name="Polyglot Shop comparison")
    issued = authority.issue_cert("127.0.0.1", common_name="server")
    (folder / _CERTIFICATE).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / _KEY).write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(folder / _AUTHORITY)
    return f"{_OPTION}{folder}"


def folder_of(options: Sequence[str]) -> Path | None:
    """The folder that these options name, or None: no TLS."""
    return next((Path(each.removeprefix(_OPTION)) for each in options if each.startswith(_OPTION)), None)


def files(options: Sequence[str]) -> tuple[str, str] | None:
    """Certificate and key of the server."""
    folder = folder_of(options)
    return None if folder is None else (str(folder / _CERTIFICATE), str(folder / _KEY))


def serving(options: Sequence[str]) -> ssl.SSLContext | None:
    """The server's context."""
    if (own := files(options)) is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*own)
    return context


def trusting(options: Sequence[str]) -> ssl.SSLContext | None:
    """The client's context."""
    return None if (folder := folder_of(options)) is None else ssl.create_default_context(cafile=folder / _AUTHORITY)


def add_port(server: grpc.aio.Server, options: Sequence[str]) -> int:
    """Let a gRPC server listen on a free port; returns it."""
    if (own := files(options)) is None:
        return server.add_insecure_port("127.0.0.1:0")
    pair = (Path(own[1]).read_bytes(), Path(own[0]).read_bytes())
    return server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))


def channel(port: int, options: Sequence[str]) -> grpc.aio.Channel:
    """A gRPC client's channel, with a connection of its own."""
    target, own = f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]
    if (folder := folder_of(options)) is None:
        return grpc.aio.insecure_channel(target, options=own)
    credentials = grpc.ssl_channel_credentials((folder / _AUTHORITY).read_bytes())
    return grpc.aio.secure_channel(target, credentials, options=own)
