"""TLS: one certificate authority, one certificate for each process, and both sides of every call show theirs.

A folder holds `ca.pem` and, for each process, `<name>.pem` (certificate and chain) and `<name>.key`. `shop certs` makes
such a folder for development; in production the certificate authority's operator mounts one.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS files of one process: its certificate, its key and the trusted authority."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path, process: str) -> Tls:
        """The files of a process. Raises `FileNotFoundError`, naming the one that is missing."""
        found = cls(folder / "ca.pem", folder / f"{process}.pem", folder / f"{process}.key")
        for path in (found.authority, found.certificate, found.key):
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing; `shop certs` makes certificates for development")
        return found

    def rpc_server(self) -> grpc.ServerCredentials:
        """The credentials of a gRPC server that requires client certificates of the same authority."""
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_credentials([pair], self.authority.read_bytes(), require_client_auth=True)

    def rpc_client(self) -> grpc.ChannelCredentials:
        """The credentials of a gRPC client with its own certificate."""
        return grpc.ssl_channel_credentials(
            self.authority.read_bytes(), self.key.read_bytes(), self.certificate.read_bytes()
        )

    def http_server(self) -> ssl.SSLContext:
        """The TLS context of an HTTP or WebSocket server without client certificates."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        return context


def client_context(authority: Path) -> ssl.SSLContext:
    """The TLS context of an HTTP or WebSocket client that trusts this authority only."""
    return ssl.create_default_context(cafile=str(authority))
