"""The supervisor with real processes: it is started, killed and looked at from outside, as an operating system does."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from shop import process_table
from shop.supervisor import state
from shop.supervisor.state import ProcessState, State
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.system
METHODS = ("fork", "spawn")


class FakeShop:
    """One data directory and the `up` commands that were started on it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.output = data_dir / "output"
        self.started: list[subprocess.Popen[bytes]] = []

    def up(self, *names: str, module: str = "tests.system.fake_shop", **env: str) -> subprocess.Popen[bytes]:
        """Start `up NAME…` in the background; its output and its children's is appended to `output`."""
        with self.output.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, "up", *names],
                cwd=ROOT,
                env=self.environment(**env),
                stdout=output,
                stderr=output,
            )
        self.started.append(process)
        return process

    def environment(self, **env: str) -> dict[str, str]:
        """What the processes are started with: nothing that the surrounding shell set for a shop."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SHOP_")}
        return clean | {"SHOP_LOG_FORMAT": "text", "SHOP_DATA_DIR": str(self.data_dir), "FAKE_TIMEOUT": "30", **env}

    async def ready(self, *names: str) -> dict[str, ProcessState]:
        """The processes, once exactly these are there and all are ready."""

        def all_ready() -> dict[str, ProcessState]:
            found = self.processes()
            ready = {name for name, process in found.items() if process.state is State.READY}
            return found if ready == set(names) == set(found) else {}

        return await eventually(all_ready, within=60)

    def processes(self) -> dict[str, ProcessState]:
        """What `processes.json` says now."""
        return {process.name: process for process in state.read(self.data_dir)}

    def said(self) -> str:
        """All output so far."""
        return self.output.read_text()

    def note(self, name: str) -> dict[str, Any]:
        """What the process found around it."""
        note: dict[str, Any] = json.loads((self.data_dir / f"{name}.note").read_text())
        return note

    def close(self) -> None:
        """Leave nothing behind, whatever a test did."""
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[FakeShop]:
    """A fake shop that is not started yet."""
    fake = FakeShop(tmp_path)
    yield fake
    fake.close()


def pids(processes: dict[str, ProcessState]) -> set[int]:
    """The pids of those that run."""
    return {process.pid for process in processes.values() if process.pid is not None}


def gone(numbers: set[int]) -> bool:
    """Whether none of these processes runs any more."""

    def runs(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(runs(pid) for pid in numbers)


@pytest.mark.parametrize("method", METHODS)
async def test_every_process_is_its_own_and_reports_ready(shop: FakeShop, method: str) -> None:
    """Each process of the table runs as an OS process of its own, and all together are announced when ready."""
    supervisor = shop.up("listener", "worker", "users", SHOP_START_METHOD=method)
    found = await shop.ready("listener", "worker", "users")
    assert len(pids(found) | {supervisor.pid}) == 4
    await eventually(lambda: re.search(r"INFO +shop +all processes are ready processes=3 seconds=\d", shop.said()))


@pytest.mark.parametrize("method", METHODS)
async def test_a_killed_process_is_started_again(shop: FakeShop, method: str) -> None:
    """A process that is killed comes back, and the log says who, why and after which delay."""
    shop.up("listener", "worker", SHOP_START_METHOD=method)
    before = await shop.ready("listener", "worker")
    os.kill(before["listener"].pid or 0, signal.SIGKILL)
    await eventually(lambda: shop.processes()["listener"].restarts == 1)
    after = await shop.ready("listener", "worker")
    assert after["listener"].pid != before["listener"].pid
    assert after["worker"] == before["worker"]
    assert re.search(r"WARNING shop +listener ended and will be restarted signal=SIGKILL delay=0.1s", shop.said())
    assert re.search(r"INFO +shop +listener is ready", shop.said())


@pytest.mark.parametrize("method", METHODS)
async def test_a_wrong_setting_of_one_process_ends_the_start(shop: FakeShop, method: str) -> None:
    """It would be as wrong at each restart: the shop stops with exit code 2, and says which setting it is."""
    supervisor = shop.up("listener", "misconfigured", SHOP_START_METHOD=method)
    await eventually(lambda: supervisor.poll() is not None, within=60)
    assert supervisor.returncode == 2, shop.said()
    said = shop.said()
    assert "SHOP_HOST is wrong: no such place" in said
    assert "misconfigured has invalid settings" in said
    assert "Traceback" not in said
    assert "restarted" not in said


async def test_a_process_that_keeps_failing_is_tried_ever_less_often(shop: FakeShop) -> None:
    """The delay before each restart doubles, and the supervisor does not give up."""
    shop.up("failing")
    delays = re.compile(r"failing ended and will be restarted exit_code=3 delay=(\S+)s")
    await eventually(lambda: delays.findall(shop.said())[:4] == ["0.1", "0.2", "0.4", "0.8"], within=60)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_stops_everything(shop: FakeShop, method: str, number: signal.Signals) -> None:
    """SIGTERM, Ctrl-C and a closed terminal end every process and then the supervisor, with exit code 0."""
    supervisor = shop.up("listener", "worker", "failing", SHOP_START_METHOD=method)
    await eventually(lambda: len([each for each in shop.processes().values() if each.state is State.READY]) == 2)
    running = pids(shop.processes())
    supervisor.send_signal(number)
    assert supervisor.wait(60) == 0
    assert gone(running)
    assert {process.state for process in shop.processes().values()} == {State.STOPPED}


async def test_a_stop_during_the_start_stops_everything(shop: FakeShop) -> None:
    """A SIGTERM that comes while the processes are being started is obeyed like any other."""
    supervisor = shop.up("listener", "worker")
    await eventually(lambda: shop.output.exists() and "starting" in shop.said())
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(60) == 0
    assert pids(shop.processes()) == set()


async def test_a_second_ctrl_c_kills(shop: FakeShop) -> None:
    """A second Ctrl-C does not wait for a process that will not end."""
    supervisor = shop.up("stubborn", "worker", FAKE_TIMEOUT="1000")
    running = pids(await shop.ready("stubborn", "worker"))
    supervisor.send_signal(signal.SIGINT)
    await eventually(lambda: "stopping" in shop.said())
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(60) == 1
    assert gone(running)


async def test_a_process_that_does_not_end_in_time_is_killed(shop: FakeShop) -> None:
    """When the grace is over, what still runs is killed and named, and the exit code says so."""
    supervisor = shop.up("stubborn", "worker", FAKE_TIMEOUT="0.2")
    running = pids(await shop.ready("stubborn", "worker"))
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(60) == 1
    assert gone(running)
    assert "stubborn did not stop in time: killed" in shop.said()


@pytest.mark.parametrize("method", METHODS)
async def test_a_killed_supervisor_leaves_nothing_behind(shop: FakeShop, method: str) -> None:
    """When the supervisor itself is killed, its processes end too, and the directory can be used again."""
    supervisor = shop.up("listener", "worker", "stubborn", SHOP_START_METHOD=method, FAKE_TIMEOUT="0.2")
    running = pids(await shop.ready("listener", "worker", "stubborn"))
    supervisor.kill()
    supervisor.wait(60)
    await eventually(lambda: gone(running), within=60)
    shop.up("listener")
    await shop.ready("listener")


@pytest.mark.parametrize("method", METHODS)
async def test_a_killed_supervisor_keeps_the_directory_until_its_processes_have_ended(
    shop: FakeShop, method: str
) -> None:
    """No second shop starts on data that a process of a killed one still writes."""
    supervisor = shop.up("stubborn", SHOP_START_METHOD=method, FAKE_TIMEOUT="1000")
    running = pids(await shop.ready("stubborn"))
    supervisor.kill()
    supervisor.wait(60)
    assert shop.up("worker").wait(60) == 2
    for pid in running:
        os.kill(pid, signal.SIGKILL)


async def test_a_second_shop_on_the_same_directory_is_refused(shop: FakeShop) -> None:
    """Only one shop may use a data directory; the second one's error names the process that has it."""
    first = shop.up("worker")
    await shop.ready("worker")
    assert shop.up("listener").wait(60) == 2
    assert f"started by process {first.pid}" in shop.said()
    assert first.poll() is None


