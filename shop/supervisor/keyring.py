"""The secrets of the embedded development default: made once, kept in the data directory, never shown."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shop.errors import Refused
from shop.process_table import ProcessSpec, Scheme

FILE = "secrets.json"


@dataclass(frozen=True, slots=True)
class Keyring:
    """`services`: process name to the secret that it signs in with at `users`; `webhooks`: scheme to signing secret."""

    services: Mapping[str, str]
    webhooks: Mapping[str, str]


def load(data_dir: Path, table: Iterable[ProcessSpec]) -> Keyring:
    """Read `secrets.json`, having made it (mode 0600) or added what a newer table needs.

    Safe when several processes do this at once: the directory is locked meanwhile. Raises `Refused` for a file that
    was edited and is not of this form any more.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / FILE
    directory = os.open(data_dir, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        known = _read(path) if path.exists() else {}
        services = {spec.name: secrets.token_urlsafe(32) for spec in table if spec.identity}
        webhooks = {scheme.value: _signing_secret(scheme) for scheme in Scheme}
        complete = {
            "services": services | known.get("services", {}),
            "webhooks": webhooks | known.get("webhooks", {}),
        }
        if complete != known:
            _replace(path, json.dumps(complete, indent=2))
    finally:
        os.close(directory)
    return Keyring(**complete)


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        content = json.loads(path.read_text())
        parts = [content.get(part, {}) for part in ("services", "webhooks")]
        whole = all(isinstance(secret, str) for part in parts for secret in part.values())
    except (ValueError, AttributeError):  # it, or a part of it, is no object
        whole = False
    if not whole:
        raise Refused(f"{path} must be a JSON object of secrets by name: restore it, or delete it for new secrets")
    return dict(content)


def _signing_secret(scheme: Scheme) -> str:
    """Standard Webhooks prescribes `whsec_` and the base64 of 24 to 64 bytes; the others take any text."""
    if scheme is Scheme.STANDARD:
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(32)


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
