"""SOAP envelopes by zeep, made from the ERP's own WSDL. Nothing here waits for a network.

The only module that imports zeep (0.3 s), so `soap_client` imports it in a thread, when the WSDL has arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import zeep
from lxml import etree
from zeep.exceptions import Error, Fault

from services.erp_adapter.contract import contract_of
from services.erp_adapter.translation import ErpFault

# What zeep raises for a document that is not what it should be; its code does not expect every surprise.
_SURPRISES = (Error, etree.LxmlError, ValueError, TypeError, AttributeError, LookupError)


class Envelopes:
    """Writes requests and reads answers. Takes no DTD, no entity, and nothing that would be fetched from elsewhere.

    `contract` is what the WSDL stands for. Raises `ValueError` for a WSDL or an answer that cannot be used, and for a
    request that the WSDL does not have.
    """

    def __init__(self, wsdl: bytes) -> None:
        settings = zeep.Settings(strict=True, forbid_dtd=True, forbid_entities=True, forbid_external=True)
        try:
            self._client: Any = zeep.Client(BytesIO(wsdl), settings=settings)  # type: ignore[no-untyped-call] # zeep's own
            # zeep has no public way to read an answer that it has not fetched itself.
            self._binding = self._client.service._binding  # noqa: SLF001
            self.contract = contract_of(self._binding, wsdl)
        except _SURPRISES as error:
            raise ValueError(f"the ERP's WSDL cannot be used: {error}") from error

    def request(self, operation: str, session: str, body: Mapping[str, Any]) -> bytes:
        """The envelope of a call, with the session header where there is a session."""
        headers = {"SessionHeader": {"SessionId": session}} if session else None
        try:
            message = self._client.create_message(self._client.service, operation, **body, _soapheaders=headers)
        except _SURPRISES as error:
            raise ValueError(f"the ERP's WSDL has no such {operation}: {error}") from error
        envelope: bytes = etree.tostring(message, xml_declaration=True, encoding="utf-8")
        return envelope

    def result(self, operation: str, status: int, content: bytes) -> Any:
        """The content of an answer. Raises `ErpFault` for a fault."""
        # In the shape that zeep expects of an HTTP answer.
        answer = SimpleNamespace(status_code=status, content=content, headers={}, encoding="utf-8")
        try:
            return self._binding.process_reply(self._client, self._binding.get(operation), answer)
        except Fault as fault:
            raise _erp_fault(fault) from fault
        except _SURPRISES as error:
            raise ValueError(f"the ERP's answer to {operation} cannot be used: {error}") from error


def _erp_fault(fault: Fault) -> ErpFault:
    code = item = ""
    if isinstance(fault.detail, etree._Element):  # noqa: SLF001 - lxml's only name for it
        code = fault.detail.findtext("ErpError/Code") or ""
        item = fault.detail.findtext("ErpError/Item") or ""
    return ErpFault(code, fault.message or "", item)
