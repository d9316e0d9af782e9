"""`python -m tools.erp_contract URL` prints the contract of the WSDL at a URL, as `services/erp_adapter` expects it."""

from __future__ import annotations

import sys
import urllib.request

from services.erp_adapter.envelopes import Envelopes

_TIMEOUT = 10.0


def main() -> None:
    with urllib.request.urlopen(sys.argv[1], timeout=_TIMEOUT) as answer:  # noqa: S310  # nosec B310 # the caller's own URL
        sys.stdout.write(Envelopes(answer.read()).contract)


if __name__ == "__main__":
    main()
