"""Calls with a stream of requests, by gRPC's threaded client.

A server may answer before it has read all of them. When its refusal comes while grpc.aio writes a request, that client
puts an error of its own ("Internal error from Core") in the refusal's place, one time in twenty.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc


async def answer(call: Any) -> Any:
    """What a call's future (`stub.Method.future(…)`) is answered. Raises `grpc.RpcError`."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    call.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
    await done.wait()
    return call.result()


async def described_services(port: int) -> set[str]:
    """The services that a server's reflection lists. Raises `grpc.RpcError`."""

    def asked() -> Any:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            return next(stub.ServerReflectionInfo(iter([request]), timeout=60))

    found = await asyncio.to_thread(asked)
    return {each.name for each in found.list_services_response.service}
