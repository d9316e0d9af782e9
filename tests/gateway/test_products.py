from __future__ import annotations

import pytest

from tests.gateway.fakes import Shop

WHOLE = {"name": "Lamp", "category": "home", "price": "12.50", "currency": "EUR"}


async def test_shape(shop: Shop) -> None:
    """A product has the fields of the surface, money as a decimal string and time as RFC 3339 in UTC."""
    response = await shop.client.get("/v1/products/42")
    assert response.json() == {
        "id": "42",
        "name": "Product 42",
        "description": "",
        "category": "books",
        "price": "49.00",
        "currency": "EUR",
        "image_url": "",
        "updated_at": "2026-01-05T12:00:00.250000Z",
    }


async def test_caching(shop: Shop) -> None:
    """A product is public to caches, and its entity tag comes from its version."""
    response = await shop.client.get("/v1/products/42")
    assert response.headers["etag"] == '"42-3"'
    assert response.headers["cache-control"].startswith("public, max-age=")


@pytest.mark.parametrize("tags", ['"42-3"', 'W/"42-3"', '"x", "42-3"', "*"])
async def test_not_modified(shop: Shop, tags: str) -> None:
    """A client that has the version already gets a 304 with the tag and no body."""
    response = await shop.client.get("/v1/products/42", headers={"if-none-match": tags})
    assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", '"42-3"')


async def test_modified(shop: Shop) -> None:
    """A client with another version gets the product."""
    response = await shop.client.get("/v1/products/42", headers={"if-none-match": '"42-2"'})
    assert response.status_code == 200


async def test_unknown(shop: Shop) -> None:
    """An unknown product is a 404."""
    assert (await shop.client.get("/v1/products/4711")).json()["code"] == "NOT_FOUND"


@pytest.mark.parametrize("product_id", ["a%20b", "x" * 65, "%C3%A4", "%00"])
async def test_impossible_id(shop: Shop, product_id: str) -> None:
    """What cannot be an id is a 422 that names the parameter, on the route that is run without the framework, too."""
    for path in (f"/v1/products/{product_id}", f"/v1/products/{product_id}/availability"):
        response = await shop.client.get(path)
        assert response.status_code == 422, path
        assert [each["field"] for each in response.json()["errors"]] == ["product_id"]
    assert shop.catalog.behaviour.requests == []


async def test_list(shop: Shop) -> None:
    """A list is a page with a cursor, and its parameters reach the catalogue."""
    response = await shop.client.get("/v1/products?category=books&q=soft%20ware&limit=2&cursor=YWJj")
    assert [item["id"] for item in response.json()["items"]] == ["42", "123"]
    assert response.json()["next_cursor"] == "bmV4dA"
    request = shop.catalog.behaviour.requests[-1]
    assert (request.category, request.query, request.page_size, request.cursor) == ("books", "soft ware", 2, "YWJj")


async def test_list_not_modified(shop: Shop) -> None:
    """A list that has not changed is a 304."""
    first = await shop.client.get("/v1/products")
    again = await shop.client.get("/v1/products", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


async def test_several(shop: Shop) -> None:
    """Several products by their ids cost one call, keep the order, and leave out what does not exist."""
    response = await shop.client.get("/v1/products?ids=123,4711,42")
    assert [item["id"] for item in response.json()["items"]] == ["123", "42"]
    assert response.json()["next_cursor"] is None
    assert len(shop.catalog.behaviour.requests) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("ids=", "ids"),
        ("ids=a,,b", "ids"),
        ("ids=" + ",".join(map(str, range(101))), "ids"),
        ("q=%00", "q"),
        ("cursor=!", "cursor"),
    ],
)
async def test_bad_parameters(shop: Shop, query: str, field: str) -> None:
    """A parameter out of bounds is a 422 that names it."""
    response = await shop.client.get(f"/v1/products?{query}")
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_too_many_ids(shop: Shop) -> None:
    """The reason of the field is that of the whole request."""
    answer = (await shop.client.get(f"/v1/products?ids={','.join(map(str, range(101)))}")).json()
    assert answer["detail"] == "request must have at most 100 ids"
    assert answer["errors"] == [{"field": "ids", "detail": "must have at most 100 ids"}]


async def test_availability(shop: Shop) -> None:
    """Availability is read from inventory live."""
    response = await shop.client.get("/v1/products/42/availability")
    assert response.json() == {
        "product_id": "42",
        "available": 17,
        "stale": False,
        "as_of": "2026-01-05T12:00:00.250000Z",
    }
    assert shop.inventory.behaviour.requests[-1].live


