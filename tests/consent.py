"""A user at the page on which an agent's program asks for consent, without a browser."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import httpx


class Form(HTMLParser):
    """The page's form: its hidden fields and its target; `tags` are all that the page has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.action = ""
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        if tag == "form":
            self.action = found["action"] or ""
        if tag == "input" and found["type"] == "hidden":
            self.fields[found["name"] or ""] = found["value"] or ""


def answered(response: httpx.Response) -> dict[str, str]:
    """What the client is told at its redirect URI."""
    assert response.status_code == 303, response.text
    return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}


async def allow(http: httpx.AsyncClient, url: str, email: str, password: str) -> dict[str, str]:
    """Open the page, sign in and allow; what the client is told then."""
    page = await http.get(url)
    assert page.status_code == 200, page.text
    form = Form(page.text)
    typed = {**form.fields, "email": email, "password": password, "answer": "allow"}
    origin = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
    return answered(await http.post(form.action, data=typed, headers={"origin": origin}))
