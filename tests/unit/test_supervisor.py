"""The supervisor's decisions: restart delays, processes, ports, and each one's environment."""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from shop import process_table
from shop.commands.processes import run_while
from shop.commands.processes.banner import banner
from shop.errors import Refused
from shop.process_table import TABLE, Port, ProcessSpec, Scheme, select
from shop.supervisor import keyring, ports, restarts
from shop.supervisor.environment import survey

ONE = ProcessSpec("one", "one:run", "", (Port("SHOP_ONE_PORT", 7001, ("SHOP_ONE_ADDRESS", "SHOP_ONE_URL")),))
TWO = ProcessSpec("two", "two:run", "", (Port("SHOP_TWO_PORT", 7002),), schemes=(Scheme.GITHUB,))
HOST = "127.0.0.1"
ROOT = Path(__file__).parents[2]


def test_the_delay_doubles_up_to_ten_seconds() -> None:
    """A process that never becomes healthy is restarted after 0.1 s, then ever later, at most 10 s."""
    delays, delay = [], 0.0
    for _ in range(9):
        delay = restarts.next_delay(delay, healthy_for=0)
        delays.append(delay)
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


@pytest.mark.parametrize(("healthy_for", "expected"), [(0, 10), (9.9, 10), (10, 0.1), (1e6, 0.1)])
def test_ten_seconds_of_health_clear_the_account(healthy_for: float, expected: float) -> None:
    """After ten healthy seconds the next failure counts as the first."""
    assert restarts.next_delay(10, healthy_for) == expected


def test_the_table_has_every_name_port_and_setting_once() -> None:
    """No two processes share a name, a default port, or a setting."""
    every_port = [port for spec in TABLE for port in spec.ports]
    assert len({spec.name for spec in TABLE}) == len(TABLE)
    assert len({port.default for port in every_port}) == len(every_port)
    settings = [port.setting for port in every_port] + [name for port in every_port for name in port.addresses]
    assert len(set(settings)) == len(settings)


def test_selecting_keeps_the_order_of_the_table() -> None:
    """`only` and `without` choose; the table orders."""
    assert select((ONE, TWO)) == (ONE, TWO)
    assert select((ONE, TWO), only=["two", "one"]) == (ONE, TWO)
    assert select((ONE, TWO), only=["two", "one"], without=["one"]) == (TWO,)


def test_selecting_an_unknown_process_names_the_known() -> None:
    """A misspelt name is refused with the names there are; so is a choice of nothing."""
    with pytest.raises(Refused, match=r'unknown process "tow"\. Did you mean "two"'):
        select((ONE, TWO), without=["tow"])
    with pytest.raises(Refused, match='unknown process "gateway"; known processes: one, two'):
        select((ONE, TWO), without=["gateway"])
    with pytest.raises(Refused, match="no process is left to start"):
        select((ONE, TWO), only=["one"], without=["one"])


@pytest.mark.parametrize("text", ["65536", "-1", "eighty", "8000.0", "٣"])
def test_a_port_must_be_a_port(text: str) -> None:
    """A value that is no port number is refused with the setting's name."""
    with pytest.raises(Refused, match="SHOP_ONE_PORT"):
        ports.assign((ONE,), {"SHOP_ONE_PORT": text}, HOST)


def test_two_processes_cannot_have_the_same_port() -> None:
    """A port given twice is refused with both settings' names."""
    with pytest.raises(Refused, match="SHOP_ONE_PORT and SHOP_TWO_PORT are both 7001"):
        ports.assign((ONE, TWO), {"SHOP_TWO_PORT": "7001"}, HOST)


def test_port_zero_is_any_free_one() -> None:
    """0 becomes a free port below those that outgoing connections get."""
    assigned = ports.assign((ONE, TWO), {"SHOP_ONE_PORT": "0", "SHOP_TWO_PORT": "0"}, HOST)
    assert len(set(assigned.values())) == 2
    assert all(20_000 <= port < 32_000 for port in assigned.values())
    ports.ensure_free((ONE, TWO), assigned, HOST)


def test_programs_that_choose_ports_at_once_choose_others() -> None:
    """No port that one program found free is found by another, while the first has not begun to listen there."""
    choose = (
        "import sys\n"
        "from shop.supervisor import ports\n"
        "chosen = []\n"
        "for _ in range(60): chosen.append(ports.any_free('127.0.0.1', chosen))\n"
        "print(*chosen, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", choose]
    with ExitStack() as programs:
        running = [
            programs.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
            for _ in range(4)
        ]
        chosen = [port for each in running if each.stdout is not None for port in each.stdout.readline().split()]
    assert len(chosen) == len(set(chosen)) == 4 * 60


def test_every_taken_port_is_named() -> None:
    """All ports that are taken are listed at once, each with its process and setting."""
    with socket.create_server((HOST, 0)) as first, socket.create_server((HOST, 0)) as second:
        taken = {"SHOP_ONE_PORT": first.getsockname()[1], "SHOP_TWO_PORT": second.getsockname()[1]}
        with pytest.raises(Refused) as refusal:
            ports.ensure_free((ONE, TWO), taken, HOST)
    for line, (setting, port) in zip(str(refusal.value).splitlines(), taken.items(), strict=True):
        assert f"port {port} is taken" in line
        assert setting in line


