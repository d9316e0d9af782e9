"""A certificate authority for development, and a certificate from it for each process and for `shop` itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shop.process_table import ProcessSpec

AUTHORITY = "ca.pem"
COMMAND_LINE = "shop"


def ensure(folder: Path, table: Sequence[ProcessSpec]) -> bool:
    """Make what the processes of the table need in `folder`, unless it is all there. Returns whether it made any.

    The authority's own key is thrown away at once: to add a process, all certificates are made anew.
    """
    names = [*(spec.name for spec in table), COMMAND_LINE]
    wanted = [path for name in names for path in (folder / f"{name}.pem", folder / f"{name}.key")]
    if all(path.is_file() for path in (folder / AUTHORITY, *wanted)):
        return False
    # Imported here: only this needs it.
    import trustme

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # First: without it a renewal that is interrupted is none, and is made anew.
    (folder / AUTHORITY).unlink(missing_ok=True)
    authority = trustme.CA(organization_name="Polyglot Shop development")
    for name in names:
        # Clients read the alternative names only, where an underscore may not stand.
        issued = authority.issue_cert("localhost", "127.0.0.1", "::1", name.replace("_", "-"), common_name=name)
        (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key = folder / f"{name}.key"
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
    # Last: where the authority is, the certificates are.
    authority.cert_pem.write_to_path(folder / AUTHORITY)
    return True
