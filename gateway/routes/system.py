"""What operators and other services ask of the gateway itself."""

from __future__ import annotations

import asyncio

import grpc.aio
from fastapi import APIRouter
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from starlette.requests import Request
from starlette.responses import Response

from chassis.metrics import CONTENT_TYPE_LATEST as CONTENT_TYPE
from gateway.clients import upstreams
from gateway.edge_metrics import EdgeMetrics
from gateway.openapi import operation_id, problems
from gateway.rendering import Json, json_response

router = APIRouter(tags=["system"], generate_unique_id_function=operation_id)

_KEY: Json = {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "3f0c…", "x": "11qYAY…"}
_KEY_SET: Json = {
    "schema": {
        "type": "object",
        "required": ["keys"],
        "properties": {
            "keys": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}}
        },
    },
    "example": {"keys": [_KEY]},
}

# Seconds an upstream has to say that it is serving.
_PATIENCE = 1.0


@router.get(
    "/.well-known/jwks.json",
    summary="The public keys that verify access tokens (RFC 7517)",
    response_class=Response,
    responses={200: {"description": "A JWK Set", "content": {"application/jwk-set+json": _KEY_SET}}, **problems()},
)
async def get_jwks(request: Request) -> Response:
    jwks = await upstreams(request).users.jwks()
    return Response(jwks, 200, {"cache-control": "public, max-age=60"}, "application/jwk-set+json")


@router.get("/healthz", include_in_schema=False)
async def is_alive() -> Response:
    return json_response({"status": "alive"})


@router.get("/readyz", include_in_schema=False)
async def is_ready(request: Request) -> Response:
    """200 when every upstream is serving; else 503, and which is not."""
    health = upstreams(request).health
    states = dict(zip(health, await asyncio.gather(*map(_state, health.values())), strict=True))
    ready = all(state == "SERVING" for state in states.values())
    content = {"status": "ready" if ready else "not ready", "upstreams": states}
    return json_response(content, 200 if ready else 503)


@router.get("/metrics", include_in_schema=False)
async def get_metrics(request: Request) -> Response:
    """What Prometheus scrapes."""
    metrics: EdgeMetrics = request.app.state.metrics
    return Response(metrics.process.exposition(), 200, {"cache-control": "no-store", "content-type": CONTENT_TYPE})


async def _state(upstream: HealthStub) -> str:
    try:
        response = await upstream.Check(HealthCheckRequest(), timeout=_PATIENCE)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return str(HealthCheckResponse.ServingStatus.Name(response.status))
