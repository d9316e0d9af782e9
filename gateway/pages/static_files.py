"""Static files of pages: our own ones, and those that an installed package carries (it is not imported for them)."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from starlette.responses import Response

from chassis.errors import not_found

_OWN = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
}
_DAY = {"cache-control": "public, max-age=86400"}
# Ours change while a developer works on them.
_REVALIDATED = {"cache-control": "no-cache"}


def static_file(name: str, *, own: Collection[str], package: str, folder: str, carried: Collection[str]) -> Response:
    """One of the files that are listed: `own` ones stand beside this module, `carried` ones in a folder of the package.

    Raises NOT_FOUND.
    """
    if name in own:
        return Response(_read(_OWN / name), 200, _REVALIDATED, _TYPES[PurePosixPath(name).suffix])
    if name in carried:
        return Response(_read(_folder(package) / folder / name), 200, _DAY, _TYPES[PurePosixPath(name).suffix])
    raise not_found("asset", name)


def policy(styles: str, *, forms: str = "'none'") -> str:
    """The Content-Security-Policy of a page: scripts and calls of our own only.

    `styles` is the directive of style sheets, with those of fonts and pictures; `forms` is where a form may be sent.
    """
    return (
        f"default-src 'none'; script-src 'self'; {styles}; connect-src 'self'; "
        f"frame-ancestors 'none'; base-uri 'none'; form-action {forms}"
    )


def own_page(name: str, policy: str, *, vary: str = "", **values: str) -> Response:
    """One of our pages with its Content-Security-Policy; `{name}` in it becomes a value.

    `vary` names the request's header by which the address answers with the page or with something else.
    """
    text = _read(_OWN / name).decode()
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    headers = {"content-security-policy": policy, "cache-control": "no-cache"}
    if vary:
        headers["vary"] = vary
    return Response(text, 200, headers, "text/html")


@cache
def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{package} is not installed: run make setup")
    return Path(spec.submodule_search_locations[0])


@cache
def _read(path: Path) -> bytes:
    return path.read_bytes()
