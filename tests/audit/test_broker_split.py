"""Two RabbitMQ clusters that answer to one name are noticed by `shop audit` and by `shop status`."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from chassis.http.server import serve_http
from shop.audit.command import look
from shop.audit.findings import State
from shop.audit.report import as_text
from shop.broker_nodes import endpoints, split
from shop.commands.processes.status import status
from tests.audit.quiet import Quiet
from tests.shop import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "broker.test"
# As RabbitMQ 3.10 writes it. A cluster that begins anew is called as the old one was.
IDENTITY = """# TYPE rabbitmq_identity_info untyped
# HELP rabbitmq_identity_info RabbitMQ node & cluster identity info
rabbitmq_identity_info{{rabbitmq_node="{node}",rabbitmq_cluster="rabbit@a",rabbitmq_cluster_permanent_id="{id}"}} 1
"""
ONE = {"127.0.0.1": ("rabbit@rabbitmq", "id-1"), "127.0.0.2": ("rabbit@rabbitmq_2", "id-1")}
TWO = {**ONE, "127.0.0.2": ("rabbit@rabbitmq_2", "id-2")}
SAID = "2 clusters of RabbitMQ answer to broker.test: one of rabbit@rabbitmq and one of rabbit@rabbitmq_2."


@asynccontextmanager
async def answering(nodes: Mapping[str, tuple[str, str]], patch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Nodes at these addresses, each of which returns its name and its cluster's id; the URL of all of them."""
    (port,) = free_ports(1)
    resolve = socket.getaddrinfo

    def resolved(host: Any, *others: Any, **options: Any) -> Any:
        if host != NAME:
            return resolve(host, *others, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in nodes]

    patch.setattr(socket, "getaddrinfo", resolved)
    async with AsyncExitStack() as stack:
        for address, (node, id_) in nodes.items():
            text = IDENTITY.format(node=node, id=id_)

            async def metrics(_: Request, text: str = text) -> Response:
                return PlainTextResponse(text)

            async def counts(_: Request) -> Response:
                return PlainTextResponse("")

            app = Starlette(routes=[Route("/metrics", metrics), Route("/metrics/detailed", counts)])
            await stack.enter_async_context(serve_http(app, host=address, port=port))
        yield f"http://{NAME}:{port}"


async def test_nodes_of_two_clusters_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their clusters' permanent ids: the names are the same."""
    async with httpx.AsyncClient(timeout=60) as http:
        async with answering(ONE, monkeypatch) as url:
            assert len(await endpoints(url)) == 2
            assert await split(http, url) == ""
        async with answering(TWO, monkeypatch) as url:
            assert (await split(http, url)).startswith(SAID)


async def test_node_that_says_nothing_of_itself_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be known is not taken for one cluster."""
    monkeypatch.setattr("tests.audit.test_broker_split.IDENTITY", "# nothing\n")
    async with httpx.AsyncClient(timeout=60) as http, answering(ONE, monkeypatch) as url:
        with pytest.raises(ValueError, match="does not name its cluster"):
            await split(http, url)
        with pytest.raises(httpx.HTTPError):
            await split(http, "http://127.0.0.1:9")


async def test_status_names_a_split(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`shop status` says it, as text and as JSON, and is not healthy, though every process is ready."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        env = {"SHOP_DATA_DIR": str(tmp_path), "SHOP_GATEWAY_URL": f"http://127.0.0.1:{server.getsockname()[1]}"}
        for nodes, said in ((ONE, ""), (TWO, SAID)):
            async with answering(nodes, monkeypatch) as url:
                asked = {**env, "SHOP_BROKER_METRICS_URL": url}
                text, healthy = await _in_thread(asked, as_json=False)
                assert healthy is not bool(said)
                assert ("broker: " in text, said in text) == (bool(said), True)
                report, _ = await _in_thread(asked, as_json=True)
                assert json.loads(report)["broker"].startswith(said)
        text, healthy = await _in_thread({**env, "SHOP_BROKER_METRICS_URL": "http://127.0.0.1:9"}, as_json=False)
        assert "broker: its nodes do not name their cluster: ConnectError" in text
        assert not healthy


async def _in_thread(env: Mapping[str, str], *, as_json: bool) -> tuple[str, bool]:
    return await asyncio.to_thread(status, env, as_json=as_json)


async def test_audit_names_a_split(quiet: Quiet, monkeypatch: pytest.MonkeyPatch) -> None:
    """`shop audit` says it, and fails, though every order is settled."""
    async with answering(TWO, monkeypatch) as url:
        report = await look(quiet.settings.model_copy(update={"broker_metrics_url": url}))
    assert report.exit_code == 1
    assert report.found[State.DIFFERENT] == 1
    assert f"different: broker: {SAID}" in as_text(report)
    async with answering(ONE, monkeypatch) as url:
        report = await look(quiet.settings.model_copy(update={"broker_metrics_url": url}))
    assert report.exit_code == 0, as_text(report)
