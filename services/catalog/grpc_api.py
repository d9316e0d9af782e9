"""shop.catalog.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

from typing import Any

from chassis.auth.identity import admin, anyone, service, signed_in
from chassis.grpc.timestamps import moment, timestamp
from chassis.pagination import decode_cursor, encode_cursor, page_size
from protos.shop.catalog.v1 import catalog_pb2 as pb
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceServicer
from services.catalog.domain import Product
from services.catalog.use_cases import Catalog

POLICY = {
    "GetProducts": anyone,
    "ListProducts": anyone,
    "QuoteItems": signed_in,
    "CreateProduct": admin,
    "UpdateProduct": admin,
    "DeleteProduct": admin,
    "RefreshMaterial": service("webhook_worker"),
}


class CatalogApi(CatalogServiceServicer):
    def __init__(self, use_cases: Catalog) -> None:
        self._catalog = use_cases

    async def GetProducts(self, request: pb.GetProductsRequest, context: Any) -> pb.GetProductsResponse:
        found = await self._catalog.products(request.ids)
        return pb.GetProductsResponse(products=[_message(product) for product in found])

    async def ListProducts(self, request: pb.ListProductsRequest, context: Any) -> pb.ListProductsResponse:
        found, last = await self._catalog.page(
            category=request.category,
            query=request.query,
            after=decode_cursor(request.cursor, parts=1)[0] if request.cursor else "",
            size=page_size(request.page_size, limit=100),
        )
        products = [_message(product) for product in found]
        return pb.ListProductsResponse(products=products, next_cursor=encode_cursor(last) if last else "")

    async def QuoteItems(self, request: pb.QuoteItemsRequest, context: Any) -> pb.QuoteItemsResponse:
        quote, available = await self._catalog.quote([(item.product_id, item.quantity) for item in request.items])
        items = [
            pb.QuotedItem(
                product_id=item.product_id,
                name=item.name,
                quantity=item.quantity,
                unit_price=str(item.unit_price),
                available=available.get(item.product_id),
            )
            for item in quote.items
        ]
        return pb.QuoteItemsResponse(items=items, total=str(quote.total), currency=quote.currency)

    async def CreateProduct(self, request: pb.CreateProductRequest, context: Any) -> pb.CreateProductResponse:
        return pb.CreateProductResponse(product=_message(await self._catalog.create(_fields(request.draft))))

    async def UpdateProduct(self, request: pb.UpdateProductRequest, context: Any) -> pb.UpdateProductResponse:
        if_version = request.if_version if request.HasField("if_version") else None
        product = await self._catalog.update(request.id, _fields(request.draft), if_version)
        return pb.UpdateProductResponse(product=_message(product))

    async def DeleteProduct(self, request: pb.DeleteProductRequest, context: Any) -> pb.DeleteProductResponse:
        await self._catalog.delete(request.id, request.if_version if request.HasField("if_version") else None)
        return pb.DeleteProductResponse()

    async def RefreshMaterial(self, request: pb.RefreshMaterialRequest, context: Any) -> pb.RefreshMaterialResponse:
        refreshed_at = moment(request, "refreshed_at")
        product = await self._catalog.refresh_material(request.product_id, request.event_id, refreshed_at)
        return pb.RefreshMaterialResponse(product=_message(product))


def _fields(draft: pb.ProductDraft) -> dict[str, str]:
    return {field.name: value for field, value in draft.ListFields()}


def _message(product: Product) -> pb.Product:
    return pb.Product(
        id=product.id,
        name=product.name,
        description=product.description,
        category=product.category,
        price=str(product.price),
        currency=product.currency,
        image_url=product.image_url,
        updated_at=timestamp(product.updated_at),
        version=product.version,
    )
