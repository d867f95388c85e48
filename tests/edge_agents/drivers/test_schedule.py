"""Jobs keep their grid, the nearest deadline goes first, and what is left out is counted."""

import random

from hypothesis import given
from hypothesis import strategies as st

from edge_agents.drivers.breaker import Backoff, Breaker
from edge_agents.drivers.schedule import Schedule


def test_the_nearest_deadline_goes_first():
    schedule = Schedule()
    schedule.set("slow", due_s=0.0, period_s=10.0)
    schedule.set("fast", due_s=0.5, period_s=1.0)

    assert schedule.next(0.6) == ("fast", 0.0)


def test_before_anything_is_due_it_tells_how_long_to_wait():
    schedule = Schedule()
    schedule.set("a", due_s=3.0, period_s=1.0)
    schedule.set("b", due_s=2.0, period_s=9.0)

    assert schedule.next(0.5) == (None, 1.5)


def test_without_jobs_the_wait_has_no_end():
    assert Schedule().next(0.0) == (None, float("inf"))


def test_a_late_reading_does_not_shift_the_next_ones():
    schedule = Schedule()
    schedule.set("a", due_s=0.0, period_s=1.0)
    schedule.done("a", 0.7)

    assert schedule.next(0.7) == (None, 1.0 - 0.7)
    assert schedule.missed == 0


def test_a_reading_overdue_by_less_than_a_period_is_done_late_and_not_missed():
    schedule = Schedule()
    schedule.set("a", due_s=0.0, period_s=1.0)
    schedule.done("a", 1.9)

    assert schedule.next(1.9) == ("a", 0.0)
    assert schedule.missed == 0


def test_missed_readings_become_one_and_are_counted():
    schedule = Schedule()
    schedule.set("a", due_s=0.0, period_s=1.0)
    schedule.done("a", 4.5)

    assert schedule.missed == 3
    assert schedule.next(4.5) == ("a", 0.0)
    schedule.done("a", 4.6)
    assert schedule.next(4.6) == (None, 5.0 - 4.6)


def test_a_doubted_job_lets_the_others_go_first_but_not_for_ever():
    schedule = Schedule()
    schedule.set("silent", due_s=0.0, period_s=1.0)
    schedule.set("well", due_s=0.0, period_s=1.0)
    schedule.doubt("silent", doubted=True)

    order = []
    for step in range(12):  # a line that is busy all the time
        job, _ = schedule.next(float(step))
        order.append(job)
        schedule.done(job, step + 1.0)

    assert order[:5] == ["well"] * 5
    assert "silent" in order

    schedule.set("well", due_s=20.0, period_s=1.0)
    schedule.set("silent", due_s=20.0, period_s=0.5)
    assert schedule.next(21.0)[0] == "well", "setting it again does not end the doubt"
    schedule.doubt("silent", doubted=False)
    assert schedule.next(21.0)[0] == "silent"


def test_a_removed_job_is_neither_due_nor_moved():
    schedule = Schedule()
    schedule.set("a", due_s=0.0, period_s=1.0)
    schedule.remove("a")
    schedule.done("a", 1.0)

    assert schedule.next(5.0) == (None, float("inf"))
    assert "a" not in schedule


def test_after_a_loss_everything_overdue_is_due_at_once_and_nothing_counts_as_missed():
    schedule = Schedule()
    schedule.set("a", due_s=0.0, period_s=1.0)
    schedule.set("b", due_s=200.0, period_s=1.0)
    schedule.begin_anew(100.0)

    assert schedule.next(100.0) == ("a", 0.0)
    schedule.done("a", 100.1)
    assert schedule.missed == 0
    assert schedule.next(101.5)[0] == "a"


@given(
    st.dictionaries(st.integers(0, 9), st.integers(1, 20), min_size=1),
    st.floats(0.01, 0.5),
)
def test_no_job_starves_on_an_overloaded_line(periods, cost_s):
    schedule = Schedule()
    for job, period_s in periods.items():
        schedule.set(job, due_s=0.0, period_s=float(period_s))
    now_s, turns = 0.0, dict.fromkeys(periods, 0)
    while now_s < 100:
        job, wait_s = schedule.next(now_s)
        if job is None:
            now_s += wait_s
            continue
        turns[job] += 1
        now_s += cost_s
        schedule.done(job, now_s)

    assert min(turns.values()) >= 100 / (max(periods.values()) + 10 * cost_s) - 2


def test_a_breaker_opens_at_the_third_silence_in_a_row():
    breaker = Breaker(random.Random(1))

    assert [breaker.failed(), breaker.failed()] == [None, None]
    assert not breaker.open
    assert breaker.failed() is not None
    assert breaker.open


def test_an_answer_between_silences_keeps_the_breaker_closed():
    breaker = Breaker(random.Random(1))
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.answered()

    assert not breaker.open


def test_probes_become_rarer_up_to_a_minute_and_are_never_all_at_once():
    breaker = Breaker(random.Random(1))
    delays = [breaker.failed() for _ in range(12)][2:]

    expected = [2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert all(
        0.8 * middle <= delay <= 1.2 * middle
        for delay, middle in zip(delays, expected, strict=True)
    )
    assert len(set(delays)) == len(delays)


def test_one_good_probe_closes_the_breaker_and_forgets_the_delays():
    breaker = Breaker(random.Random(1))
    for _ in range(8):
        breaker.failed()
    breaker.answered()

    assert not breaker.open
    assert [breaker.failed(), breaker.failed()] == [None, None]
    assert breaker.failed() <= 2.4


def test_delays_stay_finite_after_years_of_silence():
    backoff = Backoff(random.Random(1), first_s=0.5, longest_s=15.0)

    assert max(backoff.next_s() for _ in range(5_000)) <= 18.0
