"""`shop call` where what it finds is no shop."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from shop.errors import Refused
from shop.rpc import described
from shop.rpc.calling import call, listed


def test_a_server_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something listens on the port and says nothing: after the time of a call the command is refused."""
    monkeypatch.setattr(described, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        env = {"SHOP_DATA_DIR": str(tmp_path), "SHOP_ORDERS_ADDRESS": address}
        with pytest.raises(Refused, match=f"orders does not answer on {address}"):
            listed("orders", env)
        with pytest.raises(Refused, match=f"orders does not answer on {address}"):
            next(call("orders", "GetOrder", ["id=1"], [], env))
