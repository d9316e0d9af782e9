"""`shop status` and `shop up` where there is nothing to start from, as in a container."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from shop.commands.processes.status import status
from shop.errors import Refused
from shop.supervisor import lock


def test_asks_those_that_settings_name(tmp_path: Path) -> None:
    """Without a shop in the data directory, the processes at the settings' addresses are checked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        env = {
            "SHOP_DATA_DIR": str(tmp_path),
            "SHOP_GATEWAY_URL": f"http://127.0.0.1:{server.getsockname()[1]}",
            "SHOP_ORDERS_ADDRESS": "127.0.0.1:1",
        }
        report, healthy = status(env, as_json=True)
    assert {each["name"]: each["state"] for each in json.loads(report)["processes"]} == {
        "gateway": "ready",
        "orders": "stopped",
    }
    assert healthy is False


def test_says_that_there_is_no_shop(tmp_path: Path) -> None:
    """With neither, it says where it looked, and is not healthy."""
    report, healthy = status({"SHOP_DATA_DIR": str(tmp_path)}, as_json=False)
    assert str(tmp_path) in report
    assert healthy is False


def test_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """`shop up` where it cannot keep its state says so, and which setting to change; there is no traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"cannot be written .*SHOP_DATA_DIR"):
        lock.hold(tmp_path / "file" / "folder")
