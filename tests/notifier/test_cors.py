"""Pages of other origins read the event stream (CORS), and what is refused as well."""

from __future__ import annotations

import httpx
import pytest

from tests.notifier.conftest import Stage, token

PAGE = "http://localhost:5173"


def asks_first(method: str = "GET", headers: str = "authorization,last-event-id") -> dict[str, str]:
    return {"Origin": PAGE, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}


@pytest.mark.parametrize("path", ["/notifications/stream", "/notifications"])
async def test_preflight_is_answered(stage: Stage, path: str) -> None:
    """A page that will send a token in a header sends a preflight, without one, and is admitted."""
    async with (
        stage.notifier() as copy,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{copy.port}", timeout=60) as http,
    ):
        response = await http.options(path, headers=asks_first())
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["access-control-allow-methods"] == "GET"
    allowed = {name.strip().lower() for name in response.headers["access-control-allow-headers"].split(",")}
    assert {"authorization", "last-event-id"} <= allowed
    assert response.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("path", "authorization", "status"),
    [
        ("/notifications/stream?topics=order.*", "", 401),
        ("/notifications/stream?topics=order.*", "Bearer nonsense", 401),
        ("/notifications/stream?topics=order%20paid", "good", 422),
        ("/nothing", "good", 404),
        ("/readyz", "good", 200),
    ],
)
async def test_page_can_read_what_is_refused(stage: Stage, path: str, authorization: str, status: int) -> None:
    """Every answer to a page that may connect says so, or the page's script cannot see why it was refused."""
    headers = {"Origin": PAGE, "Authorization": f"Bearer {token()}" if authorization == "good" else authorization}
    async with (
        stage.notifier() as copy,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{copy.port}", timeout=60) as http,
    ):
        response = await http.get(path, headers=headers)
        method_not_allowed = await http.post("/notifications/stream", headers=headers)
    assert response.status_code == status
    for each in (response, method_not_allowed):
        assert each.headers["access-control-allow-origin"] == PAGE
        assert "Retry-After" in each.headers["access-control-expose-headers"]
    assert method_not_allowed.status_code == 405


async def test_the_start_page_varies_by_what_is_accepted_too(stage: Stage) -> None:
    """A cache learns of every field of a request that chooses an answer (RFC 9110, section 12.5.5)."""
    async with (
        stage.notifier() as copy,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{copy.port}", timeout=60) as http,
    ):
        response = await http.get("/", headers={"Accept": "text/html"})
    varies = {name.strip().lower() for name in response.headers["vary"].split(",")}
    assert varies >= {"accept", "origin"}


async def test_full_copy_tells_a_page_when_to_come_back(stage: Stage) -> None:
    """The 503 of a copy that is full can be read by a page, Retry-After included."""
    async with (
        stage.notifier(notifier_max_clients=0) as copy,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{copy.port}", timeout=60) as http,
    ):
        response = await http.get("/notifications/stream", headers={"Origin": PAGE})
    assert response.status_code == 503
    assert response.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_foreign_page_is_told_nothing(stage: Stage, origin: str) -> None:
    """A page that may not connect gets no permission to read anything, in a preflight neither."""
    async with (
        stage.notifier() as copy,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{copy.port}", timeout=60) as http,
    ):
        refused = await http.get("/notifications/stream", headers={"Origin": origin})
        preflight = await http.options("/notifications/stream", headers={**asks_first(), "Origin": origin})
    assert refused.status_code == 403
    for response in (refused, preflight):
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["vary"] == "Origin"
