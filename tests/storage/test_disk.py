"""An uploader's error when the disk does not take the file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from chassis.errors import Kind, ShopError
from services.storage import folder_store
from services.storage.folder_store import FolderStore
from services.storage.partial_upload import ArrivingFile


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_every_folder_is_durable_before_anything_is_put_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All folders of contents are there, and on the disk, before the first upload; none of them makes another."""
    synced: list[set[str]] = []
    fsync = folder_store._fsync_folder

    def noting(folder: Path) -> None:
        if folder == tmp_path:
            synced.append(names(tmp_path))
        fsync(folder)

    monkeypatch.setattr(folder_store, "_fsync_folder", noting)
    store = FolderStore(tmp_path)
    await store.prepare()
    folders = names(tmp_path)
    assert len(folders) == 1 + 256
    assert synced == [folders]
    for number in range(20):
        async with store.receiving() as arrival:
            await arrival.write(b"content %d" % number)
            await arrival.keep()
    assert names(tmp_path) == folders


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "INSUFFICIENT_STORAGE"), (errno.EIO, "STORE_UNAVAILABLE")])
async def test_a_disk_that_does_not_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    """A full or failing disk has its own error, with when to come back, and leaves nothing behind."""

    def refuse(_file: ArrivingFile, _block: memoryview) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(ArrivingFile, "write", refuse)
    store = FolderStore(tmp_path)
    await store.prepare()
    with pytest.raises(ShopError) as refused:
        async with store.receiving() as arrival:
            await arrival.write(b"content")
            await arrival.content()
    assert (refused.value.code, refused.value.kind) == (code, Kind.UNAVAILABLE)
    assert refused.value.retry_after
    assert not list((tmp_path / "incoming").iterdir())
