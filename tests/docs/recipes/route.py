"""A route as an example: `GET /v1/prices`, for signed-in callers."""

from __future__ import annotations

from tests.docs.recipes import Recipe

_ROUTES = '''"""Prices: what a signed-in customer pays."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.clients.services import upstreams
from gateway.http import serializers
from gateway.http.parameters import Cursor, Limit
from gateway.http.schemas import PricePage
from gateway.http.serializers import json_response
from gateway.middleware.auth import SIGNED_IN
from gateway.openapi import operation_id, problems
from protos.shop.catalog.v1 import catalog_pb2 as pb

router = APIRouter(tags=["prices"], generate_unique_id_function=operation_id)


@router.get(
    "/v1/prices",
    summary="The prices of products, a page at a time",
    response_model=PricePage,
    responses=problems(401, 422),
    dependencies=[SIGNED_IN],
)
async def list_prices(request: Request, limit: Limit = 20, cursor: Cursor = "") -> Response:
    found = await upstreams(request).catalog.ListProducts(pb.ListProductsRequest(page_size=limit, cursor=cursor))
    items = [serializers.product_price(product) for product in found.products]
    return json_response(serializers.page(items, found.next_cursor))
'''

_SCHEMAS = """class ProductPrice(BaseModel):
    model_config = ConfigDict(json_schema_extra=_example(product_id="42", price="89.00", currency="EUR"))

    product_id: str
    price: Money
    currency: Currency


class PricePage(Page[ProductPrice]): ...


class UserPage(Page[User]): ...
"""

_SERIALIZER = """def product_price(message: Product) -> Json:
    return {"product_id": message.id, "price": message.price, "currency": message.currency}


def availability(message: Availability) -> Json:
"""

_TESTS = '''from __future__ import annotations

from tests.gateway.fakes import Shop


async def test_prices(shop: Shop) -> None:
    """A signed-in customer reads the prices as decimal strings, with a cursor to the next page."""
    response = await shop.client.get("/v1/prices?limit=2", headers=await shop.signed_in())
    assert response.status_code == 200, response.text
    price = {"price": "49.00", "currency": "EUR"}
    assert response.json() == {
        "items": [{"product_id": "42", **price}, {"product_id": "123", **price}],
        "next_cursor": "bmV4dA",
    }


async def test_prices_need_a_token(shop: Shop) -> None:
    """Reading prices needs a sign-in."""
    assert (await shop.client.get("/v1/prices")).status_code == 401
'''

_FIRST_ROW = "            GET /v1/orders                               POST /v1/orders\n"

ROUTE = Recipe(
    heading="Add a route",
    names={"resource": "prices"},
    new={"gateway/routes/prices.py": _ROUTES, "tests/gateway/test_prices.py": _TESTS},
    changed={
        "gateway/app.py": [
            ("    orders,\n    products,\n", "    orders,\n    prices,\n    products,\n"),
            ("    orders.router,\n", "    orders.router,\n    prices.router,\n"),
        ],
        "gateway/http/schemas.py": [("class UserPage(Page[User]): ...\n", _SCHEMAS)],
        "gateway/http/serializers.py": [("def availability(message: Availability) -> Json:\n", _SERIALIZER)],
        "tests/system/test_every_route.py": [(_FIRST_ROW, f"            GET /v1/prices\n{_FIRST_ROW}")],
    },
    needed=["gateway/app.py", "docs/openapi.json", "tests/system/test_every_route.py"],
)
