"""The journal itself: appending, settling, making room, reading."""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from gateway.journal.room import ROW_BYTES, ROWS_PER_STEP, Change
from gateway.journal.settled import Done, Settled
from gateway.journal.storage import (
    FRAME_BYTES,
    OWN_FACTS,
    PAGE_BYTES,
    SPARE_PAGES,
    Connect,
    Connection,
    Layout,
    Storage,
    affordable,
    connect_sqlite,
    entry_crc,
    error_code,
    fact_crc,
    open_storage,
    put_fact,
    set_aside,
)
from gateway.journal.words import (
    Budget,
    Declare,
    Drop,
    Entry,
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalStats,
    NewEntry,
)

log = logging.getLogger(__name__)

MASK_64: Final = (1 << 64) - 1
READ_BYTES_MAX: Final = 1024 * 1024
DROPS_MAX: Final = 256
"""Drop records kept for the operator; the totals by cause are exact beyond that."""

SPACE_RETRY_MS: Final = 10_000
LEAP_MS: Final = 3_600_000
LEAP_TRUST_MS: Final = 600_000
"""No append for an hour may be a leap of the clock; ten minutes of steady time clear it."""

SETTLED_STEPS: Final = 48
"""Settling times are rounded to this fraction of `keep_settled_s`: few ranges instead of many."""

WhenFull = Literal["drop_oldest", "refuse"]
ALL: Final = "SELECT position, key, time_ms, count, crc, body FROM entries WHERE position "
"""Rows as `Journal._entry` takes them; a condition follows."""


