"""What may be booked: the rules of a request, of capacity and of a reservation's life. Pure.

held ─── confirmed ─── running ─── done
  │          │            │
  ├──────────┼────────────┴─ cancelled (by the owner of a site)
  ├──────────┴────────────── released  (by who booked)
  └───────────────────────── expired   (by the clock)
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final, Protocol

from hub.access import View
from hub.coordination.intervals import Interval, Load, intersect, levels, normalized, subtract
from hub.store.reservations import Reservation, Status, Step

SEGMENTS_MAX: Final = 200
"""Of one reservation, all steps together."""
STEPS_MAX: Final = 20
UNITS_MAX: Final = 10_000
SEGMENT_MS_MIN: Final = 60_000
AHEAD_MS_MAX: Final = 366 * 86_400_000
TTL_S_MAX: Final = 86_400
HELD_MS_MAX: Final = 7 * 86_400_000
"""However often a hold is extended, it ends a week after it was made."""
CLASHES_MAX: Final = 50
ALTERNATIVES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class StepRequest:
    """Units of one machine that somebody wants over some segments [start_ms, end_ms).

    `at` is where it stood in the request, for telling mistakes.
    """

    site: str
    machine: str
    units: int
    segments: tuple[Interval, ...]
    at: str = ""


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """What is to be held: steps as they stand, or an offer that a search has made."""

    steps: tuple[StepRequest, ...]
    ttl_s: int
    offer_id: str | None = None
    reference: str | None = None

    @property
    def digest(self) -> str:
        """Tell requests apart: the same one gives the same digest, however it was written."""
        told = [
            self.offer_id,
            self.reference,
            self.ttl_s,
            [[s.site, s.machine, s.units, s.segments] for s in self.steps],
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


class Window(Protocol):
    """A span of a machine's calendar, as `Calendars.windows` gives it."""

    @property
    def start_ms(self) -> int: ...  # noqa: D102 (the names say it)
    @property
    def end_ms(self) -> int: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def capacity_units(self) -> int: ...  # noqa: D102


class Hours(Protocol):
    """Who knows when machines work: `hub.coordination.hours.calendars.Calendars`."""

    @property
    def version(self) -> int:
        """Grows with every change of any calendar."""
        ...

    def windows(self, site: str, machine: str, from_ms: int, to_ms: int) -> Sequence[Window]:
        """Give the calendar of a machine, covering the whole range."""
        ...


class Offers(Protocol):
    """Who remembers what a search has offered."""

    def get(self, offer_id: str, view: View) -> Sequence[StepRequest] | None:
        """Give the steps of an offer; None when it is unknown, over, or made for another view."""
        ...


@dataclass(frozen=True, slots=True)
class Clash:
    """A span in which one machine has fewer units left than wanted. Whose they are is not told."""

    site: str
    machine: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Alternative:
    """Other times, or other machines, at which the same could be held now."""

    steps: tuple[StepRequest, ...]


Alternatives = Callable[[Sequence[StepRequest], View], Sequence[Alternative]]
"""Gives up to three for steps that cannot be held, none that the view does not show."""


class Action(StrEnum):
    """What a person may do with a reservation."""

    CONFIRM = "confirm"
    EXTEND = "extend"
    RELEASE = "release"
    CANCEL = "cancel"


LEGAL: Final[Mapping[Action, frozenset[Status]]] = {
    Action.CONFIRM: frozenset({Status.HELD}),
    Action.EXTEND: frozenset({Status.HELD}),
    Action.RELEASE: frozenset({Status.HELD, Status.CONFIRMED}),
    Action.CANCEL: frozenset({Status.HELD, Status.CONFIRMED, Status.RUNNING}),
}
"""In which status each is possible."""

