"""`shop tour`: one real order, and its journey hop by hop as the real trace shows it.

`journey.py` makes the order and fetches its trace, `verdict.py` judges it, `page.py` prints it; `running.py` sees to it
that there is a shop.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from shop.commands.orders.tour.journey import travel
from shop.commands.orders.tour.page import Page, as_json
from shop.commands.orders.tour.running import a_running_shop
from shop.commands.orders.tour.verdict import DELIVERED, REJECTED


def tour(env: Mapping[str, str], *, reject: bool, json: bool) -> int:
    """Make the journey, print it as it goes, and return the exit code: 0 when every hop is there and went well, else 1.

    Raises `Refused` when there is no shop and none can be started.
    """
    itinerary = REJECTED if reject else DELIVERED
    modern = env.get("SHOP_ERP") == "modern"
    if modern:
        itinerary = itinerary.without_soap()
    page = Page()
    with a_running_shop(env):
        if json:
            journey = travel(env, itinerary)
        else:
            page.legend()
            page.head("An order is placed, and travels:")
            journey = travel(env, itinerary, on_hop=page.hop)
    problems = itinerary.problems(journey)
    if json:
        sys.stdout.write(as_json(journey, problems))
        return 1 if problems else 0
    page.rest(journey.order.hops)
    if not reject:
        sys.stdout.write("\n")
        page.head("One GraphQL query, and the REST calls behind it:")
        page.rest(journey.graphql.hops)
    notes = ["Refused as it should be: too little in stock. What had begun was undone."] if reject else []
    notes += ["0 SOAP calls: this shop runs on the modern ERP (SHOP_ERP=modern)."] if modern else []
    page.end(journey, problems, notes)
    return 1 if problems else 0
