"""`make bench-internal`: what the boundaries between our own processes cost, each beside its floor.

Bars: a unary call with deadline, identity, tracing (10 %) and metrics at both ends keeps 75 % of the calls/s of bare
grpc.aio; DownloadFile and UploadFile keep 60 % of the MB/s of bare streams, /v1/files through the gateway 40 %;
availability through erp_adapter 70 % of the calls/s of a hand-written envelope; reservations 60 % of the rate of a bare
transaction, on each database. Floor and figure take turns, and what counts is the median of the rounds' ratios: of
absolute figures a shared machine has none. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from lxml import etree

from bench.internal import databases as internal_databases
from bench.internal.roles import CHUNK, SAMPLED
from bench.roles import RESULTS, started_role
from chassis.auth.identity import no_token
from chassis.grpc.client import Client, connect
from chassis.observability.metrics import Metrics
from chassis.observability.tracing import Telemetry
from chassis.resilience.deadlines import deadline_in
from protos.shop.erp.v1 import erp_pb2
from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceStub
from protos.shop.inventory.v1 import inventory_pb2
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from protos.shop.storage.v1 import storage_pb2
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceStub
from protos.shop.users.v1 import users_pb2
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from shop.started_shop import unwound_by_signals

CONCURRENCY = 16
FILE_BYTES = 64 << 20
SECRET = "bench"  # noqa: S105 - of processes that live for a minute

PARTS = ("unary", "files", "availability", "reservations")

Rate = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`figures` and `floors` in `unit`, round by round."""

    what: str
    unit: str
    bar: float
    figures: list[float]
    floors: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(figure / floor for figure, floor in zip(self.figures, self.floors, strict=True))

    @property
    def held(self) -> bool:
        return self.ratio >= self.bar


async def compared(what: str, unit: str, bar: float, figure: Rate, floor: Rate, rounds: int) -> Comparison:
    """Let both take turns; the first round of each only warms up."""
    await floor()
    await figure()
    figures, floors = [], []
    for number in range(rounds):
        # They take turns to be first, so that a machine that slows down slows both.
        if number % 2:
            figures.append(await figure())
            floors.append(await floor())
        else:
            floors.append(await floor())
            figures.append(await figure())
    return Comparison(what, unit, bar, figures, floors)


def rate(do: Callable[[int], Awaitable[object]], count: int) -> Rate:
    """Calls a second, so many at once."""

    async def measured() -> float:
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                await do(number)

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return count / (time.perf_counter() - began)

    return measured


