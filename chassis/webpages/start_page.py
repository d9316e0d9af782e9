"""The page at `/` of a port: what is here, and where to go. HTML for people, JSON for programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import orjson
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.webpages import html

_HOST_NAME = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Link:
    """Something that is here.

    `href` is a path of this port, ":8003/" for another port of the same host, or empty for what no browser can open.
    """

    href: str
    title: str
    about: str


class OtherPorts(BaseSettings):
    """The shop's other public ports in development, by the settings that move them."""

    model_config = SettingsConfigDict(env_prefix="SHOP_", extra="ignore", frozen=True)

    gateway_port: int = 8000
    notifier_port: int = 8001
    webhooks_port: int = 8002
    console_port: int = 8003
    legacy_soap_port: int = 8020
    payment_port: int = 8021
    mail_port: int = 8026

    def links(self) -> Sequence[Link]:
        return (
            Link(f":{self.console_port}/", "Console", "an order's journey, hop by hop; prepared calls; a live map"),
            Link(f":{self.gateway_port}/", "Gateway", "REST and GraphQL, and their explorers"),
            Link(f":{self.notifier_port}/", "Notifier", "events to browsers: WebSocket and SSE"),
            Link(f":{self.webhooks_port}/", "Webhooks", "receiver of partners' webhooks"),
            Link(f":{self.mail_port}/", "Mails", "the mails that the shop has sent"),
            Link(f":{self.legacy_soap_port}/", "ERP", "their system of 2004: SOAP and its WSDL"),
            Link(f":{self.payment_port}/", "Payment provider", "a stand-in, outside our boundary"),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class StartPage:
    """`elsewhere` are the other ports, in development; `example` is a command to start with."""

    title: str
    about: str
    links: Sequence[Link]
    example: str = ""
    elsewhere: Sequence[Link] = ()

    @classmethod
    def of(cls, process: str, about: str, *links: Link, example: str = "", env: str) -> StartPage:
        elsewhere = [link for link in OtherPorts().links() if link.title != process] if env == "development" else ()
        return cls(process, about, links, example, elsewhere)

    def answer(self, *, accept: str, host: str, scheme: str = "http") -> Answer:
        """The page for a request: `accept` and `host` are its headers' values."""
        if html.accepts_html(accept):
            body = html.page(f"{self.title} · Polyglot Shop", *self._parts(host, scheme))
            return Answer({**html.HEADERS, "content-type": html.MEDIA_TYPE}, body)
        content = {
            "name": self.title,
            "about": self.about,
            "links": [_as_json(link, host, scheme) for link in self.links],
            "elsewhere": [_as_json(link, host, scheme) for link in self.elsewhere],
        }
        headers = {"content-type": "application/json", "cache-control": "no-store", "vary": "Accept"}
        return Answer(headers, orjson.dumps(content, option=orjson.OPT_INDENT_2))

    def _parts(self, host: str, scheme: str) -> Sequence[str]:
        def rows(links: Sequence[Link]) -> Sequence[Sequence[str]]:
            return [(_shown(each, host, scheme), escape(each.about)) for each in links]

        parts = [html.text(self.about), html.table(("Here", ""), rows(self.links))]
        if self.example:
            parts += ["<h2>Try it</h2>", f"<pre>{escape(self.example)}</pre>"]
        if self.elsewhere:
            parts += ["<h2>Elsewhere in this shop</h2>", html.table(("Port", ""), rows(self.elsewhere))]
        return parts


def _shown(link: Link, host: str, scheme: str) -> str:
    return html.link(_absolute(link.href, host, scheme), link.title) if link.href else escape(link.title)


def _as_json(link: Link, host: str, scheme: str) -> Mapping[str, str]:
    return {"title": link.title, "href": _absolute(link.href, host, scheme), "about": link.about}


def _absolute(href: str, host: str, scheme: str) -> str:
    """The address of a link as the client reaches this host; what is no host name is taken for this machine."""
    if not href.startswith(":"):
        return href
    named = _HOST_NAME.fullmatch(host)
    return f"{scheme}://{named.group(1) if named else 'localhost'}{href}"
