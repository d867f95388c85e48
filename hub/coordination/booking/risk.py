"""Which bookings of a machine may not take place as booked, and why. Pure: facts in, words out.

Oldest bookings come first: where less is there than was booked, the later ones are endangered.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from hub.coordination.booking.booking import Window, clashes, room
from hub.coordination.intervals import Interval, Load, clip, normalized


class Risk(StrEnum):
    """Why a booking may not take place. The first that holds is told."""

    RETIRED = "machine-retired"
    DOWN = "machine-down"
    MAINTENANCE = "machine-in-maintenance"
    OFFLINE = "machine-offline"
    """Nobody knows what it does, in hours in which it should work."""
    HOURS = "outside-hours"
    """Its calendar has changed."""
    CAPACITY = "over-capacity"
    """It has fewer units than were booked."""


STOPS: Final = frozenset({Risk.DOWN, Risk.MAINTENANCE, Risk.OFFLINE})
"""These end when the machine is heard to be well, not when a guess about it changes."""


class Booked(NamedTuple):
    """What one reservation has booked of the machine, and which risk is noted of it."""

    reservation: str
    units: int
    segments: tuple[Interval, ...]
    risk: str | None


@dataclass(frozen=True, slots=True)
class Condition:
    """How a machine is. `back_ms` is when a stop is over, nearly surely (p90)."""

    retired: bool = False
    stop: Risk | None = None
    back_ms: int = 0
    well: bool = True
    """Whether it is heard to be well now; neither stopped nor silent."""
    units: int = 1
    windows: Sequence[Window] = ()
    """Its calendar, covering everything booked from now on."""


def risks(booked: Iterable[Booked], condition: Condition, now_ms: int) -> Mapping[str, Risk]:
    """Give the reservations that are endangered, and why."""
    found: dict[str, Risk] = {}
    taken: list[Load] = []
    for each in sorted(booked):
        ahead = clip(normalized(each.segments), now_ms, max(e for _, e in each.segments))
        if not ahead:
            continue
        risk = _standing(each, condition, ahead) or _planned(each, condition, ahead, taken)
        if risk is not None:
            found[each.reservation] = risk
        if risk is not Risk.CAPACITY:
            taken += [(start_ms, end_ms, each.units) for start_ms, end_ms in ahead]
    return found


def _standing(each: Booked, condition: Condition, ahead: Sequence[Interval]) -> Risk | None:
    """Tell whether what the machine does now endangers a booking."""
    if condition.retired:
        return Risk.RETIRED
    if condition.stop is not None and ahead[0][0] < condition.back_ms:
        return condition.stop
    if not condition.well and each.risk in STOPS:
        return condition.stop or Risk(each.risk)
    return None


def _planned(
    each: Booked, condition: Condition, ahead: Sequence[Interval], taken: Sequence[Load]
) -> Risk | None:
    """Tell whether the calendar still allows a booking, beside the older ones."""
    there = room(ahead, condition.windows, condition.units)
    if there.closed:
        return Risk.HOURS
    wanted = [(start_ms, end_ms, each.units) for start_ms, end_ms in ahead]
    return Risk.CAPACITY if clashes(wanted, taken, there.capacity) else None
