"""After a time-out a unit is left in peace, then asked what no late answer can be mistaken for."""

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agents.drivers.frames import answer_bytes
from edge_agents.drivers.late_reply import FORGET_S, LateReplyGuard
from edge_agents.drivers.registers import ADDRESSES, Block, Table


def block(table=Table.HOLDING, count=4, address=10):
    return Block(table, address, count, 1_000, ())


def shape(asked):
    return asked.table, answer_bytes(asked)


def test_an_answering_unit_is_asked_what_was_wanted_at_once():
    guard = LateReplyGuard(0.5)
    wanted = block()

    assert guard.wait_s(0.0) == 0.0
    assert guard.question(wanted, 0.0) is wanted


def test_after_a_time_out_the_unit_is_left_in_peace():
    guard = LateReplyGuard(0.5)
    guard.unanswered(block(), 10.0)

    assert guard.wait_s(10.0) == 0.5
    assert guard.wait_s(10.4) == pytest.approx(0.1)
    assert guard.wait_s(10.5) == 0.0


def test_a_question_of_another_shape_needs_no_other_before_it():
    guard = LateReplyGuard(0.5)
    guard.unanswered(block(count=4), 0.0)
    other = block(count=5)

    assert guard.question(other, 1.0) is other


def test_an_answer_of_another_shape_ends_all_doubt():
    guard = LateReplyGuard(0.5)
    wanted = block()
    guard.unanswered(wanted, 0.0)
    first = guard.question(wanted, 1.0)
    assert shape(first) != shape(wanted)
    guard.answered(first, 1.1, refused=False)

    assert guard.question(wanted, 1.2) is wanted


def test_a_refusal_about_the_same_table_proves_nothing_and_one_about_another_does():
    guard = LateReplyGuard(0.5)
    wanted = block(Table.COIL, 8)
    guard.unanswered(wanted, 0.0)
    guard.answered(block(Table.COIL, 9), 1.0, refused=True)
    assert guard.question(wanted, 1.1) is not wanted
    guard.answered(block(Table.HOLDING, 1), 1.2, refused=True)

    assert guard.question(wanted, 1.3) is wanted


@pytest.mark.parametrize(
    "wanted",
    [block(table, count, address)
     for table in Table for count in (1, 2, 8, 125) for address in (0, ADDRESSES - 125)],
)  # fmt: skip
def test_there_is_always_another_question_and_it_stays_within_the_table(wanted):
    guard = LateReplyGuard(0.5)
    asked = [wanted]
    for _ in range(10):
        guard.unanswered(asked[-1], 0.0)
        asked.append(guard.question(wanted, 1.0))

    assert len({shape(one) for one in asked}) == len(asked)
    assert all(one.end <= ADDRESSES and 1 <= answer_bytes(one) <= 250 for one in asked)


def test_a_unit_that_was_silent_for_long_is_asked_what_was_wanted_again():
    guard = LateReplyGuard(0.5)
    wanted = block()
    guard.unanswered(wanted, 0.0)

    assert guard.question(wanted, FORGET_S - 1) is not wanted
    assert guard.question(wanted, FORGET_S) is wanted


class SlowUnit:
    """Answers in order, each question after a delay of its own; refuses what it does not know."""

    def __init__(self, rng, longest_s, refuses):
        self.rng = rng
        self.longest_s = longest_s
        self.refuses = refuses
        self.answers = deque()
        self.free_s = 0.0

    def ask(self, number, asked, now_s):
        self.free_s = max(self.free_s, now_s) + self.rng.uniform(0, self.longest_s)
        refused = self.refuses(asked)
        seen = (asked.table, "refused" if refused else answer_bytes(asked))
        self.answers.append((self.free_s, number, seen))

    def first_between(self, now_s, until_s, wanted):
        """The first answer that arrives while one waits and that looks like the right one."""
        while self.answers and self.answers[0][0] <= until_s:
            at_s, number, seen = self.answers.popleft()
            if at_s >= now_s and seen in {shape(wanted), (wanted.table, "refused")}:
                return max(at_s, now_s), number, seen[1] == "refused"
        return None


@given(
    st.randoms(use_true_random=False),
    st.floats(0.1, 4.0),
    st.sampled_from([
        lambda _: False,
        lambda asked: asked.table is not Table.COIL,
        lambda asked: asked.table is Table.COIL and asked.count > 8,
        lambda asked: asked.end > 14,
    ]),
    st.lists(st.sampled_from([block(), block(address=14), block(Table.COIL, 8)]), min_size=1,
             max_size=3),
)  # fmt: skip
def test_no_answer_with_a_value_is_ever_taken_for_another(rng, longest_s, refuses, wanted):
    unit, guard, timeout_s = SlowUnit(rng, longest_s, refuses), LateReplyGuard(1.0), 1.0
    now_s, number = 0.0, 0
    for _ in range(60):
        now_s += max(guard.wait_s(now_s), 0.01)
        asked = guard.question(rng.choice(wanted), now_s)
        number += 1
        unit.ask(number, asked, now_s)
        found = unit.first_between(now_s, now_s + timeout_s, asked)
        if found is None:
            now_s += timeout_s
            guard.unanswered(asked, now_s)
            continue
        now_s, answered, refused = found
        assert refused or answered == number
        guard.answered(asked, now_s, refused=refused)


def test_the_simulated_unit_would_be_misunderstood_without_the_guard():
    rng = random.Random(1)
    unit, mistaken, now_s = SlowUnit(rng, 3.0, lambda _: False), 0, 0.0
    for number in range(60):
        unit.ask(number, block(), now_s)
        found = unit.first_between(now_s, now_s + 1.0, block())
        mistaken += found is not None and found[1] != number
        now_s = now_s + 1.0 if found is None else found[0]

    assert mistaken > 5
