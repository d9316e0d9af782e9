"""Document cache: each query text is parsed, validated and measured once.

Where trusted documents are configured, no other document is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from graphql import DocumentNode, GraphQLError, GraphQLSchema, build_schema, get_operation_ast, parse, validate
from strawberry.extensions import ValidationCache
from strawberry.http import GraphQLRequestData

from graphql_server.errors import BAD_INPUT, VALIDATION_FAILED, RequestRefused
from graphql_server.limits import Limits, Measure, Prices, Scale, measure_shapes

_MAX_DOCUMENTS = 128
# Characters. Strawberry's caches keep 128 documents each, so this and the limit of tokens bound their memory.
MAX_DOCUMENT_LENGTH = 16 << 10
_DIGEST_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Cached properties of a document, for any variables: its errors, and the measures of its operations by name."""

    errors: list[GraphQLError]
    measures: dict[str | None, Measure] = field(default_factory=dict)


# By the document's text.
Verdicts = dict[str, Verdict]


class DocumentChecks(ValidationCache):
    """Strawberry's cached validation, with the limits before and after it; the verdict on a text is kept."""

    def __init__(self, limits: Limits, prices: Prices, verdicts: Verdicts) -> None:
        """`verdicts` are kept from one operation to the next."""
        super().__init__()
        self._limits = limits
        self._prices = prices
        self._verdicts = verdicts

    def on_operation(self) -> Iterator[None]:
        self.execution_context.parse_options["max_tokens"] = self._limits.tokens
        yield

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        document = context.graphql_document
        if document is not None:
            verdict = self._verdict(context.query or "", document)
            try:
                if not verdict.errors:
                    self._limits.check(self._measure(document, verdict))
                context.pre_execution_errors = verdict.errors
            except GraphQLError as error:
                context.pre_execution_errors = [error]
        yield

    def _verdict(self, text: str, document: DocumentNode) -> Verdict:
        known = self._verdicts.get(text)
        if known is None:
            if len(self._verdicts) >= _MAX_DOCUMENTS:
                self._verdicts.clear()
            known = self._verdicts[text] = Verdict(self._errors(document))
        return known

    def _errors(self, document: DocumentNode) -> list[GraphQLError]:
        context = self.execution_context
        try:
            self._limits.check_document(document)
            rules = context.validation_rules
            errors: list[GraphQLError] = self.cached_validate_document(context.schema._schema, document, rules)  # noqa: SLF001
            for error in errors:
                error.extensions = {"code": VALIDATION_FAILED}
            if not errors:
                for measured in measure_shapes(document, self._prices):
                    self._limits.check_shape(measured)
        except GraphQLError as error:
            return [error]
        return errors

    def _measure(self, document: DocumentNode, verdict: Verdict) -> Measure:
        # The name that came with the request. Where none did, the context's `operation_name` is the first operation's;
        # but the client must name one of several (GraphQL, 6.1).
        name = self.execution_context._provided_operation_name  # noqa: SLF001
        known = verdict.measures.get(name)
        if known is not None:
            return known
        operation = get_operation_ast(document, name)
        if operation is None:
            message = "the document has several operations: name one of them in operationName"
            raise GraphQLError(message, extensions={"code": BAD_INPUT})
        known = Scale(document, self._prices, self.execution_context.variables or {}).measure(operation.selection_set)
        if not operation.variable_definitions:
            verdict.measures[name] = known
        return known


class Documents:
    """The document of a request."""

    def __init__(self, trusted: Mapping[str, str] | None = None) -> None:
        """`trusted`: SHA-256 in hexadecimal digits -> the only documents to execute; None executes any."""
        self._trusted = trusted

    def requested(self, parameters: Any) -> GraphQLRequestData:
        """The request that the JSON of a body, or of a `subscribe` message's payload, makes.

        Raises `RequestRefused`: with a status for what is not a GraphQL request, without one for a document that is not
        executed.
        """
        check_parameters(parameters)
        return GraphQLRequestData(
            query=self._found(parameters.get("query") or None, _document_id(parameters)),
            variables=parameters.get("variables") or None,
            operation_name=parameters.get("operationName") or None,
            extensions=None,
        )

    def _found(self, text: str | None, document_id: str | None) -> str:
        if self._trusted is not None:
            known = self._trusted.get(document_id or "")
            if known is None:
                message = "only trusted documents are executed: send the SHA-256 of one as documentId"
                raise RequestRefused("PERSISTED_QUERY_REQUIRED", message)
            return known
        if text is None:
            # At these words clients of automatic persisted queries send the text.
            raise RequestRefused("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")
        if len(text) > MAX_DOCUMENT_LENGTH:
            raise RequestRefused("QUERY_TOO_LONG", f"query must have at most {MAX_DOCUMENT_LENGTH} characters")
        return text


def trusted_documents(path: Path | None, schema: str) -> dict[str, str] | None:
    """The documents in a JSON file {SHA-256 in hexadecimal digits: document}; None without a file.

    `schema` is in GraphQL's own language. Raises `ValueError` for a file of another form, and for a document that has
    another hash or is not valid.
    """
    if path is None:
        return None
    documents = orjson.loads(path.read_bytes())
    if not isinstance(documents, dict) or not all(isinstance(text, str) for text in documents.values()):
        raise ValueError(f"{path}: must be a JSON object of documents by their SHA-256")
    built = build_schema(schema)
    for digest, text in documents.items():
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise ValueError(f"{path}: {digest} is not the SHA-256 of its document")
        if errors := _errors(built, text):
            raise ValueError(f"{path}: the trusted document {digest} is not valid: {errors[0].message}")
    return documents


def _errors(schema: GraphQLSchema, text: str) -> Sequence[GraphQLError]:
    try:
        return validate(schema, parse(text))
    except GraphQLError as error:
        return [error]


def check_parameters(parameters: Any) -> None:
    """Raise `RequestRefused` with a status for what is not a GraphQL request."""
    if isinstance(parameters, list):
        raise RequestRefused("BATCH_NOT_ALLOWED", "send one operation per request", status=400)
    if not isinstance(parameters, dict):
        raise _malformed("the parameters must be a JSON object")
    for name, kind, what in (
        ("query", str, "a string"),
        ("variables", dict, "an object"),
        ("extensions", dict, "an object"),
        ("operationName", str, "a string"),
        ("documentId", str, "a string"),
    ):
        if not isinstance(parameters.get(name), kind | None):
            raise _malformed(f"{name}: must be {what}")
    if not parameters.get("query") and _document_id(parameters) is None:
        raise _malformed("query: must be a string")


def _document_id(parameters: dict[str, Any]) -> str | None:
    """The document's SHA-256: `documentId` (GraphQL over HTTP, appendix A) or as persisted queries have it."""
    if given := parameters.get("documentId"):
        return str(given).removeprefix(_DIGEST_PREFIX)
    persisted = (parameters.get("extensions") or {}).get("persistedQuery")
    if persisted is None:
        return None
    digest = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    if not isinstance(digest, str):
        raise _malformed("extensions.persistedQuery.sha256Hash: must be a string")
    return digest


def _malformed(message: str) -> RequestRefused:
    return RequestRefused("INVALID_INPUT", message, status=400)
