"""Under one switch everything that crosses a wire of ours is encrypted, and plaintext is refused."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
import trustme
import websockets
from cryptography import x509
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis.auth.tls import Tls, client_context
from shop.commands.processes.certs import AUTHORITY, COMMAND_LINE, ensure
from shop.commands.processes.up import up
from shop.errors import Refused
from shop.process_table import TABLE
from shop.supervisor import lock
from tests.system.real_shop import RealShop, real_shop
from tests.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    assert ensure(folder, TABLE)
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture
def trust(certificates: Path) -> ssl.SSLContext:
    return client_context(certificates / AUTHORITY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(certificates: Path, data_dir: Path) -> AsyncIterator[RealShop]:
    async with real_shop(data_dir, {"SHOP_TLS_DIR": str(certificates)}) as running:
        yield running


GRPC_ADDRESSES = [port.addresses[0] for spec in TABLE for port in spec.ports if port.default > 50_000]


async def health(address: str, credentials: grpc.ChannelCredentials | None) -> int:
    channel = (
        grpc.aio.insecure_channel(address) if credentials is None else grpc.aio.secure_channel(address, credentials)
    )
    async with channel:
        answer = await HealthStub(channel).Check(HealthCheckRequest(), timeout=30)
        return int(answer.status)


async def test_an_order_travels_encrypted(shop: RealShop) -> None:
    """Over HTTPS at the edge and mutual TLS inside, an order is shipped as ever."""
    assert shop.address("SHOP_GATEWAY_URL").startswith("https://")
    response = await shop.place(("42", 1))
    assert response.status_code == 202, response.text

    async def shipped() -> bool:
        return await shop.status(response.json()["id"]) == "shipped"

    await eventually(shipped, within=60)


async def test_graphql_reaches_the_gateway_over_https(shop: RealShop) -> None:
    """graphql_server resolves through the gateway's HTTPS."""
    response = await shop.http.post("/graphql", json={"query": "{ me { name } }"}, headers=await shop.bearer())
    assert response.json() == {"data": {"me": {"name": "Demo Customer"}}}


async def test_the_gateway_refuses_plaintext(shop: RealShop) -> None:
    """HTTP without TLS gets no answer from the gateway."""
    async with httpx.AsyncClient(timeout=60) as plain:
        with pytest.raises(httpx.TransportError):
            await plain.get(shop.address("SHOP_GATEWAY_URL").replace("https", "http") + "/v1/products/42", timeout=5)


async def test_the_notifier_speaks_wss_only(shop: RealShop, trust: ssl.SSLContext) -> None:
    """A WebSocket needs TLS."""
    secure = shop.address("SHOP_NOTIFIER_URL").replace("https", "wss") + "/notifications"
    async with websockets.connect(secure, ssl=trust, additional_headers=await shop.bearer(), open_timeout=60):
        pass
    with pytest.raises((OSError, websockets.InvalidHandshake, EOFError)):
        async with websockets.connect(secure.replace("wss", "ws"), open_timeout=5):
            pass


@pytest.mark.parametrize("setting", GRPC_ADDRESSES)
async def test_services_refuse_a_caller_without_a_certificate(shop: RealShop, certificates: Path, setting: str) -> None:
    """A gRPC service answers a caller with a certificate of the shop's authority, and no other."""
    address = shop.address(setting)
    with_certificate = Tls.of(certificates, COMMAND_LINE).rpc_client()
    assert await health(address, with_certificate) == HealthCheckResponse.SERVING
    without = grpc.ssl_channel_credentials((certificates / AUTHORITY).read_bytes())
    for credentials in (None, without):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health(address, credentials)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_renewal_that_was_interrupted_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates of two authorities trust nobody: so none counts until all have been made."""
    assert ensure(tmp_path, TABLE[:2])
    issue, issued = trustme.CA.issue_cert, []

    def interrupted(authority: trustme.CA, *names: str, **more: Any) -> trustme.LeafCert:
        issued.append(names)
        if len(issued) > len(TABLE):
            raise KeyboardInterrupt
        return issue(authority, *names, **more)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(trustme.CA, "issue_cert", interrupted)
        ensure(tmp_path, TABLE)
    assert ensure(tmp_path, TABLE)
    authority = x509.load_pem_x509_certificate((tmp_path / AUTHORITY).read_bytes())
    for name in (*(spec.name for spec in TABLE), COMMAND_LINE):
        x509.load_pem_x509_certificate((tmp_path / f"{name}.pem").read_bytes()).verify_directly_issued_by(authority)


async def test_a_second_shop_makes_no_certificates(tmp_path: Path) -> None:
    """Those of the shop that runs in the data directory stay as they are."""
    held = lock.hold(tmp_path)
    with pytest.raises(Refused, match="another shop is using"):
        up(tls=True, env={"SHOP_DATA_DIR": str(tmp_path)})
    assert not (tmp_path / "certs").exists()
    os.close(held)


async def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    """A process that finds no certificate says which file is missing."""
    with pytest.raises(FileNotFoundError, match=r"ca\.pem"):
        Tls.of(tmp_path, "orders")
