"""What is shared coarsely tells the half-day and the kilometre, and nothing finer."""

import itertools
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.access.coarse import Stretch, half_day_start_ms, half_days, mesh_centre, prevailing

TOKYO, BERLIN = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Berlin")
DAY_MS = 86_400_000
MOMENTS = st.integers(0, 4_000_000_000_000)


def ms(text, zone=UTC):
    return round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


@given(st.floats(-89, 89), st.floats(-179, 179))
def test_a_place_is_shown_at_most_a_kilometre_off(lat, lon):
    centre = mesh_centre(lat, lon)

    assert abs(centre[0] - lat) <= 1 / 240 + 1e-6
    assert abs(centre[1] - lon) <= 1 / 160 + 1e-6
    assert mesh_centre(*centre) == centre


def test_the_mesh_is_the_one_of_jis_x_0410():
    # Mesh 5339-35-55 covers 35°37'30" to 38'00" N, 139°41'15" to 42'00" E.
    assert mesh_centre(35.6300, 139.6900) == (35.629167, 139.69375)


@given(MOMENTS, st.sampled_from((TOKYO, BERLIN, UTC)))
def test_a_half_day_begins_at_local_midnight_or_noon(time_ms, zone):
    start = half_day_start_ms(time_ms, zone)
    local = datetime.fromtimestamp(start / 1000, zone)

    assert start <= time_ms < start + 13 * 3_600_000 + 1
    assert (local.hour, local.minute, local.second) in {(0, 0, 0), (12, 0, 0)}


@given(MOMENTS, st.integers(0, 20 * DAY_MS), st.sampled_from((TOKYO, BERLIN, UTC)))
def test_half_days_follow_each_other_within_the_range(start_ms, length_ms, zone):
    found = half_days(start_ms, start_ms + length_ms, zone)

    assert all(a[1] == b[0] for a, b in itertools.pairwise(found))
    if found:
        assert found[0][0] >= start_ms
        assert found[-1][1] <= start_ms + length_ms


def test_the_day_the_clocks_change_has_a_longer_morning():
    found = half_days(ms("2026-10-24T22:00"), ms("2026-10-25T23:00"), BERLIN)

    assert [(end - start) / 3_600_000 for start, end in found] == [13, 12]


def test_the_state_that_lasted_longest_stands_for_the_half_day():
    day = ms("2026-11-18T00:00", TOKYO)
    hour = 3_600_000
    told = [
        Stretch(day, day + 5 * hour, "running"),
        Stretch(day + 5 * hour, day + 14 * hour, "idle"),
        Stretch(day + 14 * hour, day + 24 * hour, "down"),
    ]

    assert [s.word for s in prevailing(told, day, day + DAY_MS, TOKYO)] == ["idle", "down"]


@given(
    st.lists(st.tuples(st.integers(1, DAY_MS), st.sampled_from("abc")), max_size=30),
    st.integers(0, DAY_MS),
)
def test_what_is_told_never_depends_on_where_within_a_half_day_somebody_asks(stretches, shift):
    begin = ms("2026-11-18T00:00", TOKYO)
    told, at = [], begin
    for length, word in stretches:
        told.append(Stretch(at, at + length, word))
        at += length

    whole = prevailing(told, begin, begin + 10 * DAY_MS, TOKYO)
    part = prevailing(told, begin + shift, begin + 10 * DAY_MS, TOKYO)

    assert set(part) <= set(whole)


@pytest.mark.parametrize("edge", [(35.0, 139.0), (0.0, 0.0), (-35.0, -139.5)])
def test_a_place_on_an_edge_is_within_one_cell(edge):
    assert mesh_centre(*edge) == mesh_centre(edge[0] + 1e-9, edge[1] + 1e-9)
