"""Reservations as they are written on HTTP, in and out."""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from hub.access import Caller
from hub.api.problems import Problem
from hub.api.times import maybe_rfc3339, rfc3339, to_ms
from hub.coordination.booking.booking import (
    SEGMENTS_MAX,
    STEPS_MAX,
    TTL_S_MAX,
    UNITS_MAX,
    HoldRequest,
    StepRequest,
)
from hub.coordination.booking.parties import booked_by
from hub.coordination.booking.refusals import ConflictError
from hub.store.reservations import (
    MACHINE_MAX,
    REASON_MAX,
    REFERENCE_MAX,
    SITE_MAX,
    Reservation,
    Step,
)

YEARS: Final = (2000, 2100)
TTL_S: Final = 900
"""How long a hold lasts when nobody says otherwise."""
PLAIN: Final = r"^[^\x00-\x1f\x7f]+$"
"""No control characters: they would spoil lists, and a database may not hold them."""


def _is_text(told: object) -> object:
    if not isinstance(told, str):
        raise ValueError("expected an instant of RFC 3339, for example 2026-04-01T09:00:00Z")  # noqa: TRY004 (pydantic wants a ValueError)
    return told


def _in_reach(moment: datetime) -> datetime:
    if not YEARS[0] <= moment.year < YEARS[1]:
        raise ValueError(f"must lie within {YEARS[0]} and {YEARS[1]}")
    return moment


