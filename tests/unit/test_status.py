"""`shop status` and `shop up` where there is nothing to start from, as in a container."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from pathlib import Path

import pytest

from shop.commands.processes.log_lag import words
from shop.commands.processes.status import status
from shop.errors import Refused
from shop.fault.faults.grammar import parse
from shop.fault.faults.ground import Ground
from shop.supervisor import lock, state
from shop.supervisor.state import ProcessState, State


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


@pytest.mark.parametrize("left", ["", "{", "[]", '{"supervisor": 1'])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, left: str) -> None:
    """What a loss of power has left of `processes.json` is as no shop: no command fails at it, `shop reset` least."""
    (tmp_path / "processes.json").write_text(left)
    assert state.read(tmp_path) == []
    assert state.settings_of_running(tmp_path) == {}


def test_a_shop_that_was_killed_has_no_pids(tmp_path: Path) -> None:
    """Without the lock of a running shop all is stopped: its pids may be those of other programs by now."""
    held = lock.hold(tmp_path)
    state.write(
        tmp_path,
        [ProcessState("orders", os.getpid(), State.READY, 0, 1, {"SHOP_ORDERS_PORT": 1})],
        {"SHOP_ERP": "modern"},
    )
    assert [each.pid for each in state.read(tmp_path)] == [os.getpid()]
    assert state.settings_of_running(tmp_path) == {"SHOP_ERP": "modern"}
    os.close(held)
    assert [(each.pid, each.state) for each in state.read(tmp_path)] == [(None, State.STOPPED)]
    assert state.settings_of_running(tmp_path) == {}
    with pytest.raises(Refused, match="no shop runs"):
        parse("kill orders", Ground.of({"SHOP_DATA_DIR": str(tmp_path)}))


def test_a_new_shop_does_not_have_the_pids_of_one_before(tmp_path: Path) -> None:
    """What a killed supervisor has written does not count for the next one, which has the lock already."""
    state.write(tmp_path, [ProcessState("orders", 1, State.READY, 0)])
    content = (tmp_path / "processes.json").read_text().replace(str(os.getpid()), "1")
    (tmp_path / "processes.json").write_text(content)
    held = lock.hold(tmp_path)
    assert [each.pid for each in state.read(tmp_path)] == [None]
    os.close(held)


def test_a_look_does_not_keep_a_shop_from_starting(tmp_path: Path) -> None:
    """A command that looks whether a shop runs has the lock for an instant; a start waits for that."""
    os.close(lock.hold(tmp_path))
    looking = os.open(tmp_path / "up.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.05, os.close, [looking]).start()
    os.close(lock.hold(tmp_path))


def test_a_start_does_not_lock_a_file_that_a_reset_has_deleted(tmp_path: Path) -> None:
    """A start that waited for `shop reset` locks the directory's new file, which the next command finds locked."""
    held = lock.hold(tmp_path)

    def reset() -> None:
        (tmp_path / "up.lock").unlink()
        os.close(held)

    threading.Timer(0.05, reset).start()
    started = lock.hold(tmp_path)
    assert lock.is_held(tmp_path)
    os.close(started)


def test_what_waits_in_the_event_log_is_said_by_partition() -> None:
    """In all and by partition; nothing where everything was read."""
    read = [{"partition": 0, "read": 9, "unread": 5}, {"partition": 1, "read": 9, "unread": 0}]
    assert words(read) == "reports has not read 5 entries (partition 0: 5)"
    assert words(read[1:]) == ""
