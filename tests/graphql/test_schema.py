"""The schema that clients rely on."""

from __future__ import annotations

from pathlib import Path

from graphql import build_schema, find_breaking_changes

from graphql_server.schema import graphql_schema

COMMITTED = Path(__file__).parents[2] / "docs" / "schema.graphql"


def test_schema_is_the_committed_one() -> None:
    """A change of the graph shows what it breaks, and has to be in docs/schema.graphql."""
    schema = graphql_schema().as_str()
    breaking = find_breaking_changes(build_schema(COMMITTED.read_text()), build_schema(schema))
    assert [change.description for change in breaking] == [], "this breaks clients"
    assert COMMITTED.read_text() == schema + "\n", "refresh it: python -m graphql_server.schema > docs/schema.graphql"
