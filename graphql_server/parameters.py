"""A request's parameters, over HTTP or over a WebSocket, as one that can be executed."""

from __future__ import annotations

from typing import Any

from graphql_server.engine import GraphqlRequest

_DIGESTED_BY = "sha256:"


class InvalidParameters(Exception):
    """These are no GraphQL request; `code` says it to machines."""

    def __init__(self, message: str, *, code: str = "INVALID_INPUT") -> None:
        super().__init__(message)
        self.code = code


def request_of(parameters: Any) -> GraphqlRequest:
    """The request that well-formed JSON makes. Raises `InvalidParameters`."""
    if isinstance(parameters, list):
        raise InvalidParameters("one operation per request", code="BATCH_NOT_ALLOWED")
    if not isinstance(parameters, dict):
        raise InvalidParameters("the body must be a JSON object")
    for name, kind, what in (
        ("query", str, "a string"),
        ("variables", dict, "an object"),
        ("extensions", dict, "an object"),
        ("operationName", str, "a string"),
        ("documentId", str, "a string"),
    ):
        if not isinstance(parameters.get(name), kind | None):
            raise InvalidParameters(f"{name}: must be {what}")
    query, document_id = parameters.get("query") or None, _document_id(parameters)
    if query is None and document_id is None:
        raise InvalidParameters("query: must be a string")
    return GraphqlRequest(
        query, parameters.get("variables") or {}, parameters.get("operationName") or None, document_id
    )


def _document_id(parameters: dict[str, Any]) -> str | None:
    """The document's SHA-256: `documentId` (GraphQL over HTTP, appendix A) or as persisted queries have it."""
    if given := parameters.get("documentId"):
        return str(given).removeprefix(_DIGESTED_BY)
    persisted = (parameters.get("extensions") or {}).get("persistedQuery")
    if persisted is None:
        return None
    digest = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    if not isinstance(digest, str):
        raise InvalidParameters("extensions.persistedQuery.sha256Hash: must be a string")
    return digest
