"""Garbage at each parser of a boundary: it is read, or refused with a code, and never anything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.broker.event_log import Position
from chassis.errors import Kind, ShopError
from legacy_soap.http.wsgi import reason_to_refuse
from services.notifier.transports import protocol
from shop.fault.links import toxics
from webhooks.incoming import domain as webhooks

ANY = settings(max_examples=40, derandomize=True, deadline=None)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


def refused(read: Callable[[], object]) -> bool:
    """Whether it was refused as a client's fault; anything else that is raised fails the test."""
    try:
        read()
    except ShopError as refusal:
        if refusal.kind is Kind.INVALID:
            return True
        raise
    return False


@given(body=st.binary(max_size=200) | JSON.map(lambda value: repr(value).encode()))
@ANY
def test_a_webhooks_body_is_an_object_or_refused(body: bytes) -> None:
    """Depth and encodings included."""
    assert refused(lambda: webhooks.parse(body)) or isinstance(webhooks.parse(body), dict)


@given(payload=st.dictionaries(st.text(max_size=8) | st.sampled_from(["id", "type"]), JSON, max_size=4))
@ANY
def test_a_webhooks_event_has_a_name_or_is_refused(payload: dict[str, object]) -> None:
    """Whatever stands where the name should."""
    for provider in webhooks.PROVIDERS.values():
        refused(partial(webhooks.name_event, provider, payload, {}))


@given(
    frame=st.text(max_size=100)
    | st.fixed_dictionaries(
        {"action": st.sampled_from(["subscribe", "unsubscribe", "chat", "ping"]) | JSON},
        optional={"topics": JSON, "after": JSON, "room": JSON, "text": JSON},
    )
)
@ANY
def test_a_clients_frame_is_a_command_or_refused(frame: object) -> None:
    """By its code, so that the connection stays."""
    text = frame if isinstance(frame, str) else json.dumps(frame)
    refused(lambda: protocol.parse(text))


@given(text=st.none() | st.text(max_size=40))
@ANY
def test_any_position_can_be_asked_for(text: str | None) -> None:
    """One that is none of ours is answered with resync, and is no error."""
    assert isinstance(protocol.position(text), Position | None)


@given(body=st.binary(max_size=200))
@ANY
def test_the_erp_looks_at_any_bytes(body: bytes) -> None:
    """Before its parser does: a reason to refuse them, or none."""
    assert isinstance(reason_to_refuse(body), str | None)


@given(words=st.lists(st.text(max_size=12) | st.sampled_from(["delay=1ms", "cut=9", "rate=0", "seed=x"]), max_size=4))
@ANY
def test_toxics_are_read_or_refused(words: list[str]) -> None:
    """With a `ValueError`, which the command line shows."""
    with suppress(ValueError):
        toxics.parse(words)
