"""Errors cross gRPC as they were born."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Kind, ShopError, not_found
from chassis.grpc.errors import STATUS_DETAILS, STATUS_OF, error_from, status_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAMES = st.sampled_from(["upstream", "product_ids", "status", "version", "state"])


def across(error: ShopError) -> ShopError:
    """An error as the caller sees it."""
    code, details = status_of(error)
    trailing = grpc.aio.Metadata((STATUS_DETAILS, details))
    return error_from(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, error.message), "orders")


def bare(code: grpc.StatusCode) -> ShopError:
    """What becomes of an error that gRPC itself has made."""
    return error_from(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "because"), "orders")


@given(
    code=st.from_regex(r"[A-Z][A-Z_]{0,30}", fullmatch=True),
    message=TEXT,
    kind=st.sampled_from(Kind),
    fields=st.dictionaries(TEXT, TEXT, max_size=5),
    retry_after=st.none() | st.integers(0, 10_000).map(lambda number: number / 8),
    details=st.dictionaries(NAMES, TEXT),
)
def test_round_trip(
    code: str, message: str, kind: Kind, fields: dict[str, str], retry_after: float | None, details: dict[str, str]
) -> None:
    """Code, message, kind, fields, delay and details of any error arrive as they were sent."""
    sent = ShopError(code, message, kind, fields=fields, retry_after=retry_after, **details)
    assert vars(across(sent)) == vars(sent)


def test_every_kind_has_a_status_of_its_own() -> None:
    """No two kinds become one status: the caller can distinguish them."""
    assert len(set(STATUS_OF.values())) == len(Kind) == len(STATUS_OF)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", Kind.UNAVAILABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", Kind.TIMEOUT),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_RESOURCE_EXHAUSTED", Kind.EXHAUSTED),
        (grpc.StatusCode.UNIMPLEMENTED, "UPSTREAM_UNIMPLEMENTED", Kind.INTERNAL),
        (grpc.StatusCode.CANCELLED, "UPSTREAM_UNAVAILABLE", Kind.UNAVAILABLE),
    ],
)
def test_what_grpc_itself_says(status: grpc.StatusCode, code: str, kind: Kind) -> None:
    """An upstream that could not answer is named, and the silence given its kind."""
    error = bare(status)
    assert (error.code, error.kind, error.details) == (code, kind, {"upstream": "orders"})


def test_huge_id_does_not_burst_the_answer() -> None:
    """The request's value is repeated in the answer up to a length: metadata has little room."""
    _, details = status_of(not_found("order", "x" * 100_000))
    assert len(details) < 1_000
