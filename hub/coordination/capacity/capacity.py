"""What one machine can still take on, and when it would be done. Pure: facts in, times out.

    free      = calendar windows - breaks - maintenance - reservations, per capacity unit
    release   = when the machine lets go of what it does now, at best guess (p50) and nearly
                surely (p90)
    pace      = how long a part takes here, planned and observed, and how far off plans have been
    placement = set-up and parts laid into the free spans from the release on

Every time is a whole number of milliseconds UTC, every span is half-open [start, end). The p50 says
"as likely sooner as later"; nine times in ten it is over by the p90.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from hub.coordination.intervals import Interval, union

PRIOR_CYCLES: Final = 10
"""How many observed cycles weigh as much as the plan: with n of them the plan keeps k/(k+n)."""
RATIOS_MIN: Final = 10
"""With fewer finished jobs than this, how far plans are off is assumed, not measured."""
RATIO_P90_ASSUMED: Final = 1.25
REPAIRS_MIN: Final = 5
OUTLIER: Final = 3.0
"""An observed cycle further off the median than this factor is a break somebody took."""
P90: Final = 0.9
SEGMENT_MS_MIN: Final = 60_000
"""Nothing shorter is booked; a shorter piece of work takes a whole minute."""


class Taken(NamedTuple):
    """Some units of a machine that somebody has booked over a span."""

    start_ms: int
    end_ms: int
    units: int
    held: bool
    """Only held: it may expire, or be confirmed."""


class Open(NamedTuple):
    """A span in which the calendar lets so many units work."""

    start_ms: int
    end_ms: int
    units: int


class Stretch(NamedTuple):
    """A span over which nothing changes: units that work, units held and units booked."""

    start_ms: int
    end_ms: int
    units: int
    held: int
    booked: int

    @property
    def free(self) -> int:
        """How many units can still be booked; never negative, whatever was booked."""
        return max(0, self.units - self.held - self.booked)


def stretches(opened: Iterable[Open], taken: Iterable[Taken]) -> list[Stretch]:
    """Sweep over calendar and bookings: the spans in which something works, in order."""
    changes: dict[int, list[int]] = {}
    for start, end, units in opened:
        _change(changes, start, end, 0, units)
    for start, end, units, held in taken:
        _change(changes, start, end, 1 if held else 2, units)
    level, found, before = [0, 0, 0], list[Stretch](), 0
    for at in sorted(changes):
        if level[0] > 0:
            found.append(Stretch(before, at, *level))
        level = [have + more for have, more in zip(level, changes[at], strict=True)]
        before = at
    return found


def _change(changes: dict[int, list[int]], start: int, end: int, which: int, units: int) -> None:
    if end > start:
        changes.setdefault(start, [0, 0, 0])[which] += units
        changes.setdefault(end, [0, 0, 0])[which] -= units


def spans_from(free: Sequence[Interval], from_ms: int) -> Iterator[Interval]:
    """Walk through sorted free spans from an instant on, the first one clipped to it."""
    at = bisect_right(free, from_ms, key=_end)
    for start, end in free[at : at + 1]:
        yield max(start, from_ms), end
    for each in range(at + 1, len(free)):
        yield free[each]


def _end(span: Interval) -> int:
    return span[1]


class Tally(NamedTuple):
    """Unit-milliseconds of a span of time: what works, and who has it."""

    available: int
    held: int
    reserved: int
    free: int


def tally(found: Iterable[Stretch], from_ms: int, to_ms: int) -> Tally:
    """Add up what `found` holds between two instants."""
    available = held = reserved = free = 0
    for stretch in found:
        length = min(stretch.end_ms, to_ms) - max(stretch.start_ms, from_ms)
        if length > 0:
            available += length * stretch.units
            held += length * min(stretch.held, stretch.units)
            reserved += length * min(stretch.booked, stretch.units)
            free += length * stretch.free
    return Tally(available, held, reserved, free)


# -- how long work takes -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Need:
    """Work to be placed: parts after one set-up."""

    quantity: int
    cycle_ms: int
    setup_ms: int = 0
    splittable: bool = False
    """Whether it may pause between two parts, where the machine is taken or closed."""
    chunk_min_ms: int = 0
    """A free span shorter than this is not worth starting in."""
    setup_again: bool = False
    """Whether every pause costs the set-up again."""

    def stretched(self, ratio: float) -> "Need":
        """Give the same work taking `ratio` times as long."""
        return Need(
            self.quantity,
            math.ceil(self.cycle_ms * ratio),
            math.ceil(self.setup_ms * ratio),
            self.splittable,
            self.chunk_min_ms,
            self.setup_again,
        )

    @property
    def whole_ms(self) -> int:
        """How long it takes without a pause."""
        return self.setup_ms + self.quantity * self.cycle_ms


@dataclass(frozen=True, slots=True)
class Observed:
    """What a machine has shown so far: recent cycles and how far finished jobs were off plan."""

    cycles_s: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    """Actual duration over planned, one for each finished job."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a part takes here, and how much longer everything may take (p90 over p50)."""

    cycle_ms: int
    ratio_p90: float
    cycles: int
    measured: bool
    """Whether the ratio was measured here; else it is assumed."""


