"""The map of what is done agrees with a plain dictionary, whatever the order of operations."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.settled import GONE, Done, Settled

POSITIONS = st.integers(1, 40)
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["settle", "forget"]), POSITIONS, POSITIONS, st.integers(0, 3)),
    max_size=25,
)


def play(operations):
    settled, plain = Settled(), {}
    for what, first, last, at_ms in operations:
        if what == "settle":
            settled.settle(first, last, at_ms)
            plain |= {p: at_ms for p in range(first, last + 1) if p not in plain}
        else:
            settled.forget(first, last)
            plain |= dict.fromkeys(range(first, last + 1), GONE)
    return settled, plain


@given(OPERATIONS)
def test_it_holds_what_a_dictionary_would(operations):
    settled, plain = play(operations)

    rows = settled.rows()

    assert {p: row.at_ms for row in rows for p in range(row.first, row.last + 1)} == plain
    assert sum(row.last - row.first + 1 for row in rows) == len(plain)


@given(OPERATIONS)
def test_ranges_are_as_few_as_can_be_and_ascend(operations):
    rows = play(operations)[0].rows()

    for before, after in pairwise(rows):
        assert before.last < after.first
        assert before.last + 1 < after.first or before.at_ms != after.at_ms


@given(OPERATIONS, POSITIONS, POSITIONS)
def test_gaps_and_counts_are_those_of_the_dictionary(operations, first, last):
    settled, plain = play(operations)
    asked = set(range(first, last + 1))

    gaps = list(settled.gaps(first, last))

    assert {p for a, b in gaps for p in range(a, b + 1)} == asked - plain.keys()
    wide = {p for a, b in settled.gaps(first, last, over_gone=True) for p in range(a, b + 1)}
    assert wide == {p for p in asked if plain.get(p, GONE) == GONE}
    assert settled.covered(first, last) == len(asked & plain.keys())
    gone = {p for p, at_ms in plain.items() if at_ms == GONE}
    assert settled.covered(first, last, gone_only=True) == len(asked & gone)


@given(OPERATIONS)
def test_trimming_forgets_what_is_gone_before_the_first_position_held(operations):
    settled, plain = play(operations)

    first = settled.trim(1)

    held = (p for p in range(1, 42) if plain.get(p) != GONE)
    assert first == next(held)
    assert all(row.last >= first for row in settled.rows())


def test_a_copy_is_independent():
    settled = Settled([Done(1, 5, 7)])
    settled.copy().forget(1, 5)

    assert settled.rows() == (Done(1, 5, 7),)
