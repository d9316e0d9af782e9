"""The parameters of OAuth's requests, checked without regard to their sender. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import ImmutableMultiDict

from gateway.oauth.errors import OAuthError

MAX_FIELD = 1_024
_FORM = "application/x-www-form-urlencoded"
# What an authorization request is made of; the page's form carries it on.
NAMES = (
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "scope",
    "code_challenge",
    "code_challenge_method",
    "resource",
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters by name; a missing one is empty, as one without a value is (RFC 6749, section 3.1)."""

    values: ImmutableMultiDict[str, str]

    def one(self, name: str) -> str:
        """Raises invalid_request for one that is too long, not ASCII, or there twice."""
        found = [value for value in self.values.getlist(name) if value]
        if len(found) > 1:
            raise OAuthError("invalid_request", f"{name} must be sent only once")
        value = found[0] if found else ""
        if len(value) > MAX_FIELD or not (value.isascii() and value.isprintable()):
            raise OAuthError("invalid_request", f"{name} must have at most {MAX_FIELD} visible ASCII characters")
        return value

    def required(self, name: str) -> str:
        value = self.one(name)
        if not value:
            raise OAuthError("invalid_request", f"{name} is missing")
        return value

    def check_resource(self, ours: str) -> None:
        """Raise invalid_target for a token that is wanted elsewhere (RFC 8707); none is wanted for the MCP server."""
        for resource in self.values.getlist("resource"):
            if _canonical(resource) != _canonical(ours):
                raise OAuthError("invalid_target", f"resource must be {ours}")


def check_is_form(content_type: str) -> None:
    """Raise invalid_request for a body of another type than RFC 6749 has (section 3.2)."""
    if content_type.partition(";")[0].strip().lower() != _FORM:
        raise OAuthError("invalid_request", f"send the parameters as {_FORM}")


def check_authorization_request(parameters: Parameters, resource: str) -> None:
    """Raise what a client that is known is answered at its redirect URI."""
    if parameters.required("response_type") != "code":
        raise OAuthError("unsupported_response_type", "response_type must be code")
    # Without it, it would be "plain" (RFC 7636, section 4.3).
    if parameters.required("code_challenge") and parameters.one("code_challenge_method") != "S256":
        raise OAuthError("invalid_request", "PKCE is required, with code_challenge_method S256")
    if len(parameters.one("code_challenge")) != 43:
        raise OAuthError("invalid_request", "code_challenge must be a SHA-256 in base64url, 43 characters")
    parameters.one("scope")
    parameters.check_resource(resource)


def with_parameters(uri: str, **parameters: str) -> str:
    """A redirect URI with the answer in its query; empty parameters are left out, its own ones stay."""
    parts = urlsplit(uri)
    own = parse_qsl(parts.query, keep_blank_values=True)
    added = [(name, value) for name, value in parameters.items() if value]
    return parts._replace(query=urlencode(own + added)).geturl()


def _canonical(uri: str) -> str:
    """Scheme and host are the same in any case (RFC 3986, section 6.2.2.1)."""
    try:
        parts = urlsplit(uri[:MAX_FIELD])
    except ValueError:
        return ""
    return parts._replace(netloc=parts.netloc.lower()).geturl()
