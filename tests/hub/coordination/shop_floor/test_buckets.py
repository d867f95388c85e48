"""Where the time went: every instant in one bucket, by the table; figures from their sums.

- Buckets sum to wall time for any stream of states, any calendar and any orders.
- Each instant's bucket is the one that the table gives for it.
- Unknown is a gap and never good or bad; without a schedule a figure is null and says why.
- Ratios of sums, a textbook example, above one as it is and flagged.
"""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import State
from hub.coordination.hours.calendar_rules import Kind, Window
from hub.coordination.shop_floor.axes import Order
from hub.coordination.shop_floor.buckets import (
    Bucket,
    OrderSpan,
    Slice,
    StateSpan,
    bucket_of,
    clip,
    slices,
    totals,
)
from hub.coordination.shop_floor.kpis import (
    ABOVE_ONE,
    NO_BREAKDOWNS,
    NO_COUNTERS,
    NO_PLANNED_CYCLE,
    NO_SCHEDULE,
    NO_TIME,
    OUTSIDE_HOURS,
    Inputs,
    Production,
    coverage,
    inputs_of,
    measure,
    total,
)

LAST = 60
MIN = 60_000
STATES = sorted(set(State) - {State.CLOSED})


def spans_of(what):
    """Make disjoint spans in order, with gaps, of any values of `what`."""
    cuts = st.lists(st.integers(-5, LAST + 5), max_size=10, unique=True).map(sorted)

    def build(edges_values):
        edges, values = edges_values
        return [
            (a, b, v)
            for (a, b), v in zip(itertools.pairwise(edges), values, strict=False)
            if v is not None
        ]

    return st.tuples(cuts, st.lists(st.none() | what, min_size=10, max_size=10)).map(build)


states = spans_of(st.sampled_from(STATES)).map(lambda told: [StateSpan(*each) for each in told])
windows = spans_of(st.sampled_from(Kind)).map(lambda told: [Window(*each, 1) for each in told])
orders = st.none() | spans_of(st.sampled_from(Order)).map(
    lambda told: [OrderSpan(*e) for e in told]
)


def at(parts, time_ms):
    return next((p for p in parts if p.start_ms <= time_ms < p.end_ms), None)


@settings(max_examples=200, deadline=None)
@given(states, windows, orders, st.integers(0, LAST), st.integers(1, LAST))
def test_buckets_sum_to_wall_time_and_each_instant_is_as_the_table_says(
    told, calendar, booked, start, length
):
    found = slices(told, calendar, booked, (start, start + length))
    assert sum(totals(found).values()) == length
    assert (found[0].start_ms, found[-1].end_ms) == (start, start + length)
    for time_ms in range(start, start + length):
        state, window = at(told, time_ms), at(calendar, time_ms)
        order = at(booked, time_ms) if booked else None
        expected = bucket_of(
            state.state if state else State.UNKNOWN,
            window.kind if window else Kind.UNDEFINED,
            None if booked is None else order.order if order else Order.NONE,
        )
        assert at(found, time_ms).bucket is expected
    middle = start + length // 2
    parts = clip(found, start, middle) + clip(found, middle, start + length)
    assert totals(parts) == totals(found)


@pytest.mark.parametrize(
    ("state", "calendar", "order", "bucket"),
    [
        ("running", "working", None, "APT"),
        ("running", "closed", None, "APT"),
        ("setup", "break", None, "AUST"),
        ("down", "working", Order.RUNNING, "ADET"),
        ("down", "working", Order.QUEUED, "ADET"),
        ("down", "working", Order.NONE, "ADOT"),
        ("down", "working", None, "ADET"),
        ("waiting", "working", None, "ADET"),
        ("idle", "working", None, "ADOT"),
        ("idle", "working", Order.QUEUED, "ADET"),
        ("off", "working", Order.NONE, "ADOT"),
        ("maintenance", "working", Order.NONE, "APMT"),
        ("maintenance", "working", Order.RUNNING, "ADET"),
        ("maintenance", "maintenance", None, "PDT"),
        ("idle", "break", Order.RUNNING, "PDT"),
        ("down", "closed", Order.RUNNING, "CLOSED"),
        ("unknown", "closed", None, "CLOSED"),
        ("unknown", "break", None, "PDT"),
        ("unknown", "working", Order.RUNNING, "UNKNOWN"),
        ("unknown", "undefined", None, "UNKNOWN"),
        ("idle", "undefined", None, "UNKNOWN"),
        ("down", "undefined", None, "ADET"),
    ],
)
def test_the_table(state, calendar, order, bucket):
    assert bucket_of(State(state), Kind(calendar), order) == bucket


def test_a_reason_given_by_a_person_counts_within_the_hours_and_never_hides_work():
    told = Bucket.ADOT
    assert bucket_of(State.UNKNOWN, Kind.WORKING, None, told) is told
    assert bucket_of(State.DOWN, Kind.WORKING, Order.RUNNING, told) is told
    assert bucket_of(State.RUNNING, Kind.WORKING, None, told) is Bucket.APT
    assert bucket_of(State.DOWN, Kind.CLOSED, None, told) is Bucket.CLOSED


