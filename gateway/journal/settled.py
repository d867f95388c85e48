"""Which positions of a journal are done with: an ordered map of ranges, pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

GONE: Final = -1
"""In place of a time: the entries of this range are no longer on disk."""


@dataclass(frozen=True, slots=True)
class Done:
    """Positions `first` to `last`, inclusive: settled at `at_ms`, or GONE from the disk."""

    first: int
    last: int
    at_ms: int


class Settled:
    """Disjoint ranges of positions, each settled and kept, or gone.

    What no range covers is open: on disk and not settled. Neighbours with the same time are one
    range, so the map stays small whatever the number of entries.
    """

    def __init__(self, rows: list[Done] | None = None) -> None:
        self._rows: list[Done] = sorted(rows or [], key=lambda row: row.first)

    def rows(self) -> tuple[Done, ...]:
        """Give all ranges in ascending order."""
        return tuple(self._rows)

    def copy(self) -> "Settled":
        """Give an independent copy, to try changes that a roll-back must not keep."""
        return Settled(list(self._rows))

    def settle(self, first: int, last: int, at_ms: int) -> None:
        """Mark what is still open between `first` and `last` as settled at `at_ms`."""
        for open_first, open_last in list(self.gaps(first, last)):
            self._paint(Done(open_first, open_last, at_ms))

    def forget(self, first: int, last: int) -> None:
        """Mark everything between `first` and `last` as gone from the disk."""
        if first <= last:
            self._paint(Done(first, last, GONE))

    def gaps(self, first: int, last: int, *, over_gone: bool = False) -> Iterator[tuple[int, int]]:
        """Yield the open ranges between `first` and `last`, inclusive, ascending.

        With `over_gone` they reach over what is gone: then there are fewer of them, and what the
        disk holds between their ends is still all open.
        """
        at = first
        for row in self._rows[self._touching(first) :]:
            if row.first > last:
                break
            if over_gone and row.at_ms == GONE:
                continue
            if row.first > at:
                yield at, row.first - 1
            at = max(at, row.last + 1)
        if at <= last:
            yield at, last

    def covered(self, first: int, last: int, *, gone_only: bool = False) -> int:
        """Count the positions between `first` and `last` that are done (or only those gone)."""
        return sum(
            max(min(row.last, last) - max(row.first, first) + 1, 0)
            for row in self._rows[self._touching(first) :]
            if row.first <= last and (row.at_ms == GONE or not gone_only)
        )

    def kept(self, until_ms: int | None = None) -> Iterator[Done]:
        """Yield settled ranges still on disk, ascending; only those settled by `until_ms`."""
        for row in self._rows:
            if row.at_ms != GONE and (until_ms is None or row.at_ms <= until_ms):
                yield row

    def trim(self, first: int) -> int:
        """Forget leading gone ranges; return the first position from `first` on that is held."""
        while self._rows and self._rows[0].at_ms == GONE and self._rows[0].first <= first:
            first = max(first, self._rows.pop(0).last + 1)
        return first

    def _touching(self, position: int) -> int:
        """Give the index of the first range that ends at or after `position`."""
        return bisect_left(self._rows, position, key=lambda row: row.last)

    def _paint(self, new: Done) -> None:
        start = self._touching(new.first)
        end = bisect_right(self._rows, new.last, key=lambda row: row.first)
        pieces = [new]
        if start < end:
            left, right = self._rows[start], self._rows[end - 1]
            if left.first < new.first:
                pieces.insert(0, Done(left.first, new.first - 1, left.at_ms))
            if right.last > new.last:
                pieces.append(Done(new.last + 1, right.last, right.at_ms))
        around = slice(max(start - 1, 0), end + 1)
        before = self._rows[around.start : start]
        after = self._rows[end : around.stop]
        self._rows[around] = _joined([*before, *pieces, *after])


def _joined(rows: list[Done]) -> list[Done]:
    joined: list[Done] = []
    for row in rows:
        if joined and joined[-1].last + 1 == row.first and joined[-1].at_ms == row.at_ms:
            joined[-1] = Done(joined[-1].first, row.last, row.at_ms)
        else:
            joined.append(row)
    return joined
