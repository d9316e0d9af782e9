"""Faults of those outside: the ERP's switches, and webhooks that are late, forged, doubled or sent all at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import httpx

from partners import senders
from partners.sending import post_all
from shop.errors import Refused
from shop.fault.at_work import alone
from shop.fault.faults.ground import Ground
from shop.fault.faults.guard import Guard
from shop.process_table import Scheme
from shop.supervisor.environment import signing_secret

_TIMEOUT = 15.0
# The ERP takes them back by itself after that, whatever happens to us.
_MAX_SECONDS = 3_600
_MET = "Faults-Met"
_ERP_FAULTS: Mapping[str, Mapping[str, object]] = {
    "delay": {"delay_ms": 500},
    "maintenance": {"maintenance": True},
    "html": {"html_error": True},
    "contract-changed": {"contract_changed": True},
}
_FLOOD = 200
_MAX_COUNT = 10_000
_SUCCESS = range(200, 300)


class ErpFault:
    """A switch of the legacy ERP: slow, closed for maintenance, an HTML page, or another contract."""

    momentary = False

    def __init__(self, ground: Ground, words: list[str]) -> None:
        name, _, amount = (words[0] if len(words) == 1 else "").partition("=")
        if name not in _ERP_FAULTS or (amount and name != "delay"):
            raise Refused(f"usage: erp {'|'.join(_ERP_FAULTS)}; delay may have an amount, such as erp delay=800ms")
        self.words = f"erp {words[0]}"
        self._faults: dict[str, object] = {**_ERP_FAULTS[name], "seconds": _MAX_SECONDS}
        if amount:
            self._faults["delay_ms"] = _milliseconds(amount)
        self._url = f"{ground.env['SHOP_LEGACY_SOAP_URL'].rstrip('/')}/_faults"
        # None until the ERP has answered how many.
        self._met: int | None = None
        self._ended = False
        self._guard: Guard | None = None
        self._data_dir = ground.data_dir
        self._release: Callable[[], None] = lambda: None

    def begin(self) -> str:
        """Switch it on. A guard switches it off should this program be killed. Raises `Refused`."""
        # It has one set of switches.
        self._release = alone(self._data_dir, "erp")
        self._guard = Guard(mend_erp, [self._url])
        try:
            _switch(self._url, self._faults)
        except Refused:
            self._guard.dismiss()
            self._release()
            raise
        return f"the ERP answers with {self.words.removeprefix('erp ')}"

    def end(self) -> str:
        """Switch all off."""
        self.met()
        self._ended = True  # from here on the ERP counts anew
        try:
            _switch(self._url, {})
        except Refused as error:
            return f"the ERP has gone, and its faults with it ({error})"
        finally:
            if self._guard is not None:
                self._guard.dismiss()
            self._release()
        met = "the number of affected calls is unknown" if self._met is None else f"{self._met} calls were affected"
        return f"the ERP answers as before; {met}"

    def met(self) -> int | None:
        """Calls that the ERP answered that way, by its own count."""
        if self._ended:
            return self._met
        with suppress(httpx.HTTPError):
            answer = httpx.get(self._url, timeout=_TIMEOUT, trust_env=False)
            self._met = int(answer.headers.get(_MET, 0))
        return self._met


def mend_erp(urls: Sequence[str]) -> None:
    """Switch off all faults of the ERP at this address."""
    with suppress(Refused):
        _switch(urls[0], {})


def _switch(url: str, faults: Mapping[str, object]) -> None:
    try:
        httpx.post(url, json=faults, timeout=_TIMEOUT, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise Refused(f"the ERP at {url} does not take the fault: {error}") from error


class PartnerFault:
    """Webhooks as a partner should not send them: duplicate, late, forged, out-of-order, flood."""

    momentary = True

    def __init__(self, ground: Ground, words: list[str], options: dict[str, str]) -> None:
        faults = [fault.value for fault in senders.Fault]
        if len(words) != 1 or words[0] not in faults:
            raise Refused(f"usage: partner {'|'.join(faults)}, with provider={'|'.join(senders.PROVIDERS)} and count=")
        self._fault = senders.Fault(words[0])
        # Late and forged ones are refused, so that it may be about money; the others place orders of a channel.
        refused = self._fault in (senders.Fault.LATE, senders.Fault.FORGED)
        self._provider = options.pop("provider", "stripe" if refused else "shopify")
        if self._provider not in senders.PROVIDERS:
            raise Refused(f"provider={self._provider}: {'|'.join(senders.PROVIDERS)}")
        self._count = _count(options.pop("count", str(_FLOOD if self._fault is senders.Fault.FLOOD else 5)))
        self._refused = refused
        self.words = f"partner {words[0]} provider={self._provider} count={self._count}"
        self._ground = ground
        self._met = 0

    def begin(self) -> str:
        """Send them, and wait for the answers."""
        secret = signing_secret(Scheme[self._provider.upper()], self._ground.secrets, self._ground.data_dir)
        try:
            webhooks = senders.examples(
                self._provider, secret=secret, count=self._count, fault=self._fault, product_id="17"
            )
        except (ValueError, KeyError) as error:
            raise Refused(str(error)) from error
        answers = asyncio.run(post_all(self._ground.env["SHOP_WEBHOOKS_URL"], webhooks, fault=self._fault))
        tally = Counter(answer.status for answer in answers)
        self._met = sum(count for status, count in tally.items() if (status in _SUCCESS) is not self._refused)
        counts = ", ".join(f"{count} answered {status or 'not at all'}" for status, count in sorted(tally.items()))
        return f"{len(answers)} webhooks of {self._provider} sent ({self._fault}): {counts}"

    def end(self) -> str:
        """Nothing is left to undo."""
        return f"{self._provider} behaves again"

    def met(self) -> int | None:
        """Webhooks that were answered as this fault deserves: late and forged ones refused, the others taken."""
        return self._met


def _count(number: str) -> int:
    if not (number.isascii() and number.isdigit() and len(number) < 6 and 0 < int(number) <= _MAX_COUNT):
        raise Refused(f"count={number} must be 1 to {_MAX_COUNT}")
    return int(number)


def _milliseconds(amount: str) -> int:
    number, unit = (amount.removesuffix("ms"), 1) if amount.endswith("ms") else (amount.removesuffix("s"), 1000)
    try:
        found = int(float(number) * unit)
    except (ValueError, OverflowError) as error:
        raise Refused(f"delay={amount} is not a time: write one such as delay=800ms or delay=2s") from error
    if not 0 < found <= 60_000:
        raise Refused(f"delay={amount} must be at most 60s")
    return found
