"""The command line as a whole: every command has its help, a misspelt one its suggestion, and none slows the others."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner

from shop.cli import COMMANDS, app, main
from shop.commands.processes import ending
from shop.errors import Refused
from shop.process_table import TABLE
from shop.supervisor import keyring, lock, state

NAMES = [name for commands in COMMANDS.values() for name in commands]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself(name: str) -> None:
    """`shop COMMAND --help` prints what it does."""
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert f"Usage: shop {name}" in CliRunner().invoke(app, [name, "--help"], prog_name="shop").output


def test_help_lists_every_command() -> None:
    """`shop --help` shows each command under its panel."""
    printed = CliRunner().invoke(app, ["--help"]).output
    assert all(panel in printed for panel in COMMANDS)
    assert all(f" {name} " in printed for name in NAMES)


@pytest.mark.parametrize(
    ("typed", "meant"), [("statu", "status"), ("dead-leters", "dead-letters"), ("queus", "queues")]
)
def test_misspelt_command_is_suggested(typed: str, meant: str) -> None:
    """An unknown command is refused with the nearest name."""
    done = CliRunner().invoke(app, [typed])
    assert done.exit_code == 2
    assert f"Did you mean '{meant}'?" in done.output


def test_help_is_shown_as_it_is_written() -> None:
    """Brackets are no markup, and a paragraph is wrapped as one."""
    in_brackets = {
        ("fault", "kill"): "PROCESS… [signal=15]",
        ("partner", "send"): "[default: one that the shop handles]",
        ("call",): "[default: the first that is admitted]",
    }
    for words, text in in_brackets.items():
        printed = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).output
        assert text in printed, words
    printed = CliRunner().invoke(app, ["up", "--help"], env={"COLUMNS": "80"}).output
    paragraph = printed[printed.index("State lives") : printed.index("Exit code")].splitlines()
    lines = [line.strip() for line in paragraph if line.strip()]
    assert len(lines) > 1
    assert all(len(line) > 60 for line in lines[:-1]), lines


def test_command_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package, as in a container, a command says what it needs, and the help lists it nevertheless."""
    monkeypatch.setitem(sys.modules, "bench.compare.cli", None)
    assert "Not installed here" in CliRunner().invoke(app, ["--help"]).output
    done = CliRunner().invoke(app, ["compare", "E1", "--quick"])
    assert isinstance(done.exception, Refused)
    assert "make setup-dev" in str(done.exception)


def test_start_imports_no_command() -> None:
    """The command line itself imports neither a command nor what commands need."""
    heavy = ("grpc", "sqlalchemy", "pydantic", "httpx", "shop.commands.processes.cli")
    code = f"import sys, shop.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("SHOP_GATEWAY_URL", "http://[", "SHOP_GATEWAY_URL must be a URL"),
        ("SHOP_GATEWAY_URL", "http://localhost:99999", "SHOP_GATEWAY_URL must be a URL"),
        ("SHOP_BROKER_URL", "amqp://guest:sec/ret@localhost", "SHOP_BROKER_URL must be a URL"),
        ("SHOP_BROKER_URL", "nats://localhost", "SHOP_BROKER_URL must begin with embedded: or amqp:"),
        ("SHOP_RETRY_DELAYS", "soon", "SHOP_RETRY_DELAYS cannot be read: it must be JSON"),
        ("SHOP_USER_RATE_LIMIT", "many", 'SHOP_USER_RATE_LIMIT is wrong: write it as "AMOUNT/PERIOD"'),
        ("SHOP_TRACE_SAMPLE_RATIO", "half", "SHOP_TRACE_SAMPLE_RATIO is wrong"),
        ("SHOP_TLS_DIR", "/nowhere", "/nowhere/ca.pem is missing"),
        ("SHOP_DATA_DIR", "/dev/null", "cannot write /dev/null"),
    ],
)
def test_setting_that_cannot_be_used_is_named(setting: str, value: str, said: str) -> None:
    """A command says which setting is wrong, without what it holds, and exits with 2; there is no traceback."""
    env = {name: kept for name, kept in os.environ.items() if not name.startswith("SHOP_")}
    done = subprocess.run(
        [sys.executable, "-m", "shop", "run", "gateway"],
        capture_output=True,
        text=True,
        env={**env, setting: value},
        check=False,
    )
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert "Value error" not in done.stderr
    assert "sec" not in done.stderr.replace("second", "")


