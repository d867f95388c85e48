"""The historian writer: each row once, whichever way it came; a dead engine holds up nobody."""

import numpy as np
import pytest

from hub.columns import Columns
from hub.historian.historian import HistorianUnavailableError
from hub.ingest import write
from hub.ingest.replay import Stored
from hub.ingest.write import Handover
from tests.hub.ingest.scenes import Agent, Clock, Hub


def part(first, last, rows=10):
    columns = Columns.empty().rows(np.zeros(0, np.bool_))
    if rows:
        columns = Columns(
            np.zeros(rows, np.int32),
            np.zeros(rows, np.int64),
            np.zeros(rows),
            np.zeros(rows, np.uint8),
            np.zeros(rows, np.uint8),
            np.zeros(rows, np.int32),
        )
    return Stored(first, last, 0, columns)


def test_what_follows_is_taken_in_order_and_stays_until_it_is_written():
    handover = Handover()
    parts = [part(1, 4), part(5, 5), part(6, 9)]
    for each in parts:
        handover.put(each)

    assert handover.take(0) == (parts, 0)
    assert handover.take(0) == (parts, 0)  # the write failed, so it is asked again
    assert handover.take(5) == (parts[2:], 5)
    assert handover.take(9) == ([], 9)


def test_what_did_not_fit_is_read_from_the_inbox_and_no_further():
    handover = Handover(rows_max=15)
    handover.put(part(1, 4))
    handover.put(part(5, 8))  # does not fit
    assert handover.take(4) == ([], 8)
    handover.put(part(9, 9))
    assert handover.take(4) == ([], 8)
    taken, _ = handover.take(8)
    assert [each.first for each in taken] == [9]


def test_a_write_takes_no_more_than_its_worth(monkeypatch):
    monkeypatch.setattr(write, "ROWS_PER_WRITE", 15)
    handover = Handover()
    for first in (1, 2, 3, 4):
        handover.put(part(first, first))

    assert [each.first for each in handover.take(0)[0]] == [1, 2]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.setattr(write.Writer, "_maintain", lambda _self: None)
    clock = Clock()
    hub, agent = Hub(tmp_path, now_ms=clock), Agent(tmp_path, now_ms=clock)
    agent.connect()
    yield hub, agent, clock
    hub.abandon()
    agent.journal.close()


def deliver(scene, values):
    hub, agent, clock = scene
    for value in values:
        agent.record("mc-1", ("count", float(value), clock.now_ms))
        agent.take(hub.step(agent.poll()))
        clock.now_ms += 250


def stored(hub):
    return [value for _, value in hub.stored("mc-1", "count")]


@pytest.mark.parametrize("rows_max", [0, 3, 1000])
def test_every_row_is_there_once_by_memory_or_by_the_inbox(scene, rows_max):
    hub, *_ = scene
    hub.pipeline._writer._handover._rows_max = rows_max
    deliver(scene, range(5))
    hub.write()
    deliver(scene, range(5, 12))
    hub.write()
    hub.write()

    assert stored(hub) == list(range(12))
    assert hub.inbox.read_after(hub.inbox.next - 1, 1) == []
    assert hub.counters.backlog_entries == 0


def test_a_dead_historian_holds_up_neither_acknowledgements_nor_live_state(scene, monkeypatch):
    hub, agent, clock = scene

    def refuse(_batch):
        raise HistorianUnavailableError("disk full", 0.0)

    monkeypatch.setattr(hub.historian, "write", refuse)
    deliver(scene, range(5))
    hub.write()
    clock.now_ms += 1000
    agent.take(hub.step(agent.poll()))

    assert hub.values("mc-1")["count"] == 4.0
    assert agent.sender.status().settled == 5
    assert hub.alarm_codes() == {"historian-unavailable"}
    assert hub.counters.backlog_entries == 5
    assert hub.counters.backlog_ms > 0

    monkeypatch.undo()
    hub.write()
    assert stored(hub) == list(range(5))
    assert hub.alarm_codes() == set()
    assert hub.counters.backlog_entries == 0


def test_a_write_that_succeeded_before_the_hub_died_is_not_repeated(scene, tmp_path):
    hub, _, clock = scene
    deliver(scene, range(5))
    hub.pipeline._inbox.written = lambda _offset: None  # the note is lost with the power
    hub.write()
    hub.inbox.close()
    hub.historian.close()

    again = Hub(tmp_path, now_ms=clock, seed=2)
    again.write()
    assert stored(again) == list(range(5))
    again.abandon()


def test_a_write_that_succeeded_although_it_seemed_to_fail_is_not_repeated(scene, monkeypatch):
    hub, *_ = scene
    truly = hub.historian.write

    def write_and_fail(batch):
        truly(batch)
        raise HistorianUnavailableError("the answer was lost", 0.0)

    monkeypatch.setattr(hub.historian, "write", write_and_fail)
    deliver(scene, range(3))
    hub.write()
    monkeypatch.undo()
    hub.write()

    assert stored(hub) == [0, 1, 2]


def test_surprises_of_the_engine_do_not_end_the_writer(scene, monkeypatch, caplog):
    hub, *_ = scene
    monkeypatch.setattr(write, "RETRY_S", 0.0)
    monkeypatch.setattr(hub.historian, "write", lambda _batch: 1 / 0)
    deliver(scene, range(2))
    hub.write()
    assert "unexpected" in caplog.text

    monkeypatch.undo()
    monkeypatch.setattr(write, "RETRY_S", 0.0)
    hub.write()
    assert stored(hub) == [0, 1]
