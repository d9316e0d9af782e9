"""Messages of AMQP 0-9-1 as the frames that carry them: a method, the properties, the body (its specification, 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiormq.abc import DeliveredMessage
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from chassis.observability.capture.masking import masked, masked_value
from chassis.observability.capture.messages import LOOKED_AT_BYTES, Form, Message


def published(exchange: str, routing_key: str, properties: commands.Basic.Properties, body: bytes) -> Message:
    """A message on its way to the broker."""
    return _frames(commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True), properties, body)


def delivered(message: DeliveredMessage) -> Message:
    """A message from the broker."""
    method = commands.Basic.Deliver(
        consumer_tag=message.consumer_tag or "",
        delivery_tag=message.delivery_tag or 0,
        redelivered=bool(message.redelivered),
        exchange=message.exchange or "",
        routing_key=message.routing_key or "",
    )
    return _frames(method, message.header.properties, message.body)


def _frames(method: Any, properties: commands.Basic.Properties, body: bytes) -> Message:
    # On channel 1: each connection of ours has few, and which one it was does not matter.
    head = frame.marshal(method, 1)
    content = frame.marshal(ContentHeader(0, len(body), _masked_properties(properties)), 1)
    body_frame = frame.marshal(ContentBody(masked(body)), 1)
    whole = head + content + body_frame
    return Message(Form.AMQP, whole[:LOOKED_AT_BYTES], len(whole), properties.content_type or "")


def _masked_properties(properties: commands.Basic.Properties) -> commands.Basic.Properties:
    facts = {name: getattr(properties, name) for name in commands.Basic.Properties.attributes()}
    headers: Mapping[str, Any] = facts.get("headers") or {}
    facts["headers"] = {
        name: masked_value(name, value) if isinstance(value, str) else value for name, value in headers.items()
    }
    return commands.Basic.Properties(**facts)
