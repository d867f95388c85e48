"""Parts on the road: how far, how long, how much CO2. Pure, with dated data files beside it.

CO2 follows the improved ton-kilometre method (METI notice 66 of 2006), which knows payload and
load of the vehicle; where no vehicle of ours carries the goods at once, the simple ton-kilometre
method. Every answer says which one it is.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

Method = Literal["improved-ton-km", "ton-km", "on-foot", "mass-unknown", "distance-unknown"]
Place = tuple[float, float]
"""Latitude and longitude, degrees, WGS 84."""

EARTH_RADIUS_KM: Final = 6371.0088
"""Mean radius (IUGG)."""
LOAD_PERCENT_MIN: Final = 10.0
"""The method's formula is not used below this load."""
_HOUR_MS: Final = 3_600_000
_MINUTE_MS: Final = 60_000
_DAYS_WAITED: Final = 15
_DAYS_KEPT: Final = 10_000
_FOLDER: Final = Path(__file__).parent


def distance_km(a: Place, b: Place) -> float:
    """Give the great-circle distance of two points in degrees, by the haversine formula."""
    lat_a, lon_a, lat_b, lon_b = map(math.radians, (*a, *b))
    half = math.sin((lat_b - lat_a) / 2) ** 2
    half += math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(half)))


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A kind of lorry: what it carries at most, and how full such lorries are on average."""

    vehicle: str
    payload_kg: float
    fuel: str
    load_percent: float


@dataclass(frozen=True, slots=True)
class PickUp:
    """When goods change hands, by the clock of the site: weekdays from Monday = 0."""

    weekdays: frozenset[int]
    start: time
    end: time


class Emission(NamedTuple):
    """Mass of CO2, how it was reckoned, and by which vehicle; no mass when nobody knows it."""

    co2_kg: float | None
    method: Method
    vehicle: str | None = None


@dataclass(frozen=True, slots=True)
class Leg:
    """One journey of the goods."""

    distance_km: float | None
    """By road; None when one end's place is not known, and then the time is that within a site."""
    depart_ms: int
    arrive_ms: int
    emission: Emission


@dataclass(frozen=True, slots=True)
class Factors:
    """Dated factors, as they hold at one day."""

    improved: Mapping[str, Mapping[str, float]]
    fuel_kg_per_litre: Mapping[str, float]
    ton_km_kg: float
    grid_kg_per_kwh: float

    @classmethod
    def read(cls, now_ms: int, path: Path = _FOLDER / "emission_factors.json") -> Self:
        """Read the factors valid at an instant; before the first of them, the first."""
        told = _read(path)
        improved = told["improved_ton_km"]
        return cls(
            {fuel: improved[fuel] for fuel in ("gasoline", "diesel")},
            {fuel: told["fuel_kg_co2_per_litre"][fuel] for fuel in ("gasoline", "diesel")},
            _valid(told["ton_km_kg_co2"], now_ms),
            _valid(told["grid_kg_co2_per_kwh"], now_ms),
        )


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def _valid(dated: Sequence[Mapping[str, Any]], now_ms: int) -> float:
    day = datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()
    ordered = sorted(dated, key=lambda each: str(each["valid_from"]))
    past = [each for each in ordered if str(each["valid_from"]) <= day]
    return float((past or ordered[:1])[-1]["value"])


