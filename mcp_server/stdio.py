"""The same server over standard input and output, for one user: what `shop mcp` runs."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping

from chassis.clients.gateway import gateway_client
from chassis.clients.notifier import notifier_client
from chassis.observability.tracing import Telemetry
from mcp_server.caller import Call, Shop
from mcp_server.resources import Subscriptions
from mcp_server.server import mcp_server

_BUDGET = 65.0


async def serve(
    token: Callable[[], Awaitable[str]], *, gateway_url: str, notifier_url: str, trust: ssl.SSLContext | None = None
) -> None:
    """Serve until standard input ends; `token` is the access token of the one user whom all calls are for."""

    async def caller(_: Call) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {await token()}"}

    # Begins no traces of its own: the gateway does.
    telemetry = Telemetry("mcp", sample_ratio=0)
    async with (
        gateway_client(gateway_url, telemetry, budget=_BUDGET, trust=trust) as gateway,
        notifier_client(notifier_url, telemetry, trust=trust) as notifier,
    ):
        server = mcp_server(Shop(gateway, caller, counted=False), Subscriptions(notifier))
        await server.run_stdio_async()
