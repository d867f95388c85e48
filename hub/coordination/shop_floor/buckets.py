"""Where a machine's time went: every instant in exactly one bucket (pure).

The buckets are the time elements of ISO 22400-2, as OPC 40001-1 (Annex C.2) assigns them from item
state, operation mode and what is planned: the same state lands in different ones depending on
calendar and order, so both decide here. They always sum to wall time.

| while the calendar says | running | setup | other states                              | unknown |
|-------------------------|---------|-------|-------------------------------------------|---------|
| working                 | APT     | AUST  | ADET, ADOT or APMT, see `_in_hours`       | UNKNOWN |
| break, maintenance      | APT     | AUST  | PDT                                       | PDT     |
| closed                  | APT     | AUST  | CLOSED                                    | CLOSED  |
| undefined               | APT     | AUST  | see `_without_hours`                      | UNKNOWN |

Work outside the hours counts as work: whoever runs a machine at night has made that time busy. A
reason given by a person carries its own bucket, which replaces the derived one within the hours.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

from gateway.model import State
from hub.coordination.hours.calendar_rules import Kind, Window
from hub.coordination.intervals import Interval
from hub.coordination.shop_floor.axes import Order


class Bucket(StrEnum):
    """A kind of time."""

    APT = "APT"
    """Actual production time: it makes parts."""
    AUST = "AUST"
    """Actual unit set-up time."""
    ADET = "ADET"
    """Actual unit delay time: there is work, and it is not being done."""
    ADOT = "ADOT"
    """Actual unit down time: open, and nothing to do."""
    APMT = "APMT"
    """Actual planned maintenance time within the hours."""
    PDT = "PDT"
    """Planned down time: breaks, and maintenance that the calendar knows."""
    CLOSED = "CLOSED"
    UNKNOWN = "UNKNOWN"
    """Nobody knows: a gap in what is covered, neither good nor bad."""


_RESTS: Final = {
    Kind.CLOSED: Bucket.CLOSED,
    Kind.BREAK: Bucket.PDT,
    Kind.MAINTENANCE: Bucket.PDT,
}
BUSY: Final = frozenset({State.RUNNING, State.SETUP})
PLANNED: Final = frozenset({Bucket.APT, Bucket.AUST, Bucket.ADET, Bucket.ADOT, Bucket.APMT})
"""What planned busy time (PBT) is made of."""


class StateSpan(NamedTuple):
    """A machine was in a state over [start_ms, end_ms). `source` is edge, hub or operator."""

    start_ms: int
    end_ms: int
    state: State
    reason: str = ""
    source: str = "edge"
    bucket: Bucket | None = None
    """What a person's reason says it was, if one was given."""


class OrderSpan(NamedTuple):
    """There was an order running, or one queued, over [start_ms, end_ms)."""

    start_ms: int
    end_ms: int
    order: Order


class Slice(NamedTuple):
    """All of [start_ms, end_ms) is of one bucket, for one and the same reason."""

    start_ms: int
    end_ms: int
    bucket: Bucket
    state: State
    calendar: Kind
    order: Order | None
    reason: str
    source: str


_Part = TypeVar("_Part", StateSpan, OrderSpan, Window)
_NOTHING: Final = StateSpan(0, 0, State.UNKNOWN, "", "hub")