Moment = Annotated[AwareDatetime, BeforeValidator(_is_text), AfterValidator(_in_reach)]
SiteName = Annotated[str, Field(min_length=1, max_length=SITE_MAX, pattern=PLAIN)]
MachineName = Annotated[str, Field(min_length=1, max_length=MACHINE_MAX, pattern=PLAIN)]
Units = Annotated[int, Field(strict=True, ge=1, le=UNITS_MAX)]
Ttl = Annotated[int, Field(strict=True, ge=1, le=TTL_S_MAX)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SegmentIn(_Strict):
    """From `start` up to, and without, `end`."""

    start: Moment
    end: Moment


Segments = Annotated[list[SegmentIn], Field(min_length=1, max_length=SEGMENTS_MAX)]


class StepIn(_Strict):
    """Units of one machine over segments of time."""

    site: SiteName
    machine: MachineName
    units: Units = 1
    segments: Segments


class HoldIn(_Strict):
    """What to hold: an offer of a search, one machine, or the steps of a chain."""

    offer_id: Annotated[str | None, Field(min_length=1, max_length=64, pattern=PLAIN)] = None
    site: SiteName | None = None
    machine: MachineName | None = None
    segments: Segments | None = None
    units: Units = 1
    steps: Annotated[list[StepIn] | None, Field(min_length=1, max_length=STEPS_MAX)] = None
    ttl_s: Ttl = TTL_S
    reference: Annotated[
        str | None, Field(min_length=1, max_length=REFERENCE_MAX, pattern=PLAIN)
    ] = None
    """What it is for, as the sites booked may read it."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        own = (self.site, self.machine, self.segments)
        ways = (self.offer_id is not None, self.steps is not None, any(x is not None for x in own))
        if sum(ways) != 1:
            raise ValueError("give one of: offer_id; steps; site, machine and segments")
        if ways[2] and any(x is None for x in own):
            raise ValueError("site, machine and segments belong together")
        if not ways[2] and "units" in self.model_fields_set:
            raise ValueError("units belong to a machine: say them in each step")
        return self


class ExtendIn(_Strict):
    """How long the hold shall last from now."""

    ttl_s: Ttl


class CancelIn(_Strict):
    """Why it is called off, as who booked it may read it."""

    reason: Annotated[str | None, Field(min_length=1, max_length=REASON_MAX, pattern=PLAIN)] = None


class SegmentItem(BaseModel):
    """From `start` up to, and without, `end`."""

    start: str
    end: str


class StepItem(BaseModel):
    """Units of a machine. `unscheduled`: nobody had told its working hours when it was booked."""

    site: str
    machine: str
    units: int
    unscheduled: bool
    segments: list[SegmentItem]


class ReservationItem(BaseModel):
    """A reservation; of somebody else's, only the steps at the caller's own sites.

    `mine`: the caller or its organisation booked it. `risk`: why it may not take place as booked.
    """

    id: str
    status: str
    version: int
    mine: bool
    created: str
    changed: str
    created_by: str | None
    organisation: str | None
    reference: str | None
    hold_expires: str | None
    risk: str | None
    risk_since: str | None
    reason: str | None
    steps: list[StepItem]


class ReservationList(BaseModel):
    """Reservations, newest first."""

    as_of: str
    items: list[ReservationItem]
    next: str | None


class BusyItem(BaseModel):
    """Units that are taken. Nobody is named."""

    start: str
    end: str
    units: int
    status: str


class BusyList(BaseModel):
    """What is taken of a machine, by its start; `version` grows with every change of any."""

    as_of: str
    version: int
    items: list[BusyItem]


class ConflictItem(BaseModel):
    """When too few units are left of one machine."""

    site: str
    machine: str
    start: str
    end: str


class OtherStepItem(BaseModel):
    """Units of a machine that are free now, as `POST /reservations` takes it."""

    site: str
    machine: str
    units: int
    segments: list[SegmentItem]


class AlternativeItem(BaseModel):
    """What could be held instead: send its steps."""

    steps: list[OtherStepItem]


class Conflict(Problem):
    """The capacity is taken: when it is short, and what could be had instead."""

    conflicts: list[ConflictItem] = Field(default_factory=list)
    alternatives: list[AlternativeItem] = Field(default_factory=list)


def read_request(told: HoldIn) -> HoldRequest:
    """Read what is to be held; each step remembers where it stood."""
    steps = [(f"body/steps/{at}", step) for at, step in enumerate(told.steps or ())]
    if told.site is not None and told.machine is not None and told.segments is not None:
        step = StepIn.model_construct(
            site=told.site, machine=told.machine, units=told.units, segments=told.segments
        )
        steps = [("body", step)]
    return HoldRequest(
        steps=tuple(
            StepRequest(
                step.site,
                step.machine,
                step.units,
                tuple((to_ms(each.start), to_ms(each.end)) for each in step.segments),
                at,
            )
            for at, step in steps
        ),
        ttl_s=told.ttl_s,
        offer_id=told.offer_id,
        reference=told.reference,
    )


def reservation_json(found: Reservation, caller: Caller) -> dict[str, Any]:
    """Write a reservation as far as it was found to be shown to the caller."""
    mine = booked_by(found, caller)
    return {
        "id": found.id,
        "status": found.status.value,
        "version": found.version,
        "mine": mine,
        "created": rfc3339(found.created_ms),
        "changed": rfc3339(found.changed_ms),
        "created_by": found.created_by if mine else None,
        "organisation": found.organisation,
        "reference": found.reference,
        "hold_expires": maybe_rfc3339(found.hold_expires_ms),
        "risk": found.risk,
        "risk_since": maybe_rfc3339(found.risk_since_ms),
        "reason": found.reason,
        "steps": [_step_json(step) | {"unscheduled": step.unscheduled} for step in found.steps],
    }


def _step_json(step: Step | StepRequest) -> dict[str, Any]:
    return {
        "site": step.site,
        "machine": step.machine,
        "units": step.units,
        "segments": [
            {"start": rfc3339(start), "end": rfc3339(end)} for start, end in step.segments
        ],
    }


def conflict_json(error: ConflictError) -> dict[str, Any]:
    """Write when capacity is short, and what could be had instead."""
    conflicts = [
        {
            "site": clash.site,
            "machine": clash.machine,
            "start": rfc3339(clash.start_ms),
            "end": rfc3339(clash.end_ms),
        }
        for clash in error.clashes
    ]
    alternatives = [
        {"steps": [_step_json(step) for step in other.steps]} for other in error.alternatives
    ]
    return {"conflicts": conflicts, "alternatives": alternatives}
