"""What may be asked of free capacity, and what is answered."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hub.api.times import Moment, to_ms

STEPS_MAX: Final = 10
LOTS_MAX: Final = 10
OFFERS_MAX: Final = 50
QUANTITY_MAX: Final = 10_000_000
PLAIN: Final = r"^[^\x00-\x1f\x7f]+$"
"""No control characters, which would spoil lists and files."""
Bucket = Literal["hour", "shift", "day"]


Name = Annotated[str, Field(min_length=1, max_length=128, pattern=PLAIN)]
Word = Annotated[str, Field(min_length=1, max_length=80, pattern=PLAIN)]
Weight = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Side = Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


# -- what may be asked -------------------------------------------------------------------------


class PlaceIn(_Strict):
    """Degrees, WGS 84."""

    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class WeightsIn(_Strict):
    """How much each criterion counts among offers of which none is better in everything."""

    time: Weight = 1.0
    distance: Weight = 0.3
    co2: Weight = 0.3
    price: Weight = 0.0


class StepIn(_Strict):
    """One operation. What is left out does not matter, or is as the machine usually has it."""

    process: Word
    """A process of the taxonomy: slug, label or synonym, in Japanese or English."""
    quantity: Annotated[int, Field(ge=1, le=QUANTITY_MAX)]
    material: Word | None = None
    cycle_s: Annotated[float | None, Field(gt=0, le=1e7, allow_inf_nan=False)] = None
    """Seconds for one part; without it what is usual on each machine."""
    setup_min: Annotated[float | None, Field(ge=0, le=1e5, allow_inf_nan=False)] = None
    envelope_mm: Annotated[list[Side] | None, Field(min_length=3, max_length=3)] = None
    tolerance_it: Annotated[int | None, Field(ge=1, le=18)] = None
    """The coarsest grade that is good enough, IT1 to IT18 of ISO 286-1."""
    certifications: Annotated[list[Word], Field(max_length=10)] = []
    """Schemes, for example ``ISO 9001``: valid until the work is surely done."""
    splittable: bool = False
    """Whether the lot may pause between parts, and be shared out over `max_lots` machines."""
    min_chunk_min: Annotated[float, Field(ge=0, le=1e5, allow_inf_nan=False)] = 0.0
    setup_each_chunk: bool = False
    unattended: bool = False
    units: Annotated[int, Field(ge=1, le=10_000)] = 1
    max_lots: Annotated[int, Field(ge=1, le=LOTS_MAX)] = 1
    part_mass_kg: Annotated[float | None, Field(gt=0, le=1e6, allow_inf_nan=False)] = None


class SearchIn(_Strict):
    """What is to be made, in order, and by when."""

    steps: Annotated[list[StepIn], Field(min_length=1, max_length=STEPS_MAX)]
    earliest: Moment | None = None
    """Now, when left out. Work begins no sooner than ten minutes from now: offers stand so long."""
    due: Moment | None = None
    deliver_to: PlaceIn | None = None
    radius_km: Annotated[float | None, Field(gt=0, le=20_040, allow_inf_nan=False)] = None
    sites: Annotated[list[Name] | None, Field(min_length=1, max_length=100)] = None
    weights: WeightsIn = WeightsIn()
    max_offers: Annotated[int, Field(ge=1, le=OFFERS_MAX)] = 10
    require_live: bool = False
    allow_unscheduled: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.radius_km is not None and self.deliver_to is None:
            raise ValueError("radius_km is about deliver_to, which is missing")
        if self.due and self.earliest and to_ms(self.due) <= to_ms(self.earliest):
            raise ValueError("due lies before earliest")
        return self


# -- what is answered --------------------------------------------------------------------------


class SpanItem(BaseModel):
    """A span [start, end)."""

    start: str
    end: str


class Words(BaseModel):
    """The same in both languages."""

    ja: str
    en: str


class LotItem(BaseModel):
    """Parts on one machine. `segments` is what a hold would book; empty when shown coarsely."""

    site: str
    machine: str
    quantity: int
    units: int
    start: str
    end_p50: str
    end_p90: str
    latest_start: str | None
    """The last start by which it is still surely done by the due date."""
    segments: list[SpanItem]
    cycle_s: float | None
    setup_min: float
    basis: str
    confidence: float
    energy_kwh: float | None
    energy_co2_kg: float | None
    explanation: Words


class JourneyItem(BaseModel):
    """Parts on the road; `to_site` null is where they are delivered."""

    from_site: str
    to_site: str | None
    depart: str
    arrive: str
    distance_km: float | None
    co2_kg: float | None
    method: str
    vehicle: str | None


class StageItem(BaseModel):
    """One step: the way to it, and who does it."""

    process: str
    quantity: int
    journeys: list[JourneyItem]
    lots: list[LotItem]


class OfferItem(BaseModel):
    """One way to have it made. `site` and `machine` are there when one machine does it all."""

    offer_id: str
    valid_until: str
    site: str | None
    machine: str | None
    start: str
    end_p50: str
    end_p90: str
    distance_km: float | None
    co2_kg: float | None
    """Of transport and electricity, as far as known."""
    transport_co2_kg: float | None
    energy_co2_kg: float | None
    price_hint: float | None
    confidence: float
    basis: list[str]
    pareto: bool
    score: float
    coarse: bool
    """Whether times are rounded to half-days, because a site shares no more."""
    explanation: Words
    steps: list[StageItem]
    delivery: list[JourneyItem]


class RejectedItem(BaseModel):
    """A machine that is not offered for a step (from 0). `code` is stable."""

    site: str
    machine: str
    step: int
    code: str
    detail: str


class SearchResult(BaseModel):
    """Offers, the best first; and who is not among them, the nearest misses first."""

    as_of: str
    offers: list[OfferItem]
    rejected: list[RejectedItem]
    rejected_total: int


class BucketItem(BaseModel):
    """Unit-hours of one stretch of time. Null where nobody has told the working hours."""

    start: str
    end: str
    available_h: float | None
    reserved_h: float | None
    held_h: float | None
    free_h: float | None


class CapacityItem(BaseModel):
    """One machine over time. `basis` is ``calendar`` or ``undefined``, with ``coarse`` shares."""

    site: str
    machine: str
    as_of: str
    units: int
    time_zone: str
    bucket: str
    basis: str
    coarse: bool
    release_p50: str | None
    """When it is let go of what it does now, as likely as not; null where that is not shared."""
    release_basis: str | None
    confidence: float | None
    buckets: list[BucketItem]
