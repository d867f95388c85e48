"""An interval set answers as a plain set would, and stays as small as its gaps."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.intervals import IntervalSet

OFFSETS = st.integers(1, 40)
RUNS = st.tuples(OFFSETS, OFFSETS)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), RUNS),
        st.tuples(st.just("add_run"), RUNS),
        st.tuples(st.just("remove_run"), RUNS),
        st.tuples(st.just("add_ahead"), RUNS),
    ),
    max_size=30,
)


def members(intervals):
    return {offset for first, last in intervals.runs() for offset in range(first, last + 1)}


def take(step, intervals, model):
    """Do the same to both; the answers must agree."""
    name, (first, last) = step
    run = set(range(first, last + 1))
    if name == "add":
        assert intervals.add(first) is (first not in model)
        return model | {first}
    if name == "add_run":
        assert intervals.add_run(first, last) == len(run - model)
        return model | run
    if name == "remove_run":
        assert intervals.remove_run(first, last) == len(run & model)
        return model - run
    added = bool(run) and intervals.add_ahead(sorted(run))
    assert added is bool(run and first > max(model, default=0))
    return model | run if added else model


@given(STEPS, RUNS)
def test_it_agrees_with_a_plain_set_after_any_steps(steps, window):
    intervals, model = IntervalSet(), set()
    for step in steps:
        model = take(step, intervals, model)

    assert members(intervals) == model
    assert all(offset in intervals for offset in model)
    assert intervals.count() == len(model)
    assert intervals.highest == max(model, default=0)
    assert intervals.mark == next(n for n in range(42) if n + 1 not in model)
    first, last = window
    gaps = {n for run in intervals.gaps(first, last) for n in range(run[0], run[1] + 1)}
    assert gaps == set(range(first, last + 1)) - model


@given(STEPS)
def test_its_runs_are_ascending_and_never_touch(steps):
    intervals, model = IntervalSet(), set()
    for step in steps:
        model = take(step, intervals, model)
    runs = list(intervals.runs())

    assert all(first <= last for first, last in runs)
    assert all(left[1] + 1 < right[0] for left, right in itertools.pairwise(runs))


@given(STEPS, OFFSETS, st.integers(0, 3))
def test_the_lowest_runs_above_an_offset_come_first(steps, offset, limit):
    intervals, model = IntervalSet(), set()
    for step in steps:
        model = take(step, intervals, model)

    above = [run for run in intervals.runs() if run[0] > offset]
    assert intervals.runs_above(offset, limit) == above[:limit]


def test_a_copy_goes_its_own_way():
    original = IntervalSet([(1, 3)])
    twin = original.copy()
    twin.add_run(4, 9)

    assert original.mark == 3
    assert twin.mark == 9


def test_a_gap_in_a_list_is_not_taken_for_a_run():
    intervals = IntervalSet()

    assert not intervals.add_ahead([1, 2, 4])
    assert not intervals.add_ahead([2, 1])
    assert not intervals
