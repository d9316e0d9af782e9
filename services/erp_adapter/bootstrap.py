"""The composition root of erp_adapter: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from grpc_health.v1.health import aio as health_aio
from grpc_health.v1.health_pb2 import HealthCheckResponse

from chassis.process import Running
from chassis.service import Service, service
from chassis.settings import Positive, ProcessSettings
from protos.shop.erp.v1.erp_pb2_grpc import add_ErpServiceServicer_to_server
from services.erp_adapter.demo import DEMO_PASSWORD, demo_stock
from services.erp_adapter.grpc_api import POLICY, ErpApi
from services.erp_adapter.ports import Erp
from services.erp_adapter.soap_client import Login, SoapClient, soap_client
from services.erp_adapter.soap_erp import SoapErp

MIGRATIONS = Path(__file__).parent / "migrations"
CONTRACT = Path(__file__).with_name("erp_contract.txt")

_SERVICE = "shop.erp.v1.ErpService"


class Settings(ProcessSettings):
    erp_adapter_port: int = 50056
    # ERP to use: legacy (over SOAP), or modern (in this process, with its state in this service's database).
    erp: Literal["legacy", "modern"] = "legacy"
    # URL of the ERP's SOAP service; its WSDL is at `?wsdl` of the same address.
    legacy_soap_url: str = "http://127.0.0.1:8020/"
    legacy_soap_user: str = "SHOP"
    legacy_soap_password: str = DEMO_PASSWORD
    # Seconds for one call to the ERP, login included.
    legacy_soap_timeout: Positive = 5.0
    # Seconds between two checks of the ERP's WSDL for a change of contract.
    legacy_soap_contract_check: Positive = 30.0


@asynccontextmanager
async def run(settings: Settings | None = None, *, erp: Erp | None = None) -> AsyncIterator[Running]:
    """Serve shop.erp.v1 until the block ends; the legacy ERP need not be there yet.

    Health is NOT_SERVING while the legacy ERP's contract is not the expected one.
    """
    settings = settings or Settings()
    async with service("erp_adapter", settings) as s:
        soap: SoapClient | None = None
        if erp is None and settings.erp == "modern":
            erp = await _modern(s, settings)
        elif erp is None:
            soap = await _soap(s, settings)
            erp = SoapErp(soap)
        health = health_aio.HealthServicer()
        port = await s.serve(
            (add_ErpServiceServicer_to_server, ErpApi(erp)),
            policy=POLICY,
            port=settings.erp_adapter_port,
            health=health,
        )
        if soap is not None:
            await s.background(soap.wsdl.watch(settings.legacy_soap_contract_check, _readiness(health)))
        yield Running(port)


async def _soap(s: Service, settings: Settings) -> SoapClient:
    if settings.env == "production" and settings.legacy_soap_password == DEMO_PASSWORD:
        message = "SHOP_ENV=production, but SHOP_LEGACY_SOAP_PASSWORD is that of the ERP's demo account"
        raise ValueError(message)
    login = Login(settings.legacy_soap_user, settings.legacy_soap_password)
    budget, contract = settings.legacy_soap_timeout, CONTRACT.read_text()
    return await s.enter(soap_client(settings.legacy_soap_url, s.telemetry, login, budget=budget, contract=contract))


async def _modern(s: Service, settings: Settings) -> Erp:
    # Imported here: in front of the legacy system no database is needed.
    from services.erp_adapter.modern_erp import ModernErp

    modern = ModernErp(await s.database("erp_adapter", MIGRATIONS))
    if settings.demo():
        await modern.add_missing(demo_stock())
    return modern


def _readiness(health: health_aio.HealthServicer) -> Callable[[bool], Awaitable[None]]:
    async def set_health(fine: bool) -> None:
        status = HealthCheckResponse.SERVING if fine else HealthCheckResponse.NOT_SERVING
        for name in ("", _SERVICE):
            await health.set(name, status)

    return set_health
