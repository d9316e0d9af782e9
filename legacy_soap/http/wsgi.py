"""WSGI middleware before the SOAP stack: checks before parsing, and injected faults for workshops.

`POST /_faults` with a JSON object sets the faults, `GET /_faults` shows them:

| member      | range     | effect on SOAP calls                                                        |
|-------------|-----------|-----------------------------------------------------------------------------|
| delay_ms    | 0-60,000  | each is answered that much later                                            |
| maintenance | boolean   | each gets the fault ERR-900                                                 |
| html_error  | boolean   | each gets an HTML page and 503, as from a web server in front of it         |
| contract_changed | boolean | the WSDL names another operation instead of CreateSalesOrder, which is gone |
| seconds     | 0-3,600   | all of them end by themselves after that; 0: they stay                      |

A member that is absent is off, so `{}` ends all of them. `Faults-Met` counts the calls that met one since it was set.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import application_uri
from xml.sax.saxutils import escape  # nosec B406 # it writes, and parses nothing

from legacy_soap.http.parser import PROBES, problem
from legacy_soap.http.start_page import start_page

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024
MAX_DELAY_MS = 60_000
MAX_SECONDS = 3_600
# The service's address in the WSDL as Spyne makes it; each request gets the address it was sent to in its place.
WSDL_ADDRESS = "http://erp.invalid/"
# The operation that another contract has another name for.
_RENAMED = (b"CreateSalesOrder", b"PostSalesOrder")

_FAULT = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<soap11env:Envelope xmlns:soap11env="http://schemas.xmlsoap.org/soap/envelope/"><soap11env:Body><soap11env:Fault>'
    "<faultcode>soap11env:{side}</faultcode><faultstring>{code} {text}</faultstring><faultactor/>"
    "<detail><ErpError><Code>{code}</Code><Text>{text}</Text><Item/></ErpError></detail>"
    "</soap11env:Fault></soap11env:Body></soap11env:Envelope>\n"
)
_HTML = (
    b'<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n'
    b"<html><head><title>503 Service Temporarily Unavailable</title></head>"
    b"<body><h1>Service Temporarily Unavailable</h1><p>The server is unable to serve you.</p></body></html>\n"
)


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults on demand."""

    delay_ms: int = 0
    maintenance: bool = False
    html_error: bool = False
    contract_changed: bool = False
    seconds: int = 0

    @classmethod
    def from_json(cls, text: str) -> Faults:
        """Read them from a JSON object. Raises `ValueError` with what is wrong."""
        try:
            content = json.loads(text)
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error
        if not isinstance(content, dict) or content.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"expected an object with {', '.join(field.name for field in fields(cls))}")
        faults = cls(**content)
        if type(faults.delay_ms) is not int or not 0 <= faults.delay_ms <= MAX_DELAY_MS:
            raise ValueError(f"delay_ms must be an integer of 0-{MAX_DELAY_MS}")
        if type(faults.seconds) is not int or not 0 <= faults.seconds <= MAX_SECONDS:
            raise ValueError(f"seconds must be an integer of 0-{MAX_SECONDS}")
        if any(type(each) is not bool for each in (faults.maintenance, faults.html_error, faults.contract_changed)):
            raise ValueError("maintenance, html_error and contract_changed must be true or false")
        return faults


NO_FAULTS = Faults()


