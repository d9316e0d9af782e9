"""What was signed, what becomes of it when it is parsed and written again, and what the receiver says to it."""

import hashlib
import hmac
import json
import os
import secrets

from lessons import kit

SECRET = os.environ["SHOP_WEBHOOK_SECRET_GITHUB"].split(",")[0].encode()
SENT = b'{"id":4711,"customer":"Zo\\u00eb","total":10.00}'


def mac(content: bytes) -> str:
    return hmac.new(SECRET, content, hashlib.sha256).hexdigest()


async def show(shop: kit.Shop) -> None:
    again = json.dumps(json.loads(SENT)).encode()
    for what, content in (("signed by GitHub", SENT), ("parsed and written again", again)):
        print(f"{what:<25} {len(content)} bytes, HMAC {mac(content)[:16]}…")
        print(f"    {content.decode()}")
    signed = {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": secrets.token_hex(12),
        "X-Hub-Signature-256": f"sha256={mac(SENT)}",
    }
    headers = {"Content-Type": "application/json", **signed}
    answer = await shop.http.post(f"{os.environ['SHOP_WEBHOOKS_URL']}/webhooks/github", content=SENT, headers=headers)
    said = "accepted" if answer.is_success else answer.json()["code"]
    print(f"sent, with the first HMAC: {answer.status_code} {said}")


kit.see(show)
