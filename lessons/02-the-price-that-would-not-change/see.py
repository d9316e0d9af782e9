"""Several truths about one price."""

import httpx

from lessons import kit


def shown(how: str, answer: httpx.Response, price: str) -> None:
    age = f"   Age: {answer.headers['age']}" if "age" in answer.headers else ""
    print(f"{how:<38} {price:>7}   {answer.headers.get('cache-status', '')}{age}")


async def show(shop: kit.Shop) -> None:
    path = "/v1/products/42"
    admin = await shop.admin()
    await shop.get(path)
    await shop.get("/v1/products", limit=100)
    now = await shop.get(path, {"Cache-Control": "no-cache"})
    price = "99.00" if now.json()["price"] == "89.00" else "89.00"
    current = {**admin, "If-Match": now.headers["etag"]}
    answer = await shop.http.patch(f"{shop.gateway}{path}", json={"price": price}, headers=current)
    shown(f"PATCH {path}: {answer.status_code}", answer, answer.json()["price"])
    answer = await shop.get(path)
    shown(f"GET {path}", answer, answer.json()["price"])
    listed = await shop.get("/v1/products", limit=100)
    shown(
        "GET /v1/products?limit=100", listed, next(row["price"] for row in listed.json()["items"] if row["id"] == "42")
    )
    answer = await shop.get(path, {"Cache-Control": "no-cache"})
    shown(f"GET {path}, no-cache", answer, answer.json()["price"])
    order = await shop.get(f"/v1/orders/{await shop.place(('42', 1))}", await shop.bearer())
    shown("an order that was placed now", order, order.json()["total"])


kit.see(show)