def test_addresses_follow_the_ports(tmp_path: Path) -> None:
    """A process at another port is found there by the others; what is set already stays."""
    env = {"SHOP_DATA_DIR": str(tmp_path), "SHOP_ONE_PORT": "7100", "SHOP_ONE_URL": "https://elsewhere", "HOME": "/h"}
    shared = survey((ONE, TWO), env).shared
    assert shared["SHOP_ONE_ADDRESS"] == "127.0.0.1:7100"
    assert shared["SHOP_ONE_URL"] == "https://elsewhere"
    assert (shared["SHOP_ONE_PORT"], shared["SHOP_TWO_PORT"], shared["HOME"]) == ("7100", "7002", "/h")


@pytest.mark.parametrize(
    ("host", "address"), [("0.0.0.0", "127.0.0.1:7001"), ("::", "[::1]:7001"), ("::1", "[::1]:7001")]
)
def test_addresses_can_be_reached(tmp_path: Path, host: str, address: str) -> None:
    """Who listens everywhere is reached by loopback; IPv6 addresses are bracketed."""
    env = {"SHOP_DATA_DIR": str(tmp_path), "SHOP_HOST": host}
    assert survey((ONE,), env).shared["SHOP_ONE_ADDRESS"] == address


def test_a_secret_goes_to_whom_it_concerns(tmp_path: Path) -> None:
    """Also a secret that the person set reaches only the processes that need it."""
    env = {
        "SHOP_DATA_DIR": str(tmp_path),
        "SHOP_SERVICE_SECRETS": '{"one": "mine"}',
        "SHOP_WEBHOOK_SECRET_GITHUB": "theirs",
    }
    around = survey((ONE, TWO), env)
    assert around.of(ONE)["SHOP_SERVICE_SECRET"] == "mine"
    assert "SHOP_WEBHOOK_SECRET_GITHUB" not in around.of(ONE)
    assert around.of(TWO)["SHOP_WEBHOOK_SECRET_GITHUB"] == "theirs"
    assert "SHOP_SERVICE_SECRETS" not in around.of(TWO)


def test_production_makes_up_no_secrets(tmp_path: Path) -> None:
    """In production a missing secret stays missing, so that the process which needs it refuses to start."""
    around = survey((ONE, TWO), {"SHOP_DATA_DIR": str(tmp_path / "state"), "SHOP_ENV": "production"})
    assert not [name for name in {**around.of(ONE), **around.of(TWO)} if "SECRET" in name]
    assert not list(tmp_path.iterdir())


def test_service_secrets_must_be_json(tmp_path: Path) -> None:
    """A malformed SHOP_SERVICE_SECRETS is refused by name."""
    with pytest.raises(Refused, match="SHOP_SERVICE_SECRETS"):
        survey((ONE,), {"SHOP_DATA_DIR": str(tmp_path), "SHOP_SERVICE_SECRETS": "one=mine"})


def test_the_keyring_grows_and_keeps(tmp_path: Path) -> None:
    """A process that is new in the table gets a secret; the others keep theirs."""
    before = keyring.load(tmp_path, [ONE])
    after = keyring.load(tmp_path, [ONE, TWO])
    assert after.services["one"] == before.services["one"]
    assert after.webhooks == before.webhooks
    assert len(set(after.services.values())) == 2
    assert json.loads((tmp_path / "secrets.json").read_text())["services"] == after.services


def test_the_standard_webhooks_secret_has_its_prescribed_form(tmp_path: Path) -> None:
    """Standard Webhooks: `whsec_` and the base64 of 24 to 64 bytes."""
    secret = keyring.load(tmp_path, []).webhooks["STANDARD"]
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


def test_the_banner_shows_what_runs(tmp_path: Path) -> None:
    """URLs are those of the running processes on their real ports, with sign-ins and a first curl."""
    port = random.choice(range(20_000, 32_000))  # noqa: S311  # any port will do
    shared = survey(process_table.TABLE, {"SHOP_DATA_DIR": str(tmp_path), "SHOP_GATEWAY_PORT": str(port)}).shared
    shown = banner(shared, {"gateway", "notifier"})
    assert f"curl http://127.0.0.1:{port}/v1/products/42" in shown
    assert "ws://127.0.0.1:8001/notifications" in shown
    assert "demo@shop.test / demo" in shown
    assert "8020" not in shown


def test_the_banners_first_question_is_answered(tmp_path: Path) -> None:
    """With TLS its curl trusts the shop's authority, and without the demo data it asks for nothing of that."""
    env = {"SHOP_DATA_DIR": str(tmp_path), "SHOP_TLS_DIR": "/my/certs"}
    shared = survey(process_table.TABLE, env).shared
    assert "curl --cacert /my/certs/ca.pem https://127.0.0.1:8000/v1/products/42" in banner(shared, {"gateway"})
    for without in ({"SHOP_DEMO_DATA": "false"}, {"SHOP_ENV": "production"}):
        shown = banner({**shared, **without}, {"gateway"})
        assert "https://127.0.0.1:8000/v1/products\n" in shown
        assert not any(word in shown for word in ("demo", "admin", "tour"))


@pytest.mark.timeout(60)
def test_a_process_that_does_not_become_ready_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """`shop run --while` ends it, runs no command and says how long it has waited."""
    monkeypatch.setattr(run_while, "READY_WITHIN", 1.0)
    monkeypatch.setattr(run_while, "RUN_COMMAND", (sys.executable, "-c", "import time; time.sleep(300)"))
    with pytest.raises(Refused, match="one was not ready within 1 s"):
        run_while.run_while("one", "true", dict(os.environ), table=(ONE,))
