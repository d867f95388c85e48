"""The algebra of time: sets of instants as sorted, disjoint, half-open intervals (pure).

An interval [start_ms, end_ms) holds its first instant and not its last, so that a shift that ends
at 17:00 and one that begins there share nothing and leave nothing out. A *set* is a list of
intervals, sorted, with a gap between any two of them; `normalized` makes one of anything. Every
function below takes sets and gives sets, in one walk over both, and none changes its arguments.

Calendars, free capacity, reservations, time buckets and the Gantt chart all stand on these few
functions, so that a lunch break is the same lunch break everywhere.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

Interval = tuple[int, int]
"""[start_ms, end_ms), milliseconds since 1970 UTC."""
Load = tuple[int, int, int]
"""[start_ms, end_ms) and how many units are there, or are taken, all through it."""


def normalized(intervals: Iterable[Interval]) -> list[Interval]:
    """Make a set of any intervals: empty and reversed ones vanish, touching ones become one."""
    joined: list[Interval] = []
    for start_ms, end_ms in sorted(intervals):
        if end_ms <= start_ms:
            continue
        if joined and start_ms <= joined[-1][1]:
            if end_ms > joined[-1][1]:
                joined[-1] = (joined[-1][0], end_ms)
        else:
            joined.append((start_ms, end_ms))
    return joined


def union(*sets: Sequence[Interval]) -> list[Interval]:
    """Give what is in any of the sets."""
    return normalized(interval for one in sets for interval in one)


def intersect(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """Give what is in both sets."""
    both: list[Interval] = []
    i = j = 0
    while i < len(one) and j < len(other):
        start_ms = max(one[i][0], other[j][0])
        end_ms = min(one[i][1], other[j][1])
        if start_ms < end_ms:
            both.append((start_ms, end_ms))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return both


def subtract(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """Give what is in `one` and not in `other`."""
    left: list[Interval] = []
    j = 0
    for start_ms, end_ms in one:
        while j < len(other) and other[j][1] <= start_ms:
            j += 1
        at_ms, k = start_ms, j
        while k < len(other) and other[k][0] < end_ms:
            if other[k][0] > at_ms:
                left.append((at_ms, other[k][0]))
            at_ms = other[k][1]
            k += 1
        if at_ms < end_ms:
            left.append((at_ms, end_ms))
    return left


def clip(one: Sequence[Interval], from_ms: int, to_ms: int) -> list[Interval]:
    """Give what of the set lies in [from_ms, to_ms)."""
    return [
        (max(start_ms, from_ms), min(end_ms, to_ms))
        for start_ms, end_ms in one
        if start_ms < to_ms and end_ms > from_ms and from_ms < to_ms
    ]


def complement(one: Sequence[Interval], from_ms: int, to_ms: int) -> list[Interval]:
    """Give what of [from_ms, to_ms) is not in the set."""
    return subtract([(from_ms, to_ms)] if from_ms < to_ms else [], one)


def total_ms(one: Iterable[Interval]) -> int:
    """Give how long the set is altogether."""
    return sum(end_ms - start_ms for start_ms, end_ms in one)


def levels(loads: Iterable[Load]) -> list[Load]:
    """Add loads up: disjoint, sorted pieces with the sum of units in each; pieces of 0 left out.

    Loads may overlap, and units may be negative; empty and reversed loads count nothing.
    """
    steps: dict[int, int] = {}
    for start_ms, end_ms, units in loads:
        if start_ms < end_ms and units:
            steps[start_ms] = steps.get(start_ms, 0) + units
            steps[end_ms] = steps.get(end_ms, 0) - units
    summed: list[Load] = []
    level = 0
    for at_ms, next_ms in pairwise(sorted(steps)):
        level += steps[at_ms]
        if not level:
            continue
        if summed and summed[-1][1] == at_ms and summed[-1][2] == level:
            summed[-1] = (summed[-1][0], next_ms, level)
        else:
            summed.append((at_ms, next_ms, level))
    return summed


def peak_load(loads: Iterable[Load]) -> int:
    """Give the most units taken at any one instant; 0 when nothing is taken.

    One [10:00, 11:00) and one [11:00, 12:00) of one unit each peak at one, not at two.
    """
    return max((units for _, _, units in levels(loads)), default=0)


def free_where(taken: Iterable[Load], capacity: Iterable[Load], units: int = 1) -> list[Interval]:
    """Give when at least `units` of `capacity` are left over by what is `taken`.

    Args:
        taken: what is reserved, held or down, in units; may overlap.
        capacity: when how many units are there; where nothing is said there are none.
        units: how many are wanted at once, at least 1.

    Raises:
        ValueError: fewer than one unit is asked for, which would be free at any time.
    """
    if units < 1:
        raise ValueError("at least one unit must be asked for")
    rest = [(start_ms, end_ms, -used) for start_ms, end_ms, used in taken]
    rest += capacity
    return normalized(
        (start_ms, end_ms) for start_ms, end_ms, free in levels(rest) if free >= units
    )
