"""What the hub is asked and answers, as its OpenAPI document describes it."""

from typing import NotRequired, TypedDict


class Span(TypedDict):
    """From `start` up to, and without, `end`; RFC 3339 in UTC."""

    start: str
    end: str


class Place(TypedDict):
    """Degrees, WGS 84."""

    lat: float
    lon: float


class Words(TypedDict):
    """The same in both languages."""

    ja: str
    en: str


class FreeHours(TypedDict):
    """Free unit-hours of the next 24 hours and of the next seven days."""

    h24: float
    d7: float


class AvailabilityItem(TypedDict):
    """One machine now; see `GET /api/v1/availability`."""

    site: str
    machine: str
    name: dict[str, str]
    kind: str | None
    processes: list[str]
    state: str
    since: str | None
    reason: str | None
    connectivity: str
    free_now: bool | None
    next_free_at: str | None
    free_hours: FreeHours | None
    confidence: float | None
    read_at: str | None
    valid_until: str | None


class Availability(TypedDict):
    """Machines as of one instant."""

    as_of: str
    items: list[AvailabilityItem]
    next: str | None


class Bucket(TypedDict):
    """Unit-hours of one stretch of time."""

    start: str
    end: str
    available_h: float | None
    reserved_h: float | None
    held_h: float | None
    free_h: float | None


class Capacity(TypedDict):
    """One machine over time; see `GET /api/v1/machines/{site}/{machine}/capacity`."""

    site: str
    machine: str
    as_of: str
    units: int
    time_zone: str
    bucket: str
    basis: str
    coarse: bool
    release_p50: str | None
    release_basis: str | None
    confidence: float | None
    buckets: list[Bucket]


class Step(TypedDict):
    """One operation to be made; only process and quantity must be said."""

    process: str
    quantity: int
    material: NotRequired[str | None]
    cycle_s: NotRequired[float | None]
    setup_min: NotRequired[float | None]
    envelope_mm: NotRequired[list[float] | None]
    tolerance_it: NotRequired[int | None]
    certifications: NotRequired[list[str]]
    splittable: NotRequired[bool]
    min_chunk_min: NotRequired[float]
    setup_each_chunk: NotRequired[bool]
    unattended: NotRequired[bool]
    units: NotRequired[int]
    max_lots: NotRequired[int]
    part_mass_kg: NotRequired[float | None]


class Weights(TypedDict, total=False):
    """How much each criterion counts."""

    time: float
    distance: float
    co2: float
    price: float


class SearchRequest(TypedDict):
    """What is to be made; see `POST /api/v1/capacity/search`."""

    steps: list[Step]
    earliest: NotRequired[str | None]
    due: NotRequired[str | None]
    deliver_to: NotRequired[Place | None]
    radius_km: NotRequired[float | None]
    sites: NotRequired[list[str] | None]
    weights: NotRequired[Weights]
    max_offers: NotRequired[int]
    require_live: NotRequired[bool]
    allow_unscheduled: NotRequired[bool]


class Lot(TypedDict):
    """Parts on one machine."""

    site: str
    machine: str
    quantity: int
    units: int
    start: str
    end_p50: str
    end_p90: str
    latest_start: str | None
    segments: list[Span]
    cycle_s: float | None
    setup_min: float
    basis: str
    confidence: float
    energy_kwh: float | None
    energy_co2_kg: float | None
    explanation: Words


class Journey(TypedDict):
    """Parts on the road."""

    from_site: str
    to_site: str | None
    depart: str
    arrive: str
    distance_km: float | None
    co2_kg: float | None
    method: str
    vehicle: str | None


class Stage(TypedDict):
    """One step of an offer."""

    process: str
    quantity: int
    journeys: list[Journey]
    lots: list[Lot]


class Offer(TypedDict):
    """One way to have it made."""

    offer_id: str
    valid_until: str
    site: str | None
    machine: str | None
    start: str
    end_p50: str
    end_p90: str
    distance_km: float | None
    co2_kg: float | None
    transport_co2_kg: float | None
    energy_co2_kg: float | None
    price_hint: float | None
    confidence: float
    basis: list[str]
    pareto: bool
    score: float
    coarse: bool
    explanation: Words
    steps: list[Stage]
    delivery: list[Journey]


class Rejected(TypedDict):
    """A machine that is not offered, and why."""

    site: str
    machine: str
    step: int
    code: str
    detail: str


class SearchResult(TypedDict):
    """Offers, the best first; and who is not among them."""

    as_of: str
    offers: list[Offer]
    rejected: list[Rejected]
    rejected_total: int


class StepRequest(TypedDict):
    """Units of one machine over segments of time."""

    site: str
    machine: str
    segments: list[Span]
    units: NotRequired[int]


class HoldRequest(TypedDict, total=False):
    """What to hold: an offer, one machine, or the steps of a chain."""

    offer_id: str | None
    site: str | None
    machine: str | None
    segments: list[Span] | None
    units: int
    steps: list[StepRequest] | None
    ttl_s: int
    reference: str | None


class ReservedStep(TypedDict):
    """Units of one machine that are booked."""

    site: str
    machine: str
    units: int
    unscheduled: bool
    segments: list[Span]


class Reservation(TypedDict):
    """What is held or booked; see `GET /api/v1/reservations/{reservation}`."""

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
    steps: list[ReservedStep]


class Reservations(TypedDict):
    """Reservations, newest first."""

    as_of: str
    items: list[Reservation]
    next: str | None


class ExtendRequest(TypedDict):
    """How long a hold shall last from now."""

    ttl_s: int


class CancelRequest(TypedDict, total=False):
    """Why a booking is called off."""

    reason: str | None
