"""gRPC: clients and servers with deadlines, identity, traces and errors."""

from __future__ import annotations

import logging


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Whether a log record of gRPC's own is of use here.

    One about metadata that is no text is of none: gRPC reads it as Latin-1 and logs a traceback each time, so that a
    stranger could fill the log. Whatever is read of metadata here is checked anyway: a token, for instance.
    """
    return not str(record.msg).startswith("Invalid encoding on")


logging.getLogger("grpc._cython.cygrpc").addFilter(_worth_a_line)
