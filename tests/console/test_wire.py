"""A message's bytes, part by part."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp.commands import Basic

from chassis.broker.kafka import records as kafka
from chassis.broker.port import Event
from chassis.broker.rabbitmq import captured as amqp
from chassis.observability.capture.messages import Form, Message, grpc, http_request, sqlite_row
from console.decoders.parts import Part
from console.decoders.protobuf import methods
from console.decoders.reading import read
from console.domain import Captured
from protos.shop.orders.v1.orders_pb2 import NewItem, PlaceOrderRequest

PLACE_ORDER = methods()["shop.orders.v1.OrderService/PlaceOrder"].input_type


def _read(message: Message, schema: Any = None) -> tuple[list[Part], Any]:
    return read(Captured(message.form, message.content, message.size, message.content_type), schema)


def _texts(message: Message, parts: list[Part]) -> dict[str, bytes]:
    return {part.name: message.content[part.start : part.end] for part in parts}


def test_a_grpc_message_is_its_prefix_and_its_fields() -> None:
    """gRPC's five bytes, then each field by its name, those of nested messages by their path."""
    asked = PlaceOrderRequest(items=[NewItem(product_id="42", quantity=300)], idempotency_key="k")
    message = grpc(Form.GRPC, asked.SerializeToString())
    parts, meaning = _read(message, PLACE_ORDER)
    assert [(part.name, part.meaning) for part in parts] == [
        ("gRPC compressed flag", "0: 0 is not compressed"),
        ("gRPC message length", "12 bytes"),
        ("1 items", "a message of 7 bytes"),
        ("1 items.product_id", "42"),
        ("2 items.quantity", "300"),
        ("2 idempotency_key", "k"),
    ]
    assert meaning == {"items": [{"product_id": "42", "quantity": 300}], "idempotency_key": "k"}


def test_what_was_cut_off_is_told_as_far_as_it_goes() -> None:
    """Of a message that was cut in its last field, the fields before it are decoded and the rest is one part."""
    asked = PlaceOrderRequest(items=[NewItem(product_id="42", quantity=3)], idempotency_key="k" * 50)
    whole = grpc(Form.GRPC, asked.SerializeToString())
    cut = Message(whole.form, whole.content[:-10], whole.size)
    parts, meaning = _read(cut, PLACE_ORDER)
    assert parts[-1].meaning == "cut off"
    assert meaning == {"items": [{"product_id": "42", "quantity": 3}]}


def test_a_soap_call_is_http_around_an_envelope() -> None:
    """The head's fields, then the envelope with its header and body; its meaning is nested objects."""
    body = (
        b'<s:Envelope xmlns:s="urn:soap"><s:Header><Session>7</Session></s:Header>'
        b"<s:Body><Get><No>1</No><No>2</No></Get></s:Body></s:Envelope>"
    )
    head = http_request("POST", "/", "1.1", [(b"SOAPAction", b'"Get"')])
    message = Message(Form.HTTP_REQUEST, head + body, len(head) + len(body), "text/xml; charset=utf-8")
    parts, meaning = _read(message)
    told = _texts(message, parts)
    assert told["request line"] == b"POST / HTTP/1.1\r\n"
    assert told["SOAP header"] == b"<s:Header><Session>7</Session></s:Header>"
    assert told["SOAP body"] == b"<s:Body><Get><No>1</No><No>2</No></Get></s:Body>"
    assert meaning == {"Envelope": {"Header": {"Session": "7"}, "Body": {"Get": {"No": ["1", "2"]}}}}


def test_an_amqp_message_is_three_frames() -> None:
    """The method with exchange and routing key, the properties with each header, the body."""
    properties = Basic.Properties(
        content_type="application/json", delivery_mode=2, headers={"cloudEvents:type": "order.placed", "x-attempt": 2}
    )
    message = amqp.published("shop.events", "order.placed", properties, b'{"order_id":"7"}')
    parts, meaning = _read(message)
    told = _texts(message, parts)
    assert told["exchange"] == b"shop.events"
    assert told["routing key"] == b"order.placed"
    assert told["property content_type"][1:] == b"application/json"
    assert b"order.placed" in told["header cloudEvents:type"]
    assert told["body"] == b'{"order_id":"7"}'
    assert [part.name for part in parts].count("frame end") == 3
    assert meaning == {
        "method": "Basic.Publish",
        "exchange": "shop.events",
        "routing_key": "order.placed",
        "properties": {
            "content_type": "application/json",
            "headers": {"cloudEvents:type": "order.placed", "x-attempt": 2},
            "delivery_mode": 2,
        },
        "body": {"order_id": "7"},
    }


