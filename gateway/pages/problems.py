"""`/problems/{code}`: what an error means and what to do about it, where the `type` of a problem leads in development.

The `type` is an identifier (RFC 9457, section 3.1.1): its last part is the last part of the address here.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from chassis.errors import not_found
from chassis.webpages import html
from chassis.webpages.error_codes import code_page, codes_page, error_codes
from gateway.middleware.auth import PUBLIC
from gateway.pages.explorers import pages

router = APIRouter(dependencies=[PUBLIC], include_in_schema=False)


@router.get("/problems")
async def all_problems(request: Request) -> Response:
    if not pages(request).explorers:
        raise not_found("page", "problems")
    return Response(codes_page(), headers=html.HEADERS, media_type=html.MEDIA_TYPE)


@router.get("/problems/{slug}")
async def one_problem(request: Request, slug: str) -> Response:
    found = error_codes().get(slug)
    if found is None or not pages(request).explorers:
        raise not_found("problem", slug)
    return Response(code_page(found), headers=html.HEADERS, media_type=html.MEDIA_TYPE)
