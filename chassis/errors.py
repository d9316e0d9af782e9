"""Errors with a stable code and a kind, and the status that each has over HTTP and over gRPC.

`wrong_setting` describes an error that a setting has caused, for the person who starts the process.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum


class Kind(Enum):
    """A kind of error: its HTTP status (RFC 9110; 429: RFC 6585), and the name of its gRPC status.

    By name, so that gRPC is not imported here.
    """

    INVALID = (422, "INVALID_ARGUMENT")
    UNAUTHENTICATED = (401, "UNAUTHENTICATED")
    FORBIDDEN = (403, "PERMISSION_DENIED")
    NOT_FOUND = (404, "NOT_FOUND")
    CONFLICT = (409, "ALREADY_EXISTS")
    PRECONDITION = (409, "FAILED_PRECONDITION")
    EXHAUSTED = (429, "RESOURCE_EXHAUSTED")
    UNAVAILABLE = (503, "UNAVAILABLE")
    TIMEOUT = (504, "DEADLINE_EXCEEDED")
    INTERNAL = (500, "INTERNAL")

    def __init__(self, http_status: int, grpc_status: str) -> None:
        self.http_status = http_status
        self.grpc_status = grpc_status


# Codes that have a more exact HTTP status than their kind.
HTTP_STATUSES: Mapping[str, int] = {
    "INCOMPLETE_BODY": 400,
    "MALFORMED_SIGNATURE": 400,
    "MALFORMED_WEBHOOK": 400,
    "METHOD_NOT_ALLOWED": 405,
    "BODY_TOO_SLOW": 408,
    "UPLOAD_STALLED": 408,
    "VERSION_MISMATCH": 412,
    "BODY_TOO_LARGE": 413,
    "FILE_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "RANGE_NOT_SATISFIABLE": 416,
    "IDEMPOTENCY_KEY_REUSED": 422,
    # The server is full, not this client too fast: no 429.
    "OVERLOADED": 503,
    "INSUFFICIENT_STORAGE": 507,
}


class ShopError(Exception):
    """A refusal or failure that a caller may see.

    `code` is stable and machine-readable (`OUT_OF_STOCK`), `message` is for people, `fields` names what is wrong
    in the input (path -> why), `retry_after` is in seconds, `details` are further machine-readable facts.
    """

    def __init__(
        self,
        code: str,
        message: str,
        kind: Kind,
        *,
        fields: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        **details: str,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.kind = kind
        self.fields = dict(fields or {})
        self.retry_after = retry_after
        self.details = details

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def invalid(message: str, **fields: str) -> ShopError:
    """An input that can never be accepted; `fields` names the fields at fault with the reason."""
    return ShopError("INVALID_INPUT", message, Kind.INVALID, fields=fields)


def not_found(what: str, identifier: str) -> ShopError:
    """Nothing with this id, or nothing that the caller may know of."""
    return ShopError("NOT_FOUND", f"no {what} with the id {identifier[:64]!r}", Kind.NOT_FOUND)


def unavailable(upstream: str, why: str = "cannot be reached", *, retry_after: float = 1.0) -> ShopError:
    """An upstream cannot answer now; trying again later makes sense."""
    return ShopError(
        "UPSTREAM_UNAVAILABLE", f"{upstream} {why}", Kind.UNAVAILABLE, retry_after=retry_after, upstream=upstream
    )


def timed_out(upstream: str) -> ShopError:
    """The caller's time was up before the upstream had answered; the upstream may still complete the request."""
    return ShopError("DEADLINE_EXCEEDED", f"{upstream} took too long", Kind.TIMEOUT, retry_after=1.0, upstream=upstream)


@contextmanager
def fields_named(**names: str) -> Iterator[None]:
    """Name the fields of a service's errors as a client of ours does: `first_day="from"`, in the reasons, too."""
    try:
        yield
    except ShopError as error:
        for theirs, ours in names.items():
            error.fields = {
                ours if field == theirs else field: why.replace(f"`{theirs}`", f"`{ours}`")
                for field, why in error.fields.items()
            }
        raise


class StoreUnavailable(ShopError):
    """The database cannot be reached, or does not answer in time; what was wanted has not happened, or may have."""

    def __init__(self) -> None:
        super().__init__("STORE_UNAVAILABLE", "database unavailable", Kind.UNAVAILABLE, retry_after=1.0)


class BrokerUnavailable(ShopError):
    """The broker cannot be reached or did not confirm in time; nothing is known to be published.

    `reason` is for the log: the client's message names no server of ours.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__("BROKER_UNAVAILABLE", "the message broker does not answer", Kind.UNAVAILABLE, retry_after=1.0)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


# The exit code of a process that was refused, for a setting or for what a command asks: a new start would be, too.
REFUSED = 2


def wrong_setting(error: BaseException) -> str:
    """The setting whose value cannot be read or used, without the value; empty for an error of another kind."""
    # Not imported here: where one of them was raised they are there.
    settings_error = getattr(sys.modules.get("pydantic_settings"), "SettingsError", ())
    validation_error = getattr(sys.modules.get("pydantic"), "ValidationError", ())
    if isinstance(error, settings_error):
        field = re.search(r'field "(\w+)"', str(error))
        return f"SHOP_{field[1].upper()} cannot be read: it must be JSON" if field else ""
    if isinstance(error, validation_error) and error.title.endswith("Settings"):
        # The first part of a place is the field; what follows lies within its value.
        # pydantic puts its own words before those of a validator of ours.
        problems = [(str(each["loc"][0]).upper(), each["msg"].removeprefix("Value error, ")) for each in error.errors()]
        return "; ".join(f"SHOP_{setting} is wrong: {what}" for setting, what in problems)
    # Raised by a bootstrap for settings that are each right, and together wrong.
    return str(error) if isinstance(error, ValueError) and str(error).startswith("SHOP_") else ""
