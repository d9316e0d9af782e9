"""An uploader's error when the disk does not take the file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from chassis.errors import Kind, ShopError
from services.storage import folder_store
from services.storage.folder_store import FolderStore
from services.storage.partial_upload import PartialUpload


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_every_folder_is_durable_before_anything_is_put_into_it(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All folders of contents are there, and on the disk, before the first upload; none of them makes another."""
    synced: list[set[str]] = []
    fsync = folder_store._fsync_folder

    def noting(folder: Path) -> None:
        if folder == tmp_path:
            synced.append(names(tmp_path))
        fsync(folder)

    monkeypatch.setattr(folder_store, "_fsync_folder", noting)
    await store.prepare()
    folders = names(tmp_path)
    assert len(folders) == 1 + 256
    assert synced == [folders]
    for number in range(20):
        async with store.new_upload() as upload:
            await upload.write(b"content %d" % number)
            await upload.keep()
    assert names(tmp_path) == folders


async def test_a_folder_that_was_removed_is_made_again(store: FolderStore, tmp_path: Path) -> None:
    """An operator who tidies up empty folders costs no upload."""
    await store.prepare()
    for name in names(tmp_path) - {"incoming"}:
        (tmp_path / name).rmdir()
    async with store.new_upload() as upload:
        await upload.write(b"content")
        await upload.keep()
        content = await upload.content()
    assert b"".join([piece async for piece in store.read(content, 0, content.size)]) == b"content"


async def test_a_full_disk_keeps_storage_from_no_start(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored by a version that made folders when they were needed can be read, though none can be made."""
    await store.prepare()
    async with store.new_upload() as upload:
        await upload.write(b"content")
        await upload.keep()
        content = await upload.content()
    for name in names(tmp_path) - {"incoming", content.sha256[:2]}:
        (tmp_path / name).rmdir()

    def refuse(path: Path, *_: object, **__: object) -> None:
        if path.parent == tmp_path and path.name != "incoming":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", refuse)
    again = FolderStore(tmp_path)
    await again.prepare()
    assert b"".join([piece async for piece in again.read(content, 0, content.size)]) == b"content"


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "INSUFFICIENT_STORAGE"), (errno.EIO, "STORE_UNAVAILABLE")])
async def test_a_disk_that_does_not_take_it(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    """A full or failing disk has its own error, with when to come back, and leaves nothing behind."""

    def refuse(_file: PartialUpload, _block: memoryview) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(PartialUpload, "write", refuse)
    await store.prepare()
    with pytest.raises(ShopError) as refused:
        async with store.new_upload() as upload:
            await upload.write(b"content")
            await upload.content()
    assert (refused.value.code, refused.value.kind) == (code, Kind.UNAVAILABLE)
    assert refused.value.retry_after
    assert not list((tmp_path / "incoming").iterdir())