LEADS_TO: Final[Mapping[Action, Status]] = {
    Action.CONFIRM: Status.CONFIRMED,
    Action.EXTEND: Status.HELD,
    Action.RELEASE: Status.RELEASED,
    Action.CANCEL: Status.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with a request, and where it stands."""

    pointer: str
    detail: str


def mistakes(steps: Sequence[StepRequest], now_ms: int) -> list[Mistake]:
    """Check the times of a request against the clock and each other."""
    found: list[Mistake] = []
    if sum(len(step.segments) for step in steps) > SEGMENTS_MAX:
        found.append(Mistake(steps[0].at, f"More than {SEGMENTS_MAX} segments in all."))
    for step in steps:
        found += _mistakes_of(step, now_ms)
    return found


def _mistakes_of(step: StepRequest, now_ms: int) -> list[Mistake]:
    found: list[Mistake] = []
    for place, (start_ms, end_ms) in enumerate(step.segments):
        at = f"{step.at}/segments/{place}"
        if end_ms - start_ms < SEGMENT_MS_MIN:
            found.append(Mistake(f"{at}/end", "A segment lasts at least a minute."))
        elif start_ms < now_ms:
            found.append(Mistake(f"{at}/start", "This is in the past."))
        elif end_ms > now_ms + AHEAD_MS_MAX:
            found.append(Mistake(f"{at}/end", "This is more than 366 days ahead."))
    ordered = sorted((segment, place) for place, segment in enumerate(step.segments))
    for (one, _), (other, place) in pairwise(ordered):
        if other[0] < one[1]:
            text = "This segment overlaps another one of the same step."
            found.append(Mistake(f"{step.at}/segments/{place}", text))
    return found


@dataclass(frozen=True, slots=True)
class Room:
    """What a machine's calendar allows over the time of a step."""

    capacity: tuple[Load, ...]
    unscheduled: bool
    """Whether part of the time has no calendar at all."""
    closed: tuple[Interval, ...]
    """When the machine does not work although the step wants it."""


def room(segments: Sequence[Interval], windows: Iterable[Window], units: int) -> Room:
    """Lay segments over a calendar; where nobody told any hours the machine has all `units`."""
    wanted = normalized(segments)
    told = list(windows)
    open_ = [(w.start_ms, w.end_ms, w.capacity_units) for w in told if w.kind == "working"]
    blank = normalized((w.start_ms, w.end_ms) for w in told if w.kind == "undefined")
    assumed = [(start_ms, end_ms, units) for start_ms, end_ms in blank]
    known = normalized([(start_ms, end_ms) for start_ms, end_ms, _ in open_] + blank)
    return Room(
        capacity=tuple(open_ + assumed),
        unscheduled=bool(intersect(wanted, blank)),
        closed=tuple(subtract(wanted, known)),
    )


def clashes(
    wanted: Sequence[Load], taken: Iterable[Load], capacity: Iterable[Load]
) -> list[Interval]:
    """Give when more is wanted than capacity leaves: the sweep that forbids double booking."""
    sum_ = [*capacity]
    sum_ += [(start_ms, end_ms, -units) for start_ms, end_ms, units in taken]
    sum_ += [(start_ms, end_ms, -units) for start_ms, end_ms, units in wanted]
    short = normalized((start_ms, end_ms) for start_ms, end_ms, left in levels(sum_) if left < 0)
    return intersect(short, normalized((start_ms, end_ms) for start_ms, end_ms, _ in wanted))


def hold_ends_ms(ttl_s: int, now_ms: int, created_ms: int, ends_ms: int) -> int:
    """Tell when a hold runs out: after its time, after a week, or when there is nothing left."""
    return min(now_ms + ttl_s * 1000, created_ms + HELD_MS_MAX, ends_ms)


def by_clock(reservation: Reservation, now_ms: int) -> list[Status]:
    """Give the statuses that the clock takes a reservation through by now, in order."""
    match reservation.status:
        case Status.HELD if reservation.lapsed(now_ms):
            return [Status.EXPIRED]
        case Status.CONFIRMED if reservation.starts_ms <= now_ms:
            over = reservation.ends_ms <= now_ms
            return [Status.RUNNING, Status.DONE] if over else [Status.RUNNING]
        case Status.RUNNING if reservation.ends_ms <= now_ms:
            return [Status.DONE]
        case _:
            return []


def as_steps(asked: Sequence[StepRequest], unscheduled: Sequence[bool]) -> tuple[Step, ...]:
    """Turn a checked request into the steps of a reservation; touching segments become one."""
    return tuple(
        Step(step.site, step.machine, step.units, tuple(normalized(step.segments)), flag)
        for step, flag in zip(asked, unscheduled, strict=True)
    )
