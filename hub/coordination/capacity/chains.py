"""What a plan is made of: candidates, lots on machines, journeys, and chains of them. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from hub.coordination.capacity.capacity import Need, Pace, Promise, Release
from hub.coordination.capacity.matching import Step, need
from hub.coordination.capacity.ranking import Weights
from hub.coordination.capacity.transport import Leg, Place, energy_kwh
from hub.coordination.intervals import Interval


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A machine that can do a step, with everything that decides when."""

    site: str
    machine: str
    free: Sequence[Interval]
    pace: Pace
    setup_ms: int
    release: Release
    place: Place | None = None
    """Where its site is, as exactly as the caller may know."""
    zone: tzinfo = UTC
    lot_min: int = 1
    lot_max: int | None = None
    certified_until_ms: int | None = None
    power_kw: float | None = None
    grid_kg_per_kwh: float | None = None
    load: float = 0.0
    """Work of the last 30 days as a part of what it could have taken."""
    tells_times: bool = True
    """Whether the caller may know its times to the minute; else to half a day."""
    tells_state: bool = True
    """Whether the caller may know what the machine is doing."""
    tells_pace: bool = True
    """Whether the caller may know how fast it works."""

    @property
    def name(self) -> str:
        """Site and machine in one word."""
        return f"{self.site}/{self.machine}"

    def need(self, step: Step, quantity: int) -> Need:
        """Tell what a number of parts takes here."""
        return need(step, quantity, self.pace.cycle_ms, self.setup_ms)


@dataclass(frozen=True, slots=True)
class Journey:
    """Goods from one site to another; `to_site` None is where they are delivered."""

    from_site: str
    to_site: str | None
    leg: Leg


@dataclass(frozen=True, slots=True)
class Lot:
    """A number of parts on one machine."""

    candidate: Candidate
    quantity: int
    promise: Promise

    @property
    def energy_kwh(self) -> float | None:
        """What the machine takes for it at most; None when its power is not known."""
        power = self.candidate.power_kw
        work_ms = self.candidate.setup_ms + self.quantity * self.candidate.pace.cycle_ms
        return None if power is None else energy_kwh(power, work_ms)


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a chain: the goods' way to it, and its lots."""

    step: Step
    journeys: tuple[Journey, ...]
    lots: tuple[Lot, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Stages in order, and the way to whoever ordered."""

    stages: tuple[Stage, ...] = ()
    delivery: tuple[Journey, ...] = ()
    arrive_p50_ms: int | None = None
    """When the last lot is delivered, as likely as not; None where nothing is delivered."""

    @property
    def lots(self) -> Iterator[Lot]:
        """Every lot, in the order of the steps."""
        return (lot for stage in self.stages for lot in stage.lots)

    @property
    def journeys(self) -> Iterator[Journey]:
        """Every journey, in the order of the steps."""
        yield from (journey for stage in self.stages for journey in stage.journeys)
        yield from self.delivery

    @property
    def end_p50_ms(self) -> int:
        """When everything is where it should be, as likely as not."""
        worked_ms = max(lot.promise.end_p50_ms for lot in self.stages[-1].lots)
        return worked_ms if self.arrive_p50_ms is None else self.arrive_p50_ms

    @property
    def end_p90_ms(self) -> int:
        """When everything is where it should be, nearly surely."""
        return max((j.leg.arrive_ms for j in self.delivery), default=self.end_of_work_ms)

    @property
    def end_of_work_ms(self) -> int:
        """When the last machine is done, nearly surely."""
        return max(lot.promise.end_p90_ms for lot in self.stages[-1].lots)

    @property
    def distance_km(self) -> float | None:
        """All journeys together; None when one of them is not known."""
        return summed(journey.leg.distance_km for journey in self.journeys)

    @property
    def transport_co2_kg(self) -> float | None:
        """CO2 of all journeys; None when one of them is not known."""
        return summed(journey.leg.emission.co2_kg for journey in self.journeys)

    @property
    def energy_co2_kg(self) -> float | None:
        """CO2 of the electricity; None when power or grid of a machine is not known."""
        return summed(
            None
            if lot.energy_kwh is None or lot.candidate.grid_kg_per_kwh is None
            else lot.energy_kwh * lot.candidate.grid_kg_per_kwh
            for lot in self.lots
        )

    @property
    def co2_kg(self) -> float | None:
        """What is known of both; None when nothing is."""
        known = [k for k in (self.transport_co2_kg, self.energy_co2_kg) if k is not None]
        return sum(known) if known else None

    @property
    def confidence(self) -> float:
        """That of its weakest part."""
        return min(lot.candidate.release.confidence for lot in self.lots)

    @property
    def load(self) -> float:
        """How much work its machines had of late."""
        return max(lot.candidate.load for lot in self.lots)

    @property
    def name(self) -> str:
        """The machines in one line, to order by."""
        return " ".join(f"{lot.candidate.name}:{lot.promise.start_ms}" for lot in self.lots)


def summed(parts: Iterable[float | None]) -> float | None:
    """Add up; None when one part is not known."""
    total = 0.0
    for part in parts:
        if part is None:
            return None
        total += part
    return total


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be planned."""

    steps: tuple[Step, ...]
    earliest_ms: int
    due_ms: int | None = None
    deliver_to: Place | None = None
    weights: Weights = field(default_factory=Weights)
