"""The historian writer: reads the inbox behind a cursor, at its own pace.

What was just committed is handed over in memory; when that is too much, or after a restart, it is
decoded from the inbox again. Either way the cursor and the settled marks are written in the rows'
transaction, so nothing is written twice and nothing is left out. A historian that is down for
hours is noticed by nobody but the backlog figure.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.delivery.mark import MARK_FACT, Ledger, decode_mark, encode_mark
from hub.columns import Columns
from hub.historian.historian import (
    Cursor,
    Historian,
    HistorianUnavailableError,
    Span,
    StateInterval,
    WriteBatch,
)
from hub.inbox import Inbox
from hub.ingest.replay import Replay, Stored
from hub.ingest.silences import Silences
from hub.live import Alarms, Counters

log = logging.getLogger(__name__)

ROWS_PER_WRITE: Final = 100_000
LINGER_S: Final = 1.0
"""How long rows wait for company before they are written."""
ROWS_HANDED_MAX: Final = 2_000_000
ENTRIES_REPLAYED: Final = 4_000
RETRY_S: Final = 5.0
MAINTAIN_EVERY_MS: Final = 60_000
ALARM: Final = "historian-unavailable"


class Handover:
    """What was committed and not yet written, in memory and bounded.

    What does not fit is left out: the writer notices the gap and reads it from the inbox.
    """

    def __init__(self, rows_max: int = ROWS_HANDED_MAX) -> None:
        self._rows_max = rows_max
        self._changed = threading.Condition()
        self._kept: deque[Stored] = deque()
        self._rows = 0
        self._closed = False
        self.last = 0
        """The last offset that was committed, handed over or not."""

    def put(self, stored: Stored) -> None:
        """Hand over what a commit stored."""
        with self._changed:
            self.last = stored.last
            if self._rows + len(stored.columns) <= self._rows_max:
                self._kept.append(stored)
                self._rows += len(stored.columns)
            if self._rows >= ROWS_PER_WRITE or len(self._kept) == 1:
                self._changed.notify()

    def take(self, offset: int) -> tuple[list[Stored], int]:
        """Give what follows `offset` without a gap, about a write's worth of it.

        The number is the last offset to read from the inbox when nothing follows.
        """
        with self._changed:
            while self._kept and self._kept[0].last <= offset:
                self._rows -= len(self._kept.popleft().columns)
            taken: list[Stored] = []
            rows = 0
            for stored in self._kept:
                if stored.first != offset + 1 or rows >= ROWS_PER_WRITE:
                    break
                taken.append(stored)
                rows += len(stored.columns)
                offset = stored.last
            gap_last = self._kept[0].first - 1 if self._kept else self.last
            return taken, gap_last

    def wait(self, timeout_s: float) -> None:
        """Wait until there is a write's worth, or until `timeout_s` after the first row."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._changed.wait_for(lambda: bool(self._kept) or self._closed, timeout_s)
            enough = lambda: self._rows >= ROWS_PER_WRITE or self._closed  # noqa: E731
            self._changed.wait_for(enough, max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Let `wait` return at once from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def oldest_ms(self) -> int | None:
        """Arrival of the oldest entry handed over and not written."""
        with self._changed:
            return self._kept[0].time_ms if self._kept else None


class Writer:
    """Moves the inbox into the historian. `run` is the body of its thread."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        historian: Historian,
        replay: Replay,
        handover: Handover,
        alarms: Alarms,
        counters: Counters,
        now_ms: Callable[[], int],
        linger_s: float = LINGER_S,
    ) -> None:
        self._inbox = inbox
        self._historian = historian
        self._replay = replay
        self._handover = handover
        self._alarms = alarms
        self._counters = counters
        self._now_ms = now_ms
        self._linger_s = linger_s
        self._stopping = threading.Event()
        self._offset: int | None = None
        self._ledgers: dict[str, tuple[int, Ledger]] = {}
        self._silences = Silences(self._state_at)
        self._maintain_at_ms = 0
        self._replayed_ms: int | None = None

    def run(self) -> None:
        """Write until stopped; once more after that, so that a restart finds little to do."""
        while not self._stopping.is_set():
            self._handover.wait(self._linger_s)
            self._turn()
        self._turn()

    def stop(self) -> None:
        """Ask `run` to end after one more write."""
        self._stopping.set()
        self._handover.close()

    def _turn(self) -> None:
        """Write all there is; wait a while when the historian cannot take it."""
        try:
            while self._write_some():
                pass
            self._maintain()
        except HistorianUnavailableError as error:
            self._unavailable(error, error.retry_after_s)
        except Exception as error:  # the boundary of this thread: it must outlive any surprise
            log.exception("the historian writer met something unexpected and goes on")
            self._unavailable(error, RETRY_S)

    def _unavailable(self, error: Exception, retry_s: float) -> None:
        self._counters.historian_failures += 1
        if self._alarms.raise_(ALARM, "historian", str(error)):
            log.warning("the historian is unavailable, the inbox keeps what comes: %s", error)
        self._offset = None  # ask it again how far it got
        self._note_backlog()
        self._stopping.wait(retry_s)

    def _write_some(self) -> bool:
        """Write one batch. False when there is nothing left."""
        if self._offset is None:
            self._offset = self._resume()
        stored = self._next(self._offset)
        if not stored:
            self._note_backlog()
            return False
        marks = self._settle(stored)
        states = [change for part in stored for change in part.states]
        silent = self._silences.look([read for part in stored for read in part.reads], states)
        batch = WriteBatch(
            columns=Columns.joined([part.columns for part in stored]),
            states=states + silent.states,
            cursor=Cursor(self._inbox.epoch, stored[-1].last),
            marks=marks | silent.marks,
        )
        self._historian.write(batch)
        self._silences.settle(silent)
        self._offset = stored[-1].last
        self._inbox.written(self._offset)
        self._counters.historian_samples += len(batch.columns)
        self._counters.historian_writes += 1
        if self._alarms.clear(ALARM, "historian"):
            log.info("the historian takes data again")
        self._note_backlog()
        return not self._stopping.is_set()

    def _resume(self) -> int:
        """Ask the historian how far it got, and what of each agent it has."""
        marks = self._historian.marks()
        self._silences.restore(marks)
        self._ledgers = {
            name: decode_mark(mark) for name, mark in marks.items() if name.startswith(MARK_FACT)
        }
        cursor = self._historian.cursor()
        before = self._inbox.first - 1
        if cursor is None or cursor.epoch != self._inbox.epoch:
            return before
        if cursor.offset < before:
            text = f"it stands at {cursor.offset}, the inbox begins at {before + 1}"
            self._alarms.raise_("historian-behind", "historian", text)
        return max(cursor.offset, before)

    def _next(self, offset: int) -> list[Stored]:
        stored, gap_last = self._handover.take(offset)
        if stored or gap_last <= offset:
            return stored
        entries = self._inbox.read_after(offset, ENTRIES_REPLAYED, gap_last)
        if not entries:
            return []
        self._replayed_ms = entries[0].time_ms
        replayed, dead = self._replay.stored(entries)
        if dead:
            self._inbox.bury(dead)
            self._counters.dead_letters += len(dead)
            text = f"{len(dead)} stored entries could not be decoded again"
            self._alarms.raise_("undecodable-entries", "inbox", text)
        return [replayed]

    def _settle(self, stored: list[Stored]) -> dict[str, bytes]:
        """Bring the marks kept beside the rows up to what is written with them."""
        touched = set()
        for part in stored:
            for name, offsets in part.settled.items():
                _, ledger = self._ledgers.setdefault(name, (part.time_ms, Ledger()))
                if not ledger.settled.add_ahead(offsets):
                    for offset in offsets:
                        ledger.settled.add(offset)
                touched.add(name)
        return {name: encode_mark(*self._ledgers[name]) for name in touched}

    def _state_at(self, site: str, machine: str, time_ms: int) -> StateInterval | None:
        found = self._historian.states(site, machine, Span(time_ms, time_ms + 1))
        return found[-1] if found else None

    def _maintain(self) -> None:
        now_ms = self._now_ms()
        if now_ms >= self._maintain_at_ms:
            self._maintain_at_ms = now_ms + MAINTAIN_EVERY_MS
            self._historian.maintain(now_ms)

    def _note_backlog(self) -> None:
        offset = self._offset if self._offset is not None else self._inbox.first - 1
        waiting = max(0, self._inbox.next - 1 - offset)
        if not waiting:
            self._replayed_ms = None
        times = (self._handover.oldest_ms, self._replayed_ms)
        oldest_ms = min((time_ms for time_ms in times if time_ms is not None), default=None)
        late = waiting and oldest_ms is not None
        self._counters.backlog_entries = waiting
        self._counters.backlog_ms = self._now_ms() - (oldest_ms or 0) if late else 0
