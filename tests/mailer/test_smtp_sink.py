"""The SMTP sink keeps what it has answered for."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import httpx
import pytest

from partners.smtp_sink import bootstrap
from partners.smtp_sink import mailbox as mailbox_module
from partners.smtp_sink.mailbox import Mailbox, Received
from partners.smtp_sink.smtp_server import MAX_MAIL
from tests.waiting import eventually

RECIPIENTS = ["zoe@shop.test"]


def a_mail(message_id: str, *, order_id: str = "o1", text: str = "hello") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "shop@shop.test"
    message["To"] = "Zoë <zoe@shop.test>"
    message["Subject"] = "Ünïcode is here"
    message["Message-ID"] = message_id
    message["X-Shop-Order-Id"] = order_id
    message["X-Shop-Mail-Kind"] = "shipped"
    message.set_content(text)
    return message


def settings(folder: Path) -> bootstrap.Settings:
    return bootstrap.Settings(data_dir=folder, smtp_port=0, mail_port=0)


def files(folder: Path) -> int:
    return len(list(folder.iterdir()))


def mails_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.eml"))


async def send(sink: bootstrap.Listening, message: EmailMessage) -> None:
    await aiosmtplib.send(message, hostname="127.0.0.1", port=sink.smtp_port)


async def listed(sink: bootstrap.Listening, query: str = "") -> list[dict[str, Any]]:
    async with httpx.AsyncClient(timeout=60) as http:
        found: list[dict[str, Any]] = (await http.get(f"http://127.0.0.1:{sink.mail_port}/mails{query}")).json()
        return found


async def test_mails_are_listed_newest_first(tmp_path: Path) -> None:
    """The list shows the newest mail first, with decoded headers, and can be narrowed to one order."""
    async with bootstrap.run(settings(tmp_path)) as sink:
        await send(sink, a_mail("<1@shop.test>", order_id="o1"))
        await send(sink, a_mail("<2@shop.test>", order_id="o2"))
        assert [mail["message_id"] for mail in await listed(sink)] == ["2@shop.test", "1@shop.test"]
        (mail,) = await listed(sink, "?order_id=o1")
    assert mail["subject"] == "Ünïcode is here"
    assert mail["to"] == "Zoë <zoe@shop.test>"
    assert (mail["order_id"], mail["kind"]) == ("o1", "shipped")
    assert mail["received_at"].endswith("Z")


async def test_the_extent_is_shown(tmp_path: Path) -> None:
    """`GET /mailbox` says how many mails are kept, how many may be, and that none was deleted."""
    async with bootstrap.run(settings(tmp_path)) as sink, httpx.AsyncClient(timeout=60) as http:
        await send(sink, a_mail("<1@shop.test>"))
        shown = (await http.get(f"http://127.0.0.1:{sink.mail_port}/mailbox")).json()
    assert shown == {"keeps": 10_000, "kept": 1, "forgotten": 0, "forgotten_until": None}


async def test_mails_survive_a_restart(tmp_path: Path) -> None:
    """What was answered with 250 is there after a restart, in the same order; what was half written is not."""
    async with bootstrap.run(settings(tmp_path)) as sink:
        for number in range(3):
            await send(sink, a_mail(f"<{number}@shop.test>"))
        before = await listed(sink)
    (tmp_path / "mails" / "half.unfinished").write_bytes(b"From: ")
    async with bootstrap.run(settings(tmp_path)) as sink:
        after = await listed(sink)
    assert [mail["message_id"] for mail in after] == [mail["message_id"] for mail in before]
    assert files(tmp_path / "mails") == 3


async def test_repeat_is_taken_and_not_kept(tmp_path: Path) -> None:
    """A mail with a Message-ID that is there already is answered with 250 and changes nothing."""
    async with bootstrap.run(settings(tmp_path)) as sink:
        await send(sink, a_mail("<1@shop.test>", text="first"))
        await send(sink, a_mail("<1@shop.test>", text="second"))
        assert len(await listed(sink)) == 1
        async with httpx.AsyncClient(timeout=60) as http:
            raw = await http.get(f"http://127.0.0.1:{sink.mail_port}/mails/%3C1@shop.test%3E")
    assert "first" in raw.text
    assert raw.headers["content-type"].startswith("text/plain")


async def test_recipients_are_those_of_the_envelope(tmp_path: Path) -> None:
    """Whom a mail was handed over for is kept, whatever it says of itself, and is no part of the mail."""
    message = a_mail("<1@shop.test>")
    message["X-Envelope-To"] = '["forged@shop.test"]'
    envelopes = [["eve@shop.test", "bob@shop.test"], ["bob@shop.test"], ["zoë@shop.test"]]
    everybody = ["eve@shop.test", "bob@shop.test", "zoë@shop.test"]
    async with bootstrap.run(settings(tmp_path)) as sink:
        for recipients in envelopes:
            await aiosmtplib.send(message, recipients=recipients, hostname="127.0.0.1", port=sink.smtp_port)
        (mail,) = await listed(sink)
        assert mail["recipients"] == everybody
    async with bootstrap.run(settings(tmp_path)) as sink, httpx.AsyncClient(timeout=60) as http:
        (mail,) = await listed(sink)
        raw = await http.get(f"http://127.0.0.1:{sink.mail_port}/mails/1@shop.test")
    assert mail["recipients"] == everybody
    assert raw.content.startswith(b"From: ")
    assert b'X-Envelope-To: ["forged@shop.test"]\r\n' in raw.content


async def test_mail_of_before_recipients_were_kept_has_none(tmp_path: Path) -> None:
    """A file of an older version is listed without recipients."""
    (tmp_path / "old.eml").write_bytes(a_mail("<0@shop.test>").as_bytes())
    (mail,) = await Mailbox.open(tmp_path, keep=10).newest_first()
    assert (mail.message_id, mail.recipients) == ("0@shop.test", ())


async def test_unknown_mail_is_not_found(tmp_path: Path) -> None:
    """An unknown Message-ID is 404, however it is spelled."""
    async with bootstrap.run(settings(tmp_path)) as sink, httpx.AsyncClient(timeout=60) as http:
        for message_id in ("nothing@shop.test", "..%2F..%2Fetc%2Fpasswd"):
            response = await http.get(f"http://127.0.0.1:{sink.mail_port}/mails/{message_id}")
            assert response.status_code == 404


async def test_too_large_a_mail_is_refused(tmp_path: Path) -> None:
    """A mail over the limit is refused for good (552) and not kept."""
    async with bootstrap.run(settings(tmp_path)) as sink:
        with pytest.raises(aiosmtplib.SMTPException) as refusal:
            await send(sink, a_mail("<1@shop.test>", text="x" * (MAX_MAIL + 1)))
        assert await listed(sink) == []
    assert "552" in str(refusal.value.args)


async def test_oldest_mails_go_when_there_are_too_many(tmp_path: Path) -> None:
    """A mailbox keeps as many mails as its limit, the newest ones."""
    mailbox = Mailbox.open(tmp_path, keep=2)
    for number in range(3):
        await mailbox.add(a_mail(f"<{number}@shop.test>").as_bytes(), RECIPIENTS)
    assert [mail.message_id for mail in await mailbox.newest_first()] == ["2@shop.test", "1@shop.test"]
    assert len(mails_in(tmp_path)) == 2


async def test_what_was_deleted_is_said_and_remembered(tmp_path: Path) -> None:
    """How many mails were deleted to stay below the limit, and from when the last was, survives a restart."""
    mailbox = Mailbox.open(tmp_path, keep=2)
    for number in range(2):
        await mailbox.add(a_mail(f"<{number}@shop.test>").as_bytes(), RECIPIENTS)
    assert (mailbox.extent().forgotten, mailbox.extent().forgotten_until) == (0, None)
    second = (await mailbox.newest_first())[0]
    for number in range(2, 4):
        await mailbox.add(a_mail(f"<{number}@shop.test>").as_bytes(), RECIPIENTS)
    extent = Mailbox.open(tmp_path, keep=2).extent()
    assert (extent.keeps, extent.kept, extent.forgotten) == (2, 2, 2)
    assert extent.forgotten_until == second.received_at


async def test_a_mail_that_comes_again_while_it_is_deleted_is_there_or_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was answered for lies in the folder or is among those that were deleted."""
    mailbox = Mailbox.open(tmp_path, keep=1)
    deleting, may_go_on = threading.Event(), threading.Event()
    write = mailbox_module._write

    def slowly(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            deleting.set()
            assert may_go_on.wait(20)
        write(path, content)

    monkeypatch.setattr(mailbox_module, "_write", slowly)
    first, second = a_mail("m1").as_bytes(), a_mail("m2").as_bytes()
    await mailbox.add(first, RECIPIENTS)
    following = asyncio.create_task(mailbox.add(second, RECIPIENTS))
    assert await asyncio.to_thread(deleting.wait, 20)
    again = asyncio.create_task(mailbox.add(first, RECIPIENTS))
    await eventually(lambda: again.done() or bool(mailbox._deleting._waiters))
    may_go_on.set()
    await asyncio.gather(following, again)
    assert len(mails_in(tmp_path)) == mailbox.extent().kept == 1


async def test_what_could_not_be_noted_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk a mail stays that should go, and is not counted before it goes."""
    mailbox = Mailbox.open(tmp_path, keep=1)
    write = mailbox_module._write

    def full(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise OSError(errno.ENOSPC, "no space left on device")
        write(path, content)

    await mailbox.add(a_mail("m1").as_bytes(), RECIPIENTS)
    with monkeypatch.context() as patched:
        patched.setattr(mailbox_module, "_write", full)
        with pytest.raises(OSError, match="no space"):
            await mailbox.add(a_mail("m2").as_bytes(), RECIPIENTS)
    assert (mailbox.extent().kept, mailbox.extent().forgotten, len(mails_in(tmp_path))) == (2, 0, 2)
    await mailbox.add(a_mail("m3").as_bytes(), RECIPIENTS)
    assert (mailbox.extent().kept, mailbox.extent().forgotten, len(mails_in(tmp_path))) == (1, 2, 1)


async def test_a_recipient_that_is_noted_while_the_folder_is_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a mail that is sent again to others while the list is made, none of its recipients is lost."""
    mailbox = Mailbox.open(tmp_path, keep=9)
    mail = a_mail("m1").as_bytes()
    await mailbox.add(mail, ["a@shop.test"])
    has_read, may_return = threading.Event(), threading.Event()
    on_disk = mailbox._on_disk

    def slowly(known: Mapping[str, tuple[int, Received]]) -> dict[str, tuple[int, Received]]:
        found = on_disk(known)
        has_read.set()
        assert may_return.wait(20)
        return found

    monkeypatch.setattr(mailbox, "_on_disk", slowly)
    listing = asyncio.create_task(mailbox.newest_first())
    assert await asyncio.to_thread(has_read.wait, 20)
    await mailbox.add(mail, ["b@shop.test"])
    may_return.set()
    await listing
    await mailbox.add(mail, ["c@shop.test"])
    (found,) = await mailbox.newest_first()
    assert found.recipients == ("a@shop.test", "b@shop.test", "c@shop.test")


async def test_the_list_shows_what_lies_in_the_folder(tmp_path: Path) -> None:
    """A file that was removed, changed or copied since it was received is listed as it is now."""
    mailbox = Mailbox.open(tmp_path, keep=10)
    for number in range(2):
        await mailbox.add(a_mail(f"<{number}@shop.test>").as_bytes(), RECIPIENTS)
    (first,) = [path for path in mails_in(tmp_path) if b"<0@shop.test>" in path.read_bytes()]
    (tmp_path / "copy.eml").write_bytes(first.read_bytes())
    assert sorted(mail.message_id for mail in await mailbox.newest_first()) == ["0@shop.test"] * 2 + ["1@shop.test"]
    first.unlink()
    (tmp_path / "copy.eml").write_bytes(a_mail("<0@shop.test>", order_id="other").as_bytes())
    assert {mail.message_id: mail.order_id for mail in await mailbox.newest_first()} == {
        "0@shop.test": "other", "1@shop.test": "o1",
    }  # fmt: skip


@pytest.mark.parametrize(
    "subject", ["=?utf-8?q?=ff=fe?=", "=?utf-8?b?x?=", "=?no-such-charset?q?x?=", "=?utf-8?b?7aCA?=", "a\x00b"]
)
async def test_mail_whose_subject_cannot_be_decoded_is_kept(tmp_path: Path, subject: str) -> None:
    """The words stay as they were sent; the mail is listed and shown, also under an id with slashes."""
    content = f"Subject: {subject}\r\nMessage-ID: <a/../b@x.test>\r\n".encode() + b"traceparent: \xff\r\n\r\nhi\r\n"
    async with bootstrap.run(settings(tmp_path)) as sink, httpx.AsyncClient(timeout=60) as http:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=sink.smtp_port)
        async with client:
            await client.sendmail("a@b.test", ["c@d.test"], content)
        (mail,) = await listed(sink)
        shown = await http.get(f"http://127.0.0.1:{sink.mail_port}/mails/a%2F..%2Fb@x.test")
    assert mail["message_id"] == "a/../b@x.test"
    assert shown.status_code == 200
