"""The shop as `make up` starts it: a supervisor and a real process for each part, in a directory of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from chassis.auth.tls import client_context
from shop.commands.processes.certs import AUTHORITY
from tests.shop import Shop, surroundings
from tests.small_disk import SmallDisk
from tests.waiting import eventually


@dataclass(frozen=True)
class RealShop(Shop):
    """A shop of real processes."""

    supervisor: asyncio.subprocess.Process | None = None

    def processes(self) -> dict[str, dict[str, Any]]:
        """Name -> what the supervisor says of it: pid, state, restarts."""
        try:
            rows = json.loads((self.around.data_dir / "processes.json").read_text())
        except FileNotFoundError:
            return {}
        return {row["name"]: row for row in rows["processes"]}

    def all_ready(self) -> bool:
        states = self.processes()
        return bool(states) and {row["state"] for row in states.values()} == {"ready"}

    def children(self) -> set[int]:
        """The pids of the supervisor's children, whatever it could write of them (Linux)."""
        assert self.supervisor is not None
        pid = self.supervisor.pid
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    def kill(self, name: str) -> int:
        """End a process as a power cut would; returns the pid that it had."""
        pid: int = self.processes()[name]["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    async def is_back(self, name: str, old_pid: int) -> None:
        def back() -> bool:
            row = self.processes()[name]
            return bool(row["state"] == "ready" and row["pid"] != old_pid)

        await eventually(back, within=30)


@asynccontextmanager
async def real_shop(
    data_dir: Path, env: Mapping[str, str] | None = None, *, inside: SmallDisk | None = None, lab: bool = False
) -> AsyncIterator[RealShop]:
    """Start the shop, wait until it is ready, and stop it at the end; its output is in `data_dir/up.log`.

    With a disk to run `inside`, `data_dir` is where that is for us; the shop has it at its own place.
    """
    around = surroundings(data_dir, env)
    own = {name: value for name, value in around.shared.items() if not name.startswith("SHOP_WEBHOOK_SECRET")}
    if inside is not None:
        own["SHOP_DATA_DIR"] = str(inside.place)
    enter = () if inside is None else inside.enter
    with (data_dir / "up.log").open("wb") as output:
        supervisor = await asyncio.create_subprocess_exec(
            *enter,
            sys.executable,
            "-m",
            "shop",
            "up",
            *(["--lab"] if lab else []),
            env=own,
            stdout=output,
            stderr=output,
        )
        try:
            folder = around.shared.get("SHOP_TLS_DIR")
            verify = client_context(Path(folder) / AUTHORITY) if folder else True
            gateway = around.shared["SHOP_GATEWAY_URL"]
            async with httpx.AsyncClient(base_url=gateway, timeout=60, verify=verify) as http:
                shop = RealShop(around, http, supervisor=supervisor)
                await eventually(shop.all_ready, within=60)
                yield shop
        finally:
            if supervisor.returncode is None:
                supervisor.terminate()
            await asyncio.wait_for(supervisor.wait(), 30)
