"""Prints each news of the customer's orders: the order's id, and what has become of it. Ctrl-C ends it.

Its first line is `watching`, once nothing that happens from then on will be missed.
"""

from __future__ import annotations

import os
import time

import httpx

GATEWAY, NOTIFIER = os.environ["SHOP_GATEWAY_URL"], os.environ["SHOP_NOTIFIER_URL"]
# Seconds between two questions.
PAUSE = 1.0


def sign_in(http: httpx.Client) -> dict[str, str]:
    """Headers of the customer. A token lasts for some minutes; in this lesson, for seconds."""
    form = {"username": "demo@shop.test", "password": "demo"}
    answer = http.post(f"{GATEWAY}/v1/auth/token", data=form).raise_for_status()
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def main() -> None:
    known: dict[str, str] = {}
    with httpx.Client(timeout=10, trust_env=False) as http:
        headers = sign_in(http)
        for round_number in range(1 << 31):
            answer = http.get(f"{GATEWAY}/v1/orders", headers=headers, params={"limit": 100})
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                headers = sign_in(http)
                continue
            for order in answer.raise_for_status().json()["items"]:
                news = "placed" if order["status"] == "pending" else order["status"]
                if known.get(order["id"]) != news and round_number:
                    print(order["id"], news, flush=True)
                known[order["id"]] = news
            if not round_number:
                print("watching", flush=True)
            time.sleep(PAUSE)


if __name__ == "__main__":
    main()
