"""A command that has started processes, and is ended by SIGTERM or by the loss of its terminal, leaves none behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from shop.started_shop import all_ready
from shop.supervisor import lock
from tests.shop import free_ports, surroundings
from tests.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
# Seconds for the end of a command and of what it has started.
WITHIN = 60
signals = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])


@asynccontextmanager
async def begun(env: Mapping[str, str], *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `shop` with these words; in the end it is killed, and so is all that it has started and left behind."""
    mark = uuid.uuid4().hex
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shop", *words),
        env={**os.environ, **env, "LEFT_BY": mark},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        for pid in marked(mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.communicate()


def marked(mark: str) -> list[int]:
    """The processes with this mark in their environment."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return found


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
async def test_a_process_beside_the_shop_ends_with_the_command(tmp_path: Path, number: signal.Signals) -> None:
    """`shop run --while` ends its process; and the user's command, unless it has no time left to."""
    port, mail_port = free_ports(2)
    env = {"SHOP_DATA_DIR": str(tmp_path), "SHOP_SMTP_PORT": str(port), "SHOP_MAIL_PORT": str(mail_port)}
    async with begun(env, "run", "smtp_sink", "--while", "sleep 300 & echo sleeps $!; wait") as command:
        assert command.stdout is not None
        while not (line := await command.stdout.readline()).startswith(b"sleeps"):
            assert line, "it ended before it was ready"
        sleep = int(line.split()[1])
        assert await listens(port)
        command.send_signal(number)
        # Not `wait`: that waits for its output, too, whose end the user's command has as well.
        await eventually(lambda: command.returncode is not None, within=WITHIN)

        async def free() -> bool:
            return not await listens(port)

        await eventually(free, within=WITHIN)
        if number != signal.SIGKILL:
            assert command.returncode == 128 + number
            await eventually(lambda: not runs(sleep), within=WITHIN)


@signals
async def test_a_tours_own_shop_ends_with_it(tmp_path: Path, number: signal.Signals) -> None:
    """`shop tour` stops the shop that it has started."""
    around = surroundings(tmp_path)
    env = {name: value for name, value in around.shared.items() if not name.startswith("SHOP_WEBHOOK_SECRET")}
    async with begun(env, "tour") as tour:
        await eventually(lambda: lock.is_held(tmp_path), within=60)
        tour.send_signal(number)
        await asyncio.wait_for(tour.wait(), WITHIN)
        assert tour.returncode == 128 + number
        assert not lock.is_held(tmp_path)


@signals
async def test_a_scenarios_own_shop_ends_with_it(tmp_path: Path, number: signal.Signals) -> None:
    """`shop fault run` stops the shop that it has started to break."""
    env = {"TMPDIR": str(tmp_path), "SHOP_DATA_DIR": str(tmp_path / "none")}

    def folder() -> Path | None:
        return next(tmp_path.glob("shop-lab-*"), None)

    async with begun(env, "fault", "run", "kill-mailer") as scenario:
        await eventually(lambda: (found := folder()) and all_ready(found), within=120)
        started = folder()
        assert started is not None
        scenario.send_signal(number)
        await asyncio.wait_for(scenario.wait(), WITHIN)
        assert scenario.returncode == 128 + number
        assert not lock.is_held(started)
