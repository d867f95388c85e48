"""History of machines that were renamed or moved: read under the present id, over all of them.

An old id speaks until the new one begins to: an agent may be told the new id before the hub is, or
long after. Samples of all ids are one series; nothing is copied or rewritten.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.model import Quality, Value
from hub.historian import Historian, Range, Span, StateInterval

Key = tuple[str, str]
_N: Final = 5
_BAD: Final = 6


class JoinedHistory:
    """A historian whose questions about one machine are answered over all its ids.

    Everything else is the historian's own affair.
    """

    def __init__(
        self, historian: Historian, former_ids: Callable[[str, str], Sequence[Key]]
    ) -> None:
        """`former_ids` gives the ids that a machine had before, the latest first."""
        self._historian = historian
        self._former_ids = former_ids

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the historian."""
        return getattr(self._historian, name)

    def range(
        self, site: str, machine: str, signal: str, span: Span, *, points_max: int, raw: bool
    ) -> Range | None:
        """Give a signal's values under all ids, in order of time."""
        parts = [
            self._historian.range(*key, signal, span, points_max=points_max, raw=raw)
            for key in self._ids(site, machine)
        ]
        known = [part for part in parts if part is not None]
        return join_ranges(known, span, points_max) if known else None

    def states(self, site: str, machine: str, span: Span) -> list[StateInterval]:
        """Give the states under all ids."""
        parts = [self._historian.states(*key, span) for key in self._ids(site, machine)]
        return join_states(parts)

    def counted(self, site: str, machine: str, signal: str, span: Span) -> float | None:
        """Add up how far a counter advanced under all ids."""
        parts = [self._historian.counted(*key, signal, span) for key in self._ids(site, machine)]
        known = [part for part in parts if part is not None]
        return sum(known) if known else None

    def _ids(self, site: str, machine: str) -> list[Key]:
        return [(site, machine), *self._former_ids(site, machine)]


def join_states(parts: Sequence[Sequence[StateInterval]]) -> list[StateInterval]:
    """Join timelines, the present id's first: each is cut where the next newer one begins."""
    joined: list[StateInterval] = []
    for part in parts:
        begins = joined[0].start_ms if joined else None
        earlier = [
            each if begins is None or (each.end_ms is not None and each.end_ms <= begins)
            else replace(each, end_ms=begins)
            for each in part
            if begins is None or each.start_ms < begins
        ]  # fmt: skip
        joined = earlier + joined
    return joined


def join_ranges(parts: Sequence[Range], span: Span, points_max: int) -> Range:
    """Join what several ids hold of one signal, in buckets when any of them is."""
    told = [part for part in parts if part.rows and _holds_any(part)] or list(parts[:1])
    if len(told) == 1:
        return told[0]
    unit = next((part.unit for part in told if part.unit is not None), None)
    width_ms = max(part.bucket_ms for part in told)
    if width_ms == 0:
        return _join_raw(told, unit, points_max)
    bucketed = [part if part.bucket_ms else _bucket(part, width_ms, span) for part in told]
    rows: dict[Value, tuple[Value, ...]] = {}
    for part in reversed(bucketed):
        for row in part.rows:
            rows[row[0]] = _merged(rows[row[0]], row) if row[0] in rows else row
    columns = next(part.columns for part in told if part.bucket_ms)
    return Range(unit, width_ms, columns, [rows[at] for at in sorted(rows, key=_number)])


def _holds_any(part: Range) -> bool:
    return part.bucket_ms == 0 or any(row[_N] or row[_BAD] for row in part.rows)


def _join_raw(parts: Sequence[Range], unit: str | None, points_max: int) -> Range:
    """Merge rows by time; where one part goes on later, the others do not run ahead of it."""
    rows = sorted((row for part in parts for row in part.rows), key=lambda row: _number(row[0]))
    ends = [part.next_ms for part in parts if part.next_ms is not None]
    if ends:
        rows = [row for row in rows if _number(row[0]) < min(ends)]
    next_ms = min(ends, default=None)
    if len(rows) > points_max:
        next_ms = round(_number(rows[points_max][0]))
        rows = rows[:points_max]
    return Range(unit, 0, parts[0].columns, rows, next_ms)


def _bucket(part: Range, width_ms: int, span: Span) -> Range:
    """Put raw rows into buckets like the historian's: t, mean, min, max, last, n, bad_n."""
    first = span.from_ms // width_ms * width_ms
    starts = range(first, span.to_ms, width_ms)
    held: dict[int, list[tuple[Value, ...]]] = {start: [] for start in starts}
    for row in part.rows:
        held.setdefault(round(_number(row[0])) // width_ms * width_ms, []).append(row)
    return replace(
        part, bucket_ms=width_ms, rows=[_summed(at, rows) for at, rows in sorted(held.items())]
    )


def _summed(start_ms: int, rows: Sequence[tuple[Value, ...]]) -> tuple[Value, ...]:
    good = [
        _number(value) for _, value, quality, _ in rows
        if quality != Quality.BAD and isinstance(value, (int, float))
    ]  # fmt: skip
    bad = sum(quality == Quality.BAD for _, _, quality, _ in rows)
    if not good:
        return (start_ms, None, None, None, None, 0, bad)
    mean = sum(good) / len(good)
    return (start_ms, mean, min(good), max(good), good[-1], len(good), bad)


def _merged(older: tuple[Value, ...], newer: tuple[Value, ...]) -> tuple[Value, ...]:
    """Add two rows of the same bucket; of the last values the newer id's counts."""
    n = [_number(row[_N]) for row in (older, newer)]
    bad = round(_number(older[_BAD]) + _number(newer[_BAD]))
    if not n[0] or not n[1]:
        return (*(older if n[0] else newer)[:_BAD], bad)
    total = n[0] + n[1]
    mean = (_number(older[1]) * n[0] + _number(newer[1]) * n[1]) / total
    low = min(_number(older[2]), _number(newer[2]))
    high = max(_number(older[3]), _number(newer[3]))
    return (older[0], mean, low, high, newer[4], round(total), bad)


def _number(value: Value) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
