"""A hop as JSON, with the bytes that crossed and what they mean."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import asdict
from typing import Any

from google.protobuf.descriptor import Descriptor

from chassis.observability.capture.messages import Form
from console.decoders.protobuf import methods
from console.decoders.reading import read
from console.domain import Captured
from console.hops import Hop

SQLITE_ROW, CAPTURE = "sqlite row", "capture"


def hop_json(hop: Hop) -> dict[str, Any]:
    """A hop."""
    method = methods().get(hop.method)
    sent, sent_meaning = _message(hop.sent, method.input_type if method else None)
    received, received_meaning = _message(hop.received, method.output_type if method else None)
    return {
        "id": hop.id,
        "span_id": hop.span_id,
        "kind": hop.kind,
        "state": hop.state,
        "parent": hop.parent,
        "links": list(hop.links),
        "offset_ms": round(hop.offset_ms, 3),
        "protocol": hop.protocol,
        "from": hop.origin,
        "to": hop.target,
        "operation": hop.operation,
        "duration_ms": round(hop.duration_ms, 3),
        "bytes_sent": hop.bytes_sent,
        "bytes_received": hop.bytes_received,
        "queue": hop.queue or None,
        "waiting_ms": None if hop.waiting_ms is None else round(hop.waiting_ms, 3),
        "attempt": hop.attempt,
        "note": hop.note,
        "error": hop.error or None,
        "code": {
            "origin": hop.code_origin and asdict(hop.code_origin),
            "target": hop.code_target and asdict(hop.code_target),
        },
        "wire": {
            "source": _source(hop),
            "sent": sent,
            "received": received,
            # As the other process kept it; null where it has no span.
            "far_side": {"received": hop.taken and _bytes(hop.taken), "sent": hop.answered and _bytes(hop.answered)},
        },
        "decoded": {"sent": sent_meaning, "received": received_meaning},
    }


def _message(message: Captured | None, schema: Descriptor | None) -> tuple[dict[str, Any] | None, Any]:
    """A captured message and its meaning; None for one that was not captured."""
    if message is None:
        return None, None
    parts, meaning = read(message, schema)
    meanings = [{"name": part.name, "start": part.start, "end": part.end, "meaning": part.meaning} for part in parts]
    return {**_bytes(message), "parts": meanings}, meaning


def _bytes(message: Captured) -> dict[str, Any]:
    """A captured message without what its parts mean."""
    return {"base64": b64encode(message.content).decode(), "size": message.size}


def _source(hop: Hop) -> str:
    """The source of the bytes: the process's own boundary, or a row that one process wrote and another read."""
    message = hop.sent or hop.received
    return SQLITE_ROW if message is not None and message.form == Form.SQLITE_ROW else CAPTURE
