"""What was signed, and what is verified."""

import hashlib
import hmac
import json

from lessons import kit

SECRET = b"a secret that two share"
SENT = b'{"id":4711,"customer":"Zo\\u00eb","total":10.00}'


def mac(content: bytes) -> str:
    return hmac.new(SECRET, content, hashlib.sha256).hexdigest()[:16]


async def show(_: kit.Shop) -> None:
    again = json.dumps(json.loads(SENT)).encode()
    for what, content in (("signed by the provider", SENT), ("verified by us", again)):
        print(f"{what:<23} {len(content)} bytes, HMAC {mac(content)}…")
        print(f"    {content.decode()}")


kit.see(show)
