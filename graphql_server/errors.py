"""Errors in GraphQL responses: each has `extensions.code` and `extensions.trace_id`, and reveals no secrets."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.types.execution import ExecutionResult, PreExecutionError

from chassis.errors import Kind, ShopError
from chassis.observability.tracing import current_trace_id

log = logging.getLogger(__name__)

PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
BAD_INPUT = "INVALID_INPUT"
INTERNAL = "INTERNAL"

Response = dict[str, Any]


class RequestRefused(Exception):
    """A request that is refused before its query is parsed.

    `status` is the HTTP status of a request that is not GraphQL over HTTP at all. It is None for a well-formed request
    that the server refuses: its status depends on the media type (GraphQL over HTTP, 6.4).
    """

    def __init__(self, code: str, message: str, *, status: int | None = None, **headers: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.headers: Mapping[str, str] = headers

    def response(self) -> Response:
        error = {"message": str(self), "extensions": {"code": self.code, "trace_id": current_trace_id()}}
        return {"errors": [error]}


def is_request_error(result: ExecutionResult) -> bool:
    """Whether nothing was executed: the response has errors and no `data` (GraphQL, section 7.1).

    Variables are checked by the executor, so their errors are not a `PreExecutionError`; but an error of a field always
    has a path, and these have none.
    """
    if isinstance(result, PreExecutionError):
        return True
    return result.data is None and not any(error.path for error in result.errors or ())


def response_of(result: ExecutionResult) -> Response:
    """A result as clients see it. Errors that are our own fault are masked, and logged beside the same trace id."""
    response: Response = {}
    if result.errors:
        response["errors"] = [rendered(error) for error in result.errors]
    if not is_request_error(result):
        response["data"] = result.data
    if result.extensions:
        response["extensions"] = result.extensions
    return response


def rendered(error: GraphQLError) -> dict[str, Any]:
    """An error as the response shows it."""
    message, extensions = _message_and_extensions(error)
    shown = {"message": message, "extensions": {**extensions, "trace_id": current_trace_id()}}
    return {**error.formatted, **shown}


def _message_and_extensions(error: GraphQLError) -> tuple[str, dict[str, Any]]:
    cause = error.original_error
    if isinstance(cause, ShopError) and cause.kind is not Kind.INTERNAL:
        extensions: dict[str, Any] = {"code": cause.code}
        if cause.fields:
            extensions["errors"] = [{"field": _camel_case(field), "detail": why} for field, why in cause.fields.items()]
        if cause.retry_after is not None:
            extensions["retry_after"] = cause.retry_after
        return cause.message, extensions
    if cause is not None and not _is_the_querys_fault(error, cause):
        log.error("GraphQL field %s failed unexpectedly", error.path, exc_info=cause)
        return "internal error", {"code": INTERNAL}
    code = PARSE_FAILED if isinstance(error, GraphQLSyntaxError) else BAD_INPUT
    return error.message, {"code": code, **(error.extensions or {})}


def _camel_case(field: str) -> str:
    """A field of the REST API as the schema names it: `items[0].product_id`, or the header `Idempotency-Key`."""
    name = re.sub(r"[_-]([A-Za-z0-9])", lambda found: found[1].upper(), field)
    return name[:1].lower() + name[1:]


def _is_the_querys_fault(error: GraphQLError, cause: Exception) -> bool:
    """Whether graphql-core complains about the query: about an argument, which it points at, or a variable.

    It complains about a value of ours too; that has a path and points at nothing.
    """
    return isinstance(cause, GraphQLError) and (bool(cause.nodes) or not error.path)
