"""Webhooks: one task per receiver that walks the log of events and posts what it is told.

There is no queue beside the log: a receiver has a place in it, kept in the store, and the place
moves after the delivery. So a hub that dies loses nothing and keeps the order; what it was sending
is sent again under the same id.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import orjson

from hub.access import View
from hub.coordination.events import Event, Events, ForgottenError, as_cloud_event, may_see
from hub.live import Alarms
from hub.notices.post import Answer, Poster, UnreachableError
from hub.notices.retry import Attempt, Fate, Verdict, judge
from hub.notices.signing import Secrets
from hub.notices.target import TargetError
from hub.store import Store
from hub.store import webhooks as rows
from hub.store.events import Wanted
from hub.store.webhooks import ERROR_MAX, DeadLetter, Webhook

log = logging.getLogger(__name__)

AT_ONCE: Final = 32
"""Receivers that are sent to at the same time."""
TURN: Final = 50
"""Notices that one receiver gets before another one has its turn."""
BATCH: Final = 200
LETTERS_MAX: Final = 5_000
"""Dead letters kept for one receiver; the oldest make room."""
PASSED_MAX: Final = 1_000
"""Events not for a receiver after which its place is written down all the same."""
LOOK_EVERY_S: Final = 1.0
FAILING_AFTER_MS: Final = 600_000
ALARM: Final = "webhook-failing"
MEDIA_TYPE: Final = "application/cloudevents+json"
TEST: Final = "webhook.test"


@dataclass(frozen=True, slots=True)
class Notice:
    """One event on its way to one receiver. `message` is the same however often it is sent."""

    message: str
    type: str
    seq: int
    time_ms: int
    body: bytes


class Webhooks:
    """Sends to every receiver that is active. Belongs to one event loop of its own thread."""

    def __init__(
        self,
        store: Store,
        events: Events,
        *,
        poster: Poster,
        secrets: Secrets,
        view_of: Callable[[Webhook], View],
        alarms: Alarms,
        source: str,
        now_ms: Callable[[], int],
        rng: random.Random,
    ) -> None:
        self._store = store
        self._events = events
        self._poster = poster
        self._secrets = secrets
        self._view_of = view_of
        self._alarms = alarms
        self._source = source
        self._now_ms = now_ms
        self._rng = rng
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._passed: dict[str, int] = {}
        """How far each receiver is, with events that are not for it, which are not written down."""
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            with self._events.following() as follower:
                while True:
                    await self.look()
                    await follower.news(LOOK_EVERY_S)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def look(self) -> None:
        """Give a task to each receiver for which there is something to do."""
        self._busy = {id_: task for id_, task in self._busy.items() if not task.done()}
        hooks, again = await asyncio.to_thread(self._read)
        now_ms, newest = self._now_ms(), self._events.newest
        for hook in hooks:
            if hook.paused is not None or hook.id in self._busy:
                continue
            if hook.key != self._secrets.fingerprint:
                await asyncio.to_thread(self._pause, hook, "its secret is lost: rotate it")
            elif hook.id in again or (self._place(hook) < newest and hook.next_ms <= now_ms):
                task = asyncio.create_task(self._serve(hook, again.get(hook.id)))
                self._busy[hook.id] = task

    def _place(self, hook: Webhook) -> int:
        return max(hook.cursor, self._passed.get(hook.id, 0))

    async def settled(self) -> None:
        """Wait for what is being sent now."""
        await asyncio.gather(*self._busy.values())

    async def _serve(self, hook: Webhook, letter: DeadLetter | None) -> None:
        try:
            async with self._room:
                if letter is not None:
                    await self._send_again(hook, letter)
                else:
                    await self._walk(hook)
        except Exception:  # the boundary of this task
            log.exception("sending to a webhook met something unexpected and goes on")

    async def _walk(self, hook: Webhook) -> None:
        """Send what comes next, until there is nothing more, or a failure, or others wait."""
        stored, sent = hook.cursor, 0
        hook = replace(hook, cursor=self._place(hook))
        view = self._view_of(hook)
        for event in await asyncio.to_thread(self._next, hook):
            if isinstance(event, Webhook):
                hook = event
            elif not self._is_for(hook, view, event):
                hook = replace(hook, cursor=event.seq)
            else:
                hook, fine = await self._deliver(hook, event)
                stored, sent = hook.cursor, sent + 1
                if not fine or sent == TURN:
                    break
        if hook.cursor - stored >= PASSED_MAX:
            await asyncio.to_thread(self._note, hook)
        self._passed[hook.id] = hook.cursor

    def _next(self, hook: Webhook) -> "list[Event | Webhook]":
        """Give the next events; a webhook among them is this one, after events that are lost."""
        try:
            return list(self._events.after(hook.cursor, limit=BATCH))
        except ForgottenError as error:
            cursor = max(0, min(error.oldest - 1, error.newest))
            missed = hook.missed + max(0, cursor - hook.cursor)
            hook = replace(hook, cursor=cursor, missed=missed, tries=0)
            self._note(hook)
            text = f"webhook {hook.id} has missed {missed} events that were forgotten"
            self._alarms.raise_("webhook-missed", _subject(hook), text)
            return [hook]

    def _is_for(self, hook: Webhook, view: View, event: Event) -> bool:
        if event.type == TEST:
            return event.subject == hook.id
        if hook.types and not Wanted(types=hook.types).takes(event):
            return False
        return may_see(view, event, self._now_ms())

    async def _deliver(self, hook: Webhook, event: Event) -> tuple[Webhook, bool]:
        """Try one event once; False when it has to be tried again."""
        notice = as_notice(event, self._source)
        attempt, error = await self._post(hook, notice)
        tries, now_ms = hook.tries + 1, self._now_ms()
        verdict = judge(
            attempt, tries=tries, age_ms=now_ms - event.time_ms, jitter=self._rng.random()
        )
        after = _after(hook, verdict, attempt, error, seq=event.seq, now_ms=now_ms)
        letter = None
        if verdict.fate is Fate.DEAD:
            letter = _letter(hook, notice, tries, attempt=attempt, error=error, now_ms=now_ms)
            log.warning("webhook %s: event %d is set aside (%s)", hook.id, event.seq, error)
        stop = "the receiver answered 410 Gone" if verdict.fate is Fate.STOP else None
        await asyncio.to_thread(self._note, after, letter, stop)
        self._tell(after, now_ms)
        return after, verdict.fate in {Fate.DELIVERED, Fate.DEAD}

    async def _send_again(self, hook: Webhook, letter: DeadLetter) -> None:
        body = letter.body.encode()
        notice = Notice(letter.message, letter.type, letter.seq, letter.time_ms, body)
        attempt, error = await self._post(hook, notice)
        fine = attempt.status is not None and 200 <= attempt.status < 300  # noqa: PLR2004 (success)
        await asyncio.to_thread(self._note_again, letter, attempt, None if fine else error)

    async def _post(self, hook: Webhook, notice: Notice) -> tuple[Attempt, str | None]:
        headers = self._secrets.headers(
            hook.id,
            hook.generation,
            message=notice.message,
            time_s=self._now_ms() // 1000,
            body=notice.body,
        )
        headers |= {"Content-Type": MEDIA_TYPE, "User-Agent": "Machikoba"}
        try:
            answer = await self._poster.post(hook.url, headers, notice.body)
        except (UnreachableError, TargetError) as error:
            return Attempt(None), str(error)[:ERROR_MAX]
        return Attempt(answer.status, answer.retry_after_s), _complaint(answer)

    # -- the store, called in a worker thread ----------------------------------------------

    def _read(self) -> tuple[list[Webhook], dict[str, DeadLetter]]:
        with self._store.read() as tx:
            again = {letter.webhook: letter for letter in rows.wanted_again(tx)}
            return rows.every(tx), again

    def _note(
        self, hook: Webhook, letter: DeadLetter | None = None, stop: str | None = None
    ) -> None:
        with self._store.write() as tx:
            if rows.get(tx, hook.id) is None:
                return  # Removed while it was being sent to.
            rows.note_progress(tx, hook, **({} if stop is None else {"paused": stop}))
            if letter is not None:
                lost = rows.bury(tx, letter, letters_max=LETTERS_MAX)
                if lost:
                    log.warning("webhook %s: %d old dead letters made room", hook.id, lost)

    def _note_again(self, letter: DeadLetter, attempt: Attempt, error: str | None) -> None:
        with self._store.write() as tx:
            if error is None:
                rows.discard(tx, letter.webhook, [letter.id])
            else:
                rows.lay_back(tx, letter.id, status=attempt.status, error=error)

    def _pause(self, hook: Webhook, why: str) -> None:
        with self._store.write() as tx:
            rows.note_progress(tx, hook, paused=why)
        self._alarms.raise_(ALARM, _subject(hook), f"webhook {hook.id} is paused: {why}")

    def _tell(self, hook: Webhook, now_ms: int) -> None:
        """Raise an alarm for a receiver that has been failing for long, and clear it."""
        subject = _subject(hook)
        if hook.failing_since_ms is None:
            self._alarms.clear(ALARM, subject)
        elif now_ms - hook.failing_since_ms >= FAILING_AFTER_MS:
            text = f"webhook {hook.id} cannot be delivered ({hook.last_error})"
            self._alarms.raise_(ALARM, subject, text)


def as_notice(event: Event, source: str) -> Notice:
    """Write an event as it is posted. A store restored from a back-up repeats no id."""
    body = orjson.dumps(as_cloud_event(event, source))
    return Notice(f"{event.seq}-{event.time_ms:x}", event.type, event.seq, event.time_ms, body)


def _after(
    hook: Webhook,
    verdict: Verdict,
    attempt: Attempt,
    error: str | None,
    *,
    seq: int,
    now_ms: int,
) -> Webhook:
    """Give a webhook as it is after a try."""
    told = replace(hook, last_ms=now_ms, last_status=attempt.status, last_error=error)
    if verdict.fate is Fate.DELIVERED:
        fine = replace(told, tries=0, next_ms=0, failing_since_ms=None, last_error=None)
        return replace(fine, cursor=seq, delivered=hook.delivered + 1)
    told = replace(told, failing_since_ms=hook.failing_since_ms or now_ms)
    if verdict.fate is Fate.DEAD:
        return replace(told, cursor=seq, tries=0, next_ms=0)
    return replace(told, tries=hook.tries + 1, next_ms=now_ms + round(verdict.wait_s * 1000))


def _letter(
    hook: Webhook, notice: Notice, tries: int, *, attempt: Attempt, error: str | None, now_ms: int
) -> DeadLetter:
    return DeadLetter(
        id=0,
        webhook=hook.id,
        seq=notice.seq,
        type=notice.type,
        message=notice.message,
        time_ms=notice.time_ms,
        body=notice.body.decode(),
        tries=tries,
        status=attempt.status,
        error=error,
        dead_ms=now_ms,
    )


def _subject(hook: Webhook) -> str:
    """What an alarm about a webhook is about, so that it is shown to whose webhook it is."""
    return f"{hook.sites[0]}/webhook-{hook.id}" if hook.sites else f"webhook-{hook.id}"


def _complaint(answer: Answer) -> str:
    text = f"answered {answer.status}"
    return (f"{text}: {answer.excerpt}" if answer.excerpt else text)[:ERROR_MAX]
