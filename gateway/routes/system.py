"""Routes for operators and services: signing keys, liveness, readiness, metrics."""

from __future__ import annotations

import asyncio

import grpc.aio
from fastapi import APIRouter
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from starlette.requests import Request
from starlette.responses import Response

from gateway.clients.services import upstreams
from gateway.http.serializers import Json, json_response
from gateway.metrics import EdgeMetrics
from gateway.middleware.auth import PUBLIC
from gateway.openapi import operation_id, problems
from protos.shop.users.v1.users_pb2 import GetJwksRequest

router = APIRouter(dependencies=[PUBLIC], tags=["system"], generate_unique_id_function=operation_id)

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

# Seconds an upstream has to answer that it is serving.
_TIMEOUT = 1.0


@router.get(
    "/.well-known/jwks.json",
    summary="The public keys that verify access tokens (RFC 7517)",
    response_class=Response,
    responses={200: {"description": "A JWK Set", "content": {"application/jwk-set+json": _KEY_SET}}, **problems()},
)
async def get_jwks(request: Request) -> Response:
    found = await upstreams(request).users.GetJwks(GetJwksRequest())
    return Response(found.jwks_json, 200, {"cache-control": "public, max-age=60"}, "application/jwk-set+json")


@router.get("/healthz", include_in_schema=False)
async def is_alive() -> Response:
    return json_response({"status": "alive"})


@router.get("/readyz", include_in_schema=False)
async def is_ready(request: Request) -> Response:
    """200 when every upstream is serving; else 503. The body has each upstream's state."""
    health = upstreams(request).health
    states = dict(zip(health, await asyncio.gather(*map(_state, health.values())), strict=True))
    ready = all(state == "SERVING" for state in states.values())
    content = {"status": "ready" if ready else "not ready", "upstreams": states}
    return json_response(content, 200 if ready else 503)


@router.get("/metrics", include_in_schema=False)
async def get_metrics(request: Request) -> Response:
    """The Prometheus metrics endpoint."""
    metrics: EdgeMetrics = request.app.state.metrics
    content_type, content = metrics.process.exposition(request.headers.get("accept", ""))
    return Response(content, 200, {"cache-control": "no-store", "content-type": content_type})


async def _state(upstream: HealthStub) -> str:
    try:
        response = await upstream.Check(HealthCheckRequest(), timeout=_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return str(HealthCheckResponse.ServingStatus.Name(response.status))
