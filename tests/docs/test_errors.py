"""The catalogue of error codes: none is missing, none is left over, and each has the status that the tables give it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from chassis.errors import HTTP_STATUSES, Kind
from chassis.webpages.error_codes import error_codes
from tests.gateway.conftest import StartShop, exported, spans, start_shop  # noqa: F401  # fixtures
from tools.docs import error_codes as tool

ROOT = Path(__file__).parents[2]
PACKAGES = ("chassis", "gateway", "graphql_server", "services", "webhooks", "console", "partners")
CODE = re.compile(r"[A-Z]{2,}(_[A-Z0-9]+)+|INTERNAL|FORBIDDEN|OVERLOADED|UNAUTHENTICATED")
# What looks like a code and is none: names of other people's, those of a WSGI request (PEP 3333) among them.
WSGI = {
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "HTTP_SOAPACTION",
    "HTTP_TRACEPARENT",
    "PATH_INFO",
    "QUERY_STRING",
    "REQUEST_METHOD",
    "SERVER_PROTOCOL",
}
# gRPC's statuses that are no codes of ours.
GRPC = {"ALREADY_EXISTS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"}
OTHERS = {"CONTENT_TYPE_LATEST", "TCP_USER_TIMEOUT", *WSGI, *GRPC}
CODES = {each.code: each for each in error_codes().values()}


@cache
def found() -> tuple[frozenset[str], tuple[tuple[str, Kind], ...]]:
    """Every text in the code that has the form of a code, and the codes that are raised with a kind beside them."""
    texts, kinds = set(), []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        if "migrations" in path.parts or path.stem.endswith(("_pb2", "_pb2_grpc")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                texts.add(node.value)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ShopError" and len(node.args) >= 3:
                code, kind = node.args[0], node.args[2]
                if isinstance(code, ast.Constant) and isinstance(kind, ast.Attribute):
                    kinds.append((str(code.value), Kind[kind.attr]))
    return frozenset(text for text in texts - OTHERS if not text.startswith("SHOP_")), tuple(kinds)


def test_no_code_is_missing_and_none_is_left_over() -> None:
    """The catalogue has exactly the codes of the code."""
    written, _ = found()
    assert CODES.keys() == written


def test_each_has_the_status_of_the_tables() -> None:
    """A code's status is that of its kind, unless it has its own."""
    _, kinds = found()
    raised = dict(kinds)
    assert len(raised) > 40
    for code, kind in raised.items():
        status = CODES[code].status
        if status.isdigit() and code != "UPSTREAM_RESOURCE_EXHAUSTED":
            assert status == str(HTTP_STATUSES.get(code, kind.http_status)), code


def test_graphql_codes_have_two_statuses() -> None:
    """A code of a refused query has the status of each media type: 400, or 200 in plain JSON."""
    limits = {code for code in found()[0] if code.startswith(("GRAPHQL_", "QUERY_", "PERSISTED_")) and code in CODES}
    assert len(limits) >= 7
    assert {code for code in limits if CODES[code].status != "400 or 200"} == set()


def test_each_is_explained() -> None:
    """Each has a cause and a cure in whole sentences, in the order of the alphabet."""
    assert list(CODES) == sorted(CODES)
    for each in CODES.values():
        assert each.cause.endswith("."), each.code
        assert each.cure.endswith((".", "?")), each.code
        assert len(each.cause) > 15


def test_the_document_is_up_to_date() -> None:
    """`docs/errors.md` is what the catalogue says."""
    assert tool.main([]) == 0


async def test_a_problem_leads_to_its_page(start_shop: StartShop) -> None:  # noqa: F811
    """The last part of a problem's `type` is the address of its page in development; in production there is none."""
    async with start_shop() as shop:
        problem = (await shop.client.get("/v1/products/4711")).json()
        page = await shop.client.get(f"/problems/{problem['type'].rpartition('/')[2]}")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert problem["code"] in page.text
        assert CODES[problem["code"]].cure.split(",")[0] in page.text
        assert "OUT_OF_STOCK" in (await shop.client.get("/problems")).text
        assert (await shop.client.get("/problems/nothing")).status_code == 404
    async with start_shop(env="production", demo_data=False, capture=False) as shop:
        assert (await shop.client.get("/problems/not-found")).status_code == 404