def _record() -> kafka.Record:
    at = datetime(2026, 1, 5, 9, tzinfo=UTC)
    return kafka.Record.of(Event("e-1", "order.placed", "/orders", "7", at, b'{"order_id":"7"}', {"userid": "123"}))


def test_a_kafka_record_has_a_key_a_value_and_headers() -> None:
    """The key that decides the partition, the value, and the event's attributes as headers."""
    message = kafka.captured(_record())
    parts, meaning = _read(message)
    told = _texts(message, parts)
    assert told["key"] == b"7"
    assert told["value"] == b'{"order_id":"7"}'
    assert told["header ce_type"] == b"order.placed"
    assert (meaning["key"], meaning["value"]) == ("7", {"order_id": "7"})
    assert meaning["headers"]["ce_userid"] == "123"
    assert meaning["headers"]["content-type"] == "application/json"


def test_a_kafka_record_is_what_the_library_writes() -> None:
    """The bytes of a captured record are in a batch that the library's own encoder makes of it."""
    record = _record()
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 16)
    batch.append(0, 1_700_000_000_000, record.key, record.value, record.headers)
    assert bytes(batch.build()).endswith(kafka.captured(record).content)


def test_a_row_of_the_embedded_broker_is_read_column_by_column() -> None:
    """The types in the row's head, then the columns by their names; JSON in them as it is."""
    message = sqlite_row(("order-mail", 7, 1, None, "me/1", '{"a": "b"}', b'{"order_id":"7"}'))
    parts, meaning = _read(message)
    assert _texts(message, parts)["column queue"] == b"order-mail"
    assert meaning == {
        "queue": "order-mail",
        "position": 7,
        "attempt": 1,
        "not_before": None,
        "holder": "me/1",
        "attributes": {"a": "b"},
        "data": {"order_id": "7"},
    }


