"""Errors of OAuth (RFC 6749, sections 4.1.2.1 and 5.2; RFC 7591, section 3.2.2), with those of `users` among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response

from chassis.errors import ShopError
from gateway.http.serializers import json_response


class OAuthError(Exception):
    """A refusal in OAuth's words: `error` is one of the registered codes, `description` is for developers."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description


async def oauth_refusal(_: Request, refused: OAuthError) -> Response:
    """The answer of the token and the registration endpoint: the application's handler."""
    return json_response({"error": refused.error, "error_description": refused.description}, 400)


@contextmanager
def in_oauths_words(**errors: str) -> Iterator[None]:
    """Errors of `users` with these codes (UNKNOWN_CLIENT="invalid_client") become OAuth's; others pass."""
    try:
        yield
    except ShopError as error:
        if error.code not in errors:
            raise
        fields = "".join(f"; {name}: {reason}" for name, reason in error.fields.items())
        raise OAuthError(errors[error.code], f"{error.message}{fields}") from error
