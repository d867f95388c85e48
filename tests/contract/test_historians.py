"""What every historian promises: rows once, honest gaps, states with their carry-in, a cursor."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model import State
from gateway.sparkplug import names
from hub.columns import Columns, SeriesIndex, StateChange
from hub.historian import Cursor, Span, WriteBatch, open_historian

T0 = 1_795_000_000_000 // 3_600_000 * 3_600_000
"""Some full hour."""


@pytest.fixture
def index():
    return SeriesIndex()


@pytest.fixture(params=["duckdb"])
def historian(request, tmp_path, index):
    assert request.param == "duckdb"
    engine = open_historian(tmp_path, index, memory_mib=128, raw_days=30, rollup_days=400)
    yield engine
    engine.close()


def columns(index, rows, machine="mc-100"):
    """Build columns from (signal, time_ms, value or None or text, quality)."""
    batch = Columns(
        series=np.array([index.id("ota", machine, row[0]) for row in rows], np.int32),
        time_ms=np.array([row[1] for row in rows], np.int64),
        value=np.array([row[2] if isinstance(row[2], float) else math.nan for row in rows]),
        quality=np.array([row[3] for row in rows], np.uint8),
        reason=np.array([1 if row[3] else 0 for row in rows], np.uint8),
        message=np.zeros(len(rows), np.int32),
        text={i: row[2] for i, row in enumerate(rows) if isinstance(row[2], str)},
    )
    for name in {row[0] for row in rows if isinstance(row[2], str)}:
        index.describe(index.id("ota", machine, name), unit=None, kind="string")
    return batch


def read(historian, signal, span, *, points_max=1000, raw=False, machine="mc-100"):
    return historian.range("ota", machine, signal, span, points_max=points_max, raw=raw)


def test_what_was_written_is_read_back_raw_in_order_of_time(historian, index):
    rows = [("rpm", T0 + 2000, 2.0, 0), ("rpm", T0 + 1000, 1.0, 0), ("rpm", T0 + 3000, None, 2)]
    historian.write(WriteBatch(columns(index, rows)))

    found = read(historian, "rpm", Span(T0, T0 + 10_000))

    assert found.bucket_ms == 0
    assert found.columns == ("t", "value", "quality", "reason")
    assert found.rows == [(T0 + 1000, 1.0, 0, 0), (T0 + 2000, 2.0, 0, 0), (T0 + 3000, None, 2, 1)]


def test_a_range_includes_its_start_and_excludes_its_end(historian, index):
    historian.write(WriteBatch(columns(index, [("rpm", T0 + t, 1.0, 0) for t in (0, 1, 2)])))

    assert [row[0] for row in read(historian, "rpm", Span(T0, T0 + 2)).rows] == [T0, T0 + 1]


def test_more_rows_than_asked_for_say_where_to_go_on(historian, index):
    historian.write(WriteBatch(columns(index, [("rpm", T0 + t, float(t), 0) for t in range(10)])))

    first = read(historian, "rpm", Span(T0, T0 + 100), points_max=4, raw=True)
    rest = read(historian, "rpm", Span(first.next_ms, T0 + 100), points_max=40, raw=True)

    assert [row[1] for row in first.rows + rest.rows] == [float(t) for t in range(10)]
    assert rest.next_ms is None


def test_an_unknown_signal_is_none_and_a_quiet_one_is_empty(historian, index):
    historian.write(WriteBatch(columns(index, [("rpm", T0, 1.0, 0)])))

    assert read(historian, "speed", Span(T0, T0 + 1)) is None
    assert read(historian, "rpm", Span(T0 + 5, T0 + 9)).rows == []


def test_text_is_kept_as_text(historian, index):
    historian.write(WriteBatch(columns(index, [("job", T0, "A1042", 0), ("job", T0 + 5, "B", 1)])))

    assert read(historian, "job", Span(T0, T0 + 9)).rows == [
        (T0, "A1042", 0, 0),
        (T0 + 5, "B", 1, 1),
    ]


def test_gaps_are_rows_with_null_and_bad_rows_are_counted_apart(historian, index):
    rows = [("rpm", T0 + 1000 * s, float(s), 0) for s in range(60)]
    rows += [("rpm", T0 + 180_000 + s, None, 2) for s in range(5)]
    historian.write(WriteBatch(columns(index, rows)))

    found = read(historian, "rpm", Span(T0, T0 + 240_000), points_max=4)

    assert found.bucket_ms == 60_000
    assert found.rows == [
        (T0, 29.5, 0.0, 59.0, 59.0, 60, 0),
        (T0 + 60_000, None, None, None, None, 0, 0),
        (T0 + 120_000, None, None, None, None, 0, 0),
        (T0 + 180_000, None, None, None, None, 0, 5),
    ]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 7_199), st.floats(-1e6, 1e6), st.sampled_from([0, 0, 0, 1, 2])
            ),
            max_size=30,
        ),
        min_size=1,
        max_size=4,
    ),
    width_s=st.sampled_from([60, 300, 3600]),
)
def test_buckets_equal_what_is_computed_by_hand_before_and_after_rolling_up(
    tmp_path_factory, batches, width_s
):
    index = SeriesIndex()
    folder = tmp_path_factory.mktemp("history")
    historian = open_historian(folder, index, memory_mib=64, raw_days=30, rollup_days=400)
    seen = {}
    span = Span(T0, T0 + 7_200_000)
    points_max = 7200 // width_s
    for number, batch in enumerate(batches):
        fresh = {T0 + 1000 * s: (v, q) for s, v, q in batch if T0 + 1000 * s not in seen}
        seen.update(fresh)
        rows = [("kw", t, None if q == 2 else v, q) for t, (v, q) in fresh.items()]
        rows.append(("other", T0, 1.0, 0))
        historian.write(WriteBatch(columns(index, rows)))
        if number % 2:
            historian.maintain(T0 + 4_000_000)
        if not seen:
            continue
        found = historian.range("ota", "mc-100", "kw", span, points_max=points_max, raw=False)
        if found.bucket_ms:
            assert_buckets(found.rows, seen, found.bucket_ms)
        else:
            assert len(found.rows) == len(seen)
    historian.close()


def assert_buckets(rows, seen, width_ms):
    for start, mean, low, high, last, n, bad_n in rows:
        inside = sorted((t, v, q) for t, (v, q) in seen.items() if start <= t < start + width_ms)
        good = [v for _, v, q in inside if q < 2]
        assert n == len(good)
        assert bad_n == len(inside) - len(good)
        assert (low, high, last) == ((min(good), max(good), good[-1]) if good else (None,) * 3)
        assert mean is None if not good else mean == pytest.approx(sum(good) / n, abs=1e-6)


def test_the_state_before_the_range_is_carried_in_and_the_last_one_is_open(historian):
    def change(time_ms, state):
        return StateChange("ota", "mc-100", time_ms, state, "", f"evidence for {state}")

    changes = [change(T0, State.IDLE), change(T0 + 50, State.RUNNING), change(T0 + 90, State.DOWN)]
    historian.write(WriteBatch(Columns.empty(), changes))

    found = historian.states("ota", "mc-100", Span(T0 + 10, T0 + 80))

    assert [(i.start_ms, i.end_ms, i.state) for i in found] == [
        (T0 + 10, T0 + 50, State.IDLE),
        (T0 + 50, None, State.RUNNING),
    ]
    assert found[1].evidence == "evidence for running"
    assert historian.states("ota", "other", Span(T0, T0 + 80)) == []


def test_a_counter_is_summed_across_its_resets(historian, index):
    values = [5.0, 9.0, 12.0, 2.0, 3.0]
    rows = [("parts", T0 + 10 * i, value, 0) for i, value in enumerate(values)]
    historian.write(WriteBatch(columns(index, rows)))

    assert historian.counted("ota", "mc-100", "parts", Span(T0, T0 + 100)) == 4 + 3 + 2 + 1


def test_cursor_and_marks_survive_closing_and_opening(tmp_path, index):
    historian = open_historian(tmp_path, index, memory_mib=64, raw_days=30, rollup_days=400)
    assert historian.cursor() is None
    batch = columns(index, [("rpm", T0, 1.0, 0), ("job", T0, "A", 0)])
    historian.write(WriteBatch(batch, (), Cursor(2**64 - 1, 17), {"mark/ota": b"\x00\x01"}))
    historian.close()
    historian.close()

    again = open_historian(tmp_path, SeriesIndex(), memory_mib=64, raw_days=30, rollup_days=400)

    assert again.cursor() == Cursor(2**64 - 1, 17)
    assert again.marks() == {"mark/ota": b"\x00\x01"}
    assert {(row.signal, row.value) for row in again.latest()} == {("rpm", 1.0), ("job", "A")}
    again.close()


def test_the_newest_value_of_each_signal_restores_live_state(historian, index):
    rows = [("rpm", T0, 1.0, 0), ("rpm", T0 + 9, 3.0, 0), ("rpm", T0 + 5, 2.0, 0)]
    rows += [("kw", T0, 7.0, 0), ("kw", T0 + 1, None, 2)]
    historian.write(WriteBatch(columns(index, rows)))

    found = {row.signal: (row.time_ms, row.value, row.quality) for row in historian.latest()}

    assert found == {"rpm": (T0 + 9, 3.0, 0), "kw": (T0 + 1, None, 2)}


def test_raw_samples_are_forgotten_after_their_time_and_roll_ups_later(historian, index):
    historian.write(
        WriteBatch(columns(index, [("rpm", T0 + 1000 * s, 1.0, 0) for s in range(120)]))
    )
    historian.maintain(T0 + 180_000)

    historian.maintain(T0 + 31 * 86_400_000)
    found = read(historian, "rpm", Span(T0, T0 + 7_200_000), points_max=2)
    assert read(historian, "rpm", Span(T0, T0 + 7_200_000), raw=True).rows == []
    historian.maintain(T0 + 401 * 86_400_000)
    gone = read(historian, "rpm", Span(T0, T0 + 7_200_000), points_max=2)

    assert [row[1] for row in found.rows] == [1.0, None]
    assert [row[1] for row in gone.rows] == [None, None]


def test_the_state_last_said_restores_live_state(historian):
    changes = [
        StateChange("ota", "mc-100", T0, State.IDLE, "", "power 0.2 < 1"),
        StateChange("ota", "mc-100", T0 + 9, State.DOWN, "machine-alarm", "alarm"),
        StateChange("ota", "mc-200", T0 + 5, State.RUNNING, "", "rpm 900 > 50"),
    ]
    historian.write(WriteBatch(Columns.empty(), changes))

    found = {(row.machine, row.signal): (row.time_ms, row.value) for row in historian.latest()}

    assert found == {
        ("mc-100", names.STATE): (T0 + 9, "down"),
        ("mc-100", names.STATE_REASON): (T0 + 9, "machine-alarm"),
        ("mc-100", names.STATE_EVIDENCE): (T0 + 9, "alarm"),
        ("mc-200", names.STATE): (T0 + 5, "running"),
        ("mc-200", names.STATE_REASON): (T0 + 5, ""),
        ("mc-200", names.STATE_EVIDENCE): (T0 + 5, "rpm 900 > 50"),
    }


def test_words_that_were_lost_are_gaps_and_large_numbers_stand_beside_small_ones(historian, index):
    rows = [("job", T0, "A1", 0), ("job", T0 + 5, None, 2), ("job", T0 + 9, "A2", 0)]
    historian.write(WriteBatch(columns(index, rows)))
    rows = [("total", T0, 7.0, 0), ("total", T0 + 5, "9007199254740993", 0)]
    batch = columns(index, rows)
    index.describe(index.id("ota", "mc-100", "total"), unit=None, kind="int64")
    historian.write(WriteBatch(batch))

    def values(signal):
        return [row[1] for row in read(historian, signal, Span(T0, T0 + 10)).rows]

    assert values("job") == ["A1", None, "A2"]
    assert values("total") == [7.0, "9007199254740993"]


def test_a_batch_that_cannot_be_written_leaves_nothing_and_can_come_again(historian, index):
    class UnreadableError(Exception):
        pass

    def unreadable():
        raise UnreadableError
        yield

    batch = columns(index, [("fresh", T0, 1.0, 0)])
    with pytest.raises(UnreadableError):
        historian.write(WriteBatch(batch, _Broken(unreadable)))

    assert read(historian, "fresh", Span(T0, T0 + 1)) is None
    historian.write(WriteBatch(batch))
    assert len(read(historian, "fresh", Span(T0, T0 + 1)).rows) == 1


class _Broken(list):
    """State changes that fail when they are looked at."""

    def __init__(self, fail):
        super().__init__([None])
        self._fail = fail

    def __iter__(self):
        return self._fail()


def test_minutes_apart_and_together_are_rolled_up_alike(historian, index):
    minutes = [0, 1, 2, 59, 60, 61, 180, 1500]
    rows = [("kw", T0 + 60_000 * m + s, float(m), 0) for m in minutes for s in range(4)]
    historian.write(WriteBatch(columns(index, rows)))
    historian.maintain(T0 + 2000 * 60_000)

    by_hour = read(historian, "kw", Span(T0, T0 + 26 * 3_600_000), points_max=26)

    assert by_hour.bucket_ms == 3_600_000
    assert [(i, row[1], row[5]) for i, row in enumerate(by_hour.rows) if row[5]] == [
        (0, 15.5, 16),
        (1, 60.5, 8),
        (3, 180.0, 4),
        (25, 1500.0, 4),
    ]


def test_an_erased_machine_is_gone_and_its_neighbours_stay(historian, index):
    span = Span(T0, T0 + 60_000)
    for machine in ("mc-100", "mc-200"):
        rows = [("rpm", T0 + t, float(t), 0) for t in (0, 1000)] + [("job", T0, "A1", 0)]
        states = [StateChange("ota", machine, T0, State.RUNNING)]
        historian.write(WriteBatch(columns(index, rows, machine), states))

    historian.erase("ota", "mc-100")

    assert read(historian, "rpm", span) is None
    assert read(historian, "job", span) is None
    assert historian.states("ota", "mc-100", span) == []
    assert historian.counted("ota", "mc-100", "rpm", span) is None
    assert {latest.machine for latest in historian.latest()} == {"mc-200"}
    assert len(read(historian, "rpm", span, machine="mc-200").rows) == 2
    assert len(historian.states("ota", "mc-200", span)) == 1


def test_what_arrives_after_an_erasure_is_kept_as_new(historian, index):
    historian.write(WriteBatch(columns(index, [("rpm", T0, 1.0, 0)], "mc-100")))
    historian.write(WriteBatch(columns(index, [("rpm", T0, 2.0, 0)], "mc-200")))

    historian.erase("ota", "mc-100")
    historian.write(WriteBatch(columns(index, [("rpm", T0 + 5, 5.0, 0)], "mc-100")))
    historian.write(WriteBatch(columns(index, [("rpm", T0 + 6, 6.0, 0)], "mc-300")))

    span = Span(T0, T0 + 60_000)
    found = {
        m: read(historian, "rpm", span, machine=m).rows for m in ("mc-100", "mc-200", "mc-300")
    }
    assert found == {
        "mc-100": [(T0 + 5, 5.0, 0, 0)],
        "mc-200": [(T0, 2.0, 0, 0)],
        "mc-300": [(T0 + 6, 6.0, 0, 0)],
    }


def test_erasing_a_site_takes_all_its_machines_and_no_other_sites(historian, index):
    historian.write(WriteBatch(columns(index, [("rpm", T0, 1.0, 0)], "mc-100")))
    historian.write(WriteBatch(columns(index, [("rpm", T0, 1.0, 0)], "mc-200")))
    series = index.id("suwa", "mc-100", "rpm")
    there = columns(index, [("rpm", T0, 3.0, 0)])
    there.series[:] = series
    historian.write(WriteBatch(there))

    historian.erase("ota", None)

    assert {(latest.site, latest.machine) for latest in historian.latest()} == {("suwa", "mc-100")}


def test_erasing_what_is_not_there_changes_nothing(historian, index):
    historian.write(WriteBatch(columns(index, [("rpm", T0, 1.0, 0)])))

    historian.erase("ota", "never-seen")
    historian.erase("nowhere", None)

    assert len(historian.latest()) == 1
