"""The pages that this gateway shows: the start page always, the explorers in development."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from chassis.webpages.start_page import StartPage


@dataclass(frozen=True, slots=True)
class Pages:
    """`explorers`: whether GraphiQL and the like are shown; `console_port`: where they lead for an X-ray."""

    start: StartPage
    explorers: bool
    console_port: int


def pages(request: Request) -> Pages:
    """The pages of a request's application."""
    found: Pages = request.app.state.pages
    return found
