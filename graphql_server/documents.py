"""The documents that clients send: parsed and validated once per text. Trusted ones, where only those are to run."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    parse,
    specified_rules,
    validate,
)

from graphql_server.errors import VALIDATION_FAILED, RequestError, refusal, refused, rendered
from graphql_server.limits import Limits, Measure
from graphql_server.rows import Plans

_REMEMBERED = 500
_LONGEST_REMEMBERED = 8 << 10


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document, and what has been found out about it: nothing that depends on variables.

    `plans` are None where a directive may show or leave out a field according to a variable.
    """

    node: DocumentNode
    plans: Plans | None
    measures: dict[str | None, Measure] = field(default_factory=dict)


class Documents:
    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits,
        *,
        introspection: bool,
        trusted: Mapping[str, str] | None = None,
    ) -> None:
        """Without `introspection` nothing is suggested either. `trusted`: SHA-256 -> the only documents to run.

        Raises `ValueError` for a trusted document that is not valid.
        """
        self._schema = schema
        self._limits = limits
        self._rules = specified_rules if introspection else (*specified_rules, NoSchemaIntrospectionCustomRule)
        self.suggests = introspection
        self._checked: OrderedDict[str, Document] = OrderedDict()
        self._trusted = None if trusted is None else {name: self._trust(name, text) for name, text in trusted.items()}

    def find(self, text: str | None, document_id: str | None) -> Document:
        """The document that a request means. Raises `RequestError`; where only trusted ones run, before parsing it."""
        if self._trusted is not None:
            known = self._trusted.get(document_id or "")
            if known is None:
                message = "only documents that this server knows are executed: send the SHA-256 of one"
                raise refusal("PERSISTED_QUERY_REQUIRED", message)
            return known
        if text is None:
            # In the words by which clients of automatic persisted queries know that the text has to be sent.
            raise refusal("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")
        return self._of_text(text)

    def _of_text(self, text: str) -> Document:
        document = self._checked.get(text)
        if document is not None:
            self._checked.move_to_end(text)
            return document
        document = self._check(text)
        if len(text) <= _LONGEST_REMEMBERED:
            self._checked[text] = document
            if len(self._checked) > _REMEMBERED:
                self._checked.popitem(last=False)
        return document

    def _check(self, text: str) -> Document:
        try:
            node = parse(text, max_tokens=self._limits.tokens)
            errors = validate(self._schema, node, self._rules, max_errors=20, hide_suggestions=not self.suggests)
        except GraphQLError as error:
            raise refused(error) from error
        except RecursionError as error:
            raise refusal(
                "QUERY_TOO_DEEP", f"the query is nested too deeply; the limit is {self._limits.depth}"
            ) from error
        if errors:
            raise RequestError(*[rendered(error, code=VALIDATION_FAILED) for error in errors])
        return Document(node, None if "@" in text else {})

    def _trust(self, name: str, text: str) -> Document:
        try:
            return self._check(text)
        except RequestError as error:
            raise ValueError(f"the trusted document {name} is not valid: {error.errors[0]['message']}") from error


def trusted_documents(path: Path | None) -> dict[str, str] | None:
    """The documents in a JSON file {SHA-256 in hexadecimal digits: document}; None without a file.

    Raises `ValueError` for what is not such a file, and for a document that has another hash.
    """
    if path is None:
        return None
    documents = orjson.loads(path.read_bytes())
    if not isinstance(documents, dict) or not all(isinstance(text, str) for text in documents.values()):
        raise ValueError(f"{path}: an object with documents by their SHA-256 is expected")
    for name, text in documents.items():
        if hashlib.sha256(text.encode()).hexdigest() != name:
            raise ValueError(f"{path}: {name} is not the SHA-256 of its document")
    return documents