def shift(*told, calendar=Kind.WORKING):
    """Make slices of minutes, one after the other."""
    found, start = [], 0
    for minutes, state in told:
        bucket = bucket_of(State(state), calendar, Order.RUNNING)
        found.append(
            Slice(start, start + minutes * MIN, bucket, State(state), calendar, None, "", "edge")
        )
        start += minutes * MIN
    return found


DAY = shift((60, "setup"), (150, "running"), (20, "down"), (150, "running"), (40, "down"))


def test_a_textbook_shift():
    # 420 minutes planned: 60 set-up, 300 running, 60 down in two breakdowns; 500 parts of 30 s.
    figures = measure(inputs_of(DAY, Production(475, 25, 30.0)))
    values = {name: kpi.value for name, kpi in figures.items()}
    assert values == pytest.approx(
        {
            "availability": 300 / 420,
            "effectiveness": 250 / 300,
            "quality": 0.95,
            "oee": 30 * 475 / (420 * 60),
            "nee": 360 / 420 * 250 / 300 * 0.95,
            "utilization": 300 / 420,
            "allocation": 1.0,
            "technical_efficiency": 300 / 360,
            "setup_rate": 60 / 360,
            "scrap_ratio": 0.05,
            "mtbf_s": 360 * 60 / 2,
            "mttr_s": 30 * 60,
        }
    )
    assert set(figures["availability"].of) == {"APT", "AUST", "ADET", "ADOT", "APMT"}


def test_effectiveness_above_one_is_shown_and_flagged():
    figures = measure(inputs_of(DAY, Production(700, 0, 30.0)))
    assert figures["effectiveness"].value == pytest.approx(350 / 300)
    assert figures["effectiveness"].flags == figures["oee"].flags == (ABOVE_ONE,)


def test_what_cannot_be_known_is_null_with_the_reason():
    def why(found, made, name):
        kpi = measure(inputs_of(found, made))[name]
        assert kpi.value is None
        return kpi.reason

    undefined = shift((60, "running"), calendar=Kind.UNDEFINED)
    full = Production(1, 0, 1.0)
    for name in ("availability", "oee", "nee", "utilization", "allocation"):
        assert why(undefined, full, name) == NO_SCHEDULE
    assert measure(inputs_of(undefined, full))["quality"].value == 1
    assert why(DAY, Production(), "quality") == NO_COUNTERS
    assert why(DAY, Production(), "oee") == NO_COUNTERS
    assert why(DAY, Production(1, 0), "effectiveness") == NO_PLANNED_CYCLE
    closed = shift((60, "idle"), calendar=Kind.CLOSED)
    assert why(closed, full, "availability") == NO_TIME
    assert why(closed, full, "mtbf_s") == NO_BREAKDOWNS
    assert why(DAY, Production(0, 0, 1.0), "quality") == "no-parts"


def test_unknown_time_is_a_gap_and_neither_good_nor_bad():
    known = shift((30, "running"), (30, "down"))
    half = shift((30, "running"), (30, "down"), (60, "unknown"))
    assert measure(inputs_of(half, Production()))["availability"].value == 0.5
    assert coverage(inputs_of(half, Production())) == 0.5
    assert coverage(inputs_of(known, Production())) == 1.0
    assert coverage(inputs_of(shift((9, "off"), calendar=Kind.CLOSED), Production())) is None


def test_work_outside_the_hours_is_busy_time_and_flagged():
    found = shift((60, "running"), calendar=Kind.CLOSED)
    kpi = measure(inputs_of(found, Production()))["availability"]
    assert (kpi.value, kpi.flags) == (1.0, (OUTSIDE_HOURS,))


def test_a_breakdown_over_a_break_is_one():
    told = [(0, 10, "working"), (10, 20, "break"), (20, 30, "working")]
    calendar = [Window(a * MIN, b * MIN, Kind(kind), 1) for a, b, kind in told]
    down = [StateSpan(0, 30 * MIN, State.DOWN)]
    inputs = inputs_of(slices(down, calendar, None, (0, 30 * MIN)), Production())
    assert (inputs.breakdowns, inputs.down_ms) == (1, 30 * MIN)
    assert measure(inputs)["mttr_s"].value == 1800


def test_figures_of_several_machines_are_ratios_of_sums():
    little = inputs_of(shift((10, "running")), Production(10, 0, 30.0))
    much = inputs_of(shift((10, "running"), (90, "down")), Production(10, 10, 30.0))
    figures = measure(total([little, much]))
    assert figures["availability"].value == pytest.approx(20 / 110)
    assert figures["quality"].value == pytest.approx(20 / 30)
    assert figures["effectiveness"].value == pytest.approx(15 / 20)
    unknown = measure(total([little, inputs_of(shift((10, "running")), Production())]))
    assert unknown["quality"].reason == NO_COUNTERS
    assert total([little]) == little
    with pytest.raises(ValueError, match="at least one"):
        total([])
    assert (little + much).buckets[Bucket.ADET] == 90 * MIN
    assert isinstance(little, Inputs)
