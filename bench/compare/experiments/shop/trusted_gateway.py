"""A second gateway of the same shop, with a GraphQL server that executes trusted documents and no others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.compare.adapters.schemas.graphql import DOCUMENT, DOCUMENT_ID
from bench.compare.bench import Bench
from bench.roles import free_port

TRUSTED_GATEWAY = "trusted gateway"
_TIMEOUT = 60.0
_POLL = 0.05


@dataclass(frozen=True, slots=True)
class TrustedGateway:
    """Its port, and its processes."""

    port: int
    pids: tuple[int, ...]


async def trusted_gateway(bench: Bench) -> TrustedGateway:
    """The gateway, started when first used. Its GraphQL server calls it, as the shop's calls the shop's own."""
    return await bench.once(start_trusted_gateway)


async def start_trusted_gateway(bench: Bench) -> TrustedGateway:
    """Start it; `trusted_gateway` does where it has not been."""
    shop = await bench.shop()
    bench.say("starting a gateway for trusted documents")
    folder = Path(bench.enter(tempfile.TemporaryDirectory(prefix="compare-trusted-")))
    file = folder / "documents.json"
    file.write_text(json.dumps({DOCUMENT_ID.removeprefix("sha256:"): DOCUMENT}))
    gateway, graphql = free_port(), free_port()
    settings = {"SHOP_GATEWAY_PORT": str(gateway), "SHOP_GRAPHQL_PORT": str(graphql)}
    settings["SHOP_GRAPHQL_TRUSTED_DOCUMENTS"] = str(file)
    ports = {"gateway": gateway, "graphql_server": graphql}
    logs = {name: folder / f"{name}.log" for name in ports}
    running = {name: bench.enter(shop.another(name, settings, log)) for name, log in logs.items()}
    async with aiohttp.ClientSession() as session:
        for name, port in ports.items():
            waiting = _ready(session, f"http://127.0.0.1:{port}/readyz", running[name])
            try:
                await asyncio.wait_for(waiting, _TIMEOUT)
            except (TimeoutError, ProcessLookupError) as error:
                raise RuntimeError(f"one more {name} did not start; its log:\n{logs[name].read_text()}") from error
    return TrustedGateway(gateway, tuple(process.pid for process in running.values()))


async def _ready(session: aiohttp.ClientSession, url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process is ready. Raises `ProcessLookupError` when it has ended."""
    while process.poll() is None:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(_POLL)
    raise ProcessLookupError
