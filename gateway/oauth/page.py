"""The page on which a user signs in and agrees: one form, without scripts, of the shop's plain style."""

from __future__ import annotations

from html import escape
from urllib.parse import urlsplit

from starlette.responses import Response

from chassis.webpages import html
from gateway.oauth.metadata import AUTHORIZE
from gateway.oauth.parameters import NAMES, Parameters
from protos.shop.users.v1.users_pb2 import Client

MAX_EMAIL, MAX_PASSWORD = 254, 128
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def consent_page(client: Client, parameters: Parameters, *, status: int = 200, wrong: str = "") -> Response:
    """The form; `wrong` is the reason why it is shown again."""
    redirect_uri = parameters.one("redirect_uri")
    target = urlsplit(redirect_uri)
    # Browsers apply `form-action` to the redirect that answers the form as well. It has no form for an IPv6 address.
    origin = f"{target.scheme}:" if "[" in target.netloc else f"{target.scheme}://{target.netloc}"
    carried = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name in NAMES
        for value in parameters.values.getlist(name)
    )
    name, host = escape(client.name or "nothing"), escape(target.netloc)
    request = (
        f"<p>A program that calls itself <strong>{name}</strong> wants to act for you in this shop: see your orders,"
        " place orders that cost money, and cancel them.</p>"
    )
    form = (
        f'<form method="post" action="{AUTHORIZE}">{carried}'
        '<p><label>Email<br><input type="email" name="email" autocomplete="username"'
        f' maxlength="{MAX_EMAIL}"></label></p>'
        '<p><label>Password<br><input type="password" name="password" autocomplete="current-password"'
        f' maxlength="{MAX_PASSWORD}"></label></p>'
        '<p><button name="answer" value="allow">Sign in and allow</button>'
        ' <button name="answer" value="deny" formnovalidate>Deny</button></p></form>'
    )
    parts = [
        request,
        f"<p>Your answer goes to <strong>{host}</strong>. {_warning(redirect_uri)}</p>",
        f'<p role="alert"><strong>{escape(wrong)}</strong></p>' if wrong else "",
        form,
        html.text("The permission ends by itself when its token expires.", "soft"),
    ]
    return _page("Let a program act for you?", parts, status, f"'self' {origin}")


def _warning(redirect_uri: str) -> str:
    if urlsplit(redirect_uri).hostname in _LOOPBACK:
        return "That is a program on this computer, and any program here may use that name: did you start it just now?"
    return "The name has not been checked: allow it if you know that address and came from there."


def refusal_page(reason: str, status: int = 400) -> Response:
    """The page where the client cannot be answered, since its address cannot be trusted."""
    return _page("This request cannot be answered", [html.text(reason)], status, "'none'")


def _page(title: str, parts: list[str], status: int, form_action: str) -> Response:
    policy = html.HEADERS["content-security-policy"].replace("form-action 'none'", f"form-action {form_action}")
    headers = {
        **html.HEADERS,
        "content-security-policy": policy,
        # With `no-referrer` a browser's Origin of the form would be "null".
        "referrer-policy": "same-origin",
    }
    return Response(html.page(title, *parts), status, headers, html.MEDIA_TYPE)
