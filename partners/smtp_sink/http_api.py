"""The mails over HTTP, for people, `shop audit` and tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis.errors import not_found
from chassis.http.app import http_app, start_route
from chassis.webpages import html
from chassis.webpages.start_page import Link, StartPage
from partners.smtp_sink.mailbox import Mailbox, Received

ABOUT = "The mails that the shop has sent. Nothing leaves this machine."
LINKS = (
    Link("/mails", "The mails", "newest first; ?order_id= for those of one order"),
    Link("/mailbox", "/mailbox", "how many are kept, and how many were deleted"),
    Link("/healthz", "/healthz", "whether the process is alive"),
)


def application(mailbox: Mailbox, start: StartPage) -> Starlette:
    """The mails as a web application.

    `GET /mails[?order_id=]` (newest first: a page for browsers, JSON for others), `GET /mails/{message_id}` (as
    received), `GET /mailbox` (how many are kept, how many were deleted and up to when), `/healthz`, a start page.
    """

    async def mails(request: Request) -> Response:
        found = await mailbox.newest_first(order_id=request.query_params.get("order_id"))
        if html.accepts_html(request.headers.get("accept", "")):
            return Response(mails_page(found), headers=html.HEADERS, media_type=html.MEDIA_TYPE)
        body = orjson.dumps([dataclasses.asdict(mail) for mail in found], option=orjson.OPT_UTC_Z)
        return Response(body, media_type="application/json", headers={"vary": "Accept"})

    async def mail(request: Request) -> Response:
        message_id: str = request.path_params["message_id"]
        content = await mailbox.content(message_id)
        if content is None:
            raise not_found("mail", message_id)
        # Plain text: a browser must show a mail, never run what a sender has put into it.
        headers = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
        return Response(content, headers=headers)

    async def mailbox_extent(_: Request) -> Response:
        body = orjson.dumps(dataclasses.asdict(mailbox.extent()), option=orjson.OPT_UTC_Z)
        return Response(body, media_type="application/json")

    async def healthz(_: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    return http_app(
        [
            Route("/", start_route(start)),
            Route("/mails", mails),
            Route("/mails/{message_id:path}", mail),
            Route("/mailbox", mailbox_extent),
            Route("/healthz", healthz),
        ]
    )


def mails_page(mails: Sequence[Received]) -> bytes:
    """The mails as a table, each with a link to it as it was received."""
    rows = [
        (
            escape(f"{mail.received_at:%Y-%m-%d %H:%M:%S}"),
            escape(", ".join(mail.recipients)),
            html.link(f"/mails/{quote(mail.message_id, safe='')}", mail.subject or "(no subject)"),
            html.link(f"/mails?order_id={quote(mail.order_id, safe='')}", mail.order_id) if mail.order_id else "",
        )
        for mail in mails
    ]
    body = html.table(("Received (UTC)", "To", "Mail", "Order"), rows) if rows else html.text("No mail yet.", "soft")
    return html.page("Mails · Polyglot Shop", html.text("Newest first. Reload to see new ones."), body)
