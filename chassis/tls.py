"""TLS: one certificate authority, one certificate for each process, and both sides of every call show theirs.

A folder holds `ca.pem` and, for each process, `<name>.pem` (certificate and chain) and `<name>.key`. `shop certs` makes
such a folder for development; in production whoever issues certificates mounts one.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True, slots=True)
class Tls:
    """What one process needs to prove who it is and to check who the others are."""

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
        """For a gRPC server that takes only callers with a certificate of the same authority."""
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_credentials([pair], self.authority.read_bytes(), require_client_auth=True)

    def rpc_client(self) -> grpc.ChannelCredentials:
        """For a gRPC client that shows its own certificate."""
        return grpc.ssl_channel_credentials(
            self.authority.read_bytes(), self.key.read_bytes(), self.certificate.read_bytes()
        )

    def http_server(self) -> ssl.SSLContext:
        """For an HTTP or WebSocket server that anybody may call."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        return context


def client_context(authority: Path) -> ssl.SSLContext:
    """For an HTTP or WebSocket client that trusts this authority and no other."""
    return ssl.create_default_context(cafile=str(authority))