def test_a_taken_port_is_named_with_the_setting_that_moves_it(shop: FakeShop) -> None:
    """Nothing is started when a port is taken, and the message says port, process and setting."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        started = shop.up("--only", "gateway,users", module="shop", SHOP_GATEWAY_PORT=str(port), SHOP_USERS_PORT="0")
        assert started.wait(60) == 2
    said = shop.said()
    assert f"port {port} is taken" in said
    assert "gateway cannot listen there" in said
    assert "SHOP_GATEWAY_PORT" in said
    assert not shop.processes()


async def test_a_second_start_finds_the_secrets_of_the_first(shop: FakeShop) -> None:
    """Secrets are made once, readable by their owner alone, and the same after a restart."""
    first = shop.up("worker")
    await shop.ready("worker")
    before = (shop.data_dir / "secrets.json").read_text()
    assert stat.S_IMODE((shop.data_dir / "secrets.json").stat().st_mode) == 0o600
    first.send_signal(signal.SIGTERM)
    first.wait(60)
    shop.up("worker")
    await shop.ready("worker")
    assert (shop.data_dir / "secrets.json").read_text() == before


@pytest.mark.parametrize("method", METHODS)
async def test_a_process_knows_the_others_and_its_own_secrets_only(shop: FakeShop, method: str) -> None:
    """Every process gets the others' addresses; a secret reaches only the processes that need it."""
    shop.up("listener", "worker", "users", SHOP_START_METHOD=method)
    found = await shop.ready("listener", "worker", "users")
    worker, users, listener = (shop.note(name)["environment"] for name in ("worker", "users", "listener"))
    assert worker["SHOP_A_URL"] == f"http://127.0.0.1:{found['listener'].port}"
    assert worker["SHOP_DATA_DIR"] == str(shop.data_dir)
    assert json.loads(users["SHOP_SERVICE_SECRETS"])["worker"] == worker["SHOP_SERVICE_SECRET"]
    assert "SHOP_SERVICE_SECRETS" not in worker
    assert "SHOP_WEBHOOK_SECRET_STRIPE" in worker
    assert not [name for name in listener if name.startswith("SHOP_WEBHOOK_SECRET")]


