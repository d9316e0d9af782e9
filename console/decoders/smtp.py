"""One side of an SMTP dialogue (RFC 5321): commands with the mail that they carry, or replies."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import Any

from console.decoders.parts import Part, lines, readable

_COMMANDS = {
    b"EHLO": "greets, and requests the server's extensions",
    b"HELO": "greets",
    b"STARTTLS": "from here on encrypted",
    b"AUTH": "signs in; masked before it left the process",
    b"MAIL": "the envelope: the address for a failure notice",
    b"RCPT": "the envelope: a recipient",
    b"DATA": "the mail follows, up to a line with a dot",
    b"QUIT": "goodbye",
}


def read(content: bytes) -> tuple[list[Part], Any]:
    """The parts, and the content: the mail's fields and text with the envelope, or the replies."""
    return _replies(content) if content[:3].isdigit() else _commands(content)


def _replies(content: bytes) -> tuple[list[Part], Any]:
    parts, said = [], []
    for start, end, line in lines(content):
        digit = {b"2": "done", b"3": "go on", b"4": "not now, try again", b"5": "refused for good"}.get(line[:1], "")
        parts.append(Part(f"reply {readable(line[:3])}", start, end, f"{digit}: {readable(line[4:])}"))
        said.append(readable(line))
    return parts, said


def _commands(content: bytes) -> tuple[list[Part], Any]:
    parts: list[Part] = []
    commands: list[str] = []
    mail = bytearray()
    where = "commands"
    for start, end, line in lines(content):
        if where == "commands":
            verb = line.split(b" ", 1)[0].upper()
            parts.append(Part(f"command {readable(verb)}", start, end, _COMMANDS.get(verb, "")))
            commands.append(readable(line))
            where = "mail head" if verb == b"DATA" else where
            continue
        if line == b".":
            parts.append(Part("end of the mail", start, end, "a dot alone"))
            where = "commands"
            continue
        mail += line.removeprefix(b".") + b"\r\n"
        if where == "mail head" and line:
            name = "continued" if line[:1] in b" \t" else readable(line.partition(b":")[0])
            parts.append(Part(f"mail header {name}", start, end, readable(line.partition(b":")[2].strip() or line)))
        elif where == "mail head":
            parts.append(Part("end of the mail's head", start, end, "an empty line"))
            where = "mail body"
        elif parts[-1].name == "mail body":
            parts[-1] = Part("mail body", parts[-1].start, end, parts[-1].meaning)
        else:
            parts.append(Part("mail body", start, end, readable(line)))
    return parts, {"commands": commands, **_mail(bytes(mail))}


def _mail(raw: bytes) -> dict[str, Any]:
    """A mail's header fields and its text (RFC 5322)."""
    if not raw:
        return {}
    try:
        message = message_from_bytes(raw, policy=policy.default)
        body = message.get_body(("plain", "html"))
        fields = {name: str(value) for name, value in message.items()}
        return {**fields, "text": "" if body is None else str(body.get_content())}
    except (LookupError, ValueError, TypeError, AttributeError):
        # The standard library's parser stumbles over some heads, such as an address that ends with its "@".
        return {"text": raw.decode(errors="replace")}
