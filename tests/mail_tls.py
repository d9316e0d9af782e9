"""TLS for a mail server of a test at 127.0.0.1."""

from __future__ import annotations

import ssl

import trustme


def mail_tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of the server, and of a client that trusts its certificate."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client
