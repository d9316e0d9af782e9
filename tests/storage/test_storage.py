"""shop.storage.v1, over real gRPC and on real disks and databases."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import grpc.aio
import pytest

from chassis.errors import ShopError
from protos.shop.storage.v1 import storage_pb2 as pb
from services.storage.bootstrap import Settings
from services.storage.folder_store import READ_SIZE, FolderStore
from services.storage.folder_store.buffered import BLOCK
from services.storage.grpc_api import MAX_PIECE
from tests.storage.conftest import LIMIT, As, Start
from tests.waiting import eventually

Contents = Callable[[], list[str]]


async def refused(call: Any) -> ShopError:
    """The refusal that a call gets."""
    with pytest.raises(ShopError) as caught:
        await call
    return caught.value


async def test_round_trip(caller: As) -> None:
    """What was uploaded in pieces is downloaded byte for byte, in chunks of 16 KiB, with what is known of it."""
    content = os.urandom(LIMIT - 7)
    customer = caller("123")
    pieces = [content[at : at + 100_000] for at in range(0, len(content), 100_000)]
    file = await customer.upload(*pieces, content_type="image/png")
    assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (file.content_type, file.owner_id, file.public) == ("image/png", "123", False)
    assert await customer.stat(file.id) == file
    chunks = await customer.download(file.id)
    assert b"".join(chunks) == content
    assert {len(chunk) for chunk in chunks[:-1]} == {READ_SIZE}


async def test_empty_file(caller: As) -> None:
    """A file without bytes is a file."""
    file = await caller("123").upload(content_type="")
    assert (file.size, file.content_type) == (0, "application/octet-stream")
    assert await caller("123").download(file.id) == []


async def test_same_content_is_kept_once(caller: As, contents: Contents) -> None:
    """Two files of the same bytes share them, and still have an owner each."""
    mine, theirs = await asyncio.gather(caller("123").upload(b"same"), caller("456").upload(b"sa", b"me"))
    assert mine.id != theirs.id
    assert (mine.owner_id, theirs.owner_id) == ("123", "456")
    assert contents() == [hashlib.sha256(b"same").hexdigest()]


async def test_digest(caller: As, contents: Contents) -> None:
    """An upload is kept only if it has the digest that was announced."""
    right, wrong = hashlib.sha256(b"right").hexdigest(), hashlib.sha256(b"wrong").hexdigest()
    error = await refused(caller("123").upload(b"right", sha256=wrong))
    assert (error.code, error.details["sha256"]) == ("DIGEST_MISMATCH", right)
    assert contents() == []
    assert (await caller("123").upload(b"right", sha256=right)).sha256 == right


async def test_size_limit(caller: As, contents: Contents) -> None:
    """A file of the largest size is taken, one byte more is refused and leaves nothing."""
    pieces = [bytes(MAX_PIECE)] * (LIMIT // MAX_PIECE)
    assert (await caller("123").upload(*pieces)).size == LIMIT
    assert (await refused(caller("123").upload(*pieces, b"x"))).code == "FILE_TOO_LARGE"
    assert contents() == [hashlib.sha256(bytes(LIMIT)).hexdigest()]


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [pb.Chunk(data=b"no header")],
        [pb.Chunk()],
        [pb.Chunk(header=pb.UploadHeader()), pb.Chunk(header=pb.UploadHeader())],
        [pb.Chunk(header=pb.UploadHeader()), pb.Chunk(data=b"x"), pb.Chunk()],
        [pb.Chunk(header=pb.UploadHeader()), pb.Chunk(data=bytes(MAX_PIECE + 1))],
        [pb.Chunk(header=pb.UploadHeader(content_type="text/plain\r\nX-Evil: 1"))],
        [pb.Chunk(header=pb.UploadHeader(content_type="nothing"))],
        [pb.Chunk(header=pb.UploadHeader(sha256="F00"))],
    ],
)
async def test_malformed_upload(caller: As, contents: Contents, chunks: list[pb.Chunk]) -> None:
    """An upload that breaks the contract is refused with the field at fault and leaves nothing."""
    error = await refused(caller("123").send(*chunks))
    assert error.code == "INVALID_INPUT"
    assert error.fields
    assert contents() == []


async def test_vanishing_uploader(caller: As, contents: Contents) -> None:
    """However early or late a client vanishes, nothing of an unfinished upload is kept."""
    customer = caller("123")
    going_on = asyncio.Event()

    async def unfinished() -> Any:
        yield pb.Chunk(header=pb.UploadHeader())
        # The block that is collected before anything is written.
        for _ in range(BLOCK // MAX_PIECE):
            yield pb.Chunk(data=bytes(MAX_PIECE))
        await going_on.wait()

    for attempt in range(100):
        call = customer.stub.UploadFile(unfinished(), metadata=customer.metadata)
        if attempt % 2:
            await eventually(contents)  # some of it has arrived
        call.cancel()
        await eventually(lambda: contents() == [])
    assert (await caller("123").upload(b"still alive")).size == 11
    assert len(contents()) == 1


async def test_stalled_uploader(start: Start, settings: Settings, contents: Contents) -> None:
    """An upload that pauses for too long is given up."""

    async def stalled() -> Any:
        yield pb.Chunk(header=pb.UploadHeader())
        yield pb.Chunk(data=b"x")
        await asyncio.Event().wait()

    async with start(settings.model_copy(update={"upload_timeout": 0.3})) as caller:
        customer = caller("123")
        call = customer.stub.UploadFile(stalled(), metadata=customer.metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert contents() == []


async def test_vanishing_reader(caller: As, caplog: pytest.LogCaptureFixture) -> None:
    """A client that vanishes in the middle of a download is no error of ours."""
    customer = caller("123")
    file = await customer.upload(*[bytes(MAX_PIECE)] * 4)
    for _ in range(20):
        call = customer.stub.DownloadFile(pb.FileRequest(id=file.id), metadata=customer.metadata)
        await call.read()
        call.cancel()
    assert len(b"".join(await customer.download(file.id))) == 4 * MAX_PIECE
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_ownership(caller: As) -> None:
    """A file is there for its owner, administrators and processes; for any other caller it does not exist."""
    file = await caller("123").upload(b"mine")
    for subject, role in [("123", "customer"), ("1", "admin"), ("gateway", "service")]:
        assert await caller(subject, role).download(file.id) == [b"mine"]
    for stranger in [caller("456"), caller()]:
        assert (await refused(stranger.stat(file.id))).code == "NOT_FOUND"
        assert (await refused(stranger.download(file.id))).code == "NOT_FOUND"
    unknown = await refused(caller("456").stat("unknown"))
    assert str(unknown).replace("unknown", file.id) == str(await refused(caller("456").stat(file.id)))


async def test_public_files(caller: As) -> None:
    """Only administrators and processes publish; what they publish is for anyone."""
    assert (await refused(caller("123").upload(b"ad", public=True))).code == "FORBIDDEN"
    for subject, role in [("1", "admin"), ("webhooks", "service")]:
        file = await caller(subject, role).upload(b"picture", public=True)
        assert await caller().download(file.id) == [b"picture"]


async def test_no_upload_without_a_token(caller: As) -> None:
    """An upload needs a token."""
    assert (await refused(caller().upload(b"x"))).code == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 0, b"0123456789"), (0, 1, b"0"), (3, 4, b"3456"), (9, 0, b"9"), (8, 100, b"89")],
)
async def test_ranges(caller: As, offset: int, length: int, expected: bytes) -> None:
    """A download starts at the offset and ends after the length or at the end."""
    file = await caller("123").upload(b"0123456789")
    assert b"".join(await caller("123").download(file.id, offset, length)) == expected


@pytest.mark.parametrize(
    ("offset", "length", "code"),
    [
        (10, 0, "RANGE_NOT_SATISFIABLE"),
        (11, 1, "RANGE_NOT_SATISFIABLE"),
        (-1, 0, "INVALID_INPUT"),
        (0, -1, "INVALID_INPUT"),
    ],
)
async def test_bad_ranges(caller: As, offset: int, length: int, code: str) -> None:
    """A range that begins behind the last byte, or is none, is refused."""
    file = await caller("123").upload(b"0123456789")
    assert (await refused(caller("123").download(file.id, offset, length))).code == code


async def test_restart(start: Start) -> None:
    """Files outlive the process."""
    async with start() as caller:
        file = await caller("123").upload(b"kept")
    async with start() as caller:
        assert await caller("123").stat(file.id) == file
        assert await caller("123").download(file.id) == [b"kept"]


async def test_what_is_kept_is_on_the_disk(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are synchronized before the rename that keeps them, and the folder's entries before the answer."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "bytes")
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    await store.prepare()
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    for _ in range(2):
        async with store.new_upload() as upload:
            await upload.write(b"kept")
            await upload.keep()
            assert done == ["bytes", "rename", "folder"]
            done.clear()


async def test_pieces_of_any_size_over_many_blocks(store: FolderStore, tmp_path: Path) -> None:
    """However a content is cut, what is kept is its bytes in their order."""
    await store.prepare()
    whole = os.urandom(3 * BLOCK + 1)
    for size in (BLOCK // 8, 100_003, BLOCK + 1):
        async with store.new_upload() as upload:
            for start in range(0, len(whole), size):
                await upload.write(whole[start : start + size])
            content = await upload.content()
            await upload.keep()
        assert content.sha256 == hashlib.sha256(whole).hexdigest()
        assert await collected(store.read(content, 0, content.size)) == whole


async def test_left_over_uploads_are_swept(store: FolderStore, tmp_path: Path) -> None:
    """What a dead process had not finished is removed at the next start, what a living one receives is not."""
    await store.prepare()
    (tmp_path / "incoming/dead").write_bytes(b"half")
    with (tmp_path / "incoming/alive").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        async with store.new_upload() as upload:
            await upload.write(b"arriving")
            await FolderStore(tmp_path).prepare()
            assert not (tmp_path / "incoming/dead").exists()
            await upload.keep()
        assert [path.name for path in (tmp_path / "incoming").iterdir()] == ["alive"]


async def test_unrecorded_contents_are_swept(start: Start, settings: Settings, contents: Contents) -> None:
    """What a process kept and died before it made it known is removed at the next start; what is known stays."""
    async with start() as caller:
        file = await caller("123").upload(b"known")
    stray = settings.data_dir / "files/ab" / ("ab" * 32)
    beside = settings.data_dir / "files" / file.sha256[:2] / (file.sha256[:2] + "0" * 62)
    for path in (stray, beside):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"never made known")
    async with start() as caller:
        await eventually(lambda: contents() == [file.sha256])
        assert await caller("123").download(file.id) == [b"known"]


async def test_a_sweep_leaves_what_is_not_its_own(
    store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder or file that is no content stays, is reported once, and keeps no content from being swept."""
    await store.prepare()
    digest = hashlib.sha256(b"unknown").hexdigest()
    swept = tmp_path / digest[:2] / digest
    directory = tmp_path / digest[:2] / ("0" * 64)
    strangers = [
        tmp_path / "photos" / "mine.jpg",
        tmp_path / digest[:2] / "notes.txt",
        directory / "inside",
        tmp_path / "ab" / f"{digest}.orig",
    ]
    for path in (swept, *strangers):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"unknown")

    async def kept(_: Sequence[str]) -> set[str]:
        return set()

    assert [await store.sweep(kept), await store.sweep(kept)] == [1, 0]
    assert not swept.exists()
    assert all(path.exists() for path in strangers)
    reported = [record for record in caplog.records if "unknown paths" in record.message]
    assert [vars(record)["count"] for record in reported] == [4]


