"""A time is told only by a clock that deserves it, and what waited gets the time it had.

Promises: a computer without a battery is suspected, one with a battery or time servers is not;
what was read before the time was known bears, afterwards, the instant of its reading; a clock that
is set is an event, and times told before it stay as they are; the hub's time is better than none,
and marked; what cannot wait any longer is marked, too, and never lost.
"""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agents import system_clock
from edge_agents.clock import (
    HUB_AFTER_MS,
    PLAUSIBLE_MS,
    AgentClock,
    Evidence,
    LastKnown,
    Standing,
    suspicion,
)
from edge_agents.outbox import Waiting, uncertain
from edge_agents.system_clock import keep_last_known, read_last_known
from gateway.model import Quality, Reason, Sample
from gateway.sparkplug import names

TRUE_MS = 1_795_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Computer:
    """A computer whose clock is off by `wrong_ms`, and the time as it really is."""

    def __init__(self, wrong_ms=0, *, up_ms=30_000, synchronised=False, boot_id="b", **evidence):
        self.true_ms = TRUE_MS
        self.wrong_ms = wrong_ms
        self.synchronised = synchronised
        self._evidence = {"boot_id": boot_id, **evidence}
        self._began_ms = TRUE_MS - up_ms

    def clock(self, last=None):
        return AgentClock(
            wall_ms=lambda: self.true_ms + self.wrong_ms,
            steady_ms=lambda: self.true_ms - self._began_ms,
            evidence=self.evidence,
            last=last,
        )

    def evidence(self):
        up_ms = self.true_ms - self._began_ms
        return Evidence(synchronised=self.synchronised, up_ms=up_ms, **self._evidence)


YESTERDAY = LastKnown(TRUE_MS - DAY_MS, "a")


@pytest.mark.parametrize(
    ("computer", "last", "words"),
    [
        (Computer(), None, None),  # a server in a container that nobody synchronises
        (Computer(), LastKnown(TRUE_MS - 5_000, "b"), None),  # the agent was started again
        (Computer(), YESTERDAY, None),  # off over night, with a battery
        (Computer(), LastKnown(TRUE_MS - 60_000, "a"), "where it had stopped"),
        (Computer(hardware=True), LastKnown(TRUE_MS - 60_000, "a"), None),
        (Computer(-DAY_MS), YESTERDAY, "where it had stopped"),  # a file brought the time back
        (Computer(-2 * DAY_MS), YESTERDAY, "behind a time that has been"),
        (Computer(-2 * DAY_MS, hardware=True), YESTERDAY, "behind a time that has been"),
        (Computer(-2 * DAY_MS, synchronised=True), YESTERDAY, None),
        (Computer(-TRUE_MS + 10_000), None, "before this program was written"),  # 1970
        (Computer(board=True), None, "no clock that runs while it is off"),
        (Computer(board=True), YESTERDAY, "no clock that runs while it is off"),
        (Computer(board=True, hardware=True), YESTERDAY, None),
        (Computer(board=True), LastKnown(TRUE_MS - 5_000, "b"), None),
        (Computer(board=True, synchronised=True), None, None),
    ],
)
def test_a_clock_is_suspected_only_where_something_speaks_against_it(computer, last, words):
    said = suspicion(computer.true_ms + computer.wrong_ms, computer.evidence(), last)

    assert (said is None) == (words is None)
    assert words is None or words in said
    standing = Standing.SURE if words is None else Standing.WAITING
    assert computer.clock(last).standing is standing


def test_readings_from_before_the_time_servers_get_the_instant_of_their_reading():
    pi = Computer(-DAY_MS, board=True)
    clock, waiting = pi.clock(YESTERDAY), Waiting()
    read_ms = []
    for _ in range(5):
        read_ms.append(pi.true_ms)
        assert waiting.add("m", [Sample("a", 1.0, clock.now_ms())]) == []
        assert clock.poll() is None
        pi.true_ms += 7_001
    pi.wrong_ms, pi.synchronised = 3, True

    change = clock.poll()

    assert (change.word, change.waited, clock.standing) == ("synchronised", True, Standing.SURE)
    told = [one for _, samples in waiting.release(change.by_ms) for one in samples]
    assert [one.time_ms for one in told] == [one + 3 for one in read_ms]
    assert {one.quality for one in told} == {Quality.GOOD}
    assert clock.now_ms() == pi.true_ms + 3
    assert clock.offset_ms is None
    assert waiting.samples == 0


def test_a_clock_that_somebody_sets_by_hand_is_believed():
    pi = Computer(-DAY_MS, board=True)
    clock = pi.clock()
    pi.true_ms += 5_000
    pi.wrong_ms = 0

    change = clock.poll()

    assert (change.word, change.by_ms) == ("set", DAY_MS)
    assert clock.now_ms() == pi.true_ms


def test_the_hubs_time_serves_after_a_minute_and_until_a_better_one_comes():
    pi = Computer(-DAY_MS, board=True)
    clock = pi.clock()
    for late_ms in (900, 40, 300):
        pi.true_ms += 1_000
        clock.hub_said(pi.true_ms - late_ms)
    assert clock.poll() is None
    pi.true_ms += HUB_AFTER_MS

    change = clock.poll()

    assert (change.word, change.waited) == ("told by the hub", True)
    assert clock.standing is Standing.HUB
    assert clock.now_ms() == pi.true_ms - 40
    assert clock.poll() is None
    pi.wrong_ms, pi.synchronised = 0, True
    change = clock.poll()
    assert (change.word, change.by_ms, change.waited) == ("synchronised", 40, False)


