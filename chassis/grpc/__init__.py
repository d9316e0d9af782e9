"""gRPC: clients and servers with deadlines, identity, traces and errors."""

from __future__ import annotations

import logging


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Whether a log record of gRPC's own is of use here: one of metadata that is no text is not.

    gRPC takes such a value for Latin-1 and logs a traceback each time that it is read, so that a stranger could fill
    the log. What is read of it here is checked: a token, for instance, that is none.
    """
    return not str(record.msg).startswith("Invalid encoding on")


logging.getLogger("grpc._cython.cygrpc").addFilter(_worth_a_line)