class Journal:
    """A durable queue of entries and a small table of facts, in one file.

    One thread at a time appends; any thread may settle and read meanwhile. Inside, entries have
    positions that are never used twice; an offset is a position less the base of the epoch.
    """

    def __init__(
        self,
        storage: Storage,
        budget: Budget,
        when_full: WhenFull,
        now_ms: Callable[[], int],
        aside: Path | None,
    ) -> None:
        """Use `Journal.open`."""
        self._storage = storage
        self._budget = budget
        self._drop_oldest = when_full == "drop_oldest"
        self._now_ms = now_ms
        self.set_aside = aside
        """Where a damaged predecessor was put by this start; what it held is not sent."""
        self._writing = Lock()
        self._memory = Lock()
        self._pages_max = storage.layout.pages
        self._cramped = False
        self._next_space_check_ms = 0
        self._clock_read_ms = 0
        self._clock_leapt_ms = 0
        self._epoch = 0
        self._base = 0
        self._first = self._next = 1
        self._settled = Settled()
        self._stored: tuple[Done, ...] = ()
        self._undeclared: dict[int, Drop] = {}
        self._totals: dict[str, tuple[int, int]] = {}

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        budget: Budget,
        when_full: WhenFull,
        now_ms: Callable[[], int],
        random64: Callable[[], int],
        connect: Connect = connect_sqlite,
    ) -> "Journal":
        """Open the journal at `path`, or begin one with an epoch from `random64`.

        Raises JournalTooNew for a file of a newer program and JournalError where the place
        cannot be used. A damaged file does not stop the start: see `set_aside`.
        """
        layout = affordable(path, Layout.within(budget.bytes_max))

        def attempt(aside: Path | None) -> "Journal":
            storage = open_storage(path, connect, layout)
            journal = cls(storage, budget, when_full, now_ms, aside)
            try:
                with storage.errors_explained():
                    journal._load(random64)
            except BaseException:
                storage.close()
                raise
            storage.keep_ballast()
            return journal

        try:
            return attempt(None)
        except JournalCorrupt as error:
            return attempt(set_aside(path, str(error), now_ms()))

    @property
    def epoch(self) -> int:
        """The random 64-bit number under which offsets count."""
        return self._epoch

    @property
    def first(self) -> int:
        """The oldest offset on disk, settled or not; equal to `next` when there is none."""
        return self._first - self._base

    @property
    def next(self) -> int:
        """The offset that the next entry gets."""
        return self._next - self._base

    @property
    def batch_bytes_max(self) -> int:
        """What the keys and bodies of one `append` may sum up to."""
        return self._storage.layout.batch_bytes

    def append(
        self,
        entries: Sequence[NewEntry],
        facts: Mapping[str, bytes | None] | None = None,
        *,
        declare: Declare | None = None,
        lost: Sequence[Drop] = (),
    ) -> int:
        """Store entries, facts and what was settled, in one durable transaction.

        A fact of None is deleted. `lost` names samples that never got here; `declare` words the
        announcements of drops, which precede `entries`. Returns the offset of the first of
        `entries` (what `next` was, where there was nothing to announce). Raises JournalFull, or
        JournalError when the disk fails; then nothing was stored.
        """
        facts = facts or {}
        pages = _pages_needed(entries, facts)
        if sum(len(entry.key) + len(entry.body) for entry in entries) > self.batch_bytes_max:
            raise JournalFull(
                f"a batch may have {self.batch_bytes_max} bytes in a journal of"
                f" {self._storage.layout.bytes_max} bytes: append less at a time"
            )
        with self._writing, self._storage.errors_explained():
            self._seek_space()
            try:
                return self._append(entries, facts, pages, declare, lost)
            except sqlite3.Error as error:
                if not _is_full(error):
                    raise
                self._live_within_full_disk()
            return self._append(entries, facts, pages, declare, lost)

    def settle(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Note that these offsets, both ends included, have arrived where they belong.

        It is effective at once and durable with the next append (or on closing): a power cut
        before that only means that they are sent again.
        """
        step_ms = max(int(self._budget.keep_settled_s * 1000) // SETTLED_STEPS, 1)
        at_ms = self._now_ms() // step_ms * step_ms
        with self._memory:
            for first, last in ranges:
                lowest = max(first + self._base, self._first)
                self._settled.settle(lowest, min(last + self._base, self._next - 1), at_ms)

    def read(self, first: int, limit: int, bytes_max: int = READ_BYTES_MAX) -> list[Entry]:
        """Give up to `limit` entries from offset `first` on, settled or not, ascending.

        Stops at `bytes_max` bytes of bodies, but gives one entry at least if there is one.
        """
        base = self._base
        return self._entries(first + base, self._next, limit, bytes_max, base)

    def unsettled(self, first: int, limit: int, bytes_max: int = READ_BYTES_MAX) -> list[Entry]:
        """Give up to `limit` entries from offset `first` on that are not settled, ascending."""
        with self._memory:
            base = self._base
            start = max(first + base, self._first)
            gaps = list(self._settled.gaps(start, self._next - 1, over_gone=True))
        found: list[Entry] = []
        for gap_first, gap_last in gaps:
            if len(found) >= limit or bytes_max <= 0:
                break
            more = self._entries(gap_first, gap_last, limit - len(found), bytes_max, base)
            found += more
            bytes_max -= sum(len(entry.body) for entry in more)
        return found

    def drops(self) -> list[Drop]:
        """Give the latest drops, oldest first; adjacent ones of one cause are one."""
        rows = self._query("SELECT first, last, entries, samples, cause FROM drops ORDER BY id")
        joined: list[Drop] = []
        for row in rows:
            drop = Drop(*row)
            before = joined[-1] if joined else None
            if before and before.cause == drop.cause and 0 < before.last == drop.first - 1:
                drop = replace(
                    drop,
                    first=before.first,
                    entries=before.entries + drop.entries,
                    samples=before.samples + drop.samples,
                )
                joined.pop()
            joined.append(drop)
        return [self._in_offsets(drop) for drop in joined]

    def facts(self, prefix: str = "") -> dict[str, bytes]:
        """Give the facts whose names begin with `prefix`."""
        rows = self._query("SELECT name, value, crc FROM facts WHERE name >= ?", (prefix,))
        found = [
            row for row in rows if row[0].startswith(prefix) and not row[0].startswith(OWN_FACTS)
        ]
        for name, value, crc in found:
            if fact_crc(name, value) != crc:
                self._storage.suspect()
                raise JournalCorrupt(f"{self._storage.path}: fact {name!r} is damaged")
        return {name: bytes(value) for name, value, _ in found}

    def begin_new_epoch(self, random64: Callable[[], int]) -> None:
        """Give the unsettled entries new numbers, 1, 2, 3 …, under a new epoch.

        For a journal that was restored from a copy or cloned: its old numbers are taken.
        Announcements are withdrawn, as they name old offsets; the next append words them anew.
        """
        with self._writing, self._storage.errors_explained():
            while self._forget_settled_step():
                pass
            self._turn_epoch(random64)
            self._renumber()

    def stats(self) -> JournalStats:
        """Tell how full the journal is."""
        oldest = self.unsettled(self.first, 1)
        with self._memory:
            first, last = self._first, self._next - 1
            unsettled = last + 1 - first - self._settled.covered(first, last)
            entries = last + 1 - first - self._settled.covered(first, last, gone_only=True)
        ((pages,),) = self._query("PRAGMA page_count")
        ((free_pages,),) = self._query("PRAGMA freelist_count")
        used = (pages - free_pages) * PAGE_BYTES
        kept = used * (entries - unsettled) // entries if entries else 0
        return JournalStats(
            entries=entries,
            unsettled=unsettled,
            bytes=self._storage.bytes_on_disk(),
            bytes_max=self._storage.layout.bytes_max,
            bytes_free=max(self._pages_max * PAGE_BYTES - used + kept, 0),
            oldest_ms=oldest[0].time_ms if oldest else None,
            dropped_samples=sum(samples for _, samples in self._totals.values()),
            dropped={cause: samples for cause, (_, samples) in self._totals.items()},
            cramped=self._cramped,
        )

    def close(self) -> None:
        """Store what was settled and close the file."""
        with self._writing:
            try:
                with self._storage.errors_explained(), self._changing():
                    pass
            except JournalError as error:
                # What was settled is sent again; that is all that is lost.
                log.debug("closing %s: %s", self._storage.path, error)
            self._storage.close()

    # Opening

    def _load(self, random64: Callable[[], int]) -> None:
        own = self._own_facts()
        if "epoch" not in own:
            own = {"epoch": random64() & MASK_64, "base": 0, "next": 1}
            with self._storage.transaction() as writer:
                _set_own(writer, **own)
        self._epoch, self._base = own["epoch"], own["base"]
        ((lowest, highest),) = self._query("SELECT min(position), max(position) FROM entries")
        self._next = max(own["next"], (highest or 0) + 1)
        self._first = lowest or self._next
        rows = self._query("SELECT first, last, at_ms FROM settled")
        self._stored = tuple(Done(*row) for row in rows)
        self._settled = Settled(list(self._stored))
        self._first = self._settled.trim(self._first)
        self._totals = {
            cause: (entries, samples)
            for cause, entries, samples in self._query("SELECT * FROM totals")
        }
        self._load_undeclared()
        if own.get("renumbering"):
            self._renumber()
        if self._storage.suspected:
            self._drop_damaged()

    def _own_facts(self) -> dict[str, int]:
        rows = self._storage.query(
            "SELECT name, value FROM facts WHERE substr(name, 1, ?) = ?",
            (len(OWN_FACTS), OWN_FACTS),
        )
        return {name.removeprefix(OWN_FACTS): int(value) for name, value in rows}

    def _load_undeclared(self) -> None:
        rows = self._storage.query(
            "SELECT id, first, last, entries, samples, cause FROM drops WHERE declared = 0"
        )
        self._undeclared = {number: Drop(*drop) for number, *drop in rows}

    def _drop_damaged(self) -> None:
        """Take out the entries whose checksum is wrong, as drops of cause `corrupt`."""
        at = self._first
        while at < self._next:
            rows = self._storage.query_until(
                _enough(READ_BYTES_MAX),
                ALL + ">= ? ORDER BY position LIMIT ?",
                (at, ROWS_PER_STEP),
            )
            if not rows:
                break
            at = rows[-1][0] + 1
            bad = [row for row in rows if entry_crc(row[1], row[2], row[3], row[5]) != row[4]]
            if not bad:
                continue
            with self._changing() as change:
                for row in bad:
                    samples = row[3] if 0 <= row[3] <= ROWS_PER_STEP else 0
                    change.drop(row[0], row[0], samples, "corrupt")
                self._record_drops(change.writer, change.drops, declared=0)
                _set_own(change.writer, next=self._next)
        self._storage.trust()

    # Appending

    def _append(
        self,
        entries: Sequence[NewEntry],
        facts: Mapping[str, bytes | None],
        pages: int,
        declare: Declare | None,
        lost: Sequence[Drop],
    ) -> int:
        spare = self._spare_pages()
        self._make_wal_room(2 * (pages + spare) + len(facts) // 4 + 24)
        with self._changing() as change:
            self._expire(change, (pages + spare) * PAGE_BYTES)
            self._make_room(change, pages, spare)
            change.drops = [*lost, *change.drops]
            news = self._announcements(change.drops, declare)
            first = self._next + len(news)
            self._insert(change.writer, [*news, *entries])
            self._record_drops(change.writer, change.drops, declared=0 if declare else -1)
            if news:
                change.writer.execute(
                    "UPDATE drops SET declared = ? WHERE declared = 0", (self._next,)
                )
            _store_facts(change.writer, facts)
            if change.gone or news:
                _set_own(change.writer, next=first + len(entries))
        if news:
            self._undeclared.clear()
        with self._memory:
            self._next = first + len(entries)
            return first - self._base

    def _announcements(self, drops: Sequence[Drop], declare: Declare | None) -> Sequence[NewEntry]:
        pending = [*self._undeclared.values(), *drops]
        if declare is None or not pending:
            return ()
        return declare([self._in_offsets(drop) for drop in pending])

    def _insert(self, writer: Connection, entries: Sequence[NewEntry]) -> None:
        rows = []
        for position, entry in enumerate(entries, start=self._next):
            key = entry.key.encode()
            crc = entry_crc(key, entry.time_ms, entry.count, entry.body)
            rows.append((position, key, entry.time_ms, entry.count, crc, entry.body))
        if rows:
            writer.executemany(
                "INSERT INTO entries (position, key, time_ms, count, crc, body)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )

    @contextmanager
    def _changing(self) -> Iterator[Change]:
        """Run a transaction that also stores what was settled; memory follows the commit."""
        with self._memory:
            settled = self._settled.copy()
        before = self._totals, dict(self._undeclared)
        try:
            with self._storage.transaction() as writer:
                change = Change(writer, settled, self._first, self._next - 1)
                yield change
                settled.trim(self._first)
                rows = settled.rows()
                self._store_settled(writer, rows)
        except BaseException:
            self._totals, self._undeclared = before
            raise
        self._stored = rows
        with self._memory:
            for first, last in change.gone:
                self._settled.forget(first, last)
            self._first = self._settled.trim(self._first)

    def _store_settled(self, writer: Connection, rows: tuple[Done, ...]) -> None:
        old, new = set(self._stored), set(rows)
        for row in old - new:
            writer.execute("DELETE FROM settled WHERE first = ?", (row.first,))
        for row in new - old:
            writer.execute(
                "INSERT OR REPLACE INTO settled (first, last, at_ms) VALUES (?, ?, ?)",
                (row.first, row.last, row.at_ms),
            )

    # Making room

    def _expire(self, change: Change, bytes_goal: int) -> None:
        """Let go what is older than the budget allows, a piece at a time."""
        now = self._now_ms()
        until = now - int(self._budget.keep_settled_s * 1000)
        change.delete_settled(bytes_goal, until)
        if self._drop_oldest and self._clock_is_steady(now):
            before = now - int(self._budget.age_max_s * 1000)
            change.drop_unsettled(bytes_goal, cause="age", before_ms=before)

    def _clock_is_steady(self, now_ms: int) -> bool:
        """Tell whether ages can be believed: not right after a start or a leap of the clock.

        A clock that is a year ahead until NTP corrects it must not cost a month of samples.
        """
        if not 0 <= now_ms - self._clock_read_ms <= LEAP_MS:
            self._clock_leapt_ms = now_ms
        self._clock_read_ms = now_ms
        return now_ms - self._clock_leapt_ms >= LEAP_TRUST_MS

    def _make_room(self, change: Change, pages: int, spare: int) -> None:
        """Free the pages that an append needs, and `spare` more so as not to do it each time."""
        goal = 0
        while (short := self._pages_short(pages)) > 0:
            goal = max(short + spare, 1) * PAGE_BYTES
            if change.delete_settled(goal):
                continue
            cause = "disk-full" if self._cramped else "budget"
            if not self._drop_oldest:
                raise JournalFull(
                    f"{self._storage.path} is full ({cause}) with entries that are not settled"
                )
            if not (
                change.drop_unsettled(goal, cause=cause)
                or change.drop_unsettled(goal, cause=cause, announcements=True)
            ):
                raise JournalFull(f"{self._storage.path} is full ({cause}) and nothing can go")

    def _pages_short(self, pages: int) -> int:
        total, free = self._storage.pages()
        return pages - (self._pages_max - total + free)

    def _spare_pages(self) -> int:
        return max(min(self._pages_max // 64, self._storage.layout.autocheckpoint_pages // 4), 4)

    def _record_drops(self, writer: Connection, drops: Sequence[Drop], *, declared: int) -> None:
        """Write the drops down and add them to the totals.

        `declared` 0 says that they are to be announced, -1 that nobody ever will.
        """
        totals = dict(self._totals)
        for drop in drops:
            cursor = writer.execute(
                "INSERT INTO drops (first, last, entries, samples, cause, declared)"
                " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
                (drop.first, drop.last, drop.entries, drop.samples, drop.cause, declared),
            )
            ((number,),) = list(cursor)
            if not declared:
                self._undeclared[number] = drop
            entries, samples = totals.get(drop.cause, (0, 0))
            totals[drop.cause] = entries + drop.entries, samples + drop.samples
            writer.execute(
                "INSERT OR REPLACE INTO totals (cause, entries, samples) VALUES (?, ?, ?)",
                (drop.cause, *totals[drop.cause]),
            )
        if drops:
            writer.execute(
                "DELETE FROM drops WHERE declared <> 0 AND id <= (SELECT max(id) FROM drops) - ?",
                (DROPS_MAX,),
            )
        self._totals = totals

    # The disk

    def _make_wal_room(self, frames: int) -> None:
        """See to it that a transaction of `frames` pages keeps the WAL inside the budget."""
        room = self._storage.layout.wal_bytes - frames * FRAME_BYTES
        if self._storage.wal_bytes() > room and not self._storage.checkpoint():
            raise JournalError(
                f"another program keeps reading {self._storage.path}, so that its WAL cannot be"
                " emptied: end that program"
            )

    def _live_within_full_disk(self) -> None:
        """Give up the ballast and do with the pages that there are."""
        if not self._storage.release_ballast() and self._cramped:
            raise JournalError(f"no space left on the disk of {self._storage.path}")
        if not self._cramped:
            log.warning("the disk of %s is full: it keeps its present size", self._storage.path)
        self._cramped = True
        total, _ = self._storage.pages()
        self._pages_max = min(total, self._storage.layout.pages)
        self._next_space_check_ms = self._now_ms() + SPACE_RETRY_MS
        self._storage.checkpoint()
        self._storage.limit_pages(self._pages_max)

    def _seek_space(self) -> None:
        """Go back to the full budget once the disk has room again."""
        now = self._now_ms()
        early = self._next_space_check_ms - SPACE_RETRY_MS <= now < self._next_space_check_ms
        if not self._cramped or early:
            return
        self._next_space_check_ms = now + SPACE_RETRY_MS
        if self._storage.keep_ballast():
            log.warning("the disk of %s has space again", self._storage.path)
            self._cramped = False
            self._pages_max = self._storage.layout.pages
            self._storage.limit_pages(self._pages_max + SPARE_PAGES)

    # A new epoch

    def _forget_settled_step(self) -> bool:
        self._make_wal_room(2 * self._spare_pages() + 24)
        with self._changing() as change:
            gone = change.delete_settled(self._spare_pages() * PAGE_BYTES)
            if gone:
                _set_own(change.writer, next=self._next)
        return gone > 0

    def _turn_epoch(self, random64: Callable[[], int]) -> None:
        """Take a new epoch and the base that leaves the longest run of entries where it is."""
        epoch = random64() & MASK_64
        while epoch == self._epoch:
            epoch = random64() & MASK_64
        self._make_wal_room(64)
        with self._changing() as change:
            self._withdraw_announcements(change)
            runs = list(change.settled.gaps(self._first, self._next - 1)) or [(self._next, 0)]
            longest = max(runs, key=lambda run: run[1] - run[0])
            below = sum(last - first + 1 for first, last in runs if last < longest[0])
            base = longest[0] - 1 - (below if longest[1] else 0)
            _set_own(change.writer, epoch=epoch, base=base, next=self._next, renumbering=1)
        with self._memory:
            self._epoch, self._base = epoch, base
        self._load_undeclared()

    def _withdraw_announcements(self, change: Change) -> None:
        for first, last in list(change.settled.gaps(self._first, self._next - 1, over_gone=True)):
            found = list(
                change.writer.execute(
                    "SELECT position FROM entries WHERE count = 0 AND position BETWEEN ? AND ?",
                    (first, last),
                )
            )
            for (position,) in found:
                change.delete(position, position)
                change.writer.execute(
                    "UPDATE drops SET declared = 0 WHERE declared = ?", (position,)
                )
        change.writer.execute("UPDATE drops SET first = 0, last = 0")

    def _renumber(self) -> None:
        """Close the gaps between entries, in steps that a power cut may separate."""
        rows = self._storage.query(
            "SELECT position, length(key) + length(body) FROM entries ORDER BY position"
        )
        moves = [
            (target, position, size)
            for target, (position, size) in enumerate(rows, start=self._base + 1)
            if target != position
        ]
        # Upwards from the top, downwards from the bottom: no entry ever meets another.
        up = [move for move in reversed(moves) if move[0] > move[1]]
        down = [move for move in moves if move[0] < move[1]]
        for step in _steps([*up, *down], self._storage.layout.batch_bytes):
            self._make_wal_room(4 * self._storage.layout.batch_bytes // PAGE_BYTES)
            with self._storage.transaction() as writer:
                writer.executemany("UPDATE entries SET position = ? WHERE position = ?", step)
        following = self._base + 1 + len(rows)
        with self._storage.transaction() as writer:
            writer.execute("DELETE FROM settled")
            _set_own(writer, next=following, renumbering=0)
        with self._memory:
            self._settled, self._stored = Settled(), ()
            self._first, self._next = self._base + 1, following

    # Reading

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._storage.errors_explained():
            return self._storage.query(sql, parameters)

    def _entries(self, first: int, last: int, limit: int, bytes_max: int, base: int) -> list[Entry]:
        with self._storage.errors_explained():
            rows = self._storage.query_until(
                _enough(bytes_max),
                ALL + "BETWEEN ? AND ? ORDER BY position LIMIT ?",
                (first, last, limit),
            )
        return [self._entry(row, base) for row in rows]

    def _entry(self, row: Sequence[Any], base: int) -> Entry:
        position, key, time_ms, count, crc, body = row
        if entry_crc(key, time_ms, count, body) != crc:
            self._storage.suspect()
            raise JournalCorrupt(f"{self._storage.path}: entry {position - base} is damaged")
        return Entry(position - base, key.decode(), time_ms, body, count)

    def _in_offsets(self, drop: Drop) -> Drop:
        if drop.last <= self._base:
            return replace(drop, first=0, last=0)
        return replace(drop, first=drop.first - self._base, last=drop.last - self._base)


def _pages_needed(entries: Sequence[NewEntry], facts: Mapping[str, bytes | None]) -> int:
    """Give an upper bound of the pages that these take up: each half empty at worst."""
    size = sum(len(entry.key) + len(entry.body) + ROW_BYTES for entry in entries)
    size += sum(len(name) + len(value or b"") + ROW_BYTES for name, value in facts.items())
    if not entries and size <= PAGE_BYTES:
        return 0  # Small facts have pages of their own.
    return 2 * (size // PAGE_BYTES + 1) + 6


def _enough(bytes_max: int) -> Callable[[Sequence[Any]], bool]:
    """Say of which row the bodies so far reach `bytes_max`."""
    left = bytes_max

    def enough(row: Sequence[Any]) -> bool:
        nonlocal left
        left -= len(row[5])
        return left <= 0

    return enough


def _is_full(error: sqlite3.Error) -> bool:
    # The WAL's index cannot grow on a full disk either, and SQLite says so in its own way.
    extended = getattr(error, "sqlite_errorcode", 0)
    return error_code(error) == sqlite3.SQLITE_FULL or extended == sqlite3.SQLITE_IOERR_SHMSIZE


def _steps(
    moves: Sequence[tuple[int, int, int]], bytes_max: int
) -> Iterator[list[tuple[int, int]]]:
    """Split moves so that the entries moved in one step have `bytes_max` bytes or a bit more."""
    step: list[tuple[int, int]] = []
    size = 0
    for target, position, entry_bytes in moves:
        step.append((target, position))
        size += entry_bytes + ROW_BYTES
        if size >= bytes_max:
            yield step
            step, size = [], 0
    if step:
        yield step


def _store_facts(writer: Connection, facts: Mapping[str, bytes | None]) -> None:
    for name, value in facts.items():
        if name.startswith(OWN_FACTS):
            raise ValueError(f"facts under {OWN_FACTS} are the journal's own")
        if value is None:
            writer.execute("DELETE FROM facts WHERE name = ?", (name,))
        else:
            put_fact(writer, name, value)


def _set_own(writer: Connection, **facts: int) -> None:
    for name, value in facts.items():
        put_fact(writer, OWN_FACTS + name, str(value).encode())