class FrontDoor:
    """The WSGI application that is served: `/` leads to the SOAP stack, `/_faults` to the switches."""

    def __init__(self, soap: WSGIApplication, faults: Faults) -> None:
        self._soap = soap
        self._set = faults
        self._until = float("inf")
        self._met = 0
        self._closing = threading.Event()

    @property
    def _faults(self) -> Faults:
        """The faults of now: none once their time is over."""
        return self._set if time.monotonic() < self._until else NO_FAULTS

    def close(self) -> None:
        """Let calls that are being delayed on demand go on at once."""
        self._closing.set()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "HEAD":
            return self._respond(environ, start_response)
        # A HEAD is a GET whose answer has no content (RFC 9110, section 9.3.2). The server would send what is returned,
        # and the client would read it as the next answer.
        content = self._respond({**environ, "REQUEST_METHOD": "GET"}, start_response)
        if (close := getattr(content, "close", None)) is not None:
            close()
        return []

    def _respond(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._answer(environ, start_response)
        except Exception:
            log.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            return _soap_fault(start_response, "Server", "ERR-999", "INTERNAL ERROR")

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == "/_faults":
            return self._switch(environ, start_response)
        if (method, path) == ("OPTIONS", "*"):
            start_response("204 No Content", [("Allow", "GET, HEAD, POST, OPTIONS")])
            return []
        if path in PROBES:
            return _health(method, start_response)
        if path not in ("", "/"):
            return _problem(start_response, "404 Not Found", "there is nothing here; SOAP is at /, its WSDL at /?wsdl")
        if self._faults.html_error:
            self._met += 1
            return _unavailable_page(start_response)
        if method == "POST":
            return self._call(environ, start_response)
        return self._shown(environ, start_response)

    def _shown(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        if method == "GET" and query.lower() == "wsdl":
            return self._wsdl(environ, start_response)
        if method == "GET" and not query:
            return _start(environ.get("HTTP_ACCEPT", ""), start_response)
        return _problem(start_response, "405 Method Not Allowed", "use POST", ("Allow", "GET, HEAD, POST"))

    def _call(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "text/xml":
            return _problem(start_response, "415 Unsupported Media Type", "SOAP 1.1 is text/xml")
        body = environ["wsgi.input"].read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            return _problem(start_response, "413 Content Too Large", f"at most {MAX_BYTES} bytes")
        if reason := reason_to_refuse(body):
            return _soap_fault(start_response, "Client", "ERR-090", f"MESSAGE REFUSED: {reason}")
        faults = self._faults
        self._met += faults.delay_ms > 0 or faults.maintenance
        self._closing.wait(faults.delay_ms / 1000)
        if faults.contract_changed and _RENAMED[0] in body:
            self._met += 1
            return _soap_fault(start_response, "Client", "ERR-091", "UNKNOWN OPERATION")
        if faults.maintenance:
            return _soap_fault(start_response, "Server", "ERR-900", "MAINTENANCE WINDOW")
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_TYPE"] = "text/xml; charset=utf-8"
        try:
            return self._soap(environ, start_response)
        except Exception as error:  # noqa: BLE001  # Spyne's own, of any type
            # The operations turn all their errors into faults; what is left is a message that Spyne stumbles over,
            # such as an empty one, or one whose references lead to themselves. One line: clients cause it at will.
            log.warning("invalid SOAP message refused: %r", error)
            return _soap_fault(start_response, "Client", "ERR-090", "MESSAGE REFUSED")

    def _wsdl(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        content = b"".join(self._soap(environ, lambda *_: lambda _: None))
        address = escape(application_uri(environ), {'"': "&quot;"})
        content = content.replace(WSDL_ADDRESS.encode(), address.encode())
        if self._faults.contract_changed:
            self._met += 1
            content = content.replace(*_RENAMED)
        start_response("200 OK", [("Content-Type", "text/xml; charset=utf-8"), ("Content-Length", str(len(content)))])
        return [content]

    def _switch(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            # A web page cannot send this type to us without a preflight (CORS), so no page can switch anything.
            if environ.get("CONTENT_TYPE", "").partition(";")[0].strip() != "application/json":
                return _problem(start_response, "415 Unsupported Media Type", "send application/json")
            try:
                self._set = Faults.from_json(environ["wsgi.input"].read(MAX_BYTES).decode())
            except ValueError as error:
                return _problem(start_response, "400 Bad Request", str(error))
            self._until = time.monotonic() + self._set.seconds if self._set.seconds else float("inf")
            self._met = 0
            log.warning("injected faults: %s", self._set)
        content = json.dumps(asdict(self._faults)).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        start_response("200 OK", [*headers, ("Faults-Met", str(self._met))])
        return [content]


def reason_to_refuse(body: bytes) -> str:
    """The reason why a message must not reach the XML parser; empty when it may.

    Only UTF-8 is taken, declared or not: in any other encoding a DOCTYPE would not look like one.
    """
    if _declared_encoding(body).lower() not in (b"", b"utf-8", b"us-ascii"):
        return "NOT UTF-8"
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return "NOT UTF-8"
    if "\0" in text:
        return "NOT UTF-8"
    return "DOCTYPE" if "<!doctype" in text.lower() else ""


def _declared_encoding(body: bytes) -> bytes:
    """The encoding that the XML declaration names; empty where it names none."""
    head = body.lstrip()
    if not head.startswith(b"<?xml"):
        return b""
    _, named, rest = head.partition(b">")[0].partition(b"encoding")
    quoted = rest.partition(b"=")[2].strip() if named else b""
    return quoted[1:].partition(quoted[:1])[0] if quoted else b""


def _unavailable_page(start_response: StartResponse) -> Iterable[bytes]:
    start_response("503 Service Unavailable", [("Content-Type", "text/html"), ("Content-Length", str(len(_HTML)))])
    return [_HTML]


def _start(accept: str, start_response: StartResponse) -> Iterable[bytes]:
    media_type, content = start_page(accept)
    start_response("200 OK", [("Content-Type", media_type), ("Content-Length", str(len(content))), ("Vary", "Accept")])
    return [content]


def _health(method: str, start_response: StartResponse) -> Iterable[bytes]:
    if method != "GET":  # or HEAD, which is answered like it
        return _problem(start_response, "405 Method Not Allowed", "use GET or HEAD", ("Allow", "GET, HEAD"))
    content = b'{"status":"ok"}'
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content]


def _soap_fault(start_response: StartResponse, side: str, code: str, text: str) -> Iterable[bytes]:
    content = _FAULT.format(side=side, code=code, text=escape(text)).encode()
    headers = [("Content-Type", "text/xml; charset=utf-8"), ("Content-Length", str(len(content)))]
    # SOAP 1.1, section 6.2: a fault is a 500, be it the client's or the server's.
    start_response("500 Internal Server Error", headers)
    return [content]


def _problem(start_response: StartResponse, status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    status, own, content = problem(status, text)
    start_response(status, [*own, *headers])
    return [content]
