"""The SOAP service, by Spyne: one operation, checked against the WSDL's own schema."""

# mypy: disable-error-code="no-untyped-call, misc, untyped-decorator"
from __future__ import annotations

from typing import Any
from wsgiref.types import WSGIApplication

import legacy_soap.spyne_compat  # noqa: F401 - must come before Spyne

# isort: split
from spyne import Application, ComplexModel, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication

from bench.compare.adapters import rows


class Product(ComplexModel):
    id = Unicode
    name = Unicode
    price = Unicode


class Catalogue(ServiceBase):
    @rpc(Unicode, _returns=Product)
    def GetProduct(ctx: Any, product_id: str) -> Product:  # noqa: N805 - Spyne's way
        return Product(**rows.brief(product_id))


def application() -> WSGIApplication:
    """The service as a WSGI application, with its WSDL on `?wsdl`."""
    soap = Soap11(validator="lxml")
    made: WSGIApplication = WsgiApplication(
        Application([Catalogue], "urn:shop:bench", in_protocol=soap, out_protocol=Soap11())
    )
    return made
