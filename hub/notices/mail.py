"""Mail to people: composed from how things stand, sent by one SMTP server."""

import asyncio
import hashlib
import json
import logging
import smtplib
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from importlib.resources import files
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from hub.coordination.events import Event, Events, ForgottenError
from hub.live import Alarm, Alarms
from hub.notice_settings import DAYS, Recipient, Smtp
from hub.notices.mail_rules import Letter, Reader, letter, read_from
from hub.notices.quiet import QuietHours
from hub.notices.retry import back_off_s
from hub.store import Store
from hub.store import mail as rows
from hub.store.mail import Place

log = logging.getLogger(__name__)

PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
LOOK_EVERY_S: Final = 2.0
BATCH: Final = 500
PASSED_MAX: Final = 1_000
"""Events that are nothing to a reader after which its place is written all the same."""
FAILING_AFTER_MS: Final = 600_000
TOLD_KEPT_MS: Final = 90 * 86_400_000
ALARM: Final = "mail-failing"
TEXT_MAX: Final = 300
SUBJECT_MAX: Final = 120

Words = Mapping[str, str]


@dataclass(slots=True)
class _Failing:
    """How sending to one reader goes."""

    tries: int = 0
    next_ms: int = 0
    since_ms: int | None = None


class Post:
    """Hands mail to an SMTP server, over TLS unless the settings say otherwise."""

    def __init__(self, settings: Smtp, password: str | None) -> None:
        self._settings = settings
        self._password = password

    def send(self, message: EmailMessage) -> None:
        """Hand over one mail; blocks as long as the server takes, within the time-out.

        Raises:
            OSError, smtplib.SMTPException: the server did not take it.
        """
        told = self._settings
        port = told.port or PORTS[told.security]
        if told.security == "tls":
            context = self._context(told.ca_file)
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                told.host, port, timeout=told.timeout_s, context=context
            )
        else:
            server = smtplib.SMTP(told.host, port, timeout=told.timeout_s)
        with server:
            if told.security == "starttls":
                server.starttls(context=self._context(told.ca_file))
            if told.username is not None and self._password is not None:
                server.login(told.username, self._password)
            server.send_message(message)

    def _context(self, ca_file: Path | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


class Mail:
    """Writes to every reader what it is to know. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        events: Events,
        alarms: Alarms,
        *,
        readers: Sequence[Reader],
        send: Callable[[EmailMessage], None],
        sender: str,
        now_ms: Callable[[], int],
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._events = events
        self._alarms = alarms
        self._readers = readers
        self._send = send
        self._sender = sender
        self._now_ms = now_ms
        self._jitter = jitter
        self._failing = {reader.address: _Failing() for reader in readers}
        self._words = load_wording()
        self._stored: dict[str, Place] = {}
        self._places: dict[str, Place] = {}
        """How far each reader is, with events that are nothing to it, which are not written."""

    async def run(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Write to whom there is something to tell."""
        for reader in self._readers:
            if self._now_ms() >= self._failing[reader.address].next_ms:
                await asyncio.to_thread(self._serve, reader)

    def _serve(self, reader: Reader) -> None:
        now_ms = self._now_ms()
        place, told_ms = self._read(reader)
        found = self._news(read_from(reader, place, now_ms))
        ready = letter(
            reader,
            place,
            alarms=self._alarms.active(),
            events=found,
            told_ms=told_ms,
            now_ms=now_ms,
        )
        if not ready.is_empty:
            message = compose(ready, reader, self._words[reader.language], self._sender, now_ms)
            try:
                self._send(message)
            except (OSError, smtplib.SMTPException) as error:
                self._note_failure(reader, error)
                return
            self._note_success(reader)
        self._places[reader.address] = ready.place
        stored = self._stored[reader.address]
        passed = ready.place.urgent_seq - stored.urgent_seq >= PASSED_MAX
        if passed or not ready.is_empty:
            self._write(reader, ready, now_ms)

    def _read(self, reader: Reader) -> tuple[Place, dict[tuple[str, str], int]]:
        """Give how far a reader is and what it knows. A new one is told from now on."""
        with self._store.read() as tx:
            stored, told_ms = rows.get_place(tx, reader.address), rows.told_ms(tx, reader.address)
        if stored is None:
            stored = Place(self._events.newest, self._events.newest)
            with self._store.write() as tx:
                rows.put_place(tx, reader.address, stored)
        self._stored[reader.address] = stored
        return self._places.get(reader.address, stored), told_ms

    def _news(self, seq: int) -> list[Event]:
        try:
            return self._events.after(seq, limit=BATCH)
        except ForgottenError as error:
            log.warning("mail: events up to %d were forgotten before they were told", error.oldest)
            return self._events.after(min(error.oldest - 1, error.newest), limit=BATCH)

    def _write(self, reader: Reader, ready: Letter, now_ms: int) -> None:
        with self._store.write() as tx:
            rows.put_place(tx, reader.address, ready.place)
            rows.put_told(tx, reader.address, ready.told, now_ms)
            rows.forget_told(tx, now_ms - TOLD_KEPT_MS)

    def _note_failure(self, reader: Reader, error: Exception) -> None:
        now_ms, state = self._now_ms(), self._failing[reader.address]
        if state.since_ms is None:
            state.since_ms = now_ms
            log.warning("mail to %s waits: %s", reader.address, error)
        state.tries += 1
        state.next_ms = now_ms + round(back_off_s(state.tries, self._jitter()) * 1000)
        if now_ms - state.since_ms >= FAILING_AFTER_MS:
            text = f"mail to {reader.address} is not taken ({error})"[:TEXT_MAX]
            self._alarms.raise_(ALARM, f"mail-{reader.address}", text)

    def _note_success(self, reader: Reader) -> None:
        if self._failing[reader.address].since_ms is not None:
            log.info("mail to %s is taken again", reader.address)
            self._alarms.clear(ALARM, f"mail-{reader.address}")
        self._failing[reader.address] = _Failing()


def reader_of(told: Recipient) -> Reader:
    """Read a recipient of the settings."""
    windows = (
        QuietHours(frozenset(map(DAYS.index, each.days)), each.from_, each.to)
        for each in told.quiet
    )
    return Reader(
        address=told.address,
        language=told.language,
        zone=ZoneInfo(told.time_zone),
        sites=frozenset(told.sites),
        types=tuple(told.types),
        quiet=tuple(windows),
        urgent=frozenset(told.urgent),
        gather_ms=round(told.gather_s * 1000),
        remind_ms=round(told.remind_s * 1000),
        after_ms=round(told.after_s * 1000),
    )


def load_wording() -> Mapping[str, Words]:
    """Read the words of mails, by language."""
    text = files("hub.notices").joinpath("wording.json").read_text(encoding="utf-8")
    words: Mapping[str, Words] = json.loads(text)
    return words


def compose(ready: Letter, reader: Reader, words: Words, sender: str, now_ms: int) -> EmailMessage:
    """Write a mail. The same matters make the same Message-ID, so a repeated mail can be told."""
    lines = list(_lines(ready, reader, words))
    first = next(line for line in lines if line.startswith("- ")).removeprefix("- ")
    matters = len(ready.alarms) + len(ready.reminders) + len(ready.events) + ready.more
    form = words["subject"] if matters == 1 else words["subject_more"]
    message = EmailMessage()
    message["From"], message["To"] = sender, reader.address
    message["Subject"] = form.format(what=first[:SUBJECT_MAX], n=matters - 1)
    message["Date"] = format_datetime(datetime.fromtimestamp(now_ms // 1000, reader.zone))
    message["Message-ID"] = _message_id(ready, reader, sender)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(lines) + "\n")
    return message


def _lines(ready: Letter, reader: Reader, words: Words) -> "Sequence[str]":
    lines: list[str] = []
    for title, alarms in (("alarms", ready.alarms), ("reminders", ready.reminders)):
        if alarms:
            lines += [words[title], *(_alarm_line(a, reader, words) for a in alarms), ""]
    if ready.events:
        lines += [words["events"], *(_event_line(e, reader, words) for e in ready.events), ""]
    if ready.more:
        lines += [words["more"].format(n=ready.more), ""]
    if ready.alarms or ready.reminders:
        lines.append(words["foot"])
    return lines


def _alarm_line(alarm: Alarm, reader: Reader, words: Words) -> str:
    form = words.get(alarm.code)
    title = alarm.code if form is None else form.format(subject=alarm.subject)
    since = words["since"].format(time=_clock(alarm.since_ms, reader))
    return _plain(f"- {title} ({since}) {alarm.text}")


def _event_line(event: Event, reader: Reader, words: Words) -> str:
    place = "/".join(filter(None, (event.site, event.machine)))
    form = words.get(event.type)
    title = f"{place}: {event.type}" if form is None else form.format(machine=place)
    text = event.data.get("text")
    more = text if isinstance(text, str) else event.subject
    return _plain(f"- {title} ({_clock(event.time_ms, reader)}) {more}")


def _clock(time_ms: int, reader: Reader) -> str:
    return datetime.fromtimestamp(time_ms // 1000, reader.zone).strftime("%Y-%m-%d %H:%M")


def _plain(text: str) -> str:
    """Make one short line of whatever machines call themselves."""
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    return line.encode("utf-8", "replace").decode()[:TEXT_MAX]


def _message_id(ready: Letter, reader: Reader, sender: str) -> str:
    matters = [a.id for a in (*ready.alarms, *ready.reminders)]
    matters += [str(event.seq) for event in ready.events]
    text = "\n".join([reader.address, str(ready.place.sent_ms), *matters])
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"<{name}@{sender.rpartition('@')[2]}>"