class Bench:
    def __init__(self, stack: AsyncExitStack, folder: Path, rounds: int) -> None:
        self._stack = stack
        self._folder = folder
        self._rounds = rounds

    async def part(self, part: str, postgres_url: str) -> AsyncIterator[Comparison]:
        """The comparisons of one part."""
        if part == "reservations":
            comparisons = self.reservations(postgres_url)
        else:
            comparisons = getattr(self, part)(await self._service("users"))
        async for comparison in comparisons:
            yield comparison

    async def role(self, role: str, **settings: Any) -> str:
        """Start a process; its address."""
        secrets = json.dumps({"inventory": SECRET, "storage": SECRET})
        started = started_role("bench.internal.roles", role, json.dumps(settings), SHOP_SERVICE_SECRETS=secrets)
        _, port = await self._stack.enter_async_context(started)
        return f"127.0.0.1:{port}"

    async def stub(self, address: str, stub: Any) -> Any:
        return stub(await self._stack.enter_async_context(connect(address)))

    async def unary(self, users: str) -> AsyncIterator[Comparison]:
        """CheckAvailability of three products, answered from memory."""
        plain = await self.stub(await self.role("bare"), InventoryServiceStub)
        token, jwks = await self._identity(users)
        ours = await self.stub(await self.role("full", jwks=jwks), InventoryServiceStub)
        spans, metrics = Telemetry("bench", sample_ratio=SAMPLED), Metrics()
        client = Client("full", spans, token=token, observer=metrics)
        request = inventory_pb2.CheckAvailabilityRequest(product_ids=["1", "2", "3"])

        async def bare(_: int) -> None:
            await plain.CheckAvailability(request, timeout=2)

        async def full(_: int) -> None:
            with deadline_in(2.0):
                await client.call(ours.CheckAvailability, request)

        yield await compared(
            "unary call with all interceptors", "calls/s", 0.75, rate(full, 3_000), rate(bare, 3_000), self._rounds
        )

    async def files(self, users: str) -> AsyncIterator[Comparison]:
        """A file down and up, through storage and through the gateway."""
        storage = await self._service("storage", users_address=users, max_file_bytes=1 << 30)
        gateway = await self._service("gateway", users_address=users, storage_address=storage, max_file_bytes=1 << 30)
        bearer = f"Bearer {await self._sign_in(users)}"
        http = await self._stack.enter_async_context(aiohttp.ClientSession(headers={"Authorization": bearer}))
        plain = Transfers(await self.stub(await self.role("bare"), StorageServiceStub), bearer)
        ours = Transfers(await self.stub(storage, StorageServiceStub), bearer)
        edge = HttpTransfers(f"http://{gateway}/v1/files", http)
        await ours.upload()
        edge.file_id = ours.file_id
        for what, bar, figure, floor in (
            ("DownloadFile", 0.60, ours.download, plain.download),
            ("UploadFile", 0.60, ours.upload, plain.upload),
            ("GET /v1/files through the gateway", 0.40, edge.download, plain.download),
            ("POST /v1/files through the gateway", 0.40, edge.upload, plain.upload),
        ):
            yield await compared(what, "MB/s", bar, megabytes(figure), megabytes(floor), self._rounds)

    async def availability(self, users: str) -> AsyncIterator[Comparison]:
        """One article a call, through erp_adapter over gRPC, and by a hand-written envelope straight to the ERP."""
        erp = f"http://{await self.role('legacy', data_dir=str(self._folder))}/"
        adapter = await self._service("erp_adapter", users_address=users, legacy_soap_url=erp)
        stub = await self.stub(adapter, ErpServiceStub)
        token = await self._service_token(users, "inventory")
        client = Client("erp_adapter", Telemetry("bench", sample_ratio=SAMPLED), token=token, timeout=20)
        http = await self._stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))
        )
        by_hand = HandWritten(erp, http)
        await by_hand.login()

        async def different(number: int) -> None:
            await client.call(stub.GetStockLevels, erp_pb2.GetStockLevelsRequest(product_ids=[str(number % 22 + 1)]))

        async def same(_: int) -> None:
            await client.call(stub.GetStockLevels, erp_pb2.GetStockLevelsRequest(product_ids=["42"]))

        async def floor(number: int) -> None:
            await by_hand.level(str(number % 22 + 1))

        for what, calls in (("availability of different articles", different), ("availability of one article", same)):
            yield await compared(what, "calls/s", 0.70, rate(calls, 600), rate(floor, 600), self._rounds)

    async def reservations(self, postgres_url: str) -> AsyncIterator[Comparison]:
        """Orders of three products each, against three updates in a transaction."""
        for name, opened in internal_databases.available(self._folder, postgres_url):
            async with opened as (reserve, bare):
                yield await compared(
                    f"reservations on {name}", "orders/s", 0.60, rate(reserve, 500), rate(bare, 500), self._rounds
                )

    async def _service(self, name: str, **settings: Any) -> str:
        module = "gateway.bootstrap" if name == "gateway" else f"services.{name}.bootstrap"
        return await self.role(
            "service",
            module=module,
            data_dir=str(self._folder),
            service_secret=SECRET,
            **{f"{name}_port": 0},
            **settings,
        )

    async def _sign_in(self, users: str) -> str:
        stub = await self.stub(users, UserServiceStub)
        request = users_pb2.IssueTokenRequest(email="demo@shop.test", password="demo")  # noqa: S106 - the demo account
        response = await Client("users", Telemetry("bench"), token=no_token, timeout=10).call(stub.IssueToken, request)
        return str(response.access_token)

    async def _identity(self, users: str) -> tuple[Callable[[], Awaitable[str]], str]:
        stub = await self.stub(users, UserServiceStub)
        keys = await stub.GetJwks(users_pb2.GetJwksRequest())
        access = await self._sign_in(users)

        async def token() -> str:
            return access

        return token, keys.jwks_json

    async def _service_token(self, users: str, name: str) -> Callable[[], Awaitable[str]]:
        stub = await self.stub(users, UserServiceStub)
        response = await stub.IssueServiceToken(users_pb2.IssueServiceTokenRequest(service=name, secret=SECRET))

        async def token() -> str:
            return str(response.access_token)

        return token


def megabytes(transfer: Callable[[], Awaitable[int]]) -> Rate:
    """MB/s of a transfer that returns how many bytes it has moved."""

    async def measured() -> float:
        began = time.perf_counter()
        if (moved := await transfer()) != FILE_BYTES:
            raise RuntimeError(f"{moved} bytes were moved, not {FILE_BYTES}")
        return FILE_BYTES / 1e6 / (time.perf_counter() - began)

    return measured


