"""Sets of offsets, kept as the few runs that they nearly always are."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

FIRST_OFFSET: Final = 1
"""Offsets count from one, so a mark of zero says that nothing is settled yet."""


class IntervalSet:
    """A set of positive integers held as sorted, disjoint, inclusive runs.

    Adding the successor of the highest member is the common case and costs O(1); anything else
    costs a binary search. Memory grows with the number of gaps, not of members.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, last in runs:
            self.add_run(first, last)

    def __contains__(self, offset: int) -> bool:
        index = bisect_right(self._starts, offset) - 1
        return index >= 0 and offset <= self._ends[index]

    def __len__(self) -> int:
        """Count the runs, which is what memory depends on."""
        return len(self._starts)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalSet) and list(self.runs()) == list(other.runs())

    __hash__ = None  # type: ignore[assignment]  # mutable, so it must not be a key

    def __repr__(self) -> str:
        return f"IntervalSet({list(self.runs())})"

    @property
    def mark(self) -> int:
        """The highest offset up to which nothing is missing; 0 when the first one is."""
        if self._starts and self._starts[0] <= FIRST_OFFSET:
            return self._ends[0]
        return 0

    @property
    def highest(self) -> int:
        """The highest member, 0 when empty."""
        return self._ends[-1] if self._ends else 0

    def copy(self) -> "IntervalSet":
        """Return an independent set with the same members."""
        twin = IntervalSet()
        twin._starts = self._starts.copy()
        twin._ends = self._ends.copy()
        return twin

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yield the inclusive runs in ascending order."""
        return zip(self._starts, self._ends, strict=True)

    def runs_above(self, offset: int, limit: int) -> list[tuple[int, int]]:
        """Return the lowest `limit` runs that begin above `offset`."""
        index = bisect_right(self._starts, offset)
        return list(
            zip(self._starts[index : index + limit], self._ends[index : index + limit], strict=True)
        )

    def add(self, offset: int) -> bool:
        """Add one offset; tell whether it was new."""
        if self._ends and offset == self._ends[-1] + 1:
            self._ends[-1] = offset
            return True
        if offset in self:
            return False
        self.add_run(offset, offset)
        return True

    def add_run(self, first: int, last: int) -> int:
        """Add every offset from `first` to `last`; return how many of them were new."""
        if first > last:
            return 0
        low = bisect_left(self._ends, first - 1)  # the first run that touches or follows
        high = bisect_right(self._starts, last + 1)  # the first run beyond, not touching
        if low == high:
            self._starts.insert(low, first)
            self._ends.insert(low, last)
            return last - first + 1
        known = sum(
            max(0, min(end, last) - max(start, first) + 1)
            for start, end in zip(self._starts[low:high], self._ends[low:high], strict=True)
        )
        self._starts[low:high] = [min(first, self._starts[low])]
        self._ends[low:high] = [max(last, self._ends[high - 1])]
        return last - first + 1 - known

    def add_ahead(self, offsets: list[int]) -> bool:
        """Add consecutive offsets above every member, if that is what they are.

        Returns False, and adds nothing, when they are not: the caller then goes one by one.
        """
        first = offsets[0]
        if first <= self.highest or list(range(first, first + len(offsets))) != offsets:
            return False
        self.add_run(first, offsets[-1])
        return True

    def remove_run(self, first: int, last: int) -> int:
        """Remove every offset from `first` to `last`; return how many of them were members."""
        removed = 0
        kept = IntervalSet()
        for start, end in self.runs():
            overlap = min(end, last) - max(start, first) + 1
            if overlap <= 0:
                kept.add_run(start, end)
                continue
            removed += overlap
            kept.add_run(start, first - 1)
            kept.add_run(last + 1, end)
        self._starts, self._ends = kept._starts, kept._ends
        return removed

    def gaps(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield, ascending, the runs of offsets within [first, last] that are not members."""
        index = bisect_left(self._ends, first)
        while index < len(self._starts) and first <= last:
            if self._starts[index] > first:
                yield first, min(self._starts[index] - 1, last)
            first = self._ends[index] + 1
            index += 1
        if first <= last:
            yield first, last

    def count(self) -> int:
        """Count the members."""
        return sum(self._ends) - sum(self._starts) + len(self._starts)
