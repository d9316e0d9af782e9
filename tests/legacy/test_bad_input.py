"""What the ERP refuses before it looks at it, and the faults it shows on demand."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
import urllib.request

import pytest

from legacy_soap.bootstrap import Running
from legacy_soap.http.wsgi import MAX_BYTES, Faults, reason_to_refuse
from tests.legacy.conftest import Customer, http_call, switch_faults
from tests.waiting import eventually

ENVELOPE = '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>{}</e:Body></e:Envelope>'
DOCTYPE = '<!DOCTYPE a [<!ENTITY e "boom">]>'

MESSAGES = {
    "garbage": b"garbage",
    "nothing": b"",
    "not an envelope": b"<a/>",
    "an empty envelope": ENVELOPE.format("").encode(),
    "an unknown operation": ENVELOPE.format('<Nope xmlns="urn:erp:sales:2004"/>').encode(),
    "too deep": ENVELOPE.format("<a>" * 300 + "</a>" * 300).encode(),
    "a reference to nothing": ENVELOPE.format('<Login xmlns="urn:erp:sales:2004"><User href="#no"/></Login>').encode(),
    "a reference to itself": ENVELOPE.format('<b><x id="a"><y href="#a"/></x><z><y href="#a"/></z></b>').encode(),
    "DOCTYPE": (DOCTYPE + ENVELOPE.format("&e;")).encode(),
    "DOCTYPE in UTF-16": (DOCTYPE + ENVELOPE.format("&e;")).encode("utf-16"),
    "DOCTYPE in UTF-7": b'<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE a>' + ENVELOPE.format("").encode(),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_bad_message_gets_a_fault(erp: Running, what: str, caplog: pytest.LogCaptureFixture) -> None:
    """A message that cannot be read gets a SOAP fault with a code, and never a traceback, not in the log either."""
    status, content_type, body = http_call(erp.port, "POST", body=MESSAGES[what] or b"\n")
    assert (status, content_type) == (500, "text/xml; charset=utf-8")
    assert b"<Code>ERR-090</Code>" in body
    assert b"Traceback" not in body
    assert b"boom" not in body
    assert not any(record.exc_info for record in caplog.records)


def test_what_is_not_soap_gets_a_4xx(erp: Running) -> None:
    """Another method, path or content type, and a body over 256 KiB, are refused with the status that says why."""
    assert http_call(erp.port, "PUT")[0] == 405
    assert http_call(erp.port, "GET", "/elsewhere")[0] == 404
    assert http_call(erp.port, "POST", body=b"{}", content_type="application/json")[0] == 415
    assert http_call(erp.port, "POST", body=b"<" * (MAX_BYTES + 1))[0] == 413
    announced = http.client.HTTPConnection("127.0.0.1", erp.port, timeout=20)
    announced.putrequest("POST", "/")
    announced.putheader("Content-Length", str(100 * MAX_BYTES))
    announced.endheaders()
    assert announced.getresponse().status == 413
    announced.close()


def test_a_refused_method_is_told_those_that_there_are(erp: Running) -> None:
    """HEAD is one of them: it is answered as GET is."""
    connection = http.client.HTTPConnection("127.0.0.1", erp.port, timeout=20)
    for method, path, allowed in (("PUT", "/", "GET, HEAD, POST"), ("OPTIONS", "*", "GET, HEAD, POST, OPTIONS")):
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        assert answer.getheader("Allow") == allowed
    connection.close()


@pytest.mark.parametrize("path", ["/", "/?wsdl", "/elsewhere", "/_faults", "/healthz"])
def test_the_answer_to_head_has_no_content(erp: Running, path: str) -> None:
    """HEAD is answered as GET is, without content, so that what follows on the connection is the next answer."""
    status, _, content = http_call(erp.port, "GET", path)
    following = b"GET /healthz HTTP/1.1\r\nHost: erp\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", erp.port), timeout=20) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1:{erp.port}\r\n\r\n".encode() + following)
        with connection.makefile("rb") as received:
            head, _, rest = received.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nContent-Length: %d\r\n" % len(content) in head
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_wsdl_names_the_address_that_was_asked(erp: Running) -> None:
    """Each client is sent to the host under which it has reached the ERP, whichever client was first."""
    for host in ("erp.example:8020", "other.example", "a&b"):
        connection = http.client.HTTPConnection("127.0.0.1", erp.port, timeout=20)
        connection.request("GET", "/?wsdl", headers={"Host": host})
        wsdl = connection.getresponse().read().decode()
        assert f'<wsdlsoap11:address location="http://{host.replace("&", "&amp;")}/"/>' in wsdl
        connection.close()


def test_only_utf8_without_a_doctype_reaches_the_parser() -> None:
    """The check before parsing sees a DOCTYPE in any encoding, because it lets only one encoding pass."""
    assert reason_to_refuse(b'<?xml version="1.0" encoding="UTF-8"?><a/>') == ""
    assert reason_to_refuse("<a>ü</a>".encode()) == ""
    assert reason_to_refuse(b'<?xml version="1.0"?>\n<!doctype a><a/>') == "DOCTYPE"
    for encoding in ("utf-16", "utf-16-le", "utf-32", "cp037"):
        assert reason_to_refuse("<!DOCTYPE a><a/>".encode(encoding)) == "NOT UTF-8"
    assert reason_to_refuse(b"<?xml version='1.0' encoding = 'utf-7' ?><a/>") == "NOT UTF-8"


def test_faults_on_demand(customer: Customer) -> None:
    """Maintenance, an HTML error page and delay can be switched on, seen, and switched off while the ERP runs."""
    switch_faults(customer.port, maintenance=True)
    assert customer.refused("GetShipmentStatus", CustRef="x")[0] == "ERR-900"
    switch_faults(customer.port, html_error=True)
    status, content_type, _ = http_call(customer.port, "POST", body=b"<a/>")
    assert (status, content_type) == (503, "text/html")
    assert b'"html_error": true' in http_call(customer.port, "GET", "/_faults")[2]
    switch_faults(customer.port, delay_ms=150)
    began = time.monotonic()
    assert customer.on_hand("42") == "000000100"
    assert time.monotonic() - began >= 0.15
    switch_faults(customer.port)
    assert customer.on_hand("42") == "000000100"


def test_another_contract_on_demand(customer: Customer) -> None:
    """An operation has another name in the WSDL and is unknown under the old one, until that is switched off."""
    switch_faults(customer.port, contract_changed=True)
    wsdl = http_call(customer.port, "GET", "/?wsdl")[2]
    assert (b"PostSalesOrder" in wsdl, b"CreateSalesOrder" in wsdl) == (True, False)
    assert customer.refused("CreateSalesOrder", **customer.order("o-1"))[0] == "ERR-091"
    switch_faults(customer.port)
    assert b"CreateSalesOrder" in http_call(customer.port, "GET", "/?wsdl")[2]


async def test_faults_count_what_they_met_and_end_by_themselves(customer: Customer) -> None:
    """`Faults-Met` is how many calls met one; after `seconds` there is none."""
    switch_faults(customer.port, maintenance=True, seconds=10)
    for _ in range(3):
        assert customer.refused("GetShipmentStatus", CustRef="x")[0] == "ERR-900"
    answer = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{customer.port}/_faults", timeout=20)
    with answer:
        assert answer.headers["Faults-Met"] == "3"

    def over() -> bool:
        return customer.refused("GetShipmentStatus", CustRef="x")[0] != "ERR-900"

    await eventually(over, within=60)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        "{",
        '{"seconds":-1}',
        '{"seconds":1.5}',
        '{"contract_changed":1}',
        '{"delay_ms":-1}',
        '{"delay_ms":99999}',
        '{"delay_ms":true}',
        '{"x":1}',
        '{"maintenance":1}',
        "[" * 100_000,
    ],
)
def test_faults_are_bounded(erp: Running, text: str) -> None:
    """What is no set of faults is refused and changes nothing, and so is what a web page could have sent."""
    assert http_call(erp.port, "POST", "/_faults", text.encode(), "application/json")[0] == 400
    assert http_call(erp.port, "POST", "/_faults", b'{"maintenance":true}', "text/plain")[0] == 415
    assert Faults.from_json(http_call(erp.port, "GET", "/_faults")[2].decode()) == Faults()


def test_the_wsdl_says_what_the_formats_are(customer: Customer) -> None:
    """The WSDL names every operation and the patterns of the numbers."""
    wsdl = http_call(customer.port, "GET", "/?wsdl")[2].decode()
    for operation in ("GetStockLevel", "CreateSalesOrder", "CancelSalesOrder", "CreateShipment", "GetShipmentStatus"):
        assert f'<wsdl:operation name="{operation}"' in wsdl
    assert 'pattern value="[0-9]{9}"' in wsdl
