"""The start page at `/`, for browsers and programs: the purpose of this server."""

from __future__ import annotations

import json

_HTML = b"""<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN">
<html lang="en"><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8">
<title>ERP - SOAP interface</title><link rel="icon" href="data:,"></head>
<body><h1>ERP - SOAP interface</h1>
<p>This is a SOAP 1.1 server. Send messages by POST to this address.</p>
<ul><li><a href="/?wsdl">WSDL</a>: the operations and their messages
<li><a href="/_faults">Faults on demand</a>: which are on
<li><a href="/healthz">Health</a></ul>
<p>Operations: GetStockLevel, CreateSalesOrder, CancelSalesOrder, CreateShipment, GetShipmentStatus and others.</p>
</body></html>
"""
_JSON = json.dumps(
    {
        "name": "ERP",
        "about": "a SOAP 1.1 server; send messages by POST to this address",
        "links": [
            {"title": "WSDL", "href": "/?wsdl", "about": "the operations and their messages"},
            {"title": "Faults on demand", "href": "/_faults", "about": "which are on"},
            {"title": "Health", "href": "/healthz", "about": "whether it is alive"},
        ],
    },
    indent=2,
).encode()


def start_page(accept: str) -> tuple[str, bytes]:
    """The content type and the page: HTML for a browser, JSON for others."""
    if "text/html" in accept:
        return "text/html; charset=utf-8", _HTML
    return "application/json", _JSON