def test_a_suspected_clock_that_the_hub_confirms_is_right_after_all():
    pi = Computer(board=True)
    clock = pi.clock(YESTERDAY)
    clock.hub_said(pi.true_ms - 800)
    pi.true_ms += HUB_AFTER_MS

    assert clock.poll().word == "confirmed by the hub"
    assert clock.standing is Standing.SURE
    assert clock.now_ms() == pi.true_ms


def test_a_hub_from_before_the_program_is_not_believed():
    pi = Computer(-DAY_MS, board=True)
    clock = pi.clock()
    clock.hub_said(PLAUSIBLE_MS - 1)
    pi.true_ms += 10 * HUB_AFTER_MS

    assert clock.poll() is None
    assert clock.standing is Standing.WAITING


def test_each_step_of_a_clock_is_an_event_and_steering_is_none():
    computer = Computer(synchronised=True)
    clock = computer.clock()
    events = []
    for step_ms in (0, 1, -1, 400, -HOUR_MS, 0, 501, DAY_MS):
        computer.true_ms += 250
        computer.wrong_ms += step_ms
        events.append(clock.poll())

    assert [one and one.by_ms for one in events] == [
        None, None, None, None, -HOUR_MS, None, 501, DAY_MS,
    ]  # fmt: skip
    assert not any(one.waited for one in events if one)
    assert clock.steps == 3


@given(
    st.integers(-(10**9), 10**9),
    st.lists(st.tuples(st.integers(1, 20_000), st.booleans()), min_size=1, max_size=30),
)
@settings(max_examples=300, deadline=None)
def test_however_wrong_the_clock_was_provisional_times_keep_their_distances(wrong_ms, steps):
    pi = Computer(wrong_ms, board=True)
    clock, waiting, truth = pi.clock(), Waiting(), []
    for wait_ms, read in steps:
        pi.true_ms += wait_ms
        assert clock.poll() is None
        if read:
            truth.append(pi.true_ms)
            waiting.add("m", [Sample("a", 0.0, clock.now_ms())])
    pi.wrong_ms, pi.synchronised = 0, True
    change = clock.poll()

    told = [one.time_ms for _, samples in waiting.release(change.by_ms) for one in samples]

    assert told == truth
    assert all(after > before for before, after in pairwise(told))


def test_what_cannot_wait_any_longer_is_marked_and_goes_on():
    waiting = Waiting(samples_max=3)
    out = []
    for number in range(5):
        lost = Sample("b", None, number, Quality.BAD, Reason.TIMEOUT)
        out += waiting.add("m", [Sample("a", float(number), number)] if number else [lost])

    assert out == [
        ("m", [Sample("b", None, 0, Quality.BAD, Reason.TIMEOUT)]),
        ("m", [Sample("a", 1.0, 1, Quality.UNCERTAIN, Reason.CLOCK)]),
    ]
    assert (waiting.samples, waiting.untimed) == (3, 2)


def test_what_waits_of_changed_machines_is_given_up_and_that_of_others_goes_on_waiting():
    waiting = Waiting()
    waiting.add("a", [Sample("x", 1.0, 1)])
    waiting.add("b", [Sample("x", 2.0, 2), Sample("y", 3.0, 2)])
    waiting.add("a", [Sample("x", 4.0, 3)])

    assert waiting.give_up({"a", "c"}) == [
        ("a", [Sample("x", 1.0, 1, Quality.UNCERTAIN, Reason.CLOCK)]),
        ("a", [Sample("x", 4.0, 3, Quality.UNCERTAIN, Reason.CLOCK)]),
    ]
    assert (waiting.samples, waiting.untimed) == (2, 2)
    assert list(waiting.release(10)) == [("b", [Sample("x", 2.0, 12), Sample("y", 3.0, 12)])]


def test_the_time_of_reading_is_moved_with_the_times_and_the_agents_words_are_never_doubted():
    waiting = Waiting()
    waiting.add(
        "m", [Sample(names.READ_AT, 1_000, 1_005), Sample(names.LINK, value=True, time_ms=9)]
    )

    ((_, moved),) = waiting.release(500)

    assert moved == [
        Sample(names.READ_AT, 1_500, 1_505),
        Sample(names.LINK, value=True, time_ms=509),
    ]
    assert uncertain(moved) == moved


def test_a_time_that_is_kept_is_found_again_and_nothing_else_is_believed(tmp_path):
    assert read_last_known(tmp_path) is None
    keep_last_known(tmp_path, YESTERDAY)
    assert read_last_known(tmp_path) == YESTERDAY

    file = tmp_path / system_clock.CLOCK_FILE
    for text in (
        "", "[]", "{}", "\x00", '{"time_ms": "x", "boot_id": "b"}',
        '{"time_ms": -1, "boot_id": ""}',
        '{"time_ms": 1e99, "boot_id": ""}', '{"time_ms": 5, "boot_id": null}',
    ):  # fmt: skip
        file.write_text(text)
        assert read_last_known(tmp_path) is None
    keep_last_known(tmp_path / "nowhere", YESTERDAY)  # a disk that refuses is no trouble


def test_the_system_can_be_asked():
    said = system_clock.evidence()

    assert said.synchronised in {True, False, None}
    assert said.up_ms >= 0