async def test_availability_of_nothing(shop: Shop) -> None:
    """The availability of an unknown product is a 404."""
    assert (await shop.client.get("/v1/products/4711/availability")).status_code == 404


async def test_several_availabilities(shop: Shop) -> None:
    """Several products' availability costs one call, keeps the order, and leaves out what does not exist.

    What is in the catalogue and was never stocked is there with none.
    """
    response = await shop.client.get("/v1/availability?product_ids=42,123,4711,42")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    page = response.json()
    assert [(each["product_id"], each["available"]) for each in page["items"]] == [("42", 17), ("123", 0)]
    assert page["next_cursor"] is None
    assert page["items"][0] == (await shop.client.get("/v1/products/42/availability")).json()
    (first, _) = shop.inventory.behaviour.requests
    assert list(first.product_ids) == ["42", "123", "4711"]
    assert first.live
    assert len(shop.catalog.behaviour.requests) == 1


@pytest.mark.parametrize(
    "query", ["", "?product_ids=", "?product_ids=a,,b", "?product_ids=" + ",".join(map(str, range(101)))]
)
async def test_bad_availabilities(shop: Shop, query: str) -> None:
    """A list that is missing, malformed or longer than a hundred is a 422 that names the parameter."""
    response = await shop.client.get(f"/v1/availability{query}")
    assert response.status_code == 422
    assert [each["field"] for each in response.json()["errors"]] == ["product_ids"]
    assert shop.inventory.behaviour.requests == []


async def test_create(shop: Shop) -> None:
    """An admin's new product is a 201 that says where it is."""
    response = await shop.client.post("/v1/products", json=WHOLE, headers=await shop.admin())
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/products/new"
    assert response.headers["etag"] == '"new-1"'


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("PUT", "/42"), ("PATCH", "/42"), ("DELETE", "/42")])
async def test_only_admins_write(shop: Shop, method: str, path: str) -> None:
    """A customer may not write products (403), nor may a caller who is not signed in (401)."""
    for headers, status in ((await shop.signed_in(), 403), ({}, 401)):
        response = await shop.client.request(method, f"/v1/products{path}", json={}, headers=headers)
        assert response.status_code == status
    assert not shop.catalog.behaviour.requests


async def test_replace(shop: Shop) -> None:
    """PUT writes every field, also those that were left out."""
    response = await shop.client.put("/v1/products/42", json=WHOLE, headers=await shop.admin())
    assert (response.status_code, response.json()["name"], response.json()["description"]) == (200, "Lamp", "")
    draft = shop.catalog.behaviour.requests[-1].draft
    assert draft.HasField("description")
    assert draft.HasField("image_url")


async def test_patch(shop: Shop) -> None:
    """PATCH writes only what it names."""
    response = await shop.client.patch("/v1/products/42", json={"price": "1.00"}, headers=await shop.admin())
    assert (response.json()["price"], response.json()["name"]) == ("1.00", "Product 42")
    assert [found.name for found, _ in shop.catalog.behaviour.requests[-1].draft.ListFields()] == ["price"]


@pytest.mark.parametrize(
    ("tags", "status"),
    [('"42-3"', 200), ('"42-2"', 412), ('"42-1", "42-3"', 200), ('"42-1", "42-2"', 412), ("*", 200), ('W/"42-3"', 412)],
)
async def test_if_match(shop: Shop, tags: str, status: int) -> None:
    """A write that names a version happens to that version or not at all."""
    headers = {**await shop.admin(), "if-match": tags}
    response = await shop.client.patch("/v1/products/42", json={"price": "1.00"}, headers=headers)
    assert response.status_code == status
    if status == 412:
        assert response.json()["code"] == "VERSION_MISMATCH"
        assert shop.catalog.products["42"].price == "49.00"


async def test_delete(shop: Shop) -> None:
    """A deleted product is a 204 without a body."""
    response = await shop.client.delete("/v1/products/42", headers=await shop.admin())
    assert (response.status_code, response.content) == (204, b"")
    assert "42" not in shop.catalog.products


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"price": 12.5}, "price"),
        ({"price": "12.5055"}, "price"),
        ({"price": "-1"}, "price"),
        ({"currency": "eur"}, "currency"),
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"version": 7}, "version"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_bad_write(shop: Shop, method: str, change: dict[str, object], field: str) -> None:
    """A write with a wrong value or an unknown field is a 422 that names it."""
    body = {**(WHOLE if method == "PUT" else {}), **change}
    response = await shop.client.request(method, "/v1/products/42", json=body, headers=await shop.admin())
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
