"""What would break a caller is found before it is merged: by our own rules, and by buf where it is there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from protos import breaking, buf, descriptors, lint

ORDERS = "shop/orders/v1/orders.proto"

BREAKING = {
    "a field is gone": (r"  // Why it was rejected.*?\n  string status_reason = 4;\n", ""),
    "a field is renamed": ("string status_reason = 4", "string reason = 4"),
    "a field has another number": ("string status_reason = 4", "string status_reason = 14"),
    "a field has another type": ("string status_reason = 4", "bytes status_reason = 4"),
    "a field is repeated": ("string status_reason = 4", "repeated string status_reason = 4"),
    "a field's presence": ("string status_reason = 4", "optional string status_reason = 4"),
    "a method is gone": (r"  // NOT_FOUND also.*?\n  rpc GetOrder.*?\n", ""),
    "a method streams": (r"returns \(GetOrderResponse\)", "returns (stream GetOrderResponse)"),
    "a method answers something else": (r"returns \(GetOrderResponse\)", "returns (CancelOrderResponse)"),
}
HARMLESS = {
    "a field is new": ("string status_reason = 4;", "string status_reason = 4;\n  // New.\n  string more = 99;"),
    "a field is reserved": (
        r"  // Why it was rejected.*?\n  string status_reason = 4;\n",
        '  reserved 4;\n  reserved "status_reason";\n',
    ),
    "a method is new": (
        r"  rpc GetOrder\(",
        "  rpc GetOrders(GetOrderRequest) returns (GetOrderResponse);\n  // More.\n  rpc GetOrder(",
    ),
    "a comment": ("// Newest first\\.", "// The newest one first."),
}

Change = Callable[[str, str], Path]


@pytest.fixture
def change(tmp_path: Path) -> Change:
    """The contracts with a change made in orders.proto."""

    def changed(pattern: str, replacement: str) -> Path:
        shutil.copytree(descriptors.ROOT / "shop", tmp_path / "shop", ignore=shutil.ignore_patterns("*.py*"))
        shutil.copy(descriptors.ROOT / "buf.yaml", tmp_path)
        path = tmp_path / ORDERS
        text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.DOTALL)
        assert count == 1
        path.write_text(text)
        return tmp_path

    return changed


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return buf.program()
    except buf.BufMissing as missing:
        pytest.skip(f"not run: needs buf, {missing}")


def compiled(root: Path) -> list[str]:
    return breaking.breaks(descriptors.accepted(), descriptors.current(root))


def test_the_contracts_as_they_stand() -> None:
    """Everything is documented and named alike, breaks nothing that was accepted, and nothing is unprotected."""
    now, before = descriptors.current(), descriptors.accepted()
    assert lint.problems(now) == []
    assert breaking.breaks(before, now) == []
    assert not breaking.additions(before, now), "python -m protos accept"


def test_buf_has_nothing_against_them(program: Path) -> None:
    """buf's standard rules and its comment rules hold, but for what buf.yaml gives a reason for."""
    assert buf.lint(program) == []
    assert buf.breaking(program) == []


@pytest.mark.parametrize("what", BREAKING)
def test_a_breaking_change_is_found(change: Change, what: str) -> None:
    """Each way to break a caller is named; our own rules need no Node for that."""
    assert compiled(change(*BREAKING[what])), what


@pytest.mark.parametrize("what", BREAKING)
def test_buf_finds_it_too(change: Change, program: Path, what: str) -> None:
    """buf says the same of it."""
    assert buf.breaking(program, change(*BREAKING[what])), what


@pytest.mark.parametrize("what", HARMLESS)
def test_a_harmless_change_is_none(change: Change, what: str) -> None:
    """What is added, reserved or said better breaks nobody."""
    root = change(*HARMLESS[what])
    assert compiled(root) == []


def test_the_whole_of_a_contract_is_compared() -> None:
    """A service, a file, an enum value: whatever goes is missed."""
    before = descriptors.current()
    for remove in (
        lambda file: file.service.pop(),
        lambda file: file.message_type.pop(),
        lambda file: setattr(file, "package", "shop.other.v1"),
    ):
        after = descriptors.current()
        remove(descriptors.ours(after)[ORDERS])
        assert breaking.breaks(before, after)
    after = descriptors.current()
    kept = [file for file in after.file if file.name != ORDERS]
    del after.file[:]
    after.file.extend(kept)
    assert breaking.breaks(before, after) == [f"{ORDERS} is gone"]


@pytest.mark.parametrize(
    ("pattern", "replacement", "complaint"),
    [
        (r"// Asks for an order\.\n", "", "GetOrderRequest says nothing"),
        (r"  // The order's id\.\n  string id = 1;", "  string id = 1;", "says nothing"),
        (r"message GetOrderRequest", "message get_order_request", "not named"),
        (r"string status_reason = 4", "string statusReason = 4", "not named"),
    ],
)
def test_what_says_nothing_is_found(change: Change, pattern: str, replacement: str, complaint: str) -> None:
    """An undocumented or misnamed part of a contract is named."""
    root = change(pattern, replacement)
    if "get_order_request" in replacement:
        path = root / ORDERS
        path.write_text(path.read_text().replace("(GetOrderRequest)", "(get_order_request)"))
    assert any(complaint in each for each in lint.problems(descriptors.current(root)))
