"""The console has no sign-in: it answers only under names that no web page can have."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from console.served_hosts import host_served
from tests.console.test_lessons_view import console

SERVED = [
    "localhost:8003",
    "LOCALHOST",
    "a.localhost:8003",
    "127.0.0.1:8003",
    "192.168.1.20:8003",
    "[::1]:8003",
    "console:8003",
    "shop.example:8003",
    "SHOP.example.",
]
REFUSED = [
    "evil.example:8003",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "shop.example.evil",
    "[::1",
    "1.2.3",
]


@pytest.mark.parametrize("host", SERVED)
def test_addresses_and_local_names_are_served(host: str) -> None:
    """An address, this machine, a name without a dot, and a name from the setting."""
    assert host_served(host, {"shop.example"})


@pytest.mark.parametrize("host", REFUSED)
def test_names_of_web_pages_are_refused(host: str) -> None:
    """A name with a dot may be a page's, whatever it begins with."""
    assert not host_served(host, {"shop.example"})


async def test_no_route_answers_under_a_page_s_own_name(tmp_path: Path) -> None:
    """Neither the page nor what breaks the shop: DNS rebinding leads nowhere."""
    async with (
        console(tmp_path) as url,
        httpx.AsyncClient(base_url=url, headers={"Host": "evil.example"}, timeout=60) as http,
    ):
        for answer in (
            await http.get("/"),
            await http.get("/api/traces"),
            await http.post("/api/break", json={"do": "kill orders"}),
        ):
            assert answer.status_code == 403
            assert answer.json()["code"] == "HOST_NOT_SERVED"
        assert (await http.get("/", headers={"Host": "localhost"})).status_code == 200
