"""The interval algebra: against the same questions asked of every single instant.

- Every operation gives a sorted, disjoint set with gaps, and exactly the instants it should.
- Loads add up; a peak is the most at one instant; what touches does not overlap.
- Nothing changes its arguments.
"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.coordination import intervals

LAST = 24
raw = st.lists(st.tuples(st.integers(-2, LAST), st.integers(-2, LAST)), max_size=8)
sets = raw.map(intervals.normalized)
loads = st.lists(
    st.tuples(st.integers(0, LAST), st.integers(0, LAST), st.integers(1, 3)), max_size=8
)


def instants(one):
    return {at for start, end in one for at in range(start, end)}


def units_at(given_loads, at):
    return sum(units for start, end, units in given_loads if start <= at < end)


def is_set(one):
    return all(start < end for start, end in one) and all(
        before[1] < after[0] for before, after in itertools.pairwise(one)
    )


@given(raw)
def test_any_intervals_become_a_set_of_the_same_instants(one):
    made = intervals.normalized(one)
    assert is_set(made)
    assert instants(made) == instants((s, e) for s, e in one if s < e)


@given(sets, sets)
def test_two_sets_combine_as_their_instants_do(one, other):
    copies = list(one), list(other)
    for made, wanted in (
        (intervals.union(one, other), instants(one) | instants(other)),
        (intervals.intersect(one, other), instants(one) & instants(other)),
        (intervals.subtract(one, other), instants(one) - instants(other)),
    ):
        assert is_set(made)
        assert instants(made) == wanted
        assert intervals.total_ms(made) == len(wanted)
    assert (one, other) == copies


@given(sets, st.integers(-2, LAST), st.integers(-2, LAST))
def test_a_set_and_its_complement_fill_the_range_and_share_nothing(one, start, end):
    inside = intervals.clip(one, start, end)
    outside = intervals.complement(one, start, end)
    assert is_set(inside)
    assert is_set(outside)
    assert instants(inside) == instants(one) & set(range(start, end))
    assert instants(outside) == set(range(start, end)) - instants(one)


@given(loads)
def test_loads_add_up_at_every_instant(given_loads):
    summed = intervals.levels(given_loads)
    for at in range(-1, LAST + 1):
        assert units_at(summed, at) == units_at(given_loads, at)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(summed))
    assert all(a[1] < b[0] or a[2] != b[2] for a, b in itertools.pairwise(summed))
    peak = max(units_at(given_loads, at) for at in range(LAST + 1))
    assert intervals.peak_load(given_loads) == peak


@given(loads, loads, st.integers(1, 4))
def test_free_is_where_enough_units_are_left(taken, capacity, units):
    made = intervals.free_where(taken, capacity, units)
    assert is_set(made)
    left = {
        at for at in range(-1, LAST + 1) if units_at(capacity, at) - units_at(taken, at) >= units
    }
    assert instants(made) == left


def test_what_only_touches_does_not_overlap():
    assert intervals.peak_load([(0, 10, 1), (10, 20, 1)]) == 1
    assert intervals.intersect([(0, 10)], [(10, 20)]) == []


def test_asking_for_no_unit_is_a_mistake_and_not_always_free():
    with pytest.raises(ValueError, match="at least one"):
        intervals.free_where([], [], 0)
