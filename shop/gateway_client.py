"""REST client of the gateway, for commands."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any, Self

import httpx

from shop.errors import Refused

_TIMEOUT = 10.0
# Seconds, where the answer has none (RFC 6749, section 5.1).
_LIFETIME = 300.0


class GatewayError(Refused):
    """The gateway cannot be reached (`status` 0), or has answered with a problem (RFC 9457) of this status and code."""

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Gateway:
    """A client of one gateway. Every call raises `GatewayError` unless it succeeds."""

    def __init__(self, url: str, *, timeout: float = _TIMEOUT, trust: ssl.SSLContext | None = None) -> None:
        """`timeout` is in seconds, for each call; `trust` is for HTTPS."""
        self.url = url
        # A proxy that the environment names is for the world outside, not for a shop.
        self._http = httpx.Client(base_url=url, timeout=timeout, trust_env=False, verify=trust or True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def sign_in(self, email: str, password: str) -> str:
        """Get an access token; the calls that follow carry it."""
        return self.sign_in_for(email, password)[0]

    def sign_in_for(self, email: str, password: str) -> tuple[str, float]:
        """Sign in as `sign_in` does; return the token with its lifetime in seconds."""
        credentials = {"username": email, "password": password}
        try:
            answer = object_of(self.call("POST", "/v1/auth/token", data=credentials), "access_token")
        except GatewayError as error:
            if error.code != "WRONG_CREDENTIALS":
                raise
            message = f"sign-in failed for {email}: wrong email or password"
            raise GatewayError(message, status=error.status, code=error.code) from error
        self._http.headers["authorization"] = f"Bearer {answer['access_token']}"
        return str(answer["access_token"]), float(answer.get("expires_in", _LIFETIME))

    def call(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Make a request; `content` is httpx's (`json`, `data`, `headers`, `params`)."""
        try:
            response = self._http.request(method, path, **content)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise GatewayError(
                f"no shop is running here (the gateway does not answer at {self.url}: {reason}). "
                'Start one with "make up"'
            ) from error
        if response.is_success:
            return response
        raise problem(response)


def problem(response: httpx.Response) -> GatewayError:
    """A refusal as a sentence: the request, the reason, the fields, and the trace to look it up by."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {"detail": response.text[:200] or response.reason_phrase}
    errors = body.get("errors")
    listed = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    fields = "".join(f"\n  {wrong.get('field')}: {wrong.get('detail')}" for wrong in listed)
    trace = f" (trace {body['trace_id']})" if body.get("trace_id") else ""
    code = str(body.get("code", ""))
    request = f"{response.request.method} {response.request.url.path}"
    why = " ".join(filter(None, (str(response.status_code), code)))
    message = f"{request} failed with {why}: {body.get('detail') or body.get('title')}{trace}{fields}"
    return GatewayError(message, status=response.status_code, code=code)


def object_of(response: httpx.Response, *needed: str) -> dict[str, Any]:
    """The JSON object in an answer, with these members. Raises `Refused` for the answer of another program."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and body.keys() >= set(needed):
        return body
    url = response.request.url
    what = f"{response.status_code}, {response.headers.get('content-type', 'no content type').partition(';')[0]}"
    raise Refused(f"the program at {url.scheme}://{url.netloc.decode()} is not the shop's (answered {what})")