@pytest.mark.parametrize(
    ("command", "setting", "value"),
    [
        ("healthy orders", "SHOP_ORDERS_PORT", "x"),
        ("healthy orders", "SHOP_ORDERS_PORT", "65536"),
        ("status", "SHOP_ORDERS_ADDRESS", "orders:x"),
        ("status", "SHOP_ORDERS_ADDRESS", "orders:65536"),
        ("status", "SHOP_ORDERS_ADDRESS", "[orders"),
        *(("run gateway", "SHOP_SERVICE_SECRETS", value) for value in ("5", '["ab"]', '{"gateway": 5}', "secret")),
        ("run link_proxy", "SHOP_LAB_PLAN", ""),
        ("run link_proxy", "SHOP_LAB_PLAN", "/nowhere"),
    ],
)
def test_command_names_the_setting_that_it_cannot_use(tmp_path: Path, command: str, setting: str, value: str) -> None:
    """Also a command that reads a setting itself: exit code 2, and no traceback."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    done = subprocess.run(
        [sys.executable, "-m", "shop", *command.split()],
        env={**kept, "SHOP_DATA_DIR": str(tmp_path / "none"), setting: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, setting in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"), [(["--help"], 0, ""), (["certs", "--help"], 0, ""), (["status"], 2, "is another user's")]
)
def test_another_users_shop_refuses_only_what_needs_its_state(
    words: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Help and what is done without a shop work beside it, such as after one `sudo shop up`."""

    def refuse(*_: object) -> NoReturn:
        raise Refused("the shop is another user's")

    monkeypatch.setattr(state, "_content", refuse)
    monkeypatch.setenv("SHOP_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["shop", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, said in capsys.readouterr().err) == (code, True)


@pytest.mark.parametrize("left", ["", "{", "[]", '{"services": []}', '{"webhooks": {"STRIPE": 5}}'])
def test_edited_secrets_are_named_by_their_file(tmp_path: Path, left: str) -> None:
    """The file that can be restored is named; nothing is written over it."""
    (tmp_path / keyring.FILE).write_text(left)
    with pytest.raises(Refused, match=re.escape(str(tmp_path / keyring.FILE))):
        keyring.load(tmp_path, TABLE)
    assert (tmp_path / keyring.FILE).read_text() == left


@pytest.mark.parametrize(
    "command",
    ["status", "audit", "order x", "fault list", "queues", "call orders", "dead-letters list", "trace x", "down"],
)
def test_command_that_looks_leaves_nothing(tmp_path: Path, command: str) -> None:
    """Where no shop was ever started it makes no data directory, and no secrets in one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    env = {**kept, "SHOP_DATA_DIR": str(tmp_path / "none"), "SHOP_GATEWAY_URL": "http://127.0.0.1:1"}
    subprocess.run(
        [sys.executable, "-m", "shop", *command.split()], env=env, capture_output=True, timeout=60, check=False
    )
    assert not (tmp_path / "none").exists()


def test_ctrl_c_while_the_command_is_imported_leaves_no_traceback() -> None:
    """The program ends at once and says nothing of its imports; its exit status is that of SIGINT."""
    code = """
import os, runpy, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, also where tests run in the background

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["shop", "status"]
runpy.run_module("shop", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_reset_removes_the_log_of_a_tours_own_shop(tmp_path: Path) -> None:
    """What a tour's shop has printed is state, too: nothing is left."""
    os.close(lock.hold(tmp_path))
    (tmp_path / "tour.log").write_text("started")
    ending.reset({"SHOP_DATA_DIR": str(tmp_path)})
    assert not tmp_path.exists()


def test_no_shop_starts_while_another_is_reset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is locked for as long as anything is deleted."""
    os.close(lock.hold(tmp_path))
    (tmp_path / "zz").mkdir()  # the last by its name
    monkeypatch.setattr(ending, "_STATE", (*ending._STATE, "zz"))
    held = []

    def look(path: Path) -> None:
        held.append(lock.is_held(tmp_path))
        path.rmdir()

    monkeypatch.setattr("shutil.rmtree", look)
    ending.reset({"SHOP_DATA_DIR": str(tmp_path)})
    assert held == [True]


def test_down_names_a_shop_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is refused with what to do, and ends nothing."""

    def another_users(_pid: int, _number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", another_users)
    held = lock.hold(tmp_path)
    with pytest.raises(Refused, match="is another user's: end it as that user"):
        ending.down({"SHOP_DATA_DIR": str(tmp_path)})
    os.close(held)
