"""The room's board: opt-in, bounded, and safe to put on a projector."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shop.lessons.board import MAX_NAMES, Board, join, leave, report, server
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
    return httpx.get(url, trust_env=False).text


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
    [b"", b"[]", b"{", b'{"name": "x", "lesson": 99, "verdict": "KEPT", "checks": 1}', b"x" * 2_000],
    ids=["nothing", "a list", "no JSON", "no such lesson", "too much"],
)
def test_what_is_no_progress_is_refused(url: str, content: bytes) -> None:
    """Anything but a message of a check is answered 400, and changes nothing."""
    assert httpx.post(f"{url}/progress", content=content, trust_env=False).status_code == 400
    assert "<td" not in page(url)


def test_the_board_names_no_version(url: str) -> None:
    """Its `Server` header holds neither Python's version nor a library's."""
    for path in ("/", "/nowhere"):
        assert httpx.get(url + path, trust_env=False).headers["server"] == "board"


def test_names_are_bounded() -> None:
    """A board has room for so many names, and takes news of those that it has."""
    board = Board(lessons())
    for number in range(MAX_NAMES):
        board.add({"name": f"student {number}", **KEPT})
    with pytest.raises(ValueError, match="room for"):
        board.add({"name": "one more", **KEPT})
    board.add({"name": "student 0", **KEPT, "verdict": "BROKEN"})


def test_a_board_that_is_away_harms_no_check(tmp_path: Path) -> None:
    """What cannot be sent is one line, and no error."""
    join(tmp_path, "http://127.0.0.1:9", "Ada")
    assert "does not answer" in report(tmp_path, KEPT)
