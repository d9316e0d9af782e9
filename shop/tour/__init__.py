"""`shop tour`: one real order, and its journey hop by hop as the real trace tells it.

`journey.py` makes the order and fetches its trace, `verdict.py` judges it, `page.py` prints it; `running.py` sees to it
that there is a shop.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from shop.tour.journey import travel
from shop.tour.page import as_json, show
from shop.tour.running import a_running_shop
from shop.tour.verdict import DELIVERED, REJECTED


def tour(env: Mapping[str, str], *, reject: bool, json: bool) -> int:
    """Make the journey, print it, and return the exit code: 0 when every hop is there and went well, else 1.

    Raises `Refused` when there is no shop and none can be started.
    """
    itinerary = REJECTED if reject else DELIVERED
    with a_running_shop(env):
        journey = travel(env, itinerary)
    problems = itinerary.problems(journey)
    if json:
        sys.stdout.write(as_json(journey, problems))
    else:
        show(journey, problems)
    return 1 if problems else 0
