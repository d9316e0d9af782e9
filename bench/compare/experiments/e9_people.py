"""E9: what a person needs. Lines of the smallest client, a tool to read a message with, and whether a browser can."""

from __future__ import annotations

from pathlib import Path

from bench.compare.bench import Bench

NAME = "E9"
FILES = Path(__file__).parents[1] / "people"
# Protocol -> what it is called, what reads its messages, and what a browser needs.
PEOPLE = {
    "rest": ("REST", "none: it is text", "nothing: fetch"),
    "graphql": ("GraphQL", "none: it is text", "nothing: fetch"),
    "grpc": ("gRPC", "grpcurl or buf curl, with reflection or the protos", "cannot: trailers are out of its reach"),
    "connect": ("Connect (JSON)", "none: it is text", "nothing: fetch"),
    "websocket": ("WebSocket", "websocat, or the browser's developer tools", "nothing: WebSocket"),
    "soap": ("SOAP", "none: it is text", "fetch, and XML by hand"),
}
LANGUAGES = {"sh": "curl", "python": "Python", "js": "JavaScript"}


async def run(bench: Bench) -> None:
    """Counts the files: nothing is started."""
    for protocol in PEOPLE:
        lines = {language: lines_of(protocol, ending) for ending, language in LANGUAGES.items()}
        bench.folder.add({"experiment": NAME, "level": "bare", "variant": protocol, "kind": "lines", "lines": lines})
    bench.say(f"{NAME}: {len(PEOPLE)} protocols")


def lines_of(protocol: str, ending: str) -> int | None:
    """Lines of the client that are not empty; None where there is no such client without a generator or a proxy."""
    path = FILES / f"{protocol}.{ending}"
    return len([line for line in path.read_text().splitlines() if line.strip()]) if path.is_file() else None
