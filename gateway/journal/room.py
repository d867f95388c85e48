"""What one transaction takes out of a journal, and what memory learns of it afterwards."""

from collections.abc import Iterator, Sequence
from typing import Final

from gateway.journal.settled import Settled
from gateway.journal.storage import Connection
from gateway.journal.words import Drop

ROW_BYTES: Final = 40
"""Upper bound of what SQLite and the checksum add to key and body of an entry."""

ROWS_PER_STEP: Final = 4096


class Change:
    """Deletes entries in a transaction; only after the commit memory follows, by `gone`.

    `settled` is a copy of what is done, kept in step with the deletions; `drops` are those of
    unsettled entries, in positions, not offsets.
    """

    def __init__(self, writer: Connection, settled: Settled, first: int, last: int) -> None:
        self.writer = writer
        self.settled = settled
        self.gone: list[tuple[int, int]] = []
        self.drops: list[Drop] = []
        self._first = first
        self._last = last

    def delete(self, first: int, last: int) -> None:
        """Delete every entry between two positions, inclusive."""
        self.writer.execute("DELETE FROM entries WHERE position BETWEEN ? AND ?", (first, last))
        self.settled.forget(first, last)
        self.gone.append((first, last))

    def drop(self, first: int, last: int, samples: int, cause: str) -> None:
        """Delete adjacent unsettled entries, and count them as dropped."""
        self.delete(first, last)
        entries = last - first + 1
        before = self.drops[-1] if self.drops else None
        if before and before.cause == cause and before.last + 1 == first:
            first, entries = before.first, before.entries + entries
            samples += self.drops.pop().samples
        self.drops.append(Drop(first, last, entries, samples, cause))

    def delete_settled(self, bytes_goal: int, until_ms: int | None = None) -> int:
        """Delete the oldest settled entries, about `bytes_goal` of them; return how many."""
        deleted = 0
        for done in list(self.settled.kept(until_ms)):
            rows = _sizes(self.writer, done.first, done.last, bytes_goal)
            last = rows[-1][0] if rows else done.last
            self.delete(done.first, last)
            deleted += len(rows)
            bytes_goal -= sum(row[2] for row in rows)
            if bytes_goal <= 0:
                break
        return deleted

    def drop_unsettled(
        self,
        bytes_goal: int,
        *,
        cause: str,
        before_ms: int | None = None,
        announcements: bool = False,
    ) -> int:
        """Drop the oldest unsettled entries, about `bytes_goal` of them; return how many."""
        dropped = 0
        count_min = 0 if announcements else 1
        for first, last in list(self.settled.gaps(self._first, self._last, over_gone=True)):
            rows = _sizes(
                self.writer, first, last, bytes_goal, before_ms=before_ms, count_min=count_min
            )
            for run in _runs(rows):
                self.drop(run[0][0], run[-1][0], sum(row[1] for row in run), cause)
            dropped += len(rows)
            bytes_goal -= sum(row[2] for row in rows)
            if bytes_goal <= 0:
                break
        return dropped


def _sizes(
    writer: Connection,
    first: int,
    last: int,
    bytes_goal: int,
    *,
    before_ms: int | None = None,
    count_min: int = 0,
) -> list[tuple[int, int, int]]:
    """List (position, samples, bytes) of the oldest entries in a range, up to `bytes_goal`."""
    found: list[tuple[int, int, int]] = []
    cursor = writer.execute(
        "SELECT position, count, length(key) + length(body), time_ms FROM entries"
        " WHERE position BETWEEN ? AND ? AND count >= ? ORDER BY position LIMIT ?",
        (first, last, count_min, ROWS_PER_STEP),
    )
    for position, count, size, time_ms in cursor:
        if bytes_goal <= 0 or (before_ms is not None and time_ms >= before_ms):
            break
        found.append((position, count, size + ROW_BYTES))
        bytes_goal -= size + ROW_BYTES
    cursor.close()
    return found


def _runs(rows: Sequence[tuple[int, int, int]]) -> Iterator[list[tuple[int, int, int]]]:
    """Split rows where their positions are not adjacent."""
    run: list[tuple[int, int, int]] = []
    for row in rows:
        if run and row[0] != run[-1][0] + 1:
            yield run
            run = []
        run.append(row)
    if run:
        yield run
