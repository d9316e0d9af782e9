"""What is on this machine is reached directly, whatever proxy for the web the environment names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CALLS = frozenset({"AsyncClient", "Client", "delete", "get", "patch", "post", "put", "request", "stream"})


def _clients(file: Path) -> Iterator[tuple[str, ast.Call]]:
    """Each call of httpx that opens a connection, with its place."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        module = node.func.value
        if isinstance(module, ast.Name) and module.id == "httpx" and node.func.attr in _CALLS:
            yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def test_no_command_asks_a_proxy_for_the_shop() -> None:
    """Each httpx client of `shop` is made without the environment's proxies."""
    found = [each for file in sorted((ROOT / "shop").rglob("*.py")) for each in _clients(file)]
    assert len(found) > 10
    asking = [
        place
        for place, call in found
        if not any(
            given.arg == "trust_env" and isinstance(given.value, ast.Constant) and given.value.value is False
            for given in call.keywords
        )
    ]
    assert asking == []
