"""What a service rejects is named as its own contract names it; edges rename it for their clients."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from chassis.errors import ShopError
from chassis.pagination import page_size

ROOT = Path(__file__).parents[2]
CONTRACTS = {
    "services/users": "users",
    "services/catalog": "catalog",
    "services/orders": "orders",
    "services/inventory": "inventory",
    "services/storage": "storage",
    "services/erp_adapter": "erp",
    "services/reports": "reports",
    "webhooks": "webhooks",
}


def named(tree: ast.AST) -> Iterator[str]:
    """The fields that the code names in a rejection: keywords of `invalid`, keys beside them, and of `problems`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "invalid":
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)
            unpacked = (keyword.value for keyword in node.keywords if isinstance(keyword.value, ast.Dict))
            yield from (key.value for each in unpacked for key in each.keys if isinstance(key, ast.Constant))  # type: ignore[misc]  # a text
        if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "problems":
            first = node.slice.values[0] if isinstance(node.slice, ast.JoinedStr) else node.slice
            if isinstance(first, ast.Constant):
                yield str(first.value)


def fields_of(contract: str) -> set[str]:
    """The names of all fields of a contract."""
    module = import_module(f"protos.shop.{contract}.v1.{contract}_pb2")
    return {field.name for message in module.DESCRIPTOR.message_types_by_name.values() for field in message.fields}


@pytest.mark.parametrize("package", CONTRACTS)
def test_rejected_fields_are_the_contracts_own(package: str) -> None:
    """No rejection names a field that the service's contract does not have."""
    own = fields_of(CONTRACTS[package])
    found = {
        (path.name, name)
        for path in (ROOT / package).rglob("*.py")
        for name in named(ast.parse(path.read_text()))
        if re.split(r"[.\[]", name)[0] not in own
    }
    assert found == set()


def test_a_page_size_is_the_contracts_own() -> None:
    """A page size out of bounds is named `page_size`, as every contract with pages has it."""
    with pytest.raises(ShopError) as refused:
        page_size(101, limit=100)
    assert list(refused.value.fields) == ["page_size"]
