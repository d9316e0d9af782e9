"""The mails over HTTP, for people, `shop audit` and tests."""

from __future__ import annotations

import dataclasses

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis.errors import not_found
from chassis.problems import problem
from partners.smtp_sink.mailbox import Mailbox


def application(mailbox: Mailbox) -> Starlette:
    """`GET /mails[?order_id=]` (JSON, newest first), `GET /mails/{message_id}` (as received), `/healthz`."""

    async def mails(request: Request) -> Response:
        found = mailbox.newest_first(order_id=request.query_params.get("order_id", ""))
        body = orjson.dumps([dataclasses.asdict(mail) for mail in found], option=orjson.OPT_UTC_Z)
        return Response(body, media_type="application/json")

    async def mail(request: Request) -> Response:
        message_id: str = request.path_params["message_id"]
        content = await mailbox.content(message_id)
        if content is None:
            status, headers, body = problem(not_found("mail", message_id))
            return Response(body, status, headers)
        # Plain text: a browser must show a mail, never run what a sender has put into it.
        headers = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
        return Response(content, headers=headers)

    async def healthz(_: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    return Starlette(
        routes=[
            Route("/mails", mails),
            Route("/mails/{message_id}", mail),
            Route("/healthz", healthz),
        ]
    )
