"""The contract with the ERP, as text: one line for each operation that we call, made from its WSDL.

`erp_contract.txt` beside this module is what we were written for. A WSDL's bytes say nothing (their order varies from
one start of the ERP to the next); what counts is what goes in and what comes out, with every element, how often it
may come, and the restrictions of its type.

`python -m tools.erp_contract http://127.0.0.1:8020/?wsdl` prints the contract of an ERP: after reading the difference
and adapting `translation`, write that output to the file to accept it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from lxml import etree

OPERATIONS = (
    "Login",
    "GetStockLevel",
    "CreateArticle",
    "CreateSalesOrder",
    "CancelSalesOrder",
    "CreateShipment",
    "GetShipmentStatus",
    "PostGoodsReceipt",
    "ListSalesOrders",
)

_SCHEMA = "{http://www.w3.org/2001/XMLSchema}"
_MAX_DEPTH = 8


def contract_of(binding: Any, wsdl: bytes) -> str:
    """The contract that zeep's binding of a WSDL stands for; an absent operation is marked as missing."""
    restrictions = _restrictions(wsdl)
    lines = []
    for name in sorted(OPERATIONS):
        try:
            operation = binding.get(name)
        except ValueError:
            lines.append(f"{name}: missing")
            continue
        header = _type(operation.input.header.type, restrictions) if operation.input.header else "{}"
        taken = _type(operation.input.body.type, restrictions)
        answered = _type(operation.output.body.type, restrictions)
        element = operation.input.body.qname
        lines.append(f"{name} [{element}, {operation.soapaction}, {operation.style}] {header} {taken} -> {answered}")
    return "\n".join(lines) + "\n"


def digest(contract: str) -> str:
    """Fingerprint of a contract for logs: the first 12 digits of its SHA-256."""
    return hashlib.sha256(contract.encode()).hexdigest()[:12]


def differences(expected: str, found: str) -> list[str]:
    """The names of the operations that are not as they should be."""
    lines = zip(expected.splitlines(), found.splitlines(), strict=True)
    return [ours.partition(" ")[0].rstrip(":") for ours, theirs in lines if ours != theirs]


def _type(described: Any, restrictions: Mapping[str, str], depth: int = 0) -> str:
    """A type as `{Qty: string /[0-9]{9}/, OrderLine[1..999]: {…}}`, in the order of its elements."""
    if depth > _MAX_DEPTH:
        return "…"
    elements = getattr(described, "elements", None)
    if elements is None:
        builtin = next(kind for kind in type(described).__mro__ if kind.__module__ == "zeep.xsd.types.builtins")
        restriction = restrictions.get(described.name or "", "")
        return f"{builtin.__name__.lower()} {restriction}".rstrip()
    parts = [
        f"{name}[{element.min_occurs}..{element.max_occurs}]: {_type(element.type, restrictions, depth + 1)}"
        for name, element in elements
    ]
    return "{" + ", ".join(parts) + "}"


def _restrictions(wsdl: bytes) -> dict[str, str]:
    """Simple type -> its restrictions, which zeep leaves out."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    found = {}
    for simple in etree.fromstring(wsdl, parser).iter(f"{_SCHEMA}simpleType"):
        facets = [facet for each in simple.iter(f"{_SCHEMA}restriction") for facet in each]
        texts = sorted(f"{etree.QName(facet).localname}={facet.get('value')}" for facet in facets)
        found[simple.get("name", "")] = f"/{' '.join(texts)}/" if texts else ""
    return found
