"""The event, as the broker and the event log carry it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, in a CloudEvents 1.0 envelope.

    `type` is the routing key (`order.placed`), `subject` the aggregate's id, `id` the idempotency key for
    consumers, `data` UTF-8 JSON. `extensions` are CloudEvents extension attributes: lower-case names, string
    values; the shop uses `traceparent` (W3C Trace Context), `userid` (whom it concerns) and `sequence`.
    """

    id: str
    type: str
    source: str
    subject: str
    time: datetime
    data: bytes
    extensions: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> Any:
        """The data for a reader: as JSON, or as text where it is none, or is nested too deeply."""
        try:
            return json.loads(self.data)
        except (ValueError, RecursionError):
            return self.data.decode(errors="replace")
