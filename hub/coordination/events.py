"""Events as others follow them: one log, and everybody's place in it.

There is no queue per follower. Who follows holds a number and asks for what comes after it; the
newest events are in memory, older ones in the store. So a slow follower costs nothing, and one that
comes back after an hour reads on where it was.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from hub.access import Group, Level, View
from hub.store import Store, StoreError, events
from hub.store.events import Event, Wanted

log = logging.getLogger(__name__)

__all__ = [
    "Event",
    "Events",
    "Follower",
    "ForgottenError",
    "TooManyFollowersError",
    "Wanted",
    "as_cloud_event",
    "may_see",
]

LOOK_EVERY_S: Final = 0.2
RECENT: Final = 2_000
READ_MAX: Final = 500
FOLLOWERS_MAX: Final = 1_000
FORGET_EVERY_MS: Final = 60_000
FORGET_AT_ONCE: Final = 5_000
STOP_S: Final = 5.0

SHARED_AS: Final[Mapping[str, Group]] = {
    "reservation": Group.CAPACITY_CALENDAR,
    "calendar": Group.CAPACITY_CALENDAR,
    "alarm": Group.STATUS_REASON,
    "state": Group.STATUS_REASON,
    "job": Group.JOB_DETAIL,
}
"""Which field group a family of events tells of; a family that is not here is its owner's only."""


class TooManyFollowersError(Exception):
    """More connections follow the events than this hub allows."""


class ForgottenError(Exception):
    """What came after the number asked for is not known any more, at least in part."""

    def __init__(self, oldest: int, newest: int) -> None:
        super().__init__(f"the oldest event kept is {oldest}, the newest {newest}")
        self.oldest = oldest
        self.newest = newest


class Events:
    """The log of events, looked at by one thread and asked by any."""

    def __init__(
        self,
        store: Store,
        *,
        now_ms: Callable[[], int],
        keep_days: int = 90,
        rows_max: int = 1_000_000,
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._keep_ms = keep_days * 86_400_000
        self._rows_max = rows_max
        self._recent: deque[Event] = deque(maxlen=RECENT)
        self._grown = threading.Condition()
        self._followers: set[Follower] = set()
        self._stopping = threading.Event()
        self._lost = False
        self._forget_due_ms = 0
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        with store.read() as tx:
            self.newest = events.newest(tx)
            """The number of the last event that was looked at."""
            first = max(0, self.newest - RECENT)
            self._recent.extend(events.after(tx, first, limit=RECENT))

    def start(self) -> None:
        """Begin to look for new events."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopping.set()
        self._thread.join(STOP_S)

    def after(
        self, seq: int, *, limit: int = READ_MAX, wanted: Wanted | None = None
    ) -> list[Event]:
        """Give the events that follow `seq`, as far as they have been looked at.

        Raises:
            ForgottenError: some of them are not kept any more, or `seq` was never given.
            StoreUnavailableError: they are older than memory, and the store is away.
        """
        with self._grown:
            newest, recent = self.newest, list(self._recent)
        if seq > newest:
            raise ForgottenError(recent[0].seq if recent else newest + 1, newest)
        if recent and recent[0].seq <= seq + 1:
            found = [e for e in recent[seq + 1 - recent[0].seq :] if not wanted or wanted.takes(e)]
            return found[:limit]
        with self._store.read() as tx:
            oldest = events.oldest(tx)
            if seq + 1 < oldest:
                raise ForgottenError(oldest, newest)
            found = events.after(tx, seq, limit=limit, wanted=wanted)
        return [event for event in found if event.seq <= newest]

    def wait(self, seq: int, timeout_s: float) -> bool:
        """Wait in a thread until there is something after `seq`."""
        with self._grown:
            return self._grown.wait_for(lambda: self.newest > seq, timeout_s)

    @contextmanager
    def following(self) -> "Iterator[Follower]":
        """Be told, in an event loop, when there is something new.

        Raises:
            TooManyFollowersError: there are too many already.
        """
        if len(self._followers) >= FOLLOWERS_MAX:
            raise TooManyFollowersError(f"{FOLLOWERS_MAX} connections follow the events already")
        follower = Follower(asyncio.get_running_loop())
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    def look(self) -> int:
        """Look for new events now, and give how many there were."""
        with self._store.read() as tx:
            found = events.after(tx, self.newest, limit=READ_MAX)
        if found:
            with self._grown:
                self._recent.extend(found)
                self.newest = found[-1].seq
                self._grown.notify_all()
            for follower in list(self._followers):
                follower.tell()
        return len(found)

    def forget(self) -> int:
        """Delete what is too old or too much, a bounded part at once; give how many went."""
        before_ms = self._now_ms() - self._keep_ms
        with self._store.write() as tx:
            return events.forget(
                tx, before_ms=before_ms, rows_max=self._rows_max, at_most=FORGET_AT_ONCE
            )

    def _run(self) -> None:
        while not self._stopping.is_set():
            found = 0
            try:
                found = self.look()
                self._forget_sometimes()
                if self._lost:
                    log.info("the store answers again: events are told again")
                self._lost = False
            except StoreError as error:
                if not self._lost:
                    log.warning("events wait: %s", error)
                self._lost = True
            except Exception:  # the boundary of this thread
                log.exception("looking for events met something unexpected and goes on")
            if found < READ_MAX:
                self._stopping.wait(LOOK_EVERY_S)

    def _forget_sometimes(self) -> None:
        now_ms = self._now_ms()
        if now_ms >= self._forget_due_ms:
            full = self.forget() == FORGET_AT_ONCE
            self._forget_due_ms = now_ms + (0 if full else FORGET_EVERY_MS)


class Follower:
    """One who is told in its own event loop that the log has grown."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news = asyncio.Event()

    def tell(self) -> None:
        """Say so, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            log.debug("a follower's loop has ended before it left")

    async def news(self, timeout_s: float) -> bool:
        """Wait until the log has grown since the last call; False when it did not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


def may_see(view: View, told: Event, now_ms: int) -> bool:
    """Tell whether a view shows an event: all of own sites, else what the owner grants in full.

    Who takes part is told as well: data may name further sites by keys that end in ``site``.
    """
    if view.own(told.site):
        return True
    parties = (value for key, value in told.data.items() if key in PARTIES)
    if any(isinstance(site, str) and site and view.own(site) for site in parties):
        return True
    group = SHARED_AS.get(told.type.partition(".")[0])
    if group is None or not told.site:
        return False
    return view.level(told.site, group, max(0, now_ms - told.time_ms)) is Level.FULL


PARTIES: Final = frozenset({"job_site", "for_site"})
"""Keys of an event's data that name a site which takes part, and therefore may know."""


def as_cloud_event(told: Event, source: str) -> dict[str, Any]:
    """Write an event as the JSON of CloudEvents 1.0; the same on HTTP, in webhooks and on MQTT.

    `source` names the hub. Extensions: ``sequence``, ``site``, ``machine``.
    """
    moment = datetime.fromtimestamp(told.time_ms // 1000, UTC)
    written: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(told.seq),
        "source": source,
        "type": told.type,
        "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{told.time_ms % 1000:03d}Z",
        "subject": told.subject or told.type,
        "datacontenttype": "application/json",
        "sequence": str(told.seq),
        "data": dict(told.data),
    }
    if told.site:
        written["site"] = told.site
    if told.machine:
        written["machine"] = told.machine
    return written
