"""Journeys as one can reckon them by hand: distance, time, pick-up, and CO2 by the named method."""

import json
import math
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import hub.coordination.capacity.transport
from hub.coordination.capacity.transport import Factors, Roads, Vehicle, distance_km, energy_kwh

TOKYO = ZoneInfo("Asia/Tokyo")
MIN = 60_000
FOLDER = Path(hub.coordination.capacity.transport.__file__).parent


def tokyo(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=TOKYO).timestamp() * 1000)


NOW = tokyo("2026-11-20 09:00")  # a Friday


@pytest.fixture(scope="module")
def roads():
    return Roads(Factors.read(NOW))


def test_distance_follows_the_great_circle():
    assert distance_km((35.0, 139.0), (36.0, 139.0)) == pytest.approx(111.195, abs=1e-3)
    assert distance_km((0.0, 0.0), (0.0, 180.0)) == pytest.approx(math.pi * 6371.0088, abs=1e-6)
    assert distance_km((35.0, 139.0), (35.0, 139.0)) == 0.0


def test_a_light_lorry_of_average_load_burns_what_the_guideline_tabulates(roads):
    """The joint guideline of METI and MLIT gives 0.741 l/t km for 350 kg at 41 %."""
    kei = Vehicle("kei-truck", 350, "gasoline", 41)

    assert roads.litres_per_ton_km(kei, 1.0) == pytest.approx(0.741, abs=5e-4)


def test_a_load_of_ten_per_cent_is_the_least_that_is_reckoned_with(roads):
    empty = Vehicle("kei-truck", 350, "gasoline", 1)

    assert roads.litres_per_ton_km(empty, 0.1) == roads.litres_per_ton_km(
        Vehicle("kei-truck", 350, "gasoline", 10), 0.1
    )


def test_a_fuller_lorry_burns_less_per_ton(roads):
    kei = Vehicle("kei-truck", 350, "gasoline", 41)

    assert roads.litres_per_ton_km(kei, 350) < roads.litres_per_ton_km(kei, 200)


@pytest.mark.parametrize(
    ("mass_kg", "vehicle", "method"),
    [
        (1, "kei-truck", "improved-ton-km"),
        (350, "kei-truck", "improved-ton-km"),
        (351, "2-t-truck", "improved-ton-km"),
        (4000, "4-t-truck", "improved-ton-km"),
        (4001, None, "ton-km"),
    ],
)
def test_the_smallest_lorry_that_carries_it_is_taken(roads, mass_kg, vehicle, method):
    found = roads.emission(10, mass_kg)

    assert (found.vehicle, found.method) == (vehicle, method)


def test_co2_of_two_tons_over_ten_kilometres_by_hand(roads):
    # A 2-t lorry that is full: ln y = 2.71 - 0.812 ln 1 - 0.654 ln 2000; 2.58 kg per litre.
    by_hand = 2.0 * 10 * math.exp(2.71 - 0.654 * math.log(2000)) * 2.58

    assert roads.emission(10, 2000).co2_kg == pytest.approx(by_hand)
    assert roads.emission(100, 10_000).co2_kg == pytest.approx(10 * 100 * 0.232)


def test_what_nobody_has_said_is_not_reckoned(roads):
    assert roads.emission(10, None) == (None, "mass-unknown", None)
    assert roads.emission(None, 10) == (None, "distance-unknown", None)


@pytest.mark.parametrize(
    ("ready", "fetched"),
    [
        ("2026-11-20 08:00", "2026-11-20 09:00"),
        ("2026-11-20 12:34", "2026-11-20 12:34"),
        ("2026-11-20 17:00", "2026-11-20 17:00"),
        ("2026-11-20 17:01", "2026-11-21 09:00"),  # Saturdays are worked
        ("2026-11-21 17:01", "2026-11-23 09:00"),  # Sundays are not
    ],
)
def test_goods_are_fetched_in_the_hours_of_the_site(roads, ready, fetched):
    assert roads.pick_up_ms(tokyo(ready), TOKYO) == tokyo(fetched)


def test_time_on_the_road_is_slow_in_town_and_faster_far_away(roads):
    assert roads.travel_ms(9) == 30 * MIN
    assert roads.travel_ms(40) == pytest.approx((10 / 18 + 1) * 60 * MIN, abs=1)
    assert roads.travel_ms(110) == pytest.approx((10 / 18 + 40 / 30 + 1) * 60 * MIN, abs=1)


def test_energy_is_power_times_time():
    assert energy_kwh(7.5, 2 * 60 * MIN) == 15.0


def test_factors_are_those_of_the_day(tmp_path):
    told = json.loads((FOLDER / "emission_factors.json").read_text())
    told["grid_kg_co2_per_kwh"] = [
        {"value": 0.5, "valid_from": "2030-04-01"},
        {"value": 0.4, "valid_from": "2020-04-01"},
    ]
    path = tmp_path / "factors.json"
    path.write_text(json.dumps(told))

    days = ("2019-01-01 00:00", "2026-01-01 00:00", "2031-01-01 00:00")
    assert [Factors.read(tokyo(day), path).grid_kg_per_kwh for day in days] == [0.4, 0.4, 0.5]


def test_every_factor_says_where_it_comes_from():
    def figures(told):
        if isinstance(told, dict):
            if any(isinstance(v, int | float) for v in told.values()):
                yield told
            for value in told.values():
                yield from figures(value)
        elif isinstance(told, list):
            for value in told:
                yield from figures(value)

    for name in ("emission_factors", "transport", "assumptions"):
        told = json.loads((FOLDER / f"{name}.json").read_text())
        for group in told.values():
            entries = group if isinstance(group, list) else [group]
            assert all("source" in entry for entry in entries), group
        assert list(figures(told))
