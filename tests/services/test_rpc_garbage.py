"""Garbage at every gRPC method: random and mutated bytes are served or refused with a code, and leave nothing."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chassis.grpc.errors import error_from
from tests.memory import kept_memory, needs_proc
from tests.services.test_enforced_policies import SERVERS, callers, methods
from tests.shop import Shop, shop_in_one_loop

# Requests of each kind to each method.
_EACH = 12
_DEEPEST = 3
_TEXTS = ["", "42", "x" * 3_000, "\x00", "\u202e", "'; DROP TABLE orders; --", "../../etc/passwd", "\U0001f600" * 50]
_NUMBERS = [0, 1, -1, 2**31 - 1, -(2**31)]
# Bytes by which the process may grow over a third round, in which everything is known already (seen: up to 2 MiB).
_MAX_GROWTH = 6 << 20


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop that records no traces: the console would keep them in this process's memory, up to 64 MiB."""
    async with shop_in_one_loop(tmp_path, {"SHOP_TRACE_SAMPLE_RATIO": "0"}) as running:
        yield running


def value(field: FieldDescriptor, source: random.Random, depth: int) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            text = source.choice(_TEXTS)
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        case FieldDescriptor.CPPTYPE_BOOL:
            return source.random() < 0.5
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return source.choice([0.0, -1.5, float("nan"), float("inf"), 1e308 if "DOUBLE" in str(field) else 1e30])
        case FieldDescriptor.CPPTYPE_MESSAGE:
            assert field.message_type is not None
            return message(field.message_type, source, depth + 1)
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return source.choice([0, 1, 2**32 - 1])
        case FieldDescriptor.CPPTYPE_INT64:
            return source.choice([*_NUMBERS, 2**63 - 1, -(2**63)])
        case _:
            return source.choice(_NUMBERS)


def message(kind: Descriptor, source: random.Random, depth: int = 0) -> Message:
    """A message of the type, with values that its contract allows and no client would send."""
    made = GetMessageClass(kind)()
    for field in kind.fields:
        if source.random() < 0.3 or (field.message_type is not None and depth >= _DEEPEST):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            for _ in range(source.choice([1, 2, 60])):
                if field.message_type is not None:
                    getattr(made, field.name).add().CopyFrom(value(field, source, depth))
                else:
                    getattr(made, field.name).append(value(field, source, depth))
        elif field.message_type is not None:
            getattr(made, field.name).CopyFrom(value(field, source, depth))
        else:
            setattr(made, field.name, value(field, source, depth))
    return made


def requests(method: MethodDescriptor, source: random.Random) -> Iterator[bytes]:
    """Any bytes, messages with odd values, and such messages with bytes changed, cut off or put in."""
    for _ in range(_EACH):
        yield source.randbytes(source.choice([1, 3, 40, 2_000]))
        whole = message(method.input_type, source).SerializeToString()
        yield whole
        broken = bytearray(whole or b"\x0a\x02")
        for _ in range(source.choice([1, 3])):
            broken[source.randrange(len(broken))] = source.randrange(256)
        yield bytes(broken[: source.randrange(1, len(broken) + 1)])
    yield b"\x0b" * 100_000  # groups in groups
    yield b"\x0a\xff\xff\xff\xff\x07"  # a length of 2 GB


async def answer(channel: grpc.aio.Channel, method: MethodDescriptor, token: str, contents: list[bytes]) -> str:
    """The status and the stable code of the answer to these bytes."""
    kind = ("stream" if method.client_streaming else "unary") + "_" + ("stream" if method.server_streaming else "unary")
    call = getattr(channel, kind)(f"/{method.containing_service.full_name}/{method.name}")
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    running = call(contents if method.client_streaming else contents[0], metadata=metadata, timeout=30)
    try:
        if method.server_streaming:
            await running.read()
            running.cancel()
        else:
            await running
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name} {error_from(error, method.name).code}"
    return "OK"


@needs_proc
@pytest.mark.timeout(400)
async def test_no_bytes_make_a_service_fail(shop: Shop) -> None:
    """No UNKNOWN, no INTERNAL, no answer that does not come, and no memory that is not given back."""
    known = await callers(shop)
    wrong: list[tuple[str, str, bytes]] = []
    statuses: set[str] = set()
    sizes = []
    for _ in range(3):
        source, tried = random.Random(7), 0  # noqa: S311 - repeatable, no secret
        for contract, setting, module in SERVERS:
            policy = import_module(module).POLICY
            async with grpc.aio.insecure_channel(shop.address(setting)) as channel:
                for method in methods(contract, policy):
                    token = next(token for principal, token in known if policy[method.name](principal))
                    for content in requests(method, source):
                        contents = [message(method.input_type, source).SerializeToString(), content]
                        code = await answer(channel, method, token, contents if method.client_streaming else [content])
                        statuses.add(code.split()[0])
                        tried += 1
                        if code.startswith(("UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED")) or code.endswith("INTERNAL"):
                            wrong.append((method.full_name, code, content[:60]))
        sizes.append(kept_memory())  # of this process, in which the whole shop runs
    assert wrong == []
    assert tried > 900
    assert statuses >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
    assert sizes[2] - sizes[1] < _MAX_GROWTH, sizes