@pytest.mark.parametrize("method", METHODS)
async def test_a_process_inherits_neither_chance_nor_descriptors_nor_group(shop: FakeShop, method: str) -> None:
    """Two processes draw different numbers, sit in groups of their own and hold no descriptor of each other."""
    shop.up("worker", "users", SHOP_START_METHOD=method)
    found = await shop.ready("worker", "users")
    worker, users = shop.note("worker"), shop.note("users")
    assert not set(worker["random"]) & set(users["random"])
    assert {worker["group"], users["group"]} == pids(found)
    assert len(worker["descriptors"]) == len(users["descriptors"])


async def test_grpc_works_in_forked_processes(shop: FakeShop) -> None:
    """A gRPC server and a client, both forked after gRPC was imported, find each other; also after a restart."""
    shop.up("rpc_server", "rpc_client", SHOP_START_METHOD="fork")
    before = await shop.ready("rpc_server", "rpc_client")
    for pid in pids(before):
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: {process.restarts for process in shop.processes().values()} == {1})
    await shop.ready("rpc_server", "rpc_client")


async def test_status_tells_whether_all_is_well(shop: FakeShop) -> None:
    """`shop status` exits with 0 while every process is ready and with 1 when one is gone."""

    def ask() -> tuple[int, dict[str, str]]:
        command = [sys.executable, "-m", "shop", "status", "--json"]
        answer = subprocess.run(command, cwd=ROOT, env=shop.environment(), capture_output=True, check=False)
        return answer.returncode, {each["name"]: each["state"] for each in json.loads(answer.stdout)["processes"]}

    assert ask() == (1, {})
    supervisor = shop.up("listener", "worker")
    await shop.ready("listener", "worker")
    assert ask() == (0, {"listener": "ready", "worker": "ready"})
    supervisor.send_signal(signal.SIGTERM)
    supervisor.wait(60)
    assert ask() == (1, {"listener": "stopped", "worker": "stopped"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_start_that_waits_for_its_database_can_be_ended(shop: FakeShop, number: signal.Signals) -> None:
    """A signal ends `shop up` while it migrates, and what migrates with it, even where the supervisor is killed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # as a PostgreSQL whose packets are dropped
        url = f"postgresql://shop@127.0.0.1:{silent.getsockname()[1]}/{{service}}"
        supervisor = shop.up("users", SHOP_DATABASE_URL=url)
        silent.settimeout(30)
        with silent.accept()[0]:
            started = psutil.Process(supervisor.pid).children(recursive=True)
            assert started
            supervisor.send_signal(number)
            supervisor.wait(30)
            await eventually(lambda: gone({process.pid for process in started}))
    assert supervisor.returncode == (-number if number is signal.SIGKILL else 0), shop.said()


def test_preloading_leaves_a_process_fit_to_be_forked() -> None:
    """What is preloaded starts no thread, opens no descriptor and is really imported.

    But one: newer versions of libffi keep their own library file open to read, for ctypes' callbacks.
    """
    look = (
        "import os, threading, sys;"
        "paths = lambda: [f'/dev/fd/{number}' for number in os.listdir('/dev/fd')];"
        "opened = lambda: {os.path.realpath(path) for path in paths() if os.path.exists(path)};"
        "before = opened();"
        "from shop import process_table; from shop.supervisor import preload; preload.preload(process_table.TABLE);"
        "assert threading.active_count() == 1;"
        "assert not os.path.exists('/proc/self/task') or len(os.listdir('/proc/self/task')) == 1;"
        "left = {path for path in opened() - before if not os.path.basename(path).startswith('libffi.so')};"
        "assert not left, left;"
        "entries = {spec.entry.partition(':')[0] for spec in process_table.TABLE if not spec.plain};"
        "assert not {*preload.MODULES, *entries} - set(sys.modules), {*preload.MODULES, *entries} - set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", look], cwd=ROOT, check=True)


async def test_a_forked_process_imports_nothing_itself(shop: FakeShop) -> None:
    """The supervisor has imported what each process needs until it is ready: once for all, in shared memory."""
    specs = [spec for spec in process_table.TABLE if not spec.plain]
    any_ports = {port.setting: "0" for spec in process_table.TABLE for port in spec.ports}
    shop.up(module="tests.system.shop_with_imports", SHOP_START_METHOD="fork", **any_ports)
    await shop.ready(*(spec.name for spec in process_table.TABLE))
    imported = {spec.name: json.loads((shop.data_dir / f"{spec.name}.imports").read_text()) for spec in specs}
    assert not {name: modules for name, modules in imported.items() if modules}
