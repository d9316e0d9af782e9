"""The servers of `bench.internal`, each a process of its own: `python -m bench.internal.roles ROLE JSON`."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.auth.identity import TokenVerifier, signed_in
from chassis.grpc.server import serve
from chassis.observability.metrics import Metrics
from chassis.observability.tracing import Telemetry
from protos.shop.inventory.v1 import inventory_pb2
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceServicer, add_InventoryServiceServicer_to_server
from protos.shop.storage.v1 import storage_pb2
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceServicer, add_StorageServiceServicer_to_server

CHUNK = 256 << 10
SAMPLED = 0.1


class Answers(InventoryServiceServicer):
    """Answers from memory."""

    async def CheckAvailability(self, request: Any, context: Any) -> inventory_pb2.CheckAvailabilityResponse:  # noqa: N802, ARG002
        as_of = Timestamp(seconds=1_767_225_600)
        items = [
            inventory_pb2.Availability(product_id=product_id, available=7, as_of=as_of)
            for product_id in request.product_ids
        ]
        return inventory_pb2.CheckAvailabilityResponse(items=items)


class Streams(StorageServiceServicer):
    """Streams from and to nowhere: the least that a file service can do."""

    async def DownloadFile(self, request: storage_pb2.FileRequest, context: Any) -> AsyncIterator[storage_pb2.Chunk]:  # noqa: N802, ARG002
        piece = bytes(CHUNK)
        for _ in range(request.length // CHUNK):
            yield storage_pb2.Chunk(data=piece)

    async def UploadFile(self, request_iterator: Any, context: Any) -> storage_pb2.UploadResponse:  # noqa: N802, ARG002
        size = 0
        async for chunk in request_iterator:
            size += len(chunk.data)
        return storage_pb2.UploadResponse(file=storage_pb2.FileInfo(size=size))


@asynccontextmanager
async def bare(_: Any) -> AsyncIterator[int]:
    """grpc.aio and nothing else."""
    server = grpc.aio.server()
    add_InventoryServiceServicer_to_server(Answers(), server)  # type: ignore[abstract]  # what is not measured is not there
    add_StorageServiceServicer_to_server(Streams(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def full(settings: dict[str, str]) -> AsyncIterator[int]:
    """The same answers behind everything that the chassis puts in front of a service."""

    async def jwks() -> str:
        return settings["jwks"]

    async with serve(
        (add_InventoryServiceServicer_to_server, Answers()),  # type: ignore[abstract]
        policy={"CheckAvailability": signed_in},
        verifier=TokenVerifier(jwks),
        telemetry=Telemetry("full", sample_ratio=SAMPLED),
        host="127.0.0.1",
        port=0,
        observer=Metrics(),
    ) as port:
        yield port


@asynccontextmanager
async def legacy(settings: dict[str, str]) -> AsyncIterator[int]:
    """The ERP."""
    from legacy_soap.bootstrap import Settings, running

    logging.getLogger("waitress").setLevel(logging.ERROR)

    with running(Settings(port=0, data_dir=Path(settings["data_dir"]))) as server:
        yield server.port


@asynccontextmanager
async def service(settings: dict[str, Any]) -> AsyncIterator[int]:
    """One of the shop's own processes: `module` is its bootstrap, the rest its settings."""
    bootstrap = import_module(settings.pop("module"))
    own = bootstrap.Settings(otlp_url="", trace_sample_ratio=SAMPLED, **settings)
    async with bootstrap.run(own) as running:
        yield running.port


ROLES = {"bare": bare, "full": full, "legacy": legacy, "service": service}


async def play(role: str, settings: Any) -> None:
    """Serve, print the port, and stop at the end of the input."""
    async with ROLES[role](settings) as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(play(sys.argv[1], json.loads(sys.argv[2])))