def test_a_row_is_what_sqlite_itself_writes(tmp_path: Path) -> None:
    """The bytes of a captured row are in the file of a database that holds it."""
    row = ("order-mail", 300, 1, None, "me/1", '{"a": "b"}', b'{"order_id":"7"}')
    with sqlite3.connect(tmp_path / "rows.sqlite") as connection:
        connection.execute(
            "CREATE TABLE queued (queue TEXT, position INTEGER, attempt INTEGER, not_before REAL,"
            " holder TEXT, attributes TEXT, data BLOB)"
        )
        connection.execute("INSERT INTO queued VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    connection.close()
    assert sqlite_row(row).content in (tmp_path / "rows.sqlite").read_bytes()


@pytest.mark.parametrize("masking_key", [b"", b"\x01\x02\x03\x04"], ids=["a server's", "a client's"])
def test_a_websocket_frame_is_its_head_and_its_payload(masking_key: bytes) -> None:
    """Opcode, mask and length, then the payload, unmasked for its meaning."""
    payload = b'{"type":"pong"}'
    sent = bytes(byte ^ masking_key[at % 4] for at, byte in enumerate(payload)) if masking_key else payload
    frame = bytes([0x81, len(payload) | (0x80 if masking_key else 0)]) + masking_key + sent
    parts, meaning = _read(Message(Form.WEBSOCKET, frame, len(frame)))
    assert [part.name for part in parts if part.name != "masking key"] == [
        "FIN and opcode",
        "MASK and length",
        "payload",
    ]
    assert meaning == {"type": "pong"}


def test_an_event_stream_is_read_line_by_line() -> None:
    """A block's fields, after the size of the chunk that carries it."""
    block = b'1b\r\nid: 7\ndata: {"type":"order.paid"}\n\n\r\n'
    parts, meaning = _read(Message(Form.EVENT_STREAM, block, len(block)))
    assert [part.name for part in parts][:3] == ["chunk size", "field id", "field data"]
    assert meaning == {"id": "7", "data": {"type": "order.paid"}}


def test_an_smtp_dialogue_is_commands_and_a_mail() -> None:
    """Each command, the mail's head field by field, its body; its meaning is the fields and the text."""
    said = (
        b"EHLO shop\r\nMAIL FROM:<a@shop.test>\r\nDATA\r\n"
        b"Subject: Paid\r\nTo: b@shop.test\r\n\r\nHello.\r\nBye.\r\n.\r\nQUIT\r\n"
    )
    parts, meaning = _read(Message(Form.SMTP, said, len(said)))
    assert [part.name for part in parts] == [
        "command EHLO",
        "command MAIL",
        "command DATA",
        "mail header Subject",
        "mail header To",
        "end of the mail's head",
        "mail body",
        "end of the mail",
        "command QUIT",
    ]
    assert (meaning["Subject"], meaning["To"], meaning["text"].split()) == ("Paid", "b@shop.test", ["Hello.", "Bye."])


def test_the_reply_of_a_server_is_read_too() -> None:
    """Replies are shown one by one."""
    heard = b"220 sink\r\n250-SIZE\r\n250 OK\r\n550 no such user\r\n"
    parts, meaning = _read(Message(Form.SMTP, heard, len(heard)))
    assert parts[-1].meaning == "refused for good: no such user"
    assert meaning[-1] == "550 no such user"


@pytest.mark.parametrize(
    "message",
    [
        Message(Form.HTTP_REQUEST, b"\r\n\r\n" + b"[" * 300 + b"]" * 300, 604, "application/json"),
        Message(Form.WEBSOCKET, b"\x81\x7e\x02\x58" + b"[" * 300 + b"]" * 300, 604),
        Message(Form.HTTP_RESPONSE, b"\r\n\r\n" + b"<a>" * 250 + b"</a>" * 250, 1_754, "text/xml"),
        Message(Form.SMTP, b"DATA\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+2AA-\r\n.\r\n", 59),
    ],
    ids=["deep JSON", "a deep frame", "deep XML", "half a surrogate pair"],
)
def test_what_no_json_can_say_is_shown_as_text(message: Message) -> None:
    """A message that means more than JSON can be written of is shown as its text, with room for an answer around it."""
    _, meaning = _read(message)
    assert orjson.dumps({"hops": [{"decoded": {"sent": meaning}}]})
    assert isinstance(meaning, str)


@given(
    st.sampled_from([*Form, "unknown"]), st.binary(max_size=200), st.sampled_from(["", "application/json", "text/xml"])
)
def test_any_bytes_are_covered_by_parts(form: str, content: bytes, content_type: str) -> None:
    """Whatever claims to be a message of a protocol, its parts follow one another from its first byte to its last."""
    parts, _ = read(Captured(form, content, len(content), content_type), PLACE_ORDER)
    at = 0
    for part in parts:
        assert part.start == at
        assert part.end > at
        at = part.end
    assert at == len(content)


REAL = (
    amqp.published(
        "shop.events",
        "order.placed",
        Basic.Properties(content_type="application/json", headers={"a": "b", "n": 2, "t": {"x": 1}}, message_id="m"),
        b'{"order_id":"7"}',
    ),
    kafka.captured(_record()),
    sqlite_row((None, '{"a": "b"}', b'{"order_id":"7"}', 1.5)),
    grpc(Form.GRPC, PlaceOrderRequest(items=[NewItem(product_id="42", quantity=300)] * 2).SerializeToString()),
    Message(Form.GRPC_STATUS, b"\x08\x05\x12\x01a\x1a\x05\n\x01x\x12\x00", 12),
    Message(Form.SMTP, b"DATA\r\nTo: a@b\r\n\r\nHi\r\n.\r\nQUIT\r\n", 34),
    Message(Form.WEBSOCKET, b"\x81\xfe\x00\x05abcdhello", 13),
    Message(Form.EVENT_STREAM, b"1b\r\nid: 7\ndata: {}\n\n", 21),
    Message(Form.HTTP_REQUEST, b"POST / HTTP/1.1\r\nA: b\r\n\r\n<s:Envelope><s:Body/></s:Envelope>", 60, "text/xml"),
)


@settings(max_examples=1_000, deadline=None)
@given(st.sampled_from(REAL), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4), st.data())
def test_a_message_may_be_damaged_or_cut_anywhere(
    message: Message, damage: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Real messages, cut at any byte and with any bytes changed, are covered by parts too, and mean JSON or nothing."""
    content = bytearray(message.content)
    for at, byte in damage:
        content[at % len(content)] = byte
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    parts, meaning = read(Captured(message.form, cut, message.size, message.content_type), PLACE_ORDER)
    assert b"".join(cut[part.start : part.end] for part in parts) == cut
    assert orjson.dumps(meaning)
