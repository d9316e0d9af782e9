"""Peers that are gone without a word: the network between drops what is sent, and nothing says that it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis.grpc.client import Keepalive, connect
from chassis.grpc.server import serve
from chassis.observability.tracing import Telemetry
from tests.contract.proxy import Proxy

# gRPC sends no two pings within a second.
KEEPALIVE = Keepalive(silence=1.0, timeout=0.5)


class SilentNetwork(Proxy):
    """Forwards until it loses the connections that there are: they stay open, and nothing arrives over them."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._lost: set[asyncio.StreamWriter] = set()

    def lose(self) -> None:
        self._lost |= self._writers

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await reader.read(1 << 16):
            if writer not in self._lost:
                writer.write(received)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def silent_network(port: int) -> AsyncIterator[SilentNetwork]:
    """Between us and a server on this machine."""
    network = SilentNetwork("127.0.0.1", port)
    server = await asyncio.start_server(network.serve, "127.0.0.1", 0)
    network.port = server.sockets[0].getsockname()[1]
    try:
        yield network
    finally:
        server.close()
        network.cut()


async def test_a_peer_that_is_gone_silently_is_noticed() -> None:
    """What waits for such a peer is UNAVAILABLE after the keepalive, and the next call takes a new connection."""
    async with (
        serve(policy={}, verifier=None, telemetry=Telemetry("test"), host="127.0.0.1", port=0) as port,
        silent_network(port) as network,
        # Retried, as a call that begins just then may still go to the old connection, and is UNAVAILABLE, too.
        connect(f"127.0.0.1:{network.port}", idempotent=["grpc.health.v1.Health"], keepalive=KEEPALIVE) as channel,
    ):
        health = HealthStub(channel)
        waiting = health.Watch(HealthCheckRequest())
        await waiting.read()
        network.lose()
        # Without a keepalive there would be no end of it, and with a timeout that gRPC ignores it is a minute.
        async with asyncio.timeout(KEEPALIVE.silence + KEEPALIVE.timeout + 15):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await waiting.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        answer = await health.Check(HealthCheckRequest(), timeout=15)
        assert answer.status == HealthCheckResponse.SERVING
