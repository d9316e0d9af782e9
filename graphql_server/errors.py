"""The one table of this edge: every error gets `extensions.code` and `extensions.trace_id`, and tells no secrets."""

from __future__ import annotations

import logging
from typing import Any

from graphql import GraphQLError, GraphQLSyntaxError

from chassis.errors import Kind, ShopError
from chassis.telemetry import current_trace_id

log = logging.getLogger(__name__)

PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
BAD_INPUT = "INVALID_INPUT"
_MASKED = "internal error"


class RequestError(Exception):
    """The request was refused before anything was executed; `errors` as the response shows them."""

    def __init__(self, *errors: dict[str, Any]) -> None:
        super().__init__(errors)
        self.errors = list(errors)


def refused(error: GraphQLError, *, code: str = BAD_INPUT) -> RequestError:
    return RequestError(rendered(error, code=code))


def refusal(code: str, message: str) -> RequestError:
    """As `refused`, where there is no place in a query that is at fault."""
    return refused(GraphQLError(message, extensions={"code": code}))


def rendered(error: GraphQLError, *, code: str = BAD_INPUT) -> dict[str, Any]:
    """An error as the response shows it. `code` is for one that is the query's own fault and has none yet."""
    message, extensions = _told(error, code)
    shown: dict[str, Any] = {"message": message}
    if error.locations:
        shown["locations"] = [{"line": location.line, "column": location.column} for location in error.locations]
    if error.path:
        shown["path"] = error.path
    shown["extensions"] = {**extensions, "trace_id": current_trace_id()}
    return shown


def rendered_error(error: ShopError) -> dict[str, Any]:
    """As `rendered`, where it was not a field that has failed."""
    return rendered(GraphQLError(error.message, original_error=error))


def _told(error: GraphQLError, code: str) -> tuple[str, dict[str, Any]]:
    cause = error.original_error
    if isinstance(cause, ShopError) and cause.kind is not Kind.INTERNAL:
        extensions: dict[str, Any] = {"code": cause.code}
        if cause.fields:
            extensions["errors"] = [{"field": field, "detail": why} for field, why in cause.fields.items()]
        if cause.retry_after is not None:
            extensions["retry_after"] = cause.retry_after
        return cause.message, extensions
    if cause is not None and not _is_the_querys_fault(error, cause):
        log.error("unexpected error at %s", error.path, exc_info=cause)
        return _MASKED, {"code": "INTERNAL"}
    if isinstance(error, GraphQLSyntaxError):
        code = PARSE_FAILED
    return error.message, {"code": code, **(error.extensions or {})}


def _is_the_querys_fault(error: GraphQLError, cause: Exception) -> bool:
    """Whether graphql-core complains about the query: about an argument, which it points at, or a variable.

    About a value of ours it complains too; that has a path and points at nothing.
    """
    return isinstance(cause, GraphQLError) and (bool(cause.nodes) or not error.path)
