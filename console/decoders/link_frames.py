"""A hop's frames among those of a tapped link, with their bytes as parts. Pure."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor

from chassis.observability.capture.messages import Form
from console.decoders.parts import CutOffError, Part, Reader
from console.decoders.protobuf import methods, read_grpc
from console.decoders.reading import read
from console.domain import Captured
from console.hops import BROKER, KAFKA, OUTSIDE, QUEUES, Hop

_PAGE = "console"
# Seconds around a hop within which what crossed its link is taken for its own.
_AROUND = 0.05
_MAX_SHOWN = 100
_PREFIX_BYTES = 5
# What the tap leaves to be read of an HTTP/2 frame.
_PAYLOAD = "payload"


@dataclass(frozen=True, slots=True)
class Leg:
    """A link that a hop crossed; `way` is the direction of the hop on it, empty for both."""

    link: str
    way: str = ""


def legs(hop: Hop, links: Iterable[Mapping[str, Any]]) -> list[Leg]:
    """The links of a hop, of those that there are: two for a message, to the broker and from it."""
    there = list(links)

    def between(source: str, target: str) -> list[str]:
        # The page's client runs in the console.
        sources = (source, _PAGE) if source == OUTSIDE else (source,)
        return [str(link["name"]) for link in there if link["from"] in sources and link["to"] == target]

    if hop.protocol == KAFKA:
        return []  # the lab has no proxy there
    if hop.protocol in QUEUES:
        published = [Leg(name, "request") for name in between(hop.origin, BROKER)]
        return published + [Leg(name, "answer") for name in between(hop.target, BROKER)]
    return [Leg(name) for name in between(hop.origin, hop.target) or between(hop.target, hop.origin)]


def chosen(frames: Sequence[Mapping[str, Any]], hop: Hop, trace_id: str, began: float) -> tuple[str, list[Any]]:
    """The frames of a hop of this trace, which began at `began` (seconds), and what they were found by.

    By "trace", where a `traceparent` of it names the hop's span; else by "time", for protocols that carry none.
    """
    spans = {*hop.id.split("-"), hop.span_id}
    named = {
        (each["connection"], each["stream"])
        for each in frames
        if trace_id in each["traceparent"] and any(span in each["traceparent"] for span in spans)
    }
    if named:
        return "trace", [each for each in frames if (each["connection"], each["stream"]) in named][:_MAX_SHOWN]
    start = began + hop.offset_ms / 1_000
    end = start + max(hop.duration_ms, hop.waiting_ms or 0) / 1_000
    found = [each for each in frames if start - _AROUND <= each["at"] <= end + _AROUND]
    return "time", [each for each in found if not each["traceparent"] or trace_id in each["traceparent"]][:_MAX_SHOWN]


def frame_json(frame: Mapping[str, Any], link: str, hop: Hop, began: float) -> dict[str, Any]:
    """A frame for the page, with its bytes as parts."""
    content = b64decode(frame["content"])
    found = _parts(frame, content, hop)
    return {
        "link": link,
        "connection": frame["connection"],
        "direction": frame["direction"],
        "offset_ms": round((frame["at"] - began) * 1_000, 3),
        "protocol": frame["protocol"],
        "what": frame["what"],
        "size": frame["size"],
        "base64": frame["content"],
        "parts": [{"name": part.name, "start": part.start, "end": part.end, "meaning": part.meaning} for part in found],
    }


def _parts(frame: Mapping[str, Any], content: bytes, hop: Hop) -> list[Part]:
    if frame["pieces"]:
        pieces = [Part(each["name"], each["start"], each["end"], each["meaning"]) for each in frame["pieces"]]
        if frame["what"].startswith("DATA") and pieces[-1].name == _PAYLOAD:
            return pieces[:-1] + _message(content, pieces[-1], frame["direction"], hop)
        return pieces
    form = _form(frame)
    return read(Captured(form, content, frame["size"]), None)[0] if form else _whole(content)


def _form(frame: Mapping[str, Any]) -> Form | None:
    """The decoder of a frame's bytes; None for one part."""
    match frame["protocol"]:
        case "HTTP/1.1" if frame["what"].startswith("WebSocket"):
            return Form.WEBSOCKET
        case "HTTP/1.1" if frame["fields"]:
            return Form.HTTP_REQUEST
        case "AMQP" if frame["what"] != "protocol header":
            return Form.AMQP
        case "SMTP":
            return Form.SMTP
        case _:
            return None


def _message(content: bytes, payload: Part, direction: str, hop: Hop) -> list[Part]:
    """A DATA frame's payload as gRPC's message by its fields; of one that does not begin in it, one part."""
    known = methods().get(hop.method)
    schema: Descriptor | None = None
    if known is not None:
        schema = known.input_type if direction == "request" else known.output_type
    body = content[payload.start :]
    if len(body) < _PREFIX_BYTES or int.from_bytes(body[1:_PREFIX_BYTES], "big") != payload.end - payload.start - 5:
        return [payload]
    reader = Reader(body)
    try:
        read_grpc(reader, schema)
    except CutOffError:
        reader.end("the rest", "cut off")
    return [
        Part(each.name, each.start + payload.start, each.end + payload.start, each.meaning) for each in reader.parts
    ]


def _whole(content: bytes) -> list[Part]:
    return [Part("bytes", 0, len(content))] if content else []