def pace(planned_s: float, observed: Observed) -> Pace:
    """Blend the planned cycle with those observed, outliers left out."""
    cycles = _without_outliers(observed.cycles_s)
    cycle_s = (PRIOR_CYCLES * planned_s + sum(cycles)) / (PRIOR_CYCLES + len(cycles))
    measured = len(observed.ratios) >= RATIOS_MIN
    ratio = max(1.0, quantile(observed.ratios, P90)) if measured else RATIO_P90_ASSUMED
    return Pace(max(1, math.ceil(cycle_s * 1000)), ratio, len(cycles), measured)


def _without_outliers(cycles_s: Sequence[float]) -> list[float]:
    if not cycles_s:
        return []
    middle = quantile(cycles_s, 0.5)
    return [each for each in cycles_s if middle / OUTLIER <= each <= middle * OUTLIER]


def quantile(values: Sequence[float], part: float) -> float:
    """Give an empirical quantile, interpolated between order statistics (R's type 7).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


# -- when the machine is let go ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Repairs:
    """How long this machine, or its class, was down before: finished stops in milliseconds."""

    own_ms: tuple[int, ...] = ()
    class_ms: tuple[int, ...] = ()
    assumed_ms: tuple[int, int] = (3_600_000, 4 * 3_600_000)
    """p50 and p90 where nobody knows anything yet; from `assumptions.json`."""


@dataclass(frozen=True, slots=True)
class Present:
    """What the machine does now, as far as it can be believed.

    `doing` is one of ``free``, ``working``, ``down``, ``maintenance``, or ``unknown`` when its data
    is stale: then only the calendar speaks.
    """

    doing: str = "free"
    since_ms: int | None = None
    remaining: int | None = None
    """Parts still to make of the running job, None when nobody told."""
    cycle_ms: int | None = None
    """Of the running job, as observed."""
    planned_until_ms: int | None = None
    """Where a planned stop ends by the calendar."""
    assumed_ms: tuple[int, int] = (30 * 60_000, 2 * 3_600_000)
    """How long a job that nobody told of still runs, p50 and p90; from `assumptions.json`."""


@dataclass(frozen=True, slots=True)
class Release:
    """From when on the machine can take work; `basis` says how that is known."""

    p50_ms: int
    p90_ms: int
    basis: str
    confidence: float


BASES: Final = {
    "live": 0.95,
    "running-job": 0.9,
    "job-unknown": 0.65,
    "repair-own": 0.8,
    "repair-class": 0.6,
    "repair-assumed": 0.5,
    "planned-end": 0.85,
    "calendar-only": 0.475,
}
"""Confidence by what the release rests on: an order of trust, not a measured probability.