def slices(
    states: Sequence[StateSpan],
    windows: Sequence[Window],
    orders: Sequence[OrderSpan] | None,
    span: Interval,
) -> list[Slice]:
    """Cut [from, to) into slices, in order, without gap or overlap.

    Args:
        states: in order, none overlapping; where there is none the state is unknown.
        windows: the calendar; where there is none it is undefined.
        orders: in order, none overlapping; where there is none no order is there. None when
            nobody keeps orders of this machine.
        span: [from, to), in the past.
    """
    from_ms, to_ms = span
    cuts = {from_ms, to_ms}
    edges = [(part.start_ms, part.end_ms) for part in states]
    edges += [(part.start_ms, part.end_ms) for part in windows]
    edges += [(part.start_ms, part.end_ms) for part in orders or ()]
    cuts.update(at for edge in edges for at in edge if from_ms < at < to_ms)
    found: list[Slice] = []
    ordered = sorted(cuts)
    state_starts = [s.start_ms for s in states]
    window_starts = [w.start_ms for w in windows]
    order_starts = [o.start_ms for o in orders or ()]
    for start_ms, end_ms in pairwise(ordered):
        state = _holding(states, state_starts, start_ms) or _NOTHING
        window = _holding(windows, window_starts, start_ms)
        order = None
        if orders is not None:
            there = _holding(orders, order_starts, start_ms)
            order = there.order if there else Order.NONE
        kind = window.kind if window else Kind.UNDEFINED
        _append(found, start_ms, end_ms, _slice(state, kind, order))
    return found


def totals(found: Iterable[Slice]) -> dict[Bucket, int]:
    """Add the slices up, in milliseconds; every bucket is named."""
    sums = dict.fromkeys(Bucket, 0)
    for each in found:
        sums[each.bucket] += each.end_ms - each.start_ms
    return sums


def clip(found: Iterable[Slice], from_ms: int, to_ms: int) -> list[Slice]:
    """Give what of the slices lies in [from_ms, to_ms)."""
    return [
        each._replace(start_ms=max(each.start_ms, from_ms), end_ms=min(each.end_ms, to_ms))
        for each in found
        if each.start_ms < to_ms and each.end_ms > from_ms
    ]


def bucket_of(
    state: State, calendar: Kind, order: Order | None, told: Bucket | None = None
) -> Bucket:
    """Tell the bucket of one instant. `told` is the bucket of a reason that a person gave."""
    if state in BUSY:
        return Bucket.APT if state is State.RUNNING else Bucket.AUST
    if calendar in _RESTS:
        return _RESTS[calendar]
    if told is not None:
        return told
    return _in_hours(state, order) if calendar is Kind.WORKING else _without_hours(state)


def _in_hours(state: State, order: Order | None) -> Bucket:
    """Tell what standing still within the hours was.

    With an order there it is delay (ADET), without one it is down time (ADOT); maintenance is
    APMT unless it keeps an order waiting that had begun. Where nobody keeps orders, a breakdown
    and waiting are delay, for they happen to work, and idle and off are down time.
    """
    if state is State.UNKNOWN:
        return Bucket.UNKNOWN
    if state is State.MAINTENANCE:
        return Bucket.ADET if order is Order.RUNNING else Bucket.APMT
    if order is None:
        return Bucket.ADET if state in {State.DOWN, State.WAITING} else Bucket.ADOT
    return Bucket.ADOT if order is Order.NONE else Bucket.ADET


def _without_hours(state: State) -> Bucket:
    """Tell what may be said where nobody has told when there is work."""
    if state is State.MAINTENANCE:
        return Bucket.APMT
    return Bucket.ADET if state is State.DOWN else Bucket.UNKNOWN


def _slice(state: StateSpan, kind: Kind, order: Order | None) -> Slice:
    bucket = bucket_of(state.state, kind, order, state.bucket)
    return Slice(0, 0, bucket, state.state, kind, order, state.reason, state.source)


def _append(found: list[Slice], start_ms: int, end_ms: int, what: Slice) -> None:
    if found and found[-1][2:] == what[2:]:
        found[-1] = found[-1]._replace(end_ms=end_ms)
    else:
        found.append(what._replace(start_ms=start_ms, end_ms=end_ms))


def _holding(parts: Sequence[_Part], starts: Sequence[int], at_ms: int) -> _Part | None:
    """Give the part that holds at an instant."""
    place = bisect_right(starts, at_ms) - 1
    if place < 0 or parts[place].end_ms <= at_ms:
        return None
    return parts[place]
