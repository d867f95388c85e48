"""Key figures from buckets and counters, aligned with ISO 22400-2 (pure).

Formulas by the standard's names, PBT being planned busy time, AUPT unit processing time, AUBT unit
busy time, PRI the planned run time per item, PQ what was produced, GQ what of it was good:

    PBT  = APT + AUST + ADET + ADOT + APMT          availability        APT / PBT
    AUPT = APT + AUST                               effectiveness       PRI * PQ / APT
    AUBT = AUPT + ADET                              quality             GQ / PQ
                                                    OEE                 availability * effectiveness
    utilization          APT / AUBT                                     * quality
    allocation           AUBT / PBT                 NEE                 AUPT / PBT * effectiveness
    technical_efficiency APT / (APT + ADET)                             * quality
    setup_rate           AUST / AUPT                scrap_ratio         SQ / PQ
    mtbf_s  operating time (AUPT) / breakdowns      mttr_s              time down / breakdowns

Figures of several machines or days are ratios of sums: `Inputs` add up, and are measured then. What
cannot be known is null with the reason; effectiveness above 1 is shown as it is and flagged, for it
tells that the planned cycle is wrong. Unknown time is in no figure: `coverage` tells its share.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, NamedTuple

from gateway.model import State
from hub.coordination.hours.calendar_rules import Kind
from hub.coordination.shop_floor.buckets import BUSY, PLANNED, Bucket, Slice, totals

NO_SCHEDULE: Final = "no-schedule"
NO_COUNTERS: Final = "no-counters"
NO_PLANNED_CYCLE: Final = "no-planned-cycle"
NO_TIME: Final = "no-time"
"""Nothing to divide by: no planned or busy time in the range."""
NO_PARTS: Final = "no-parts"
NO_BREAKDOWNS: Final = "no-breakdowns"
ABOVE_ONE: Final = "effectiveness-above-1"
OUTSIDE_HOURS: Final = "worked-outside-hours"


class Kpi(NamedTuple):
    """One figure, or None with the reason. `of` names the buckets that it is made from."""

    value: float | None
    reason: str | None = None
    flags: tuple[str, ...] = ()
    of: tuple[Bucket, ...] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """What figures are made from; those of several machines or days can be added."""

    buckets: dict[Bucket, int] = field(default_factory=lambda: dict.fromkeys(Bucket, 0))
    """Milliseconds of each."""
    scheduled: bool = True
    """Whether the calendar is known all through."""
    outside_ms: int = 0
    """Busy while the calendar says break, maintenance or closed."""
    good: float | None = None
    scrap: float | None = None
    planned_run_ms: float | None = None
    """PRI * PQ: how long the parts should have taken. None without a planned cycle."""
    breakdowns: int = 0
    down_ms: int = 0

    def __add__(self, other: "Inputs") -> "Inputs":
        """Add up; what one of both does not know, nobody knows of both."""
        buckets = {b: self.buckets[b] + other.buckets[b] for b in Bucket}
        sums = {
            each.name: _sum(getattr(self, each.name), getattr(other, each.name))
            for each in fields(self)
            if each.name not in {"buckets", "scheduled"}
        }
        return Inputs(buckets, self.scheduled and other.scheduled, **sums)  # type: ignore[arg-type]


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


@dataclass(frozen=True, slots=True)
class Production:
    """What counters and plans say of a range."""

    good: float | None = None
    scrap: float | None = None
    planned_cycle_s: float | None = None


def inputs_of(found: Sequence[Slice], made: Production) -> Inputs:
    """Take what figures need from slices and counters."""
    outside = {Kind.CLOSED, Kind.BREAK, Kind.MAINTENANCE}
    quantity = None if made.good is None else made.good + (made.scrap or 0.0)
    cycle_s = made.planned_cycle_s
    down, breakdowns = 0, 0
    before: Slice | None = None
    for each in found:
        if each.state is State.DOWN:
            down += each.end_ms - each.start_ms
            breakdowns += before is None or before.state is not State.DOWN
        before = each
    return Inputs(
        buckets=totals(found),
        scheduled=all(each.calendar is not Kind.UNDEFINED for each in found),
        outside_ms=sum(
            each.end_ms - each.start_ms
            for each in found
            if each.state in BUSY and each.calendar in outside
        ),
        good=made.good,
        scrap=made.scrap,
        planned_run_ms=None if quantity is None or cycle_s is None else quantity * cycle_s * 1000,
        breakdowns=breakdowns,
        down_ms=down,
    )


def total(parts: Iterable[Inputs]) -> Inputs:
    """Add up any number of inputs, at least one.

    Raises:
        ValueError: there is none.
    """
    found = list(parts)
    if not found:
        raise ValueError("figures need at least one machine or day")
    whole = found[0]
    for each in found[1:]:
        whole = whole + each
    return whole


def coverage(inputs: Inputs) -> float | None:
    """Tell which share of planned time is known; None when none was planned."""
    known = sum(inputs.buckets[bucket] for bucket in PLANNED)
    whole = known + inputs.buckets[Bucket.UNKNOWN]
    return known / whole if whole else None


def measure(inputs: Inputs) -> dict[str, Kpi]:
    """Compute every figure."""
    b = inputs.buckets
    aupt = b[Bucket.APT] + b[Bucket.AUST]
    aubt = aupt + b[Bucket.ADET]
    pbt = sum(b[bucket] for bucket in PLANNED)
    worked = (OUTSIDE_HOURS,) if inputs.outside_ms else ()
    planned = _Ratios(inputs.scheduled, NO_SCHEDULE)
    any_time = _Ratios(known=True, why="")
    found = {
        "availability": planned.of(b[Bucket.APT], pbt, PLANNED, worked),
        "effectiveness": _effectiveness(inputs),
        "quality": _quality(inputs),
        "utilization": planned.of(b[Bucket.APT], aubt, _AUBT),
        "allocation": planned.of(aubt, pbt, PLANNED, worked),
        "technical_efficiency": planned.of(
            b[Bucket.APT], b[Bucket.APT] + b[Bucket.ADET], {Bucket.APT, Bucket.ADET}
        ),
        "setup_rate": any_time.of(b[Bucket.AUST], aupt, _AUPT),
        "scrap_ratio": _scrap(inputs),
    }
    load = planned.of(aupt, pbt, PLANNED)
    found["oee"] = _product(found["availability"], found["effectiveness"], found["quality"])
    found["nee"] = _product(load, found["effectiveness"], found["quality"])
    found["mtbf_s"] = _per_breakdown(aupt, inputs, _AUPT)
    found["mttr_s"] = _per_breakdown(inputs.down_ms, inputs, {Bucket.ADET, Bucket.ADOT})
    return found


_AUPT: Final = frozenset({Bucket.APT, Bucket.AUST})
_AUBT: Final = _AUPT | {Bucket.ADET}


class _Ratios(NamedTuple):
    known: bool
    why: str

    def of(
        self, part: float, whole: float, of: Iterable[Bucket], flags: tuple[str, ...] = ()
    ) -> Kpi:
        """Divide, or say why not."""
        made_of = tuple(sorted(of, key=list(Bucket).index))
        if not self.known:
            return Kpi(None, self.why, of=made_of)
        if not whole:
            return Kpi(None, NO_TIME, of=made_of)
        return Kpi(part / whole, None, flags, made_of)


def _effectiveness(inputs: Inputs) -> Kpi:
    of = (Bucket.APT,)
    if inputs.good is None:
        return Kpi(None, NO_COUNTERS, of=of)
    if inputs.planned_run_ms is None:
        return Kpi(None, NO_PLANNED_CYCLE, of=of)
    if not inputs.buckets[Bucket.APT]:
        return Kpi(None, NO_TIME, of=of)
    value = inputs.planned_run_ms / inputs.buckets[Bucket.APT]
    return Kpi(value, None, (ABOVE_ONE,) if value > 1 else (), of)


def _quality(inputs: Inputs) -> Kpi:
    if inputs.good is None:
        return Kpi(None, NO_COUNTERS)
    quantity = inputs.good + (inputs.scrap or 0.0)
    return Kpi(inputs.good / quantity) if quantity else Kpi(None, NO_PARTS)


def _scrap(inputs: Inputs) -> Kpi:
    if inputs.good is None or inputs.scrap is None:
        return Kpi(None, NO_COUNTERS)
    quantity = inputs.good + inputs.scrap
    return Kpi(inputs.scrap / quantity) if quantity else Kpi(None, NO_PARTS)


def _product(*factors: Kpi) -> Kpi:
    """Multiply figures; the first that is not known tells why the product is not."""
    of = tuple(dict.fromkeys(bucket for factor in factors for bucket in factor.of))
    value = 1.0
    for factor in factors:
        if factor.value is None:
            return Kpi(None, factor.reason, of=of)
        value *= factor.value
    flags = tuple(dict.fromkeys(flag for factor in factors for flag in factor.flags))
    return Kpi(value, None, flags, of)


def _per_breakdown(time_ms: float, inputs: Inputs, of: Iterable[Bucket]) -> Kpi:
    made_of = tuple(sorted(of, key=list(Bucket).index))
    if not inputs.breakdowns:
        return Kpi(None, NO_BREAKDOWNS, of=made_of)
    return Kpi(time_ms / 1000 / inputs.breakdowns, of=made_of)
