"""What nobody read is in the history as unknown, and nothing else is.

- An agent that was away leaves `unknown` from the end of its promise to its return, once.
- A backlog leaves nothing; a state said at the return is not said twice; unknown stays unknown.
- What is not written counts as not seen; what was kept is only as exact as it was kept.
- Reading times come from columns: the first, the last and those around a pause.
"""

import math

import numpy as np
import pytest

from gateway.model import State
from gateway.sparkplug import names
from hub.columns import Columns, SeriesIndex, StateChange
from hub.historian import Span, StateInterval
from hub.ingest.silences import KEEP_EVERY_MS, Read, Silences
from hub.ingest.states import StateRows
from tests.hub.ingest.scenes import SITE, Agent, Clock, Hub

T0 = 1_795_000_000_000
AGE = 5000


def running(_site, _machine, _time_ms):
    return StateInterval(T0, None, State.RUNNING, "because", "rpm", "edge")


def read(seconds, machine="mc-1", age_ms=AGE):
    return Read("ota", machine, T0 + round(seconds * 1000), age_ms)


def write(silences, reads, states=()):
    found = silences.look(reads, states)
    silences.settle(found)
    return [((s.time_ms - T0) / 1000, s.state.value, s.source) for s in found.states]


def test_an_agent_that_was_away_leaves_unknown_until_it_is_back():
    silences = Silences(running)
    assert write(silences, [read(0), read(1)]) == []
    assert write(silences, [read(100), read(101)]) == [
        (16, "unknown", "hub"),
        (100, "running", "hub"),
    ]
    assert write(silences, [read(102), read(3), read(4)]) == []  # a clock set back


def test_what_is_carried_on_keeps_its_reason():
    silences = Silences(running)
    found = silences.look([read(0), read(100)], [])
    assert (found.states[1].reason, found.states[1].evidence) == ("because", "rpm")


def test_a_backlog_leaves_nothing():
    silences = Silences(running)
    assert write(silences, [read(0)]) == []
    assert write(silences, [read(n) for n in range(1, 7200, 10)]) == []
    assert write(silences, [read(7200)]) == []


def test_a_state_said_at_the_return_is_not_said_twice():
    silences = Silences(running)
    write(silences, [read(0)])
    said = StateChange("ota", "mc-1", T0 + 99_000, State.IDLE)
    other = StateChange("ota", "mc-2", T0 + 99_000, State.IDLE)
    assert write(silences, [read(100)], [said, other]) == [(15, "unknown", "hub")]


def test_a_state_said_just_before_is_what_is_carried_on():
    silences = Silences(running)
    said = StateChange("ota", "mc-1", T0 + 500, State.DOWN)
    assert write(silences, [read(0), read(100)], [said])[1] == (100, "down", "hub")


def test_unknown_stays_unknown_and_of_nothing_comes_nothing():
    unknown = Silences(lambda *_: StateInterval(T0, None, State.UNKNOWN, "", "", "edge"))
    assert write(unknown, [read(0), read(100)]) == []
    nothing = Silences(lambda *_: None)
    assert write(nothing, [read(0), read(100)]) == []
    promised_nothing = Silences(running)
    assert write(promised_nothing, [read(0, age_ms=None), read(100, age_ms=None)]) == []


def test_several_silences_of_several_machines_in_one_write():
    silences = Silences(running)
    reads = [read(0), read(0, "mc-2"), read(100), read(15, "mc-2"), read(200)]
    assert write(silences, reads) == [
        (15, "unknown", "hub"),
        (100, "running", "hub"),
        (115, "unknown", "hub"),
        (200, "running", "hub"),
    ]


def test_what_could_not_be_written_is_found_again():
    silences = Silences(running)
    write(silences, [read(0)])
    first = silences.look([read(100)], [])
    again = silences.look([read(100)], [])
    assert first.states == again.states != []


def test_after_a_restart_only_what_is_longer_than_the_doubt_counts():
    before = Silences(running)
    found = before.look([read(0), read(1)], [])
    assert list(found.marks) == ["read/ota/mc-1"]
    assert before.look([read(2)], []).marks  # not settled, so not kept yet
    before.settle(found)
    assert not before.look([read(59)], []).marks
    assert before.look([read(61)], []).marks
    for seconds, expected in ((60, []), (200, [(15, "unknown", "hub"), (200, "running", "hub")])):
        after = Silences(running)
        after.restore({**found.marks, "mark/ota/line-1/7": b"\xff"})
        assert write(after, [read(seconds)]) == expected
    assert KEEP_EVERY_MS == 60_000


def test_reading_times_come_from_columns_thinned_out():
    index = SeriesIndex()
    series = {m: index.id("ota", m, names.READ_AT) for m in ("a", "b")}
    age = index.id("ota", "a", names.MAX_AGE)
    told = [("a", 0), ("b", 0), ("a", 500), ("a", 900), ("a", 5000), ("b", math.nan), ("a", 5100)]
    rows = [(series[m], float(T0 + ms) if ms == ms else ms) for m, ms in told]  # noqa: PLR0124
    rows.append((age, 2500.0))
    count = len(rows)
    columns = Columns(
        series=np.array([s for s, _ in rows], np.int32),
        time_ms=np.full(count, T0, np.int64),
        value=np.array([v for _, v in rows]),
        quality=np.zeros(count, np.uint8),
        reason=np.zeros(count, np.uint8),
        message=np.zeros(count, np.int32),
    )
    kept, states, reads = StateRows(index).split(columns)
    assert (len(kept), states) == (0, [])
    assert [(r.machine, r.time_ms - T0, r.max_age_ms) for r in reads] == [
        ("a", 0, 2500),
        ("a", 900, 2500),
        ("a", 5000, 2500),
        ("a", 5100, 2500),
        ("b", 0, None),
    ]


@pytest.mark.parametrize("written_before", [True, False])
def test_the_history_of_an_agent_that_was_away_is_the_same_whether_or_not_the_hub_restarts(
    tmp_path, written_before
):
    clock = Clock()
    begin_ms = clock.now_ms
    hub, agent = Hub(tmp_path, now_ms=clock), Agent(tmp_path, now_ms=clock)
    agent.connect()

    def reads(hub, seconds, *more):
        for _ in range(seconds):
            told = [(names.READ_AT, clock.now_ms), (names.MAX_AGE, 1000), *more]
            agent.record("mc-1", *told)
            agent.take(hub.step(agent.poll()))
            clock.now_ms += 1000

    reads(hub, 5, (names.STATE, "running"))
    if written_before:
        hub.write()
    clock.now_ms += 200_000  # switched off, and on again
    reads(hub, 5)
    hub.write()
    hub.inbox.close()
    hub.historian.close()

    again = Hub(tmp_path, now_ms=clock, seed=2)
    clock.now_ms += 300_000
    agent.connect()
    for _ in range(3):
        agent.take(again.step(agent.poll()))
    reads(again, 5)
    again.write()
    found = again.historian.states(SITE, "mc-1", Span(begin_ms, clock.now_ms))
    told = [(round((i.start_ms - begin_ms) / 1000), i.state.value, i.source) for i in found]
    again.abandon()
    agent.journal.close()
    assert [each for each in told if each[1] == "unknown" or each[2] == "hub"] == [
        (7, "unknown", "hub"),
        (205, "running", "hub"),
        (208, "unknown", "hub"),  # from the reading that was kept, for the hub forgot the last
        (510, "running", "hub"),
    ]