async def test_a_sweep_waits_for_what_is_being_made_known(store: FolderStore, tmp_path: Path) -> None:
    """A content that was kept a moment ago, here or by another process, is not swept before it can be known."""
    ours, theirs = store, FolderStore(tmp_path)
    await ours.prepare()
    known: set[str] = set()

    async def kept(digests: Sequence[str]) -> set[str]:
        return known & set(digests)

    async with ours.new_upload() as upload:
        await upload.write(b"kept")
        await upload.keep()
        sweeping = asyncio.create_task(theirs.sweep(kept))
        # As many uploads as there are threads may wait for the lock while it is held: the sweep has one of its own.
        done, _ = await asyncio.wait({sweeping}, timeout=0.2)
        assert not done
        content = await upload.content()
        known.add(content.sha256)
    assert await sweeping == 0
    assert await collected(ours.read(content, 0, 4)) == b"kept"
    known.clear()
    assert await theirs.sweep(kept) == 1


async def test_a_sweep_that_waits_can_be_ended(store: FolderStore, tmp_path: Path) -> None:
    """At once, since what it waits for may need the same event loop, and it leaves no lock behind."""
    await store.prepare()

    async def kept(digests: Sequence[str]) -> set[str]:
        return set(digests)

    with closing_descriptor(tmp_path) as upload, closing_descriptor(tmp_path) as after:
        fcntl.flock(upload, fcntl.LOCK_SH)
        sweeping = asyncio.create_task(store.sweep(kept))
        done, _ = await asyncio.wait({sweeping}, timeout=0.2)
        assert not done
        sweeping.cancel()
        done, _ = await asyncio.wait({sweeping}, timeout=10)
        assert done
        fcntl.flock(upload, fcntl.LOCK_UN)
        fcntl.flock(after, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def closing_descriptor(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def test_sweeping_while_many_upload(start: Start, contents: Contents) -> None:
    """Uploads of the same few contents and sweeps at once: whatever was answered can be read."""
    async with start() as caller:
        customer = caller("123")
        files = await asyncio.gather(*(customer.upload(str(number % 5).encode()) for number in range(100)))
        for file in files:
            assert b"".join(await customer.download(file.id)) in (b"0", b"1", b"2", b"3", b"4")
    assert len(contents()) == 5


async def test_a_download_that_broke_off_goes_on(caller: As) -> None:
    """A reader of a part of a file requests the rest by offset, and has all of it without a byte twice."""
    content = os.urandom(LIMIT)
    customer = caller("123")
    file = await customer.upload(*[content[at : at + MAX_PIECE] for at in range(0, LIMIT, MAX_PIECE)])
    received = b""
    while len(received) < LIMIT:
        request = pb.FileRequest(id=file.id, offset=len(received))
        call = customer.stub.DownloadFile(request, metadata=customer.metadata)
        chunk = await call.read()
        assert isinstance(chunk, pb.Chunk)
        received += chunk.data
        call.cancel()
    assert hashlib.sha256(received).hexdigest() == file.sha256


async def collected(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def test_demo_pictures(start: Callable[..., Any], settings: Settings, contents: Contents) -> None:
    """Every demo product has a public picture of its own, the same after every start."""
    demo = settings.model_copy(update={"demo_data": True})
    ids = [f"product-{product_id}" for product_id in ("42", "123", *map(str, range(1, 23)))]
    async with start(demo) as caller:
        files = [await caller().stat(file_id) for file_id in ids]
        pictures = [b"".join(await caller().download(file_id)) for file_id in ids]
    assert {(file.content_type, file.owner_id, file.public) for file in files} == {("image/svg+xml", "1", True)}
    assert len(set(pictures)) == len(ids)
    assert {ET.fromstring(picture).tag for picture in pictures} == {"{http://www.w3.org/2000/svg}svg"}  # noqa: S314
    kept = contents()
    async with start(demo) as caller:
        assert [await caller().stat(file_id) for file_id in ids] == files
    assert contents() == kept
