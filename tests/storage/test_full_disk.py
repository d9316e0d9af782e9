"""A disk that is really full: a small file system of its own, filled to the last byte under storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis.errors import ShopError
from services.storage.folder_store import FolderStore
from services.storage.folder_store.buffered import BufferedFolderStore
from tests.small_disk import Filler, small_disk

MOUNTED_BYTES = 1 << 20
PIECE = b"x" * (64 << 10)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", MOUNTED_BYTES) as mounted:
        yield mounted.from_outside


async def upload(store: FolderStore, content: bytes) -> None:
    async with store.new_upload() as upload:
        for start in range(0, len(content), len(PIECE)):
            await upload.write(content[start : start + len(PIECE)])
        await upload.content()


def files_of(folder: Path) -> list[Path]:
    return [Path(parent) / name for parent, _, names in os.walk(folder) for name in names]


@pytest.mark.parametrize("adapter", [FolderStore, BufferedFolderStore])
async def test_uploads_are_refused_while_the_disk_is_full_and_taken_again_afterwards(
    disk: Path, adapter: type[FolderStore]
) -> None:
    """An upload that does not fit is INSUFFICIENT_STORAGE, leaves nothing behind, and works once there is room."""
    folder = disk / "files"
    store = adapter(folder)
    await store.prepare()
    filler = Filler(disk / "filler")
    filler.grow()
    before = files_of(folder)
    for _ in range(3):
        with pytest.raises(ShopError) as refused:
            await upload(store, PIECE * 4)
        assert (refused.value.code, bool(refused.value.retry_after)) == ("INSUFFICIENT_STORAGE", True)
        assert files_of(folder) == before
    filler.free()
    await upload(store, PIECE * 4)
    # More than the whole disk: what has come of it is given back.
    with pytest.raises(ShopError) as refused:
        await upload(store, b"y" * (2 * MOUNTED_BYTES))
    assert refused.value.code == "INSUFFICIENT_STORAGE"
    await upload(store, PIECE * 4)
    assert files_of(folder) == before
