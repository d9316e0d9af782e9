"""HTTP: bodies, ranges, multipart forms and NDJSON, by FastAPI on uvicorn, and aiohttp's client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated

import aiohttp
from fastapi import FastAPI, File, Header, Request, UploadFile
from starlette.responses import StreamingResponse

from bench.compare.adapters.port import Link, asgi
from bench.compare.adapters.rows import PLACES, full
from bench.compare.bulk.content import PIECE, sending

app = FastAPI(openapi_url=None)


@app.get("/content")
async def content(size: int, range: Annotated[str, Header()] = "bytes=0-") -> StreamingResponse:  # noqa: A002 - HTTP's word
    offset = int(range.removeprefix("bytes=").rstrip("-"))
    return StreamingResponse(sending(size, offset), 206 if offset else 200, {"Content-Length": str(size - offset)})


@app.post("/content")
async def upload(request: Request) -> str:
    found = hashlib.sha256()
    async for piece in request.stream():
        found.update(piece)
    return found.hexdigest()


@app.post("/form")
async def form(file: Annotated[UploadFile, File()]) -> str:
    found = hashlib.sha256()
    while piece := await file.read(PIECE):
        found.update(piece)
    return found.hexdigest()


@app.get("/rows")
async def rows(count: int) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(count):
            yield json.dumps(full([str(number % PLACES + 1)])[0]) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def serve(options: Sequence[str]) -> AbstractAsyncContextManager[int]:
    return asgi(app)


async def transfer(link: Link, what: str, size: int) -> str:
    """Move `size` bytes (or rows) one way; the hash of what arrived. `what`: down, range, up, form, rows."""
    found = hashlib.sha256()
    forever = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(link.url, timeout=forever) as session:
        if what in ("up", "form"):
            form = aiohttp.FormData()
            form.add_field("file", sending(size), filename="content", content_type="application/octet-stream")
            path, data = ("/form", form) if what == "form" else ("/content", sending(size))
            async with session.post(path, data=data, raise_for_status=True) as answer:
                return str(await answer.json())
        if what == "rows":
            async with session.get(f"/rows?count={size}") as answer:
                async for line in answer.content:
                    found.update(json.loads(line)["id"].encode())
            return found.hexdigest()
        async with session.get(f"/content?size={size}") as answer:
            async for piece in answer.content.iter_any():
                found.update(piece)
        return found.hexdigest()
