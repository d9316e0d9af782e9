"""What stands in front of the SOAP stack: the checks before anything is parsed, and faults on demand for workshops.

`POST /_faults` with a JSON object sets the faults, `GET /_faults` shows them:

| member      | range     | effect on SOAP calls                                                        |
|-------------|-----------|-----------------------------------------------------------------------------|
| delay_ms    | 0-60,000  | each is answered that much later                                            |
| maintenance | boolean   | each gets the fault ERR-900                                                 |
| html_error  | boolean   | each gets an HTML page and 503, as from a web server in front of it         |

A member that is absent is off, so `{}` ends all of them.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import BytesIO
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from xml.sax.saxutils import escape

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024
LONGEST_DELAY_MS = 60_000

_ENCODING = re.compile(rb"^\s*<\?xml[^>]*\sencoding\s*=\s*[\"']([^\"']*)[\"']")

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

    @classmethod
    def from_json(cls, text: str | bytes) -> Faults:
        """Read them from a JSON object. Raises `ValueError` saying what is wrong."""
        content = json.loads(text)
        if not isinstance(content, dict) or content.keys() - {"delay_ms", "maintenance", "html_error"}:
            raise ValueError("expected an object with delay_ms, maintenance or html_error")
        faults = cls(**content)
        if type(faults.delay_ms) is not int or not 0 <= faults.delay_ms <= LONGEST_DELAY_MS:
            raise ValueError(f"delay_ms must be an integer of 0-{LONGEST_DELAY_MS}")
        if type(faults.maintenance) is not bool or type(faults.html_error) is not bool:
            raise ValueError("maintenance and html_error must be true or false")
        return faults


NO_FAULTS = Faults()


class FrontDoor:
    """The WSGI application that is served: `/` leads to the SOAP stack, `/_faults` to the switches."""

    def __init__(self, soap: WSGIApplication, faults: Faults) -> None:
        self._soap = soap
        self._faults = faults
        self._closing = threading.Event()

    def close(self) -> None:
        """Let calls that are being delayed on demand go on at once."""
        self._closing.set()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._answer(environ, start_response)
        except Exception:
            log.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            return _soap_fault(start_response, "Server", "ERR-999", "INTERNAL ERROR")

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == "/_faults":
            return self._switch(environ, start_response)
        if path not in ("", "/"):
            return _plain(start_response, "404 Not Found", "there is nothing here; SOAP is at /, its WSDL at /?wsdl")
        if self._faults.html_error:
            start_response(
                "503 Service Unavailable", [("Content-Type", "text/html"), ("Content-Length", str(len(_HTML)))]
            )
            return [_HTML]
        if method == "GET" and environ["QUERY_STRING"].lower() == "wsdl":
            return self._soap(environ, start_response)
        if method != "POST":
            return _plain(start_response, "405 Method Not Allowed", "use POST", ("Allow", "GET, POST"))
        return self._call(environ, start_response)

    def _call(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "text/xml":
            return _plain(start_response, "415 Unsupported Media Type", "SOAP 1.1 is text/xml")
        body = environ["wsgi.input"].read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            return _plain(start_response, "413 Content Too Large", f"at most {MOST_BYTES} bytes")
        if reason := reason_to_refuse(body):
            return _soap_fault(start_response, "Client", "ERR-090", f"MESSAGE REFUSED: {reason}")
        self._closing.wait(self._faults.delay_ms / 1000)
        if self._faults.maintenance:
            return _soap_fault(start_response, "Server", "ERR-900", "MAINTENANCE WINDOW")
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_TYPE"] = "text/xml; charset=utf-8"
        try:
            return self._soap(environ, start_response)
        except Exception:
            # The operations turn all their errors into faults; what is left is a message that Spyne stumbles over,
            # such as an empty one, or one whose references lead to themselves.
            log.warning("refused a message", exc_info=True)
            return _soap_fault(start_response, "Client", "ERR-090", "MESSAGE REFUSED")

    def _switch(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            # A web page cannot send this type to us without asking first (CORS), so no page can switch anything.
            if environ.get("CONTENT_TYPE", "").partition(";")[0].strip() != "application/json":
                return _plain(start_response, "415 Unsupported Media Type", "send application/json")
            try:
                self._faults = Faults.from_json(environ["wsgi.input"].read(MOST_BYTES))
            except ValueError as error:
                return _plain(start_response, "400 Bad Request", str(error))
            log.warning("faults on demand: %s", self._faults)
        content = json.dumps(asdict(self._faults)).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
        return [content]


def reason_to_refuse(body: bytes) -> str:
    """Why a message must not reach the XML parser; empty when it may.

    Only UTF-8 is taken, declared or not: in any other encoding a DOCTYPE would not look like one.
    """
    declared = _ENCODING.match(body)
    if declared and declared[1].lower() not in (b"utf-8", b"us-ascii"):
        return "NOT UTF-8"
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return "NOT UTF-8"
    if "\0" in text:
        return "NOT UTF-8"
    return "DOCTYPE" if "<!doctype" in text.lower() else ""


def _soap_fault(start_response: StartResponse, side: str, code: str, text: str) -> Iterable[bytes]:
    content = _FAULT.format(side=side, code=code, text=escape(text)).encode()
    headers = [("Content-Type", "text/xml; charset=utf-8"), ("Content-Length", str(len(content)))]
    # SOAP 1.1, section 6.2: a fault is a 500, whoever is to blame.
    start_response("500 Internal Server Error", headers)
    return [content]


def _plain(start_response: StartResponse, status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    content = f"{text}\n".encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(content))), *headers])
    return [content]
