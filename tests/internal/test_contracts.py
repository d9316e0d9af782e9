"""A change of the contracts that would break a caller is found before it is merged."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from protos import contract_checks

ORDERS = "shop/orders/v1/orders.proto"

BREAKING = {
    "a field is gone": (r"  // Reason of the rejection.*?\n  string status_reason = 4;\n", ""),
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
        r"  // Reason of the rejection.*?\n  string status_reason = 4;\n",
        '  reserved 4;\n  reserved "status_reason";\n',
    ),
    "a method is new": (
        r"  rpc GetOrder\(",
        "  rpc CountOrders(GetOrderRequest) returns (GetOrderResponse);\n  // More.\n  rpc GetOrder(",
    ),
    "a comment": ("// Newest first\\.", "// The newest one first."),
}

Change = Callable[[str, str], Path]


@pytest.fixture
def change(tmp_path: Path) -> Change:
    """The contracts with a change made in orders.proto."""

    def changed(pattern: str, replacement: str) -> Path:
        shutil.copytree(contract_checks.ROOT / "shop", tmp_path / "shop", ignore=shutil.ignore_patterns("*.py*"))
        shutil.copy(contract_checks.ROOT / "buf.yaml", tmp_path)
        path = tmp_path / ORDERS
        text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.DOTALL)
        assert count == 1
        path.write_text(text)
        return tmp_path

    return changed


def test_the_contracts_as_they_stand() -> None:
    """Everything is documented and named alike, breaks nothing that was accepted, and nothing is unprotected."""
    assert contract_checks.lint() == []
    assert contract_checks.breaking() == []
    assert not contract_checks.unaccepted(), "run: python -m protos accept"


@pytest.mark.parametrize("what", BREAKING)
def test_a_breaking_change_is_found(change: Change, what: str) -> None:
    """Each way to break a caller is named."""
    assert contract_checks.breaking(change(*BREAKING[what])), what


@pytest.mark.parametrize("what", HARMLESS)
def test_a_harmless_change_is_none(change: Change, what: str) -> None:
    """What is added, reserved or said better breaks no caller."""
    assert contract_checks.breaking(change(*HARMLESS[what])) == []


@pytest.mark.parametrize("what", ["a field is new", "a field is reserved", "a method is new"])
def test_an_addition_has_to_be_accepted(change: Change, what: str) -> None:
    """What was added is unprotected until it is accepted; a comment is no addition."""
    root = change(*HARMLESS[what])
    assert contract_checks.unaccepted(root)
    accepted = root / "accepted.binpb"
    assert contract_checks.build(accepted, root) == []
    assert contract_checks.breaking(against=accepted), "what was accepted is protected"


@pytest.mark.parametrize(
    ("pattern", "replacement", "complaint"),
    [
        (r"// Request for an order\.\n", "", 'Message "GetOrderRequest" should have a non-empty comment'),
        (r"  // The order's id\.\n  string id = 1;", "  string id = 1;", "should have a non-empty comment"),
        (r"message GetOrderRequest", "message get_order_request", "should be PascalCase"),
        (r"string status_reason = 4", "string statusReason = 4", "should be lower_snake_case"),
    ],
)
def test_an_undocumented_or_misnamed_part_is_found(
    change: Change, pattern: str, replacement: str, complaint: str
) -> None:
    """An undocumented or misnamed part of a contract is named."""
    root = change(pattern, replacement)
    if "get_order_request" in replacement:
        path = root / ORDERS
        path.write_text(path.read_text().replace("(GetOrderRequest)", "(get_order_request)"))
    assert any(complaint in each for each in contract_checks.lint(root))
