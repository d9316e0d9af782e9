"""Storage on a free port, on each database, as its callers see it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import grpc
import grpc.aio
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from chassis.auth.identity import TokenVerifier
from chassis.grpc.errors import error_from
from protos.shop.storage.v1 import storage_pb2 as pb
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceStub
from services.storage.bootstrap import Settings, run
from services.storage.folder_store import FolderStore
from services.storage.folder_store.buffered import BufferedFolderStore
from services.users.tokens import JwtSigner, new_signing_key
from tests.grpc_streams import answer

if TYPE_CHECKING:
    from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceAsyncStub

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432")
LIMIT = 2 << 20

SIGNER = JwtSigner([new_signing_key()], lifetime=60)


class Caller:
    """A caller of storage; refusals are raised as `ShopError`."""

    def __init__(self, stub: StorageServiceAsyncStub, subject: str, role: str, uploads: Any = None) -> None:
        """`uploads`: a stub of gRPC's threaded client, for `send`."""
        self.stub = stub
        self._uploads = uploads
        self.metadata = [("authorization", f"Bearer {SIGNER.sign(subject, role)[0]}")] if subject else []

    async def upload(
        self, *pieces: bytes, content_type: str = "text/plain", sha256: str = "", public: bool = False
    ) -> pb.FileInfo:
        header = pb.UploadHeader(content_type=content_type, sha256=sha256, public=public)
        return await self.send(pb.Chunk(header=header), *(pb.Chunk(data=piece) for piece in pieces))

    async def send(self, *chunks: pb.Chunk) -> pb.FileInfo:
        try:
            uploading = self._uploads.UploadFile.future(iter(chunks), metadata=self.metadata)
            file: pb.FileInfo = (await answer(uploading)).file
        except grpc.RpcError as error:
            raise error_from(cast("grpc.aio.AioRpcError", error), "storage") from error
        return file

    async def download(self, file_id: str, offset: int = 0, length: int = 0) -> list[bytes]:
        request = pb.FileRequest(id=file_id, offset=offset, length=length)
        try:
            return [chunk.data async for chunk in self.stub.DownloadFile(request, metadata=self.metadata)]
        except grpc.aio.AioRpcError as error:
            raise error_from(error, "storage") from error

    async def stat(self, file_id: str) -> pb.FileInfo:
        try:
            return (await self.stub.StatFile(pb.StatFileRequest(id=file_id), metadata=self.metadata)).file
        except grpc.aio.AioRpcError as error:
            raise error_from(error, "storage") from error


As = Callable[..., Caller]
Start = Callable[..., AbstractAsyncContextManager[As]]


@pytest.fixture(params=[FolderStore, BufferedFolderStore])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FolderStore:
    """Each adapter of the port of contents, not yet prepared."""
    adapter: type[FolderStore] = request.param
    return adapter(tmp_path)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def database_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A database that is not there yet, and is gone afterwards."""
    if request.param == "sqlite":
        yield ""
        return
    name = f"test_{uuid4().hex[:12]}"
    yield f"{POSTGRES_URL}/{name}_{{service}}"
    server = create_async_engine(f"{POSTGRES_URL}/postgres".replace("://", "+asyncpg://"), isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        await connection.execute(text(f'DROP DATABASE IF EXISTS "{name}_storage" WITH (FORCE)'))
    await server.dispose()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(
        data_dir=tmp_path,
        database_url=database_url,
        storage_port=0,
        otlp_url="",
        demo_data=False,
        max_file_bytes=LIMIT,
    )


@pytest.fixture
def start(settings: Settings) -> Start:
    """Starts storage, as often as it likes, on the same state."""

    async def jwks() -> str:
        return SIGNER.jwks()

    own_pool = [("grpc.use_local_subchannel_pool", 1)]

    @asynccontextmanager
    async def started(settings: Settings = settings) -> AsyncIterator[As]:
        async with (
            run(settings, verifier=TokenVerifier(jwks)) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.port}", options=own_pool) as channel,
        ):
            with grpc.insecure_channel(f"127.0.0.1:{running.port}", options=own_pool) as threaded:
                stub, uploads = StorageServiceStub(channel), StorageServiceStub(threaded)
                yield lambda subject="", role="customer": Caller(stub, subject, role, uploads)

    return started


@pytest.fixture
async def caller(start: Start) -> AsyncIterator[As]:
    """A running storage: `caller("123")` is a customer, `caller()` anonymous."""
    async with start() as as_caller:
        yield as_caller


@pytest.fixture
def contents(settings: Settings) -> Callable[[], list[str]]:
    """Names every file that storage keeps on the disk, finished or not."""
    return lambda: sorted(path.name for path in (settings.data_dir / "files").rglob("*") if path.is_file())
