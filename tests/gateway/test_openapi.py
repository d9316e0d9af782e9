from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from tools.committed import refused
from tools.openapi_changes import breaking_changes
from tools.openapi_check import DOCUMENT, current

Json = dict[str, Any]
METHODS = {"get", "post", "put", "patch", "delete", "head"}


@pytest.fixture(scope="module")
def document() -> Json:
    return current()


def operations(document: Json) -> list[tuple[str, Json]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, found in document["paths"].items()
        for method, operation in found.items()
    ]


def test_committed_document_is_current(document: Json) -> None:
    """The committed document is what the code says."""
    assert json.loads(DOCUMENT.read_text()) == document


def test_version(document: Json) -> None:
    """The document is OpenAPI 3.1."""
    assert document["openapi"].startswith("3.1")


def test_every_operation(document: Json) -> None:
    """Every operation has a summary, a name for generated clients, who may call it, and its errors as problems."""
    for where, operation in operations(document):
        assert operation["summary"], where
        assert operation["operationId"].isidentifier(), where
        assert isinstance(operation["security"], list), where
        assert {"429", "503", "504"} <= operation["responses"].keys(), where
        if operation["security"]:
            assert "401" in operation["responses"], where
        if "requestBody" in operation:
            assert {"408", "413", "415", "422"} <= operation["responses"].keys(), where
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                name = response["$ref"].removeprefix("#/components/responses/")
                content = document["components"]["responses"][name]["content"]["application/problem+json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert content["example"]["status"] == int(status)


def test_every_example_is_valid(document: Json) -> None:
    """Every operation shows what it takes and what it answers, by examples that are valid."""

    def check(where: str, content: Json) -> None:
        schema = {**content["schema"], "components": document["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(content["example"])
        assert content["example"] not in ({}, []), where

    for where, operation in operations(document):
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            if media_type != "application/octet-stream":
                check(where, content)
        for response in operation["responses"].values():
            for media_type, content in response.get("content", {}).items():
                if "json" in media_type:
                    check(where, content)
    for name, response in document["components"]["responses"].items():
        check(name, response["content"]["application/problem+json"])


def test_who_may(document: Json) -> None:
    """The document says which operations need a token, and which take one that only some callers need."""
    secured = {where for where, operation in operations(document) if {} not in (operation["security"] or [{}])}
    assert {"POST /v1/orders", "GET /v1/users/me", "PUT /v1/products/{product_id}", "POST /v1/files"} <= secured
    assert not {"GET /v1/products", "POST /v1/auth/token", "POST /v1/users", "GET /v1/files/{file_id}"} & secured
    optional = {where for where, operation in operations(document) if {} in operation["security"]}
    assert optional == {"GET /v1/files/{file_id}", "HEAD /v1/files/{file_id}"}


def test_a_list_of_several_users_orders(document: Json) -> None:
    """The document says that the orders of several users have no cursor, and that strangers are left out."""
    parameters = document["paths"]["/v1/orders"]["get"]["parameters"]
    (about,) = (each["description"] for each in parameters if each["name"] == "user_id")
    assert all(promise in about for promise in ("no `cursor`", "`next_cursor` is null", "left out"))


def headers(operation: Json, status: str) -> set[str]:
    return set(operation["responses"].get(status, {}).get("headers", ()))


def test_headers(document: Json) -> None:
    """The document has the headers on which clients rely: where a new thing is, its version, when to come again."""
    for where, operation in operations(document):
        if "201" in operation["responses"]:
            assert "Location" in headers(operation, "201"), where
        if "304" in operation["responses"]:
            assert all("ETag" in headers(operation, status) for status in ("200", "304")), where
    found = document["paths"]
    assert "Location" in headers(found["/v1/orders"]["post"], "202")
    assert "ETag" in headers(found["/v1/products/{product_id}"]["put"], "200")
    assert {"ETag", "Content-Range", "Repr-Digest"} <= headers(found["/v1/files/{file_id}"]["get"], "206")
    problems = document["components"]["responses"]
    for name in ("RATE_LIMITED", "UPSTREAM_UNAVAILABLE"):
        assert problems[name]["headers"].keys() == {"Retry-After", "RateLimit", "RateLimit-Policy"}
    assert "Content-Range" in problems["RANGE_NOT_SATISFIABLE"]["headers"]


def test_no_loose_end(document: Json) -> None:
    """Whatever the document refers to is in it."""
    for reference in {part.split('"')[0] for part in json.dumps(document).split('"#/')[1:]}:
        place: Any = document
        for step in reference.split("/"):
            place = place[step]


def operation(document: Json, method: str, path: str) -> Any:
    return document["paths"][path][method]


def shape(document: Json, name: str) -> Any:
    return document["components"]["schemas"][name]


BREAKING: list[tuple[str, Callable[[Json], object]]] = [
    ("GET /v1/users/me: is gone", lambda new: new["paths"].pop("/v1/users/me")),
    ("PUT /v1/products/{product_id}: is gone", lambda new: new["paths"]["/v1/products/{product_id}"].pop("put")),
    (
        "POST /v1/orders: never answers 202 now",
        lambda new: operation(new, "post", "/v1/orders")["responses"].pop("202"),
    ),
    ("GET /v1/products/{product_id} 200.price: is gone", lambda new: shape(new, "Product")["properties"].pop("price")),
    (
        "GET /v1/products/{product_id} 200.price: may be missing now",
        lambda new: shape(new, "Product")["required"].remove("price"),
    ),
    (
        "GET /v1/products/{product_id} 200.name: may be null now",
        lambda new: shape(new, "Product")["properties"].update(name={"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ),
    (
        "GET /v1/orders/{order_id} 200.status: may be lost now",
        lambda new: shape(new, "Order")["properties"]["status"]["enum"].append("lost"),
    ),
    (
        "POST /v1/orders body.items[].quantity: maximum is 10 now",
        lambda new: shape(new, "NewItem")["properties"]["quantity"].update(maximum=10),
    ),
    (
        "POST /v1/orders body.items[].quantity: may not be integer now",
        lambda new: shape(new, "NewItem")["properties"]["quantity"].update(type="string"),
    ),
    ("POST /v1/orders body.gift: is required now", lambda new: shape(new, "NewOrder")["required"].append("gift")),
    (
        "POST /v1/users body.email: the pattern is ^a$ now",
        lambda new: shape(new, "Registration")["properties"]["email"].update(pattern="^a$"),
    ),
    (
        "GET /v1/products: the query parameter shelf is required now",
        lambda new: operation(new, "get", "/v1/products")["parameters"].append(
            {"in": "query", "name": "shelf", "required": True, "schema": {"type": "string"}}
        ),
    ),
    (
        "GET /v1/products: the query parameter category is gone",
        lambda new: operation(new, "get", "/v1/products")["parameters"].pop(0),
    ),
    (
        "GET /v1/products: needs a token now",
        lambda new: operation(new, "get", "/v1/products").update(security=[{"password": []}]),
    ),
    (
        "GET /v1/files/{file_id}: needs a token now",
        lambda new: operation(new, "get", "/v1/files/{file_id}").update(security=[{"password": []}]),
    ),
    (
        "POST /v1/orders: takes no application/json now",
        lambda new: operation(new, "post", "/v1/orders")["requestBody"].update(content={}),
    ),
]


@pytest.mark.parametrize(("expected", "change"), BREAKING, ids=[expected for expected, _ in BREAKING])
def test_breaking(document: Json, expected: str, change: Callable[[Json], object]) -> None:
    """A change that takes something from clients, or requires more of them, is found and named."""
    new = copy.deepcopy(document)
    change(new)
    assert expected in breaking_changes(document, new)


def test_harmless(document: Json) -> None:
    """More to read and less to send breaks no client."""
    new = copy.deepcopy(document)
    new["paths"]["/v1/new"] = {"get": {"responses": {}}}
    shape(new, "Product")["properties"]["weight"] = {"type": "number"}
    shape(new, "Product")["required"].append("weight")
    shape(new, "NewOrder")["properties"]["note"] = {"type": "string"}
    shape(new, "NewItem")["properties"]["quantity"]["maximum"] = 5_000
    shape(new, "Order")["properties"]["status"]["enum"].remove("paid")
    operation(new, "get", "/v1/users/me")["security"] = []
    operation(new, "get", "/v1/products")["security"] = [{}, {"password": []}]
    assert breaking_changes(document, new) == []
    assert breaking_changes(document, document) == []


def test_accepted(document: Json) -> None:
    """A change that breaks clients is refused until a reviewer can see that it was accepted."""
    new = copy.deepcopy(document)
    del new["paths"]["/v1/users/me"]
    assert refused(breaking_changes, document, new, "# nothing\n") == ["GET /v1/users/me: is gone"]
    assert refused(breaking_changes, document, new, "# why\nGET /v1/users/me: is gone\n") == []
    assert refused(breaking_changes, None, document, "") == []
