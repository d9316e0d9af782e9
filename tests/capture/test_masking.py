"""Secrets are seen in whatever holds them, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.observability.capture.masked_protobuf import masked_bytes, masked_message
from chassis.observability.capture.masking import masked
from protos.shop.users.v1.users_pb2 import IssueTokenRequest, RegisterUserRequest, User

PLANTED = b"planted-Zx9"

HIDING_PLACES = {
    "json": b'{"name":"x","password":"planted-Zx9","n":1}',
    "json with an escaped quote": b'{"password":"a\\"planted-Zx9","n":1}',
    "json within json": b'{"body":"{\\"password\\":\\"a\\\\\\"planted-Zx9\\",\\"n\\":1}"}',
    "json cut off": b'{"access_token":"planted-Zx9',
    "json array": b'{"secrets": ["planted-Zx9", "planted-Zx9"]}',
    "camel case": b'{"accessToken": "planted-Zx9"}',
    "long name": b'{"' + b"x" * 300 + b'password": "planted-Zx9"}',
    "graphql": b'{"query":"mutation { signIn(password: \\"planted-Zx9\\") { id } }"}',
    "form": b"username=a&password=planted-Zx9&grant_type=password",
    "pkce verifier": b"grant_type=authorization_code&code_verifier=planted-Zx9",
    "query": b"GET /notifications?token=planted-Zx9&topics=* HTTP/1.1\r\nhost: a\r\n\r\n",
    "authorization": b"GET / HTTP/1.1\r\nAuthorization: Bearer planted-Zx9\r\n\r\n",
    "digest": b'GET / HTTP/1.1\r\nauthorization: Digest username="a", response="planted-Zx9"\r\n\r\n',
    "cookies": b"GET / HTTP/1.1\r\ncookie: a=1; b=planted-Zx9; c=planted-Zx9\r\n\r\n",
    "set-cookie": b"HTTP/1.1 200 OK\r\nSet-Cookie: s=planted-Zx9; HttpOnly\r\n\r\n",
    "api key": b"GET / HTTP/1.1\r\nX-Api-Key: planted-Zx9\r\n\r\n",
    "subprotocol": b"GET / HTTP/1.1\r\nSec-WebSocket-Protocol: chat, bearer.planted-Zx9\r\n\r\n",
    "xml": b'<a:Password xsi:type="xsd:string">planted-Zx9</a:Password>',
    "names that share a letter": b"secretoken=planted-Zx9",
    "capitals": b"PRIVATE_KEY = 'planted-Zx9'; CVV: 1",
    "a scheme in capitals": b"BEARER planted-Zx9",
    "xml after elements of other names": b"<a><b>1</b><SessionId x='1'>planted-Zx9</SessionId></a>",
    "smtp in small letters": b"auth login planted-Zx9\r\n",
    "xml cut off": b"<SessionId>planted-Zx9",
    "smtp": b"EHLO a\r\nAUTH PLAIN planted-Zx9\r\nMAIL FROM:<a@b>\r\n",
    "webhook secret": b"the secret is whsec_planted-Zx9",
    "address": b'{"url": "amqp://shop:planted-Zx9@broker:5672/"}',
    "private key": b"-----BEGIN PRIVATE KEY-----\nplanted-Zx9\n-----END PRIVATE KEY-----",
    "a token of no name": b"take eyJhbGciOiJFUzI1NiJ9.planted-Zx9.planted-Zx9 please",
}


@pytest.mark.parametrize("text", HIDING_PLACES.values(), ids=HIDING_PLACES)
def test_a_secret_is_found_where_it_hides(text: bytes) -> None:
    """No secret stays, and as many bytes as before do, so that lengths beside them stay true."""
    found = masked(text)
    assert PLANTED not in found
    assert len(found) == len(text)


@pytest.mark.parametrize(
    "number", [b"4111 1111 1111 1111", b"4111111111111111", b"5500-0000-0000-0004", b"378282246310005"]
)
def test_a_card_number_is_found_anywhere(number: bytes) -> None:
    """Digits that pass the check of card numbers are masked, in whatever groups."""
    found = masked(b'{"note": "it is ' + number + b'!"}')
    assert not any(digit in found for digit in b"0123456789")


@pytest.mark.parametrize(
    "text",
    [
        b'{"token_type":"Bearer","expires_in":3600}',
        b'{"order_id":"4111111111111112","idempotency_key":"k-1","status":"pending","total":"89.00"}',
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        b"POST /v1/auth/token HTTP/1.1\r\ncontent-type: application/json\r\n\r\n",
        b"stripe-signature: t=1700000000,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd\r\n",
    ],
)
def test_what_is_no_secret_stays(text: bytes) -> None:
    """What is needed to follow an order is not masked."""
    assert masked(text) == text


def test_a_protobuf_message_is_masked_by_its_fields_names() -> None:
    """Fields that hold secrets are masked wherever they are; the message keeps its length and everything else."""
    asked = RegisterUserRequest(name="Ann", email="ann@shop.test", password="planted-Zx9")
    found = masked_message(asked)
    assert isinstance(found, RegisterUserRequest)
    assert (found.name, found.email, found.password) == ("Ann", "ann@shop.test", "*" * 11)
    assert len(found.SerializeToString()) == len(asked.SerializeToString())
    assert asked.password == "planted-Zx9"
    assert b"planted" not in masked_message(IssueTokenRequest(email="a", password="planted-Zx9")).SerializeToString()


@pytest.mark.parametrize("text", [*HIDING_PLACES.values(), b"4111 1111 1111 1111"], ids=[*HIDING_PLACES, "card number"])
@pytest.mark.parametrize("length", range(48, 123, 9))
def test_a_field_is_masked_whatever_stands_before_it(text: bytes, length: int) -> None:
    """A length before a text, which may look like a letter or digit, hides no secret in the text from being found."""
    asked = User(name=text.decode().ljust(length))
    assert masked_bytes(asked) == masked_message(asked).SerializeToString()


def test_a_message_without_secrets_is_kept_as_it_is() -> None:
    """What names no secret has the same bytes; a field that is one by its name is masked, whatever it holds."""
    told = User(name="Ann")
    assert masked_bytes(told) == told.SerializeToString()
    assert b"harmless" not in masked_bytes(IssueTokenRequest(email="a", password="harmless"))


@given(st.binary(max_size=600))
def test_any_bytes_can_be_masked(data: bytes) -> None:
    """Whatever comes has as many bytes afterwards."""
    assert len(masked(data)) == len(data)
