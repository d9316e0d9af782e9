"""The room's board: opt-in, bounded, and safe to put on a projector."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shop.errors import Refused
from shop.lessons.board import MAX_NAME, MAX_NAMES, Board, join, leave, report, server
from shop.lessons.lesson import lessons

KEPT = {"lesson": 1, "verdict": "KEPT", "checks": 3}


@pytest.fixture
def url() -> Iterator[str]:
    with server(Board(lessons()), "127.0.0.1", 0) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


def page(url: str) -> str:
    return httpx.get(url, trust_env=False, timeout=60).text


def test_who_joins_is_shown(url: str, tmp_path: Path) -> None:
    """A check of a student who has joined is on the page, with a name that is text there; any other is not."""
    assert report(tmp_path, KEPT) == ""
    assert "kept</td>" not in page(url)
    join(tmp_path, f"{url}/", "Ada <script>")
    assert report(tmp_path, KEPT) == ""
    assert '<tr><th scope="row">Ada &lt;script&gt;</th><td class="kept">kept</td>' in page(url)
    leave(tmp_path)
    assert report(tmp_path, {**KEPT, "verdict": "BROKEN"}) == ""
    assert 'class="broken"' not in page(url)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"name": "x", "lesson": 99, "verdict": "KEPT", "checks": 1}',
        b"x" * 2_000,
        rb'{"name": "\ud800", "lesson": 1, "verdict": "KEPT", "checks": 1}',
        rb'{"name": "x", "lesson": 1, "verdict": "\ud800", "checks": 1}',
        b'{"name": "x", "lesson": 1e999, "verdict": "KEPT", "checks": 1}',
        b'{"name": "x", "lesson": 1, "verdict": "KEPT", "checks": NaN}',
        b"[" * 1_000,
    ],
    ids=[
        "nothing",
        "a list",
        "no JSON",
        "no such lesson",
        "too much",
        "a lone surrogate",
        "a verdict of a lone surrogate",
        "a lesson without end",
        "no number of checks",
        "nested",
    ],
)
def test_what_is_no_progress_is_refused(url: str, content: bytes) -> None:
    """Anything but a message of a check is answered 400, and changes nothing."""
    assert httpx.post(f"{url}/progress", content=content, trust_env=False, timeout=60).status_code == 400
    assert "<td" not in page(url)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"name": "x", "lesson": 1e999, "verdict": "KEPT", "checks": 1}', "lesson and checks must be whole numbers"),
        (b'{"name": "x", "lesson": 1, "verdict": "KEPT", "checks": NaN}', "lesson and checks must be whole numbers"),
        (b'{"name": "x", "lesson": "one", "verdict": "KEPT", "checks": 1}', "lesson and checks must be whole numbers"),
        (b'{"name": "x", "lesson": 1, "verdict": "KEPT"}', "'checks' is missing or unknown"),
        (
            rb'{"name": "\ud800", "lesson": 1, "verdict": "KEPT", "checks": 1}',
            "name must be Unicode text without lone surrogates",
        ),
    ],
)
def test_what_is_wrong_with_progress_is_said(url: str, content: bytes, said: str) -> None:
    """The answer names the field, and what it must be."""
    assert httpx.post(f"{url}/progress", content=content, trust_env=False, timeout=60).text == said


@pytest.mark.parametrize("size", ["9" * 5_000, "-1", "1.5", "\u00b2", ""])
def test_a_size_that_is_none_is_refused(url: str, size: str) -> None:
    """A Content-Length that is no number of bytes, or one that no board reads, is answered 400, and the page stays."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"POST /progress HTTP/1.0\r\nContent-Length: {size}\r\n\r\n".encode("latin-1"))
        assert connection.makefile("rb").readline().split()[1] == b"400"
    assert "<td" not in page(url)


def test_the_board_names_no_version(url: str) -> None:
    """Its `Server` header holds neither Python's version nor a library's."""
    for path in ("/", "/nowhere"):
        assert httpx.get(url + path, trust_env=False, timeout=60).headers["server"] == "board"


def test_names_are_bounded() -> None:
    """A board has room for so many names, and takes news of those that it has."""
    board = Board(lessons())
    for number in range(MAX_NAMES):
        board.add({"name": f"student {number}", **KEPT})
    with pytest.raises(ValueError, match="room for"):
        board.add({"name": "one more", **KEPT})
    board.add({"name": "student 0", **KEPT, "verdict": "BROKEN"})


NO_URLS = [
    "http://10.0.0.5:809O",
    "10.0.0.5:8090",
    "ftp://board",
    "http://",
    "http://board:99999",
    "http://a..b",
    "http://[::1",
]


@pytest.mark.parametrize("url", NO_URLS)
def test_what_is_no_url_is_not_joined(tmp_path: Path, url: str) -> None:
    """`shop lesson join` is refused with what to write, and nothing is noted."""
    done = subprocess.run(
        [sys.executable, "-m", "shop", "lesson", "join", url, "Ada"],
        env={**os.environ, "SHOP_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "such as http://10.0.0.5:8090" in done.stderr) == (2, True)
    assert list(tmp_path.rglob("board.json")) == []


def test_a_name_that_the_board_would_refuse_is_not_joined(tmp_path: Path) -> None:
    """It has no room for a name of more than forty characters, and none for an empty one or for what is no text."""
    for name in ("", " ", "a" * (MAX_NAME + 1)):
        with pytest.raises(Refused, match="1 to 40 characters"):
            join(tmp_path, "http://127.0.0.1:9", name)
    with pytest.raises(Refused, match="not text"):
        join(tmp_path, "http://127.0.0.1:9", "Ada \udcff")


@pytest.mark.parametrize("url", [*NO_URLS, "http://board:-1"])
def test_a_url_that_was_noted_before_it_was_checked_harms_no_check(tmp_path: Path, url: str) -> None:
    """What cannot be sent is one line, which says how to end it."""
    (tmp_path / "board.json").write_text(json.dumps({"url": url, "name": "Ada"}))
    assert "`shop lesson leave` removes it" in report(tmp_path, KEPT)


def test_a_board_that_is_away_harms_no_check(tmp_path: Path) -> None:
    """What cannot be sent is one line, and no error."""
    join(tmp_path, "http://127.0.0.1:9", "Ada")
    assert "does not answer" in report(tmp_path, KEPT)
