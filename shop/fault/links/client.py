"""Client of the link proxy's control socket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from shop.errors import Refused
from shop.fault.links.plan import socket_path
from shop.fault.links.toxics import Toxic

_TIMEOUT = 10.0
_NO_LAB = "the shop in {} does not run with links that can be broken: start it with `shop up --lab`"


class NotListening(Refused):
    """A fault has ended, and its link cannot listen again yet: another program has its port."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as the proxy counts it; `recent` is chunks within the requested seconds."""

    name: str
    source: str
    target: str
    protocol: str
    listen: tuple[str, int]
    open: int
    opened: int
    failed: int
    recent: int
    chunks: int

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        return cls(
            content["name"],
            content["from"],
            content["to"],
            content["protocol"],
            (content["listen"][0], content["listen"][1]),
            content["open"],
            content["opened"],
            content["failed"],
            content["recent"],
            content["request_chunks"] + content["answer_chunks"],
        )


class Links:
    """The links of a running shop. Every call raises `Refused` where there is no lab, or it refuses."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        transport = httpx.HTTPTransport(uds=str(socket_path(data_dir)))
        self._http = httpx.Client(base_url="http://links", transport=transport, timeout=_TIMEOUT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def there(self) -> bool:
        """Whether the shop runs with a lab."""
        try:
            return self._http.get("/links").is_success
        except httpx.TransportError:
            return False

    def all(self, within: float = 1.0) -> dict[str, LinkState]:
        """Every link by name."""
        found = self._call("GET", f"/links?within={within}")["links"]
        return {each["name"]: LinkState.of(each) for each in found}

    def set(self, names: Sequence[str], toxics: Iterable[Toxic], seconds: float, *, fault_id: str = "") -> str:
        """Set toxics on links for so many seconds; returns the fault's id, which is a new one unless it is given."""
        body = {"links": list(names), "toxics": [toxic.as_dict() for toxic in toxics], "seconds": seconds}
        body |= {"id": fault_id} if fault_id else {}
        return str(self._call("POST", "/faults", body)["id"])

    def met(self, fault: str) -> int:
        """The traffic that a fault has met, at work or ended."""
        return sum(self._call("GET", f"/faults/{fault}")["met"].values())

    def end(self, fault: str) -> int:
        """End a fault; returns how much it has met."""
        return sum(self._call("DELETE", f"/faults/{fault}")["met"].values())

    def faults(self) -> list[dict[str, Any]]:
        """The faults at work."""
        found: list[dict[str, Any]] = self._call("GET", "/faults")["faults"]
        return found

    def watch(self, name: str, seconds: float) -> None:
        """Watch a link for so many seconds, from the first byte of its connections."""
        self._call("PUT", f"/taps/{quote(name, safe='')}?seconds={seconds}")

    def watch_on(self, name: str, seconds: float) -> None:
        """Go on watching a link that is watched, for so many seconds from now on."""
        self._call("POST", f"/taps/{quote(name, safe='')}?seconds={seconds}")

    def frames(self, name: str, trace: str = "") -> list[dict[str, Any]]:
        """The frames that crossed a watched link; with a trace's id, those around it."""
        found: list[dict[str, Any]] = self._call("GET", f"/taps/{quote(name, safe='')}?trace={trace}")["frames"]
        return found

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Refused(_NO_LAB.format(self._data_dir)) from error
        content = _object(answer)
        if not answer.is_success:
            kind = NotListening if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else Refused
            raise kind(str(content.get("error", answer.text)))
        return content


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Refused(f"the link proxy answered {answer.status_code}, and no JSON object: {answer.text[:200]}")
    return content
