"""Timestamps between Python and protobuf."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.errors import invalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(moment: datetime) -> Timestamp:
    """A moment as google.protobuf.Timestamp."""
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def moment(request: Message, field: str) -> datetime:
    """A request's google.protobuf.Timestamp, in UTC.

    Raises INVALID_INPUT that blames the field where it is missing or not in the years 1 to 9999, as the type requires.
    """
    if not request.HasField(field):
        raise invalid("timestamp is missing", **{field: "is required"})
    try:
        return cast("Timestamp", getattr(request, field)).ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise invalid("invalid timestamp", **{field: "must be within the years 1 to 9999"}) from error