class Roads:
    """Reckons journeys between places."""

    def __init__(self, factors: Factors, path: Path = _FOLDER / "transport.json") -> None:
        told = _read(path)
        self.factors = factors
        self._circuity = float(told["circuity"]["value"])
        self._bands = [(b["to_km"], b["km_per_h"]) for b in told["speeds"]["bands"]]
        self._handling_ms = int(told["speeds"]["handling_min"]) * _MINUTE_MS
        self._within_ms = int(told["speeds"]["within_site_min"]) * _MINUTE_MS
        pick_up = told["pick_up"]
        self._pick_up = PickUp(
            frozenset(pick_up["weekdays"]),
            time.fromisoformat(pick_up["start"]),
            time.fromisoformat(pick_up["end"]),
        )
        self._days: dict[tuple[int, tzinfo], tuple[int, int]] = {}
        words = ("vehicle", "payload_kg", "fuel", "load_percent")
        self._vehicles = sorted(
            (Vehicle(*(each[word] for word in words)) for each in told["vehicles"]),
            key=lambda each: each.payload_kg,
        )

    def road_km(self, a: Place, b: Place) -> float:
        """Give the distance by road, as far as a straight line can tell."""
        return distance_km(a, b) * self._circuity

    def travel_ms(self, km: float) -> int:
        """Give the time on the road: slow in town, faster the further it goes."""
        hours, done = 0.0, 0.0
        for to_km, km_per_h in self._bands:
            part = max(0.0, min(km, to_km) - done)
            hours += part / km_per_h
            done += part
        return round(hours * _HOUR_MS)

    def leg(
        self, a: Place | None, b: Place | None, ready_ms: int, zone: tzinfo, mass_kg: float | None
    ) -> Leg:
        """Bring goods from one site to another: wait for the pick-up, then drive."""
        km = None if a is None or b is None else self.road_km(a, b)
        depart_ms = self.pick_up_ms(ready_ms, zone)
        arrive_ms = depart_ms + self._handling_ms + self.travel_ms(km or 0.0)
        return Leg(km, depart_ms, arrive_ms, self.emission(km, mass_kg))

    def within(self, ready_ms: int) -> Leg:
        """Carry goods from one machine to the next of the same site."""
        return Leg(0.0, ready_ms, ready_ms + self._within_ms, Emission(0.0, "on-foot"))

    def pick_up_ms(self, ready_ms: int, zone: tzinfo) -> int:
        """Tell when goods that are ready are fetched at the earliest."""
        first = datetime.fromtimestamp(ready_ms / 1000, zone).date().toordinal()
        for day in range(first, first + _DAYS_WAITED):
            opens_ms, closes_ms = self._opened(day, zone)
            if opens_ms <= closes_ms and ready_ms <= closes_ms:
                return max(ready_ms, opens_ms)
        return ready_ms  # No weekday at all is told: then goods are fetched at any time.

    def _opened(self, day: int, zone: tzinfo) -> tuple[int, int]:
        """Tell when goods change hands on a day; closed before it opens when they do not."""
        known = self._days.get((day, zone))
        if known is None:
            date_ = date.fromordinal(day)
            known = (1, 0)
            if date_.weekday() in self._pick_up.weekdays:
                hours = (self._pick_up.start, self._pick_up.end)
                opens, closes = (datetime.combine(date_, at, zone).timestamp() for at in hours)
                known = (round(opens * 1000), round(closes * 1000))
            if len(self._days) >= _DAYS_KEPT:
                self._days.clear()
            self._days[day, zone] = known
        return known

    def emission(self, km: float | None, mass_kg: float | None) -> Emission:
        """Reckon the CO2 of a journey."""
        if km is None:
            return Emission(None, "distance-unknown")
        if mass_kg is None:
            return Emission(None, "mass-unknown")
        ton_km = mass_kg / 1000 * km
        for vehicle in self._vehicles:
            if mass_kg <= vehicle.payload_kg:
                litres = ton_km * self.litres_per_ton_km(vehicle, mass_kg)
                kg = litres * self.factors.fuel_kg_per_litre[vehicle.fuel]
                return Emission(kg, "improved-ton-km", vehicle.vehicle)
        return Emission(ton_km * self.factors.ton_km_kg, "ton-km")

    def litres_per_ton_km(self, vehicle: Vehicle, mass_kg: float) -> float:
        """Give y of ln y = c - l ln(x/100) - p ln z (METI notice 66 of 2006).

        The load x is the goods' own when they fill the vehicle more than its class is on average:
        else they share it with others.
        """
        formula = self.factors.improved[vehicle.fuel]
        own = 100 * mass_kg / vehicle.payload_kg
        load = max(LOAD_PERCENT_MIN, vehicle.load_percent, own)
        power = formula["constant"] - formula["load"] * math.log(load / 100)
        return math.exp(power - formula["payload"] * math.log(vehicle.payload_kg))


def energy_kwh(power_kw: float, machine_ms: int) -> float:
    """Give what a machine takes at most, running at its rated power all the time."""
    return power_kw * machine_ms / _HOUR_MS
