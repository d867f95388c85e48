"""Free capacity is what the calendar opens and nobody has; work is laid into nothing else.

Never outside a free span, never more units than there are, never a p90 before its p50, never a
booking shorter than a minute. Beginning later never ends sooner; the latest start is the latest.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.coordination.capacity.capacity import (
    SEGMENT_MS_MIN,
    Need,
    Observed,
    Open,
    Present,
    Repairs,
    Taken,
    latest_start,
    pace,
    parts_by,
    place,
    promise,
    quantile,
    release,
    spans_from,
    stretches,
    tally,
)
from hub.coordination.intervals import free_where, normalized, subtract, total_ms, union

MIN = 60_000
HOUR = 60 * MIN
DAY_SHIFTS = [(d * 24 * HOUR + 8 * HOUR, d * 24 * HOUR + 17 * HOUR) for d in range(5)]
"""Five days from 08:00 to 17:00."""


@st.composite
def free_spans(draw):
    edges = draw(st.lists(st.integers(1, 400), min_size=2, max_size=24))
    at, spans = 0, []
    for gap, length in zip(edges[::2], edges[1::2], strict=False):
        spans.append(((at + gap) * MIN, (at + gap + length) * MIN))
        at += gap + length
    return spans


@st.composite
def needs(draw):
    return Need(
        quantity=draw(st.integers(1, 60)),
        cycle_ms=draw(st.integers(1, 40 * MIN)),
        setup_ms=draw(st.integers(0, 90 * MIN)),
        splittable=draw(st.booleans()),
        chunk_min_ms=draw(st.sampled_from([0, 5 * MIN, 60 * MIN])),
        setup_again=draw(st.booleans()),
    )


instants = st.integers(0, 3000 * MIN)


# -- free time ---------------------------------------------------------------------------------


def test_what_is_booked_or_held_is_not_free_and_the_rest_is():
    found = stretches(
        [Open(0, 10 * HOUR, 2)],
        [Taken(HOUR, 3 * HOUR, 1, held=True), Taken(2 * HOUR, 4 * HOUR, 1, held=False)],
    )

    told = tally(found, 0, 10 * HOUR)

    assert told.available == 20 * HOUR
    assert told.held == 2 * HOUR
    assert told.reserved == 2 * HOUR
    assert told.free == 16 * HOUR


def test_bookings_beyond_what_works_leave_nothing_and_never_less():
    found = stretches([Open(0, HOUR, 1)], [Taken(0, HOUR, 5, held=False)])

    assert tally(found, 0, HOUR) == (HOUR, 0, HOUR, 0)


def test_bookings_while_closed_take_nothing_away():
    found = stretches([Open(0, HOUR, 1)], [Taken(2 * HOUR, 3 * HOUR, 1, held=False)])

    assert tally(found, 0, 5 * HOUR).reserved == 0


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 30), st.integers(1, 3)), max_size=12),
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 30), st.integers(1, 3)), max_size=12),
)
def test_every_minute_is_counted_as_it_stands(opened, taken):
    """Against counting minute by minute."""
    found = stretches(
        [Open(s * MIN, (s + n) * MIN, u) for s, n, u in opened],
        [Taken(s * MIN, (s + n) * MIN, u, held=bool(u % 2)) for s, n, u in taken],
    )
    free = available = 0
    for minute in range(140):
        works = sum(u for s, n, u in opened if s <= minute < s + n)
        used = sum(u for s, n, u in taken if s <= minute < s + n)
        available += works
        free += max(0, works - used)

    told = tally(found, 0, 140 * MIN)

    assert (told.available, told.free) == (available * MIN, free * MIN)
    halves = [tally(found, 0, 51 * MIN), tally(found, 51 * MIN, 140 * MIN)]
    assert tuple(map(sum, zip(*halves, strict=True))) == told


def test_walking_from_an_instant_clips_the_span_it_lies_in():
    assert list(spans_from([(0, 10), (20, 30)], 5)) == [(5, 10), (20, 30)]
    assert list(spans_from([(0, 10), (20, 30)], 10)) == [(20, 30)]
    assert list(spans_from([(0, 10)], 10)) == []


# -- laying work -------------------------------------------------------------------------------


def test_work_that_cannot_pause_waits_for_a_span_that_is_long_enough():
    need = Need(quantity=8, cycle_ms=HOUR)
    free = [(8 * HOUR, 12 * HOUR), (13 * HOUR, 17 * HOUR), *DAY_SHIFTS[1:]]

    assert place(free, need, 0).segments == ((32 * HOUR, 40 * HOUR),)


def test_work_that_may_pause_stops_after_whole_parts_and_goes_on_after_the_break():
    need = Need(quantity=8, cycle_ms=HOUR, setup_ms=30 * MIN, splittable=True)
    free = [(8 * HOUR, 12 * HOUR), (13 * HOUR, 17 * HOUR), *DAY_SHIFTS[1:]]

    placed = place(free, need, 0)

    # Three parts and the set-up before noon, four after it, the last one the next morning.
    assert placed.segments == (
        (8 * HOUR, 8 * HOUR + 3 * HOUR + 30 * MIN),
        (13 * HOUR, 17 * HOUR),
        (32 * HOUR, 33 * HOUR),
    )


def test_a_set_up_that_is_lost_over_night_is_made_again():
    need = Need(8, 2 * HOUR, 2 * HOUR, splittable=True, setup_again=True)

    placed = place(DAY_SHIFTS, need, 0)

    assert [(end - start) / HOUR for start, end in placed.segments] == [8, 8, 6]


def test_spans_too_short_to_be_worth_it_are_left_alone():
    need = Need(4, HOUR, splittable=True, chunk_min_ms=3 * HOUR)

    placed = place([(0, 2 * HOUR), (3 * HOUR, 6 * HOUR), (7 * HOUR, 9 * HOUR)], need, 0)

    assert placed.segments == ((3 * HOUR, 6 * HOUR), (7 * HOUR, 8 * HOUR))


def test_a_part_longer_than_any_span_is_not_cut_in_two():
    assert place(DAY_SHIFTS, Need(1, 10 * HOUR, splittable=True), 0) is None


def test_nothing_shorter_than_a_minute_is_booked():
    assert place([(0, HOUR)], Need(1, 1000), 0).segments == ((0, MIN),)
    assert place([(0, HOUR)], Need(1, 1000, splittable=True), 0).segments == ((0, MIN),)
    assert place([(0, MIN - 1)], Need(1, 1000), 0) is None


@given(free_spans(), needs(), instants)
def test_work_lies_in_free_time_only_and_is_all_there(free, need, from_ms):
    placed = place(free, need, from_ms)
    if placed is None:
        return
    segments = list(placed.segments)
    assert segments == normalized(segments)
    assert subtract(segments, free) == []
    assert segments[0][0] >= from_ms
    assert all(end - start >= SEGMENT_MS_MIN for start, end in segments)
    assert total_ms(segments) >= min(need.whole_ms, need.quantity * need.cycle_ms)
    if not need.splittable:
        assert len(segments) == 1
    elif not need.setup_again and all(end - start > MIN for start, end in segments):
        assert total_ms(segments) == need.whole_ms


@given(free_spans(), needs(), instants, st.integers(0, 500 * MIN))
def test_beginning_later_never_ends_sooner(free, need, from_ms, later_ms):
    first, second = place(free, need, from_ms), place(free, need, from_ms + later_ms)

    if second is not None:
        assert first is not None
        assert first.end_ms <= second.end_ms


@given(free_spans(), needs(), instants, instants)
def test_parts_counted_by_a_time_can_be_placed_by_it_and_one_more_cannot(
    free, need, from_ms, until_ms
):
    parts = parts_by(free, need, from_ms, until_ms)
    clipped = [(start, min(end, until_ms)) for start, end in free if start < until_ms]

    def fits(quantity):
        work = Need(quantity, need.cycle_ms, need.setup_ms, need.splittable, 0, need.setup_again)
        return place(clipped, work, from_ms) is not None

    assert parts == 0 or fits(parts)
    if need.chunk_min_ms == 0:
        assert not fits(parts + 1)


@given(free_spans(), needs(), instants, instants)
def test_the_latest_start_is_in_time_and_the_next_instant_is_not(free, need, from_ms, due_ms):
    latest = latest_start(free, need, from_ms, due_ms)
    if latest is None:
        first = place(free, need, from_ms)
        assert first is None or first.end_ms > due_ms
        return
    placed = place(free, need, latest)
    assert placed is not None
    assert latest >= from_ms
    assert placed.start_ms == latest
    assert placed.end_ms <= due_ms
    after = place(free, need, latest + 1)
    assert after is None or after.end_ms > due_ms


# -- promises ----------------------------------------------------------------------------------


@given(
    free_spans(),
    needs(),
    st.floats(1.0, 3.0),
    instants,
    st.integers(0, 600 * MIN),
)
def test_a_promise_covers_the_likely_and_the_slow_course(free, need, ratio, p50_ms, more_ms):
    found = promise(free, need, ratio, p50_ms, p50_ms + more_ms)
    if found is None:
        return
    segments = list(found.segments)
    assert segments == normalized(segments)
    assert subtract(segments, free) == []
    assert p50_ms <= found.start_ms < found.end_p50_ms <= found.end_p90_ms
    assert (segments[0][0], segments[-1][1]) == (found.start_ms, found.end_p90_ms)
    slow = place(free, need.stretched(ratio), p50_ms + more_ms)
    assert slow is not None
    if need.splittable:
        assert union(segments, slow.segments) == segments


def test_a_machine_that_may_still_work_is_kept_until_the_careful_end():
    need = Need(2, HOUR)

    found = promise([(0, 10 * HOUR)], need, 1.25, HOUR, 2 * HOUR)

    assert found.start_ms == HOUR
    assert found.end_p50_ms == 3 * HOUR
    assert found.end_p90_ms == 2 * HOUR + 2.5 * HOUR
    assert found.segments == ((HOUR, found.end_p90_ms),)


# -- how fast, and from when on ----------------------------------------------------------------


def test_the_plan_weighs_as_much_as_ten_observed_cycles():
    assert pace(60, Observed()).cycle_ms == 60_000
    assert pace(60, Observed(cycles_s=(90.0,) * 10)).cycle_ms == 75_000
    assert pace(60, Observed(cycles_s=(90.0,) * 90)).cycle_ms == 87_000


def test_a_cycle_with_a_lunch_break_in_it_is_no_cycle():
    seen = pace(60, Observed(cycles_s=(60.0,) * 9 + (3600.0,)))

    assert (seen.cycles, seen.cycle_ms) == (9, 60_000)


def test_how_far_plans_are_off_is_assumed_until_ten_jobs_are_done_and_never_below_one():
    assert pace(60, Observed(ratios=(2.0,) * 9)).ratio_p90 == 1.25
    assert pace(60, Observed(ratios=(2.0,) * 10)).ratio_p90 == 2.0
    assert pace(60, Observed(ratios=(0.5,) * 10)).ratio_p90 == 1.0


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [([5], 0.9, 5), ([1, 2, 3, 4], 0.5, 2.5), (range(1, 12), 0.9, 10), ([3, 1, 2], 0.0, 1)],
)
def test_quantiles_are_those_of_the_textbook(values, part, expected):
    assert quantile(list(values), part) == pytest.approx(expected)


def test_a_free_machine_is_released_now():
    found = release(Present(), Repairs(), 1.25, 1000)
    assert (found.p50_ms, found.p90_ms, found.basis) == (1000, 1000, "live")


def test_a_running_job_is_done_when_its_parts_are():
    found = release(
        Present("working", remaining=10, cycle_ms=60_000), Repairs(), 1.5, now_ms := 5 * HOUR
    )

    assert (found.p50_ms - now_ms, found.p90_ms - now_ms) == (10 * MIN, 15 * MIN)
    assert found.basis == "running-job"


def test_a_job_that_nobody_told_of_is_assumed_and_trusted_less():
    told = release(Present("working", remaining=1, cycle_ms=1), Repairs(), 1.0, 0)
    found = release(Present("working", assumed_ms=(MIN, HOUR)), Repairs(), 1.0, 0)

    assert (found.p50_ms, found.p90_ms, found.basis) == (MIN, HOUR, "job-unknown")
    assert found.confidence < told.confidence


def test_a_stop_lasts_as_long_as_stops_of_this_machine_last():
    own = tuple(n * MIN for n in range(10, 20))

    found = release(Present("down", since_ms=0), Repairs(own), 1.0, 0)

    assert (found.p50_ms, found.p90_ms) == (14.5 * MIN, 18.1 * MIN)
    assert found.basis == "repair-own"


def test_a_stop_that_has_lasted_long_is_compared_with_those_that_lasted_longer():
    own = (*(5 * MIN for _ in range(20)), *(120 * MIN for _ in range(5)))

    fresh = release(Present("down", since_ms=HOUR), Repairs(own), 1.0, HOUR)
    old = release(Present("down", since_ms=0), Repairs(own), 1.0, HOUR)

    assert fresh.p50_ms - HOUR == 5 * MIN
    assert old.p50_ms - HOUR == 60 * MIN


def test_with_fewer_than_five_stops_the_class_speaks_and_with_none_the_assumption():
    few, many = (MIN,) * 4, (30 * MIN,) * 5

    by_class = release(Present("down", since_ms=0), Repairs(few, many), 1.0, 0)
    assumed = release(Present("down", since_ms=0), Repairs(few, few, (HOUR, 2 * HOUR)), 1.0, 0)

    assert (by_class.p50_ms, by_class.basis) == (30 * MIN, "repair-class")
    assert (assumed.p90_ms, assumed.basis) == (2 * HOUR, "repair-assumed")
    assert assumed.confidence < by_class.confidence


def test_planned_maintenance_ends_when_the_calendar_says():
    found = release(Present("maintenance", planned_until_ms=3 * HOUR), Repairs(), 1.0, HOUR)

    assert (found.p50_ms, found.p90_ms, found.basis) == (3 * HOUR, 3 * HOUR, "planned-end")


def test_what_is_not_known_to_live_rests_on_the_calendar_at_half_the_confidence():
    live, blind = (release(Present(doing), Repairs(), 1.0, 0) for doing in ("free", "unknown"))

    assert blind.basis == "calendar-only"
    assert blind.confidence == live.confidence / 2


@given(
    st.sampled_from(["free", "working", "down", "maintenance", "unknown"]),
    st.integers(0, 10**9),
    st.one_of(st.none(), st.integers(0, 1000)),
    st.lists(st.integers(0, 10**8), max_size=12),
    st.floats(1.0, 4.0),
)
def test_a_release_is_never_in_the_past_nor_its_p90_before_its_p50(
    doing, since_ms, remaining, repairs, ratio
):
    now_ms = 10**9
    present = Present(doing, since_ms, remaining, cycle_ms=1000)

    found = release(present, Repairs(tuple(repairs)), ratio, now_ms)

    assert now_ms <= found.p50_ms <= found.p90_ms
    assert 0 < found.confidence < 1


def test_free_spans_and_stretches_agree_on_what_is_free():
    opened = [(s, e, 3) for s, e in DAY_SHIFTS]
    taken = [(9 * HOUR, 12 * HOUR, 2), (11 * HOUR, 15 * HOUR, 1), (33 * HOUR, 60 * HOUR, 3)]
    found = stretches([Open(*o) for o in opened], [Taken(*t, held=False) for t in taken])

    for units in (1, 2, 3):
        by_sweep = normalized((s.start_ms, s.end_ms) for s in found if s.free >= units)
        assert by_sweep == free_where(taken, opened, units)
