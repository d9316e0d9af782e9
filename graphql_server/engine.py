"""From a query's text to its result: parsed and validated once per text, measured, then executed.

Strawberry's own pipeline builds its extensions anew for each request and walks fragments without remembering them; this
one is the four calls of graphql-core that are needed, with the limits between them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    create_source_event_stream,
    get_operation_ast,
)

from graphql_server.documents import Document, Documents
from graphql_server.errors import RequestError, refused, rendered
from graphql_server.limits import Limits, Measure, Prices, measure
from graphql_server.rows import RowExecutor


@dataclass(frozen=True, slots=True)
class GraphqlRequest:
    """`query` or `document_id`, the SHA-256 of one that the server knows, in hexadecimal digits; or both."""

    query: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    operation_name: str | None = None
    document_id: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that may be executed, with the variables it came with."""

    document: Document
    node: OperationDefinitionNode
    request: GraphqlRequest


class Engine:
    def __init__(self, schema: GraphQLSchema, documents: Documents, limits: Limits, prices: Prices) -> None:
        self._schema = schema
        self._documents = documents
        self._limits = limits
        self._prices = prices

    def operation(self, request: GraphqlRequest) -> Operation:
        """The operation that is to be executed. Raises `RequestError` where the query is not acceptable."""
        document = self._documents.find(request.query, request.document_id)
        node = get_operation_ast(document.node, request.operation_name)
        if node is None:
            named = f"no operation is called {request.operation_name!r}" if request.operation_name else "say which"
            raise refused(GraphQLError(f"the document has several operations or none of that name: {named}"))
        try:
            self._limits.check(self._measured(document, node, request))
        except GraphQLError as error:
            raise refused(error) from error
        return Operation(document, node, request)

    async def execute(self, operation: Operation, context: object) -> dict[str, Any]:
        """Execute a query or mutation. Raises `RequestError` where its variables do not fit."""
        return await _response(self._executor(operation, context))

    def subscribe(
        self, operation: Operation, context: object, occasion: Callable[[], AbstractContextManager[object]]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Execute a subscription: a response for each event, in an `occasion` of its own that makes its context.

        Raises `RequestError` where its variables do not fit; the generator raises what the source of events raises.
        """
        return self._responses(self._executor(operation, context), occasion)

    async def _responses(
        self, executor: RowExecutor, occasion: Callable[[], AbstractContextManager[object]]
    ) -> AsyncGenerator[dict[str, Any], None]:
        source = create_source_event_stream(executor)
        stream = await source if isinstance(source, Awaitable) else source
        if isinstance(stream, ExecutionResult):
            raise RequestError(*[rendered(error) for error in stream.errors or ()])
        async with aclosing(stream) as events:  # type: ignore[type-var]  # a generator, as every resolver of ours is
            async for event in events:
                with occasion() as fresh:
                    this_time = executor.build_per_event_executor(event)
                    this_time.context_value = fresh
                    response = await _response(this_time)
                yield response

    def _executor(self, operation: Operation, context: object) -> RowExecutor:
        executor: Any = RowExecutor.build(
            self._schema,
            operation.document.node,
            context_value=context,
            raw_variable_values=dict(operation.request.variables),
            operation_name=operation.request.operation_name,
            hide_suggestions=not self._documents.suggests,
        )
        if isinstance(executor, list):
            # GraphQL, section 7.1: raised before the execution began.
            raise RequestError(*[rendered(error) for error in executor])
        found: RowExecutor = executor
        found.plans = operation.document.plans
        return found

    def _measured(self, document: Document, node: OperationDefinitionNode, request: GraphqlRequest) -> Measure:
        """Measured once, unless variables may decide how much it is."""
        known = document.measures.get(request.operation_name)
        if known is None:
            known = measure(document.node, node, request.variables, self._prices)
            if not node.variable_definitions:
                document.measures[request.operation_name] = known
        return known


async def _response(executor: Executor[Any]) -> dict[str, Any]:
    # Not a stream of several responses: the schema has no @defer.
    result: Any = executor.execute_operation()
    try:
        if not isinstance(result, ExecutionResult):
            result = await result
    finally:
        # The executor is one of a cycle, and all rows of the answer would wait with it for the garbage collector.
        executor.context_value = None
    response: dict[str, Any] = {}
    if result.errors:
        response["errors"] = [rendered(error) for error in result.errors]
    response["data"] = result.data
    return response
