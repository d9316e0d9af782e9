"""The room's board: the progress of all who have joined, on one page, in memory, for as long as it runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from shop.errors import Refused
from shop.lessons.checking import Verdict
from shop.lessons.lesson import Lesson

MAX_NAMES, MAX_NAME, MAX_BODY = 200, 40, 1_000
# Seconds.
_TIMEOUT, _REFRESH = 2.0, 5
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="{refresh}">
<title>Lessons</title><style>
body {{ font: 18px/1.5 system-ui, sans-serif; margin: 2rem; }} td, th {{ padding: .2rem .7rem; text-align: center; }}
th:first-child {{ text-align: left; }} .kept {{ background: #1a7f37; color: #fff; }} .broken {{ background: #fff1c2; }}
.void {{ background: #ddd; }}</style><h1>Lessons</h1><table><tr><th scope="col">Name</th>{head}</tr>{rows}</table>
<p>Kept: green. Broken: yellow, with the number of checks so far. Nothing of this is stored.</p></html>"""


class Board:
    """Results by name and lesson: the last verdict, and how many checks it took."""

    def __init__(self, lessons: Sequence[Lesson]) -> None:
        self._lessons = {lesson.number: lesson.title for lesson in lessons}
        self._results: dict[str, dict[int, tuple[Verdict, int]]] = {}
        self._lock = threading.Lock()

    def add(self, content: Any) -> None:
        """Take one message: `{"name", "lesson", "verdict", "checks"}`. Raises `ValueError` for anything else."""
        try:
            name, number = str(content["name"]).strip(), int(content["lesson"])
            verdict, checks = Verdict[str(content["verdict"])], int(content["checks"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{error} is missing or unknown") from error
        except (OverflowError, ValueError) as error:
            raise ValueError("lesson and checks must be whole numbers") from error
        if not _is_text(name):
            raise ValueError("name must be Unicode text without lone surrogates")
        if not 0 < len(name) <= MAX_NAME or number not in self._lessons or not 0 <= checks < 10_000:
            raise ValueError(f"name must have 1 to {MAX_NAME} characters, and the lesson must be one that there is")
        with self._lock:
            if name not in self._results and len(self._results) >= MAX_NAMES:
                raise ValueError(f"the board has room for {MAX_NAMES} names")
            self._results.setdefault(name, {})[number] = (verdict, checks)

    def page(self) -> str:
        """HTML, with every name escaped."""
        with self._lock:
            snapshot = {name: dict(results) for name, results in sorted(self._results.items())}
        head = "".join(
            f'<th scope="col" title="{escape(title)}">{number}</th>' for number, title in self._lessons.items()
        )
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th>{"".join(_cell(results.get(each)) for each in self._lessons)}</tr>'
            for name, results in snapshot.items()
        )
        return _PAGE.format(refresh=_REFRESH, head=head, rows=rows)


def server(board: Board, host: str, port: int) -> ThreadingHTTPServer:
    """The board on HTTP: `GET /` is the page, `POST /progress` takes a message. Raises `Refused`."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def version_string(self) -> str:
            """The `Server` header: without the library's name, and Python's version."""
            return "board"

        def do_GET(self) -> None:
            self._answer(200, board.page(), "text/html; charset=utf-8") if self.path == "/" else self._answer(404, "")

        def do_POST(self) -> None:
            size = _size(self.headers.get("Content-Length", ""))
            if self.path != "/progress" or size is None:
                self._answer(400, f"POST /progress takes at most {MAX_BODY} bytes")
                return
            try:
                board.add(_message(self.rfile.read(size)))
            except ValueError as error:
                self._answer(400, str(error))
            else:
                self._answer(204, "")

        def log_message(self, *_: object) -> None:
            """Log nothing: names stay on the page."""

        def _answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
            self.end_headers()
            self.wfile.write(content)

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise Refused(f"port {port} cannot be listened on ({error.strerror}); choose another with --port") from error


def join(home: Path, url: str, name: str) -> None:
    """Send this board each check from now on, under this name. Raises `Refused` for what is no URL, or no name."""
    if not _is_url(url):
        raise Refused(f"{url!r} is not a board's URL: write it as the board shows it, such as http://10.0.0.5:8090")
    if not 0 < len(name.strip()) <= MAX_NAME:
        raise Refused(f"name must have 1 to {MAX_NAME} characters")
    if not _is_text(name):
        raise Refused(f"{name!r} is not text in this terminal's encoding: the board cannot show it")
    home.mkdir(parents=True, exist_ok=True)
    (home / "board.json").write_text(json.dumps({"url": url.rstrip("/"), "name": name}))


def _is_url(text: str) -> bool:
    try:
        url = httpx.URL(text)
        url.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        return False
    return url.scheme in ("http", "https") and bool(url.host) and (url.port is None or 0 < url.port < 65_536)


def leave(home: Path) -> None:
    (home / "board.json").unlink(missing_ok=True)


def report(home: Path, progress: Mapping[str, object]) -> str:
    """Send progress to the joined board, if there is one; returns what went wrong, which never fails a check."""
    path = home / "board.json"
    if not path.exists():
        return ""
    joined = json.loads(path.read_text())
    try:
        with httpx.Client(timeout=_TIMEOUT, trust_env=False) as http:
            answer = http.post(f"{joined['url']}/progress", json={"name": joined["name"], **progress})
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OverflowError) as error:
        return f"the board at {joined['url']} does not answer ({error}); `shop lesson leave` removes it"
    return "" if answer.is_success else f"the board refuses: {answer.text}"


def _size(text: str) -> int | None:
    """A body's size; None where it is none, or more than `MAX_BODY`."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_BODY))):
        return None
    return int(text) if int(text) <= MAX_BODY else None


def _message(body: bytes) -> Any:
    """The content of a body. Raises `ValueError` where it is no JSON."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("the message is nested too deeply") from None


def _is_text(name: str) -> bool:
    """Whether it can be sent: a lone surrogate, which JSON can hold, cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cell(result: tuple[Verdict, int] | None) -> str:
    if result is None:
        return "<td></td>"
    verdict, checks = result
    return f'<td class="{verdict.name.lower()}">{"kept" if verdict is Verdict.KEPT else checks}</td>'