``calendar-only`` is half of ``live``: nothing contradicts the calendar, nothing confirms it.
"""


def release(present: Present, repairs: Repairs, ratio_p90: float, now_ms: int) -> Release:
    """Tell when the machine lets go of what it does now."""
    match present.doing:
        case "working":
            p50, p90, basis = _end_of_work(present, ratio_p90)
        case "down":
            p50, p90, basis = _end_of_stop(present, repairs, now_ms)
        case "maintenance":
            if present.planned_until_ms is not None:
                until = max(0, present.planned_until_ms - now_ms)
                p50, p90, basis = until, until, "planned-end"
            else:
                p50, p90, basis = _end_of_stop(present, repairs, now_ms)
        case "unknown":
            p50, p90, basis = 0, 0, "calendar-only"
        case _:
            p50, p90, basis = 0, 0, "live"
    return Release(now_ms + p50, now_ms + max(p50, p90), basis, BASES[basis])


def _end_of_work(present: Present, ratio_p90: float) -> tuple[int, int, str]:
    if present.remaining is None or present.cycle_ms is None:
        return (*present.assumed_ms, "job-unknown")
    left = max(0, present.remaining) * present.cycle_ms
    return left, math.ceil(left * ratio_p90), "running-job"


def _end_of_stop(present: Present, repairs: Repairs, now_ms: int) -> tuple[int, int, str]:
    """Tell how much longer a stop lasts that has lasted a while already."""
    past = 0 if present.since_ms is None else max(0, now_ms - present.since_ms)
    for known, basis in ((repairs.own_ms, "repair-own"), (repairs.class_ms, "repair-class")):
        if len(known) >= REPAIRS_MIN:
            longer = [each - past for each in known if each > past]
            # Too few ever lasted so long: then the past of this stop says nothing about its end.
            rest = longer if len(longer) >= REPAIRS_MIN else list(known)
            return round(quantile(rest, 0.5)), round(quantile(rest, P90)), basis
    return (*repairs.assumed_ms, "repair-assumed")


# -- laying work into free spans ---------------------------------------------------------------


class Placed(NamedTuple):
    """Work laid into free spans."""

    segments: tuple[Interval, ...]

    @property
    def start_ms(self) -> int:
        """When it begins, with the set-up."""
        return self.segments[0][0]

    @property
    def end_ms(self) -> int:
        """When the last part is done."""
        return self.segments[-1][1]


def place(free: Sequence[Interval], need: Need, from_ms: int) -> Placed | None:
    """Lay work into the free spans as early as possible; None when it does not fit."""
    if not need.splittable:
        whole_ms = max(SEGMENT_MS_MIN, need.whole_ms)
        for start, end in spans_from(free, from_ms):
            if end - start >= whole_ms:
                return Placed(((start, start + whole_ms),))
        return None
    left, setup, segments = need.quantity, need.setup_ms, list[Interval]()
    for start, end in spans_from(free, from_ms):
        worth_ms = min(need.chunk_min_ms, setup + left * need.cycle_ms)
        parts = min(left, (end - start - setup) // need.cycle_ms)
        if parts < 1 or end - start < max(SEGMENT_MS_MIN, worth_ms):
            continue
        took_ms = max(SEGMENT_MS_MIN, setup + parts * need.cycle_ms)
        segments.append((start, start + took_ms))
        left -= parts
        setup = need.setup_ms if need.setup_again else 0
        if left == 0:
            return Placed(tuple(segments))
    return None


def parts_by(free: Sequence[Interval], need: Need, from_ms: int, until_ms: int) -> int:
    """Tell how many parts of this kind can be made between two instants, set-up included."""
    made, setup = 0, need.setup_ms
    for start, end in spans_from(free, from_ms):
        room = min(end, until_ms) - start
        if room <= 0:
            break
        parts = (room - setup) // need.cycle_ms
        worth_ms = need.chunk_min_ms if need.splittable else 0
        if parts < 1 or room < max(SEGMENT_MS_MIN, worth_ms):
            continue
        if not need.splittable:
            made = max(made, parts)
            continue
        made += parts
        setup = need.setup_ms if need.setup_again else 0
    return made


def latest_start(free: Sequence[Interval], need: Need, from_ms: int, due_ms: int) -> int | None:
    """Tell the last instant at which work may begin and still be done by `due_ms`.

    None when even beginning at once is too late. Bisection: the end never comes sooner by beginning
    later.
    """
    first = place(free, need, from_ms)
    if first is None or first.end_ms > due_ms:
        return None
    good, bad = first.start_ms, max(first.start_ms, due_ms) + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        placed = place(free, need, middle)
        if placed is not None and placed.end_ms <= due_ms:
            good = max(middle, placed.start_ms)
            if good >= bad:  # The span found begins after everything that was left to try.
                return good
        else:
            bad = middle
    return good


class Promise(NamedTuple):
    """What a machine offers: the spans to book, and when the work ends at p50 and at p90.

    The spans cover both the hopeful and the careful course of things, so whoever books them has the
    machine from the likely start to the nearly sure end.
    """

    segments: tuple[Interval, ...]
    start_ms: int
    end_p50_ms: int
    end_p90_ms: int


def promise(
    free: Sequence[Interval], need: Need, ratio_p90: float, p50_ms: int, p90_ms: int
) -> Promise | None:
    """Lay work in twice: as likely as not from `p50_ms` on, and stretched from `p90_ms` on."""
    slow = need.stretched(ratio_p90)
    if not need.splittable:
        for start, end in spans_from(free, p50_ms):
            likely = start + max(SEGMENT_MS_MIN, need.whole_ms)
            surely = max(start, p90_ms) + max(SEGMENT_MS_MIN, slow.whole_ms)
            if surely <= end:
                return Promise(((start, surely),), start, likely, surely)
        return None
    late = place(free, slow, p90_ms)
    early = place(free, need, p50_ms)
    middle = place(free, slow, p50_ms)
    if late is None or early is None or middle is None:
        return None
    segments = union(early.segments, middle.segments, late.segments)
    return Promise(tuple(segments), early.start_ms, early.end_ms, late.end_ms)