def pieces() -> Iterator[bytes]:
    """A file in chunks; no two files are the same, or storage would keep them once."""
    stamp, rest = uuid.uuid4().bytes, os.urandom(CHUNK - 16)
    return (stamp + rest for _ in range(FILE_BYTES // CHUNK))


class Transfers:
    """Over gRPC, by the bare stub: what is measured is the other side."""

    def __init__(self, stub: Any, bearer: str) -> None:
        self._stub = stub
        self._metadata = [("authorization", bearer)]
        self.file_id = ""

    async def upload(self) -> int:
        def chunks() -> Iterator[storage_pb2.Chunk]:
            yield storage_pb2.Chunk(header=storage_pb2.UploadHeader())
            for piece in pieces():
                yield storage_pb2.Chunk(data=piece)

        file = (await self._stub.UploadFile(chunks(), metadata=self._metadata)).file
        self.file_id = str(file.id)
        return int(file.size)

    async def download(self) -> int:
        request = storage_pb2.FileRequest(id=self.file_id, length=FILE_BYTES)
        return sum([len(chunk.data) async for chunk in self._stub.DownloadFile(request, metadata=self._metadata)])


class HttpTransfers:
    """Over HTTP, at the gateway."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http
        self.file_id = ""

    async def upload(self) -> int:
        async def body() -> AsyncIterator[bytes]:
            for piece in pieces():
                yield piece

        async with self._http.post(self._url, data=body()) as response:
            response.raise_for_status()
            return int((await response.json())["size"])

    async def download(self) -> int:
        async with self._http.get(f"{self._url}/{self.file_id}") as response:
            return sum([len(content) async for content in response.content.iter_any()])


class HandWritten:
    """The least that a SOAP client can do: a string for the request, lxml for the answer."""

    _ENVELOPE = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:erp:sales:2004">'
        "<e:Header><SessionHeader><SessionId>{}</SessionId></SessionHeader></e:Header><e:Body>{}</e:Body></e:Envelope>"
    )

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http
        self._session = ""

    async def login(self) -> None:
        answer = await self._call("<Login><User>SHOP</User><Password>shop</Password></Login>")
        self._session = answer.findtext(".//{*}SessionId") or ""

    async def level(self, product_id: str) -> int:
        articles = f"<Articles><ArticleRef><AltRef>{product_id}</AltRef></ArticleRef></Articles>"
        answer = await self._call(f"<GetStockLevel>{articles}</GetStockLevel>")
        return int(answer.findtext(".//{*}OnHand") or "")

    async def _call(self, body: str) -> Any:
        content = self._ENVELOPE.format(self._session, body).encode()
        async with self._http.post(self._url, data=content, headers={"Content-Type": "text/xml"}) as response:
            return etree.fromstring(await response.read())


async def measure(rounds: int, only: str, postgres_url: str) -> list[Comparison]:
    """Every comparison whose part is wanted, each printed when it is done."""
    found: list[Comparison] = []
    with tempfile.TemporaryDirectory(prefix="bench-internal-") as folder:
        for part in PARTS:
            if only not in ("", part):
                continue
            async with AsyncExitStack() as stack:
                bench = Bench(stack, Path(folder), rounds)
                async for comparison in bench.part(part, postgres_url):
                    found.append(comparison)
                    show(comparison)
    return found


def show(comparison: Comparison) -> None:
    """One line."""
    figure, floor = statistics.median(comparison.figures), statistics.median(comparison.floors)
    verdict = "held" if comparison.held else "MISSED"
    sys.stdout.write(
        f"{comparison.what:<36} {figure:>8.0f} of {floor:>8.0f} {comparison.unit:<9}"
        f" {comparison.ratio:>6.0%}  bar {comparison.bar:.0%}: {verdict}\n"
    )
    sys.stdout.flush()


@unwound_by_signals()
def main() -> int:
    """Measure, print a table, write it to `bench/results/internal.json`, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.internal", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often floor and figure take turns")
    parser.add_argument("--only", default="", choices=["", *PARTS])
    parser.add_argument("--postgres", default=os.environ.get("TEST_POSTGRES_URL", internal_databases.POSTGRES_URL))
    arguments = parser.parse_args()
    found = uvloop.run(measure(arguments.rounds, arguments.only, arguments.postgres))
    rows = [{**asdict(each), "ratio": each.ratio} for each in found]
    machine = {"cores": os.cpu_count(), "load_1m": os.getloadavg()[0]}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "internal.json").write_text(json.dumps({"machine": machine, "comparisons": rows}, indent=2) + "\n")
    sys.stdout.write(f"on {machine['cores']} cores, load average {machine['load_1m']:.1f} over the last minute\n")
    return 0 if all(each.held for each in found) else 1
