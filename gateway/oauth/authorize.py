"""The authorization endpoint (OAuth 2.1, section 4.1): a browser's page, and where its form goes."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from chassis.errors import ShopError
from gateway.clients.services import upstreams
from gateway.http.disconnects import while_connected
from gateway.middleware.auth import PUBLIC
from gateway.oauth.errors import OAuthError, in_oauths_words
from gateway.oauth.metadata import AUTHORIZE
from gateway.oauth.page import MAX_EMAIL, MAX_PASSWORD, consent_page, refusal_page
from gateway.oauth.parameters import Parameters, check_authorization_request, check_is_form, with_parameters
from gateway.oauth.protected_resource import PATH, base_url
from gateway.sign_in_failures import SignInFailures
from protos.shop.users.v1.users_pb2 import AuthorizeClientRequest, Client, GetClientRequest

router = APIRouter(dependencies=[PUBLIC], include_in_schema=False)

_MAX_FIELDS = 30
_WRONG = "Email and password do not match."


@router.get(AUTHORIZE)
async def show_consent(request: Request) -> Response:
    """Show which program requests which access, with a form for the user's password."""
    return await _answer(request, Parameters(request.query_params), {})


@router.post(AUTHORIZE)
async def decide(request: Request) -> Response:
    """Bring the user's answer to the client. Nothing is kept between the page and its form: all is checked again."""
    if not _is_of_our_page(request, base_url(request.scope, request.app.state.public_url)):
        return refusal_page("The form comes from another site.", 403)
    try:
        check_is_form(request.headers.get("content-type", ""))
    except OAuthError as refused:
        return refusal_page(f"{refused.description}.")
    async with request.form(max_files=0, max_fields=_MAX_FIELDS) as form:
        typed = {name: str(form.get(name, "")) for name in ("answer", "email", "password")}
        return await _answer(request, Parameters(form), typed)  # type: ignore[arg-type]  # without files


def _is_of_our_page(request: Request, base: str) -> bool:
    """Whether the browser's headers show a form of our own page, which no other site can forge (CSRF).

    `Sec-Fetch-Site` is sent to HTTPS and this computer, `Origin` everywhere.
    """
    site = request.headers.get("sec-fetch-site")
    return site == "same-origin" if site is not None else request.headers.get("origin") == base


async def _answer(request: Request, parameters: Parameters, typed: dict[str, str]) -> Response:
    base = base_url(request.scope, request.app.state.public_url)
    try:
        client = await _known_client(request, parameters)
    except OAuthError as refused:
        # Not sent anywhere: the address may be an attacker's.
        return refusal_page(f"{refused.description}. Nothing was allowed; close this page.")
    state = ""
    try:
        state = parameters.one("state")
        check_authorization_request(parameters, base + PATH)
        if not typed:
            return consent_page(client, parameters)
        if typed["answer"] != "allow":
            raise OAuthError("access_denied", "the user denied the authorization")
        with in_oauths_words(INVALID_INPUT="invalid_request"):
            return await _allowed(request, client, parameters, typed, {"state": state, "iss": base})
    except OAuthError as refused:
        error = {"error": refused.error, "error_description": refused.description}
        return _redirect(parameters, **error, state=state, iss=base)


async def _known_client(request: Request, parameters: Parameters) -> Client:
    named = GetClientRequest(
        client_id=parameters.required("client_id"), redirect_uri=parameters.required("redirect_uri")
    )
    with in_oauths_words(UNKNOWN_CLIENT="invalid_client", FOREIGN_REDIRECT="invalid_request"):
        return (await upstreams(request).users.GetClient(named)).client


async def _allowed(
    request: Request, client: Client, parameters: Parameters, typed: dict[str, str], answer: dict[str, str]
) -> Response:
    """A code for the client, or the page again."""
    failures: SignInFailures = request.app.state.sign_in_failures
    if len(typed["email"]) > MAX_EMAIL or len(typed["password"]) > MAX_PASSWORD:
        return consent_page(client, parameters, status=403, wrong=_WRONG)
    consent = AuthorizeClientRequest(
        email=typed["email"],
        password=typed["password"],
        client_id=client.id,
        redirect_uri=parameters.one("redirect_uri"),
        code_challenge=parameters.one("code_challenge"),
    )
    try:
        async with failures.attempt(typed["email"]):
            code = (await while_connected(request, upstreams(request).passwords.AuthorizeClient(consent))).code
    except ShopError as error:
        match error.code:
            case "WRONG_CREDENTIALS":
                return consent_page(client, parameters, status=403, wrong=_WRONG)
            case "RATE_LIMITED":
                again = consent_page(client, parameters, status=429, wrong=f"Not signed in: {error.message}.")
                again.headers["retry-after"] = f"{error.retry_after or 1:.0f}"
                return again
        raise
    return _redirect(parameters, code=code, **answer)


def _redirect(parameters: Parameters, **answer: str) -> Response:
    """Redirect to the client, by GET: 303 carries no password on (RFC 9700, section 4.12)."""
    target = with_parameters(parameters.one("redirect_uri"), **answer)
    return RedirectResponse(target, 303, {"cache-control": "no-store", "referrer-policy": "no-referrer"})
