"""A machine that was renamed has one history: everything of all its ids, each thing once."""

import math

import numpy as np
import pytest

from gateway.model import State
from hub.columns import Columns, SeriesIndex, StateChange
from hub.coordination.shop_floor.joined_history import JoinedHistory, join_states
from hub.historian import Span, StateInterval, WriteBatch, open_historian

T0 = 1_795_000_000_000 // 3_600_000 * 3_600_000
NEW, OLD = ("ota", "mc-9"), ("ota", "mc-1")
FORMER = {NEW: [OLD]}


class Past:
    """A real historian with what two ids said."""

    def __init__(self, historian, index):
        self.historian, self.index = historian, index
        self.joined = JoinedHistory(historian, lambda *key: FORMER.get(key, []))

    def say(self, key, rows, states=()):
        """Write values (second, value) of signal rpm, and states (second, state)."""
        series = self.index.id(*key, "rpm")
        text = {i: v for i, (_, v) in enumerate(rows) if isinstance(v, str)}
        columns = Columns(
            series=np.full(len(rows), series, np.int32),
            time_ms=np.array([T0 + 1000 * s for s, _ in rows], np.int64),
            value=np.array([math.nan if isinstance(v, str) else v for _, v in rows], float),
            quality=np.zeros(len(rows), np.uint8),
            reason=np.zeros(len(rows), np.uint8),
            message=np.zeros(len(rows), np.int32),
            text=text,
        )
        told = [StateChange(*key, T0 + 1000 * s, state) for s, state in states]
        self.historian.write(WriteBatch(columns, told))

    def values(self, span, *, points_max=1000, raw=False, key=NEW):
        return self.joined.range(*key, "rpm", span, points_max=points_max, raw=raw)


@pytest.fixture
def past(tmp_path):
    index = SeriesIndex()
    engine = open_historian(tmp_path, index, memory_mib=64, raw_days=30, rollup_days=400)
    yield Past(engine, index)
    engine.close()


HOUR = Span(T0, T0 + 3_600_000)


def test_values_of_both_ids_come_in_order_of_time(past):
    past.say(OLD, [(1, 1.0), (3, 3.0)])
    past.say(NEW, [(2, 2.0), (4, 4.0)])

    assert [row[1] for row in past.values(HOUR).rows] == [1.0, 2.0, 3.0, 4.0]


def test_a_machine_that_never_moved_is_read_as_ever(past):
    past.say(OLD, [(1, 1.0)])

    assert past.values(HOUR, key=OLD) == past.historian.range(
        *OLD, "rpm", HOUR, points_max=1000, raw=False
    )
    assert past.values(HOUR, key=("ota", "none")) is None


def test_pages_neither_skip_nor_repeat(past):
    past.say(OLD, [(s, float(s)) for s in range(0, 40, 2)])
    past.say(NEW, [(s, float(s)) for s in range(1, 40, 2)])

    found, span = [], HOUR
    while True:
        page = past.values(span, points_max=7, raw=True)
        found += [row[1] for row in page.rows]
        assert len(page.rows) <= 7
        if page.next_ms is None:
            break
        span = Span(page.next_ms, HOUR.to_ms)

    assert found == [float(s) for s in range(40)]


@pytest.mark.parametrize("few", [OLD, NEW])
def test_buckets_hold_what_both_ids_said(past, few):
    many = NEW if few == OLD else OLD
    past.say(many, [(s, 10.0) for s in range(600)])
    past.say(few, [(s, 40.0) for s in range(60)])
    past.historian.maintain(T0 + 3_600_000)

    found = past.values(HOUR, points_max=100)

    assert found.bucket_ms == 60_000
    first = dict(zip(found.columns, found.rows[0], strict=True))
    assert (first["n"], first["mean"], first["min"], first["max"]) == (120, 25.0, 10.0, 40.0)
    assert first["last"] == (40.0 if few == NEW else 10.0)
    assert found.rows[1][1:6] == (10.0, 10.0, 10.0, 10.0, 60)
    assert found.rows[30][1:6] == (None, None, None, None, 0)
    assert sum(row[5] for row in found.rows) == 660


def test_text_is_joined_too(past):
    past.index.describe(past.index.id(*OLD, "rpm"), unit=None, kind="string")
    past.index.describe(past.index.id(*NEW, "rpm"), unit=None, kind="string")
    past.say(OLD, [(1, "A1")])
    past.say(NEW, [(2, "A2")])

    assert [row[1] for row in past.values(HOUR).rows] == ["A1", "A2"]


def test_counters_add_up_over_both_ids(past):
    past.say(OLD, [(1, 100.0), (2, 110.0)])
    past.say(NEW, [(3, 0.0), (4, 5.0)])

    assert past.joined.counted(*NEW, "rpm", HOUR) == 15.0


def test_states_follow_each_other_without_gap_or_overlap(past):
    past.say(OLD, [(0, 1.0)], [(0, State.RUNNING), (60, State.IDLE), (200, State.UNKNOWN)])
    past.say(NEW, [(100, 1.0)], [(100, State.SETUP), (160, State.RUNNING)])

    found = past.joined.states(*NEW, HOUR)

    assert [(s.start_ms - T0, s.end_ms and s.end_ms - T0, s.state.value) for s in found] == [
        (0, 60_000, "running"),
        (60_000, 100_000, "idle"),
        (100_000, 160_000, "setup"),
        (160_000, None, "running"),
    ]


def test_states_of_an_id_not_yet_spoken_under_are_the_old_ones():
    old = [StateInterval(5, None, State.IDLE, "", "", "edge")]

    assert join_states([[], old]) == old
    assert join_states([old, []]) == old


def test_everything_else_is_the_historians_own_affair(past):
    assert past.joined.health() == past.historian.health()
