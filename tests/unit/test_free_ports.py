"""A port that is chosen before something listens there."""

from __future__ import annotations

import ast
import socket
from pathlib import Path

import pytest

from bench.roles import free_port
from lessons.kit import free_port as free_port_of_a_lesson
from shop.errors import Refused
from shop.supervisor.ports import free_in_a_row

ROOT = Path(__file__).parents[2]
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_it_is_none_that_the_system_hands_out() -> None:
    """Nor one that was chosen before: else another connection or server would have it by the time it is needed."""
    first = int(EPHEMERAL.read_text().split()[0])
    chosen = [free_port() for _ in range(50)]
    assert len(set(chosen)) == 50
    assert max(*chosen, free_port_of_a_lesson()) < first


def test_nobody_binds_any_port_to_close_it_again() -> None:
    """Whoever wants one that the system chooses listens there, and keeps it."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.rglob("*.py")
        if not {".venv", "node_modules"} & set(path.relative_to(ROOT).parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "bind"
        if node.args and isinstance(node.args[0], ast.Tuple) and ast.unparse(node.args[0].elts[-1]) == "0"
    ]
    assert found == []


def test_ports_in_a_row_are_of_this_process_s_own_block() -> None:
    """No other program chooses one of them before they are used; one that is taken is passed over."""
    mine = {free_port() for _ in range(20)}
    first = free_in_a_row("127.0.0.1", 30)
    block = range(first - first % 200, first - first % 200 + 200)
    assert mine < set(block)
    assert first + 29 in block
    with socket.create_server(("127.0.0.1", first + 3)):
        assert free_in_a_row("127.0.0.1", 30) > first + 3
    with pytest.raises(Refused, match="no 201 ports in a row"):
        free_in_a_row("127.0.0.1", 201)
