"""The catalogue: public to read, an admin's to write."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from chassis import wall_clock
from chassis.errors import not_found
from chassis.grpc.timestamps import timestamp
from gateway.clients.services import upstreams
from gateway.http import serializers
from gateway.http.etags import content_etag, none_match, version_etag, versions_wanted
from gateway.http.json_route import JsonRoute
from gateway.http.parameters import Cursor, IfNoneMatch, Limit, id_list, ids_of
from gateway.http.schemas import Availability as AvailabilityModel
from gateway.http.schemas import AvailabilityPage, IdInPath, Product, ProductPage, ProductPatch, ProductWrite
from gateway.http.serializers import json_response
from gateway.middleware.auth import ADMIN, PUBLIC
from gateway.openapi import operation_id, problems, with_headers
from protos.shop.catalog.v1 import catalog_pb2 as pb
from protos.shop.inventory.v1.inventory_pb2 import Availability, CheckAvailabilityRequest

router = APIRouter(route_class=JsonRoute, tags=["products"], generate_unique_id_function=operation_id)

# Caches may answer for this long, shared ones longer; afterwards they revalidate, which a 304 makes cheap.
_PUBLIC = "public, max-age=30, s-maxage=60"

IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="The `ETag` of the version that is to be changed.")
]
Filter = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.get(
    "/v1/products/{product_id}",
    summary="A product",
    response_model=Product,
    responses={304: {"description": "Not modified"}, **problems(401, 404, 412, 422)},
    dependencies=[PUBLIC],
)
async def get_product(request: Request, product_id: IdInPath, if_none_match: IfNoneMatch = None) -> Response:
    product = await _product(request, product_id)
    headers = {"etag": version_etag(product.id, product.version), "cache-control": _PUBLIC}
    if not none_match(if_none_match, headers["etag"]):
        return Response(None, 304, headers)
    return json_response(serializers.product(product), headers=headers)


@router.get(
    "/v1/products",
    summary="Products, by category and words, or by their ids",
    response_model=ProductPage,
    responses={304: {"description": "Not modified"}, **problems(401, 412, 422)},
    dependencies=[PUBLIC],
)
async def list_products(
    request: Request,
    category: Filter = "",
    q: Annotated[Filter, Query(description="Words in name and description.")] = "",
    limit: Limit = 20,
    cursor: Cursor = "",
    ids: Annotated[str | None, ids_of("Comma-separated; leaves the other parameters without effect.", "42,123")] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    catalog = upstreams(request).catalog
    if ids is None:
        wanted = pb.ListProductsRequest(category=category, query=q, page_size=limit, cursor=cursor)
        page = await catalog.ListProducts(wanted)
        found, next_cursor = page.products, page.next_cursor
    else:
        found, next_cursor = (await catalog.GetProducts(pb.GetProductsRequest(ids=id_list("ids", ids)))).products, ""
    body = serializers.encoded(serializers.page([serializers.product(product) for product in found], next_cursor))
    headers = {"etag": content_etag(body), "cache-control": _PUBLIC}
    if not none_match(if_none_match, headers["etag"]):
        return Response(None, 304, headers)
    return Response(body, 200, headers, "application/json")


@router.get(
    "/v1/products/{product_id}/availability",
    summary="Availability of a product",
    response_model=AvailabilityModel,
    responses=problems(401, 404, 422),
    dependencies=[PUBLIC],
)
async def get_availability(request: Request, product_id: IdInPath) -> Response:
    found = await _availability(request, [product_id])
    if not found:
        raise not_found("product", product_id)
    return json_response(serializers.availability(found[0]))


@router.get(
    "/v1/availability",
    summary="Availability of several products",
    response_model=AvailabilityPage,
    responses=problems(401, 422),
    dependencies=[PUBLIC],
)
async def list_availability(
    request: Request, product_ids: Annotated[str, ids_of("Comma-separated; unknown products are left out.", "42,123")]
) -> Response:
    found = await _availability(request, id_list("product_ids", product_ids))
    return json_response(serializers.page([serializers.availability(each) for each in found]))


@router.post(
    "/v1/products",
    summary="Add a product (admin)",
    status_code=201,
    response_model=Product,
    responses={201: with_headers("ETag"), **problems(401, 403, 422)},
    dependencies=[ADMIN],
)
async def create_product(request: Request, body: ProductWrite) -> Response:
    draft = pb.ProductDraft(**body.model_dump())
    created = await upstreams(request).catalog.CreateProduct(pb.CreateProductRequest(draft=draft))
    return _written(created.product, 201)


@router.put(
    "/v1/products/{product_id}",
    summary="Replace a product (admin)",
    response_model=Product,
    responses={200: with_headers("ETag"), **problems(401, 403, 404, 412, 422)},
    dependencies=[ADMIN],
)
async def replace_product(
    request: Request, product_id: IdInPath, body: ProductWrite, if_match: IfMatch = None
) -> Response:
    return await _update(request, product_id, pb.ProductDraft(**body.model_dump()), if_match)


@router.patch(
    "/v1/products/{product_id}",
    summary="Change some fields of a product (admin)",
    response_model=Product,
    responses={200: with_headers("ETag"), **problems(401, 403, 404, 412, 422)},
    dependencies=[ADMIN],
)
async def patch_product(
    request: Request, product_id: IdInPath, body: ProductPatch, if_match: IfMatch = None
) -> Response:
    return await _update(request, product_id, pb.ProductDraft(**body.model_dump(exclude_unset=True)), if_match)


@router.delete(
    "/v1/products/{product_id}",
    summary="Take a product out of the catalogue (admin)",
    status_code=204,
    response_class=Response,
    responses=problems(401, 403, 404, 412, 422),
    dependencies=[ADMIN],
)
async def delete_product(request: Request, product_id: IdInPath, if_match: IfMatch = None) -> Response:
    version = await _version(request, product_id, if_match)
    await upstreams(request).catalog.DeleteProduct(pb.DeleteProductRequest(id=product_id, if_version=version))
    return Response(None, 204)


async def _product(request: Request, product_id: str) -> pb.Product:
    found = await upstreams(request).catalog.GetProducts(pb.GetProductsRequest(ids=[product_id]))
    if not found.products:
        raise not_found("product", product_id)
    return found.products[0]


async def _availability(request: Request, product_ids: list[str]) -> list[Availability]:
    """Availability of the products that exist, in the order of the ids."""
    wanted = CheckAvailabilityRequest(product_ids=product_ids, live=True)
    stock = await upstreams(request).inventory.CheckAvailability(wanted)
    found = {each.product_id: each for each in stock.items}
    missing = [each for each in product_ids if each not in found]
    if missing:
        # Never stocked, or no product at all: the catalogue decides.
        now = timestamp(wall_clock.now())
        for product in (await upstreams(request).catalog.GetProducts(pb.GetProductsRequest(ids=missing))).products:
            found[product.id] = Availability(product_id=product.id, available=0, as_of=now)
    return [found[each] for each in product_ids if each in found]


async def _update(request: Request, product_id: str, draft: pb.ProductDraft, if_match: str | None) -> Response:
    version = await _version(request, product_id, if_match)
    change = pb.UpdateProductRequest(id=product_id, draft=draft, if_version=version)
    return _written((await upstreams(request).catalog.UpdateProduct(change)).product, 200)


async def _version(request: Request, product_id: str, if_match: str | None) -> int | None:
    """The version that a write insists on. Of several that `If-Match` may name, the current one."""
    versions = versions_wanted(if_match, product_id)
    if versions is None or len(versions) == 1:
        return versions[0] if versions else None
    current = (await _product(request, product_id)).version
    return current if current in versions else versions[0]


def _written(product: pb.Product, status: int) -> Response:
    headers = {"etag": version_etag(product.id, product.version), "cache-control": "no-store"}
    if status == 201:
        headers["location"] = f"/v1/products/{product.id}"
    return json_response(serializers.product(product), status, headers)
