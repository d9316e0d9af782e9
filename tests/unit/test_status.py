"""`shop status` and `shop up` where there is nothing to start from, as in a container."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from chassis.errors import Kind, ShopError
from chassis.settings import environment
from shop.audit.command import audit_command
from shop.audit.reading import Settings
from shop.commands.orders.order import order
from shop.commands.processes.healthy import healthy
from shop.commands.processes.log_lag import words
from shop.commands.processes.status import status
from shop.commands.processes.up import shared_settings
from shop.errors import Refused
from shop.fault.faults.grammar import parse
from shop.fault.faults.ground import Ground
from shop.process_table import TABLE
from shop.supervisor import lock, state
from shop.supervisor.environment import running
from shop.supervisor.state import ProcessState, State
from shop.urls import url_of


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


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a second terminal, beside a shop whose orders and users listen on ports of their own."""
    held = lock.hold(tmp_path)
    listening = {"orders": 50_153, "users": 50_151}
    state.write(
        tmp_path,
        [
            ProcessState(name, pid, State.READY, 0, port, {f"SHOP_{name.upper()}_PORT": port})
            for (name, port), pid in zip(listening.items(), (os.getpid(), None), strict=True)
        ],
    )
    yield {"SHOP_DATA_DIR": str(tmp_path)}
    os.close(held)


def test_commands_beside_a_shop_find_its_ports(moved: dict[str, str]) -> None:
    """The ports that the shop was started with hold in another terminal, also of a process that is being restarted."""
    shared = running(TABLE, moved).shared
    assert (shared["SHOP_ORDERS_ADDRESS"], shared["SHOP_USERS_ADDRESS"]) == ("127.0.0.1:50153", "127.0.0.1:50151")
    assert shared["SHOP_CATALOG_ADDRESS"] == "127.0.0.1:50052"
    assert Ground.of(moved).env["SHOP_ORDERS_ADDRESS"] == "127.0.0.1:50153"
    assert url_of("users", moved) == "http://127.0.0.1:50151"


def test_the_environment_comes_before_what_runs(moved: dict[str, str]) -> None:
    """A port or an address that a user sets holds; a port of 0 says nothing of where a shop listens."""
    assert running(TABLE, {**moved, "SHOP_ORDERS_PORT": "7000"}).shared["SHOP_ORDERS_ADDRESS"] == "127.0.0.1:7000"
    assert running(TABLE, {**moved, "SHOP_ORDERS_ADDRESS": "there:1"}).shared["SHOP_ORDERS_ADDRESS"] == "there:1"
    assert running(TABLE, {**moved, "SHOP_ORDERS_PORT": "0"}).shared["SHOP_ORDERS_ADDRESS"] == "127.0.0.1:50153"
    assert running(TABLE, {**moved, "SHOP_CATALOG_PORT": "0"}).shared["SHOP_CATALOG_ADDRESS"] == "127.0.0.1:50052"


@pytest.mark.parametrize(
    "command",
    [lambda env: audit_command(env, wait=0, as_json=False), lambda env: order("7", env, as_json=False)],
    ids=["audit", "order"],
)
def test_the_audit_and_an_order_are_read_of_the_shop_that_runs(
    moved: dict[str, str], monkeypatch: pytest.MonkeyPatch, command: Callable[[dict[str, str]], object]
) -> None:
    """`shop audit` and `shop order` look for the shop of the data directory at its ports, and not at the defaults."""
    asked: list[str] = []

    async def refuse(settings: Settings, _: object) -> None:
        asked.append(settings.orders_address)
        raise ShopError("FORBIDDEN", "nothing is read here", Kind.FORBIDDEN)

    monkeypatch.setattr("shop.audit.command.read", refuse)
    monkeypatch.setattr("shop.commands.orders.order.read", refuse)
    with environment(moved), pytest.raises(Refused):
        command(moved)
    assert asked == ["127.0.0.1:50153"]


def test_a_health_check_asks_the_process_of_the_shop_that_runs(
    moved: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`shop healthy` beside a shop that was started on other ports asks there, and the environment's 0 is no port."""
    asked: list[int] = []
    monkeypatch.setattr("shop.commands.processes.healthy._grpc_serving", lambda port, _: asked.append(port))
    healthy("orders", moved)
    healthy("orders", {**moved, "SHOP_ORDERS_PORT": "0"})
    healthy("orders", {**moved, "SHOP_ORDERS_PORT": "7000"})
    assert asked == [50_153, 50_153, 7000]


def test_the_broker_of_a_running_shop_is_known_to_commands_beside_it(tmp_path: Path) -> None:
    """Broker and event log are published with the states, for this user's eyes only: the URL may hold a password."""
    held = lock.hold(tmp_path)
    (tmp_path / "processes.json.draft").write_text("left by a supervisor that was killed")
    given = {"SHOP_BROKER_URL": "amqp://shop:secret@rabbit", "SHOP_EVENT_LOG_URL": "kafka://log/events", "HOME": "/h"}
    state.write(tmp_path, [], shared_settings(given))
    assert state.settings_of_running(tmp_path) == {name: given[name] for name in given if name != "HOME"}
    assert stat.S_IMODE((tmp_path / "processes.json").stat().st_mode) == 0o600
    assert shared_settings({"SHOP_BROKER_URL": "embedded:here"}) == {"SHOP_BROKER_URL": f"embedded:{Path.cwd()}/here"}
    os.close(held)


def test_the_shop_of_another_user_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state is for its own user alone: a command does not take it for no shop."""

    def refuse(*_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(Refused, match="is another user's"):
        state.read(tmp_path)
    assert state.ports_of_running(tmp_path) == {}  # none runs, whoever's was the last
    held = lock.hold(tmp_path)
    with pytest.raises(Refused, match="is another user's"):
        state.ports_of_running(tmp_path)
    os.close(held)


def test_a_new_shop_does_not_have_the_pids_of_one_before(tmp_path: Path) -> None:
    """What a killed supervisor has written does not count for the next one, which has the lock already."""
    state.write(tmp_path, [ProcessState("orders", 1, State.READY, 0)])
    content = (tmp_path / "processes.json").read_text().replace(str(os.getpid()), "1")
    (tmp_path / "processes.json").write_text(content)
    held = lock.hold(tmp_path)
    assert [each.pid for each in state.read(tmp_path)] == [None]
    os.close(held)


def at_its_next_wait(does: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens while a start waits for the lock, instead of the time that passes."""
    monkeypatch.setattr("shop.supervisor.lock.time.sleep", lambda _: does())


def test_a_look_does_not_keep_a_shop_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that looks whether a shop runs has the lock for an instant; a start waits for that."""
    os.close(lock.hold(tmp_path))
    looking = os.open(tmp_path / "up.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    at_its_next_wait(lambda: os.close(looking), monkeypatch)
    os.close(lock.hold(tmp_path))


def test_a_start_does_not_lock_a_file_that_a_reset_has_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that waited for `shop reset` locks the directory's new file, which the next command finds locked."""
    held = lock.hold(tmp_path)

    def reset() -> None:
        (tmp_path / "up.lock").unlink()
        os.close(held)

    at_its_next_wait(reset, monkeypatch)
    started = lock.hold(tmp_path)
    assert lock.is_held(tmp_path)
    os.close(started)


def test_what_waits_in_the_event_log_is_said_by_partition() -> None:
    """In all and by partition; nothing where everything was read."""
    read = [{"partition": 0, "read": 9, "unread": 5}, {"partition": 1, "read": 9, "unread": 0}]
    assert words(read) == "reports has not read 5 entries (partition 0: 5)"
    assert words(read[1:]) == ""
