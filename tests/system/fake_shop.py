"""A shop of trivial processes: `python -m tests.system.fake_shop up NAME…` or `run NAME`."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chassis.errors import wrong_setting
from chassis.process import notify_ready, ready_descriptor
from shop.commands.processes import up
from shop.errors import Refused
from shop.process_table import Port, ProcessSpec, Scheme
from shop.supervisor import child, supervisor

HERE = "tests.system.fake_shop"
TABLE = (
    ProcessSpec("listener", f"{HERE}:listen", "holds a port", (Port("SHOP_A_PORT", 0, ("SHOP_A_URL",)),), plain=True),
    ProcessSpec("worker", f"{HERE}:work", "built on the chassis", schemes=(Scheme.STRIPE,)),
    ProcessSpec("users", f"{HERE}:work", "is told every service's secret"),
    ProcessSpec("stubborn", f"{HERE}:ignore_sigterm", "does not end when told to", plain=True, identity=False),
    ProcessSpec("failing", f"{HERE}:fail", "ends at once", plain=True),
    ProcessSpec("misconfigured", f"{HERE}:misread", "is given a setting that it cannot use"),
    ProcessSpec("rpc_server", f"{HERE}:serve_rpc", "a gRPC server", (Port("SHOP_B_PORT", 0, ("SHOP_B_ADDRESS",)),)),
    ProcessSpec("rpc_client", f"{HERE}:call_rpc", "is ready when the gRPC server has answered"),
)


def leave_a_note(name: str) -> None:
    """Write down what the process finds around it."""
    note = {
        "environment": {key: value for key, value in os.environ.items() if key.startswith("SHOP_")},
        "random": [random.random(), str(uuid.uuid4())],  # noqa: S311  # whether it differs is the question
        "group": os.getpgrp(),
        "descriptors": sorted(entry.name for entry in Path("/dev/fd").iterdir()),
    }
    Path(os.environ["SHOP_DATA_DIR"], f"{name}.note").write_text(json.dumps(note))


def listen() -> None:
    """Hold the port until SIGTERM."""
    with socket.create_server(("127.0.0.1", int(os.environ["SHOP_A_PORT"]))):
        leave_a_note("listener")
        notify_ready(ready_descriptor())
        signal.pause()


@asynccontextmanager
async def work() -> AsyncIterator[None]:
    """Do nothing, on the chassis."""
    leave_a_note(sys.argv[-1])
    yield


def ignore_sigterm() -> None:
    """Never end by itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    notify_ready(ready_descriptor())
    while True:
        signal.pause()


def fail() -> None:
    """End at once."""
    sys.exit(3)


@asynccontextmanager
async def misread() -> AsyncIterator[None]:
    """Find its settings wrong."""
    raise ValueError("SHOP_HOST is wrong: no such place")  # as a bootstrap does
    yield


@asynccontextmanager
async def serve_rpc() -> AsyncIterator[None]:
    """Serve gRPC's own health service."""
    import grpc.aio
    from grpc_health.v1 import health_pb2_grpc
    from grpc_health.v1.health import aio

    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(aio.HealthServicer(), server)
    server.add_insecure_port(os.environ["SHOP_B_ADDRESS"])
    await server.start()
    yield
    await server.stop(1)


@asynccontextmanager
async def call_rpc() -> AsyncIterator[None]:
    """Call the server a hundred times at once."""
    import grpc.aio
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with grpc.aio.insecure_channel(os.environ["SHOP_B_ADDRESS"]) as channel:
        client = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        await asyncio.gather(*(client.Check(request, wait_for_ready=True, timeout=10) for _ in range(100)))
        yield


def main() -> None:
    """Do what `shop up` and `shop run` do, with the fake table."""
    if "FAKE_TIMEOUT" in os.environ:
        supervisor.GRACE = child.TIMEOUT = float(os.environ["FAKE_TIMEOUT"])
    command, *names = sys.argv[1:]
    try:
        if command == "run":
            up.run(*names, table=TABLE)
        else:
            sys.exit(up.up(only=names, table=TABLE, run_command=(sys.executable, "-m", HERE, "run")))
    except (Refused, ValueError) as error:
        if not (refusal := wrong_setting(error) if isinstance(error, ValueError) else str(error)):
            raise
        sys.stderr.write(f"shop: {refusal}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
