"""Guards of what the page can do in development only."""

from __future__ import annotations

from typing import TypeVar

from starlette.requests import Request

from chassis.errors import Kind, ShopError, invalid

Part = TypeVar("Part")


def allowed(part: Part | None, refusal: str) -> Part:
    """A part of the console that exists in development only. Raises FORBIDDEN where it is None."""
    if part is None:
        raise ShopError("FORBIDDEN", refusal, Kind.FORBIDDEN)
    return part


def check_json(request: Request, refusal: str = "send application/json") -> None:
    """Raises INVALID_INPUT for a body that is not declared as JSON.

    A page of another origin cannot send this type without a preflight (CORS).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise invalid(refusal)
