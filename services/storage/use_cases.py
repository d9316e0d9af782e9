"""The use cases of storage, in plain types."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from chassis.auth.identity import Principal
from chassis.errors import not_found
from services.storage.domain import StoredFile, UploadRequest, byte_range, check_digest, too_large
from services.storage.ports import ContentStore, FileStore, Upload


class Storage:
    def __init__(self, files: FileStore, contents: ContentStore, *, max_file_bytes: int) -> None:
        self._files = files
        self._contents = contents
        self._max_file_bytes = max_file_bytes

    async def upload(self, request: UploadRequest, pieces: AsyncIterator[bytes], caller: Principal) -> StoredFile:
        """A new file of the caller's, once all of it has arrived; an error of `pieces` leaves nothing behind.

        Raises INVALID_INPUT, FORBIDDEN, FILE_TOO_LARGE or DIGEST_MISMATCH.
        """
        request = request.checked(caller)
        async with self._contents.new_upload() as upload:
            async for piece in pieces:
                if upload.size + len(piece) > self._max_file_bytes:
                    raise too_large(self._max_file_bytes)
                await upload.write(piece)
            content = await upload.content()
            check_digest(content, request.sha256)
            file = StoredFile(uuid.uuid4().hex, content, request.content_type, caller.subject, request.public)
            await self._keep(upload, file)
            return file

    async def put(
        self, file_id: str, content: bytes, content_type: str, owner_id: str, *, public: bool = False
    ) -> None:
        """Keep a file of our own making under an id of our choice; nothing changes if it is there already."""
        if await self._files.by_id(file_id) is not None:
            return
        async with self._contents.new_upload() as upload:
            await upload.write(content)
            kept = await upload.content()
            await self._keep(upload, StoredFile(file_id, kept, content_type, owner_id, public))

    async def _keep(self, upload: Upload, file: StoredFile) -> None:
        # The bytes first: a file that is known can always be read. Should this process die in between, they are swept.
        await upload.keep()
        await self._files.add(file)

    async def sweep(self) -> int:
        """Remove contents without a file: their process died before it recorded one."""
        return await self._contents.sweep(self._files.kept)

    async def file(self, file_id: str, caller: Principal) -> StoredFile:
        """Raises NOT_FOUND, also for a file that the caller may not know of."""
        file = await self._files.by_id(file_id)
        if file is None or not file.visible_to(caller):
            raise not_found("file", file_id)
        return file

    async def download(self, file_id: str, offset: int, length: int, caller: Principal) -> AsyncGenerator[bytes, None]:
        """The file's bytes from `offset`; all the rest for a length of 0. Raises NOT_FOUND or RANGE_NOT_SATISFIABLE."""
        file = await self.file(file_id, caller)
        start, count = byte_range(file.content.size, offset, length)
        async with aclosing(self._contents.read(file.content, start, count)) as pieces:
            async for piece in pieces:
                yield piece
