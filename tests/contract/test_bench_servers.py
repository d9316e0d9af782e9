"""The processes and databases of a benchmark, and what it prints of servers that are not there."""

from __future__ import annotations

import ast
import os
import signal
import socket
import sys
from pathlib import Path

import asyncpg
import pytest

from bench import roles
from bench.roles import free_port, listens, not_run, own_databases, role, serving, started_role

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432")


def test_a_part_is_left_out_with_the_hosts_where_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """The line names each host once, and none that has the server."""
    with socket.create_server(("127.0.0.1", 0)) as there:
        database = f"postgresql://postgres@127.0.0.1:{there.getsockname()[1]}"
        broker = f"amqp://guest:guest@localhost:{free_port()}/"
        assert listens(database)
        not_run("orders on servers", database, broker, broker)
    assert capsys.readouterr().out == "orders on servers: NOT RUN, nothing listens at localhost\n"


def test_a_url_without_a_port_names_its_servers_own() -> None:
    """A port that no server has is as good as nothing that listens."""
    assert not listens("unknown://127.0.0.1")


def test_a_process_that_does_not_start_is_named_with_its_exit_code() -> None:
    """Instead of a line that is no port."""
    with role("bench.nothing") as nothing, pytest.raises(RuntimeError, match=r"bench\.nothing .*\(exit code 1\)"):
        nothing.receive()


def test_a_process_is_not_waited_for_longer_than_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed, and so is a server."""
    monkeypatch.setattr(roles, "START_TIMEOUT", 0.1)
    silent = ("-n1", "-r1", "import time; time.sleep(600)")
    with role("timeit", *silent) as asleep, pytest.raises(RuntimeError, match=r"timeit -n1 did not .*code -9\)"):
        asleep.receive()
    with (
        pytest.raises(RuntimeError, match=r"did not start \(exit code -9\)"),
        serving([sys.executable, "-c", silent[-1]], {}),
    ):
        pass


@pytest.mark.parametrize(("last", "code", "left"), [("", 0, True), ("time.sleep(600)", -signal.SIGTERM, False)])
def test_a_process_ends_at_the_end_of_its_input(
    last: str, code: int, left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it closes what it has; one that goes on is terminated."""
    monkeypatch.setattr(roles, "_END_TIMEOUT", 10.0 if left else 0.1)
    file = tmp_path / "closed"
    waits = f"import sys, time; print(1, flush=True); sys.stdin.read(); {last or 0}"
    does = f"{waits}; open({str(file)!r}, 'w')"
    with role("timeit", "-n1", "-r1", does) as started:
        started.receive()
    assert (started.process.returncode, file.exists()) == (code, left)


async def test_a_process_inherits_none_of_the_users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user's shop is set to would be measured otherwise."""
    monkeypatch.setenv("SHOP_CACHE_SECONDS", "0")
    names = "import os; print(*(name for name in os.environ if name.startswith('SHOP_')))"
    async with started_role("timeit", "-n1", "-r1", names, SHOP_LOG_LEVEL="error") as (_, line):
        assert line == "SHOP_LOG_LEVEL"


def test_each_benchmark_ends_what_it_has_started_when_it_is_terminated() -> None:
    """Its main function unwinds; that of a soak by the shop that it starts."""
    folder = Path(roles.__file__).parent
    mains = {
        path.relative_to(folder).as_posix(): {ast.unparse(each) for each in node.decorator_list}
        for path in [*folder.glob("*.py"), *folder.glob("*/*.py")]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and "ArgumentParser" in ast.unparse(node)
    }
    assert len(mains) > 10
    assert {name for name, found in mains.items() if "unwound_by_signals()" not in found} == {"soak/run.py"}


@pytest.mark.postgres
async def test_a_benchmarks_databases_are_dropped() -> None:
    """All that begin as its URL does, though a session is open, and also when the benchmark fails."""
    server = await asyncpg.connect(f"{POSTGRES_URL}/postgres")
    prefix = ""
    with pytest.raises(RuntimeError, match="the bench failed"), own_databases(POSTGRES_URL) as urls:
        prefix = named(urls, "")
        for service in ("orders", "users"):
            await server.execute(f'CREATE DATABASE "{named(urls, service)}"')
        await asyncpg.connect(urls.replace("{service}", "orders"))
        raise RuntimeError("the bench failed")
    assert await server.fetchval("SELECT count(*) FROM pg_database WHERE starts_with(datname, $1)", prefix) == 0
    await server.close()


def named(urls: str, service: str) -> str:
    """A service's database."""
    return urls.rpartition("/")[2].replace("{service}", service)
