"""What was appended is there after a restart, in order, numbered 1, 2, 3 …, until it is settled."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.journal import Journal, JournalError
from tests.gateway.journal.conftest import entry


def test_entries_are_numbered_from_one_and_read_back_as_written(opened):
    journal = opened()

    assert journal.append([entry(1), entry(2, key="", count=0)]) == 1
    assert journal.append([entry(3)]) == 3

    assert [(e.offset, e.key, e.time_ms, e.body, e.count) for e in journal.read(1, 10)] == [
        (number, new.key, new.time_ms, new.body, new.count)
        for number, new in enumerate([entry(1), entry(2, key="", count=0), entry(3)], start=1)
    ]
    assert (journal.first, journal.next) == (1, 4)


def test_everything_is_there_after_a_restart(opened):
    journal = opened()
    journal.append([entry(1), entry(2)], {"alias/128": b"mc-100"})
    epoch = journal.epoch
    journal.settle([(1, 1)])
    journal.close()

    again = opened()

    assert again.epoch == epoch
    assert [e.offset for e in again.unsettled(1, 10)] == [2]
    assert [e.offset for e in again.read(1, 10)] == [1, 2]
    assert again.facts() == {"alias/128": b"mc-100"}


def test_a_closed_journal_says_so(opened):
    journal = opened()
    journal.close()

    with pytest.raises(JournalError, match="closed"):
        journal.append([entry(1)])
    with pytest.raises(JournalError, match="closed"):
        journal.read(1, 1)


def test_offsets_are_never_used_again_even_when_nothing_is_left(opened, clock):
    journal: Journal = opened(keep_settled_s=0)
    journal.append([entry(1), entry(2)])
    journal.settle([(1, 2)])
    clock.pass_s(1)
    journal.append([])
    assert (journal.first, journal.next) == (3, 3)
    journal.close()

    again = opened(keep_settled_s=0)

    assert (again.first, again.next) == (3, 3)
    assert again.append([entry(3)]) == 3


def test_other_threads_read_and_settle_while_one_appends(opened):
    journal: Journal = opened(bytes_max=16 * 1024 * 1024)
    done = threading.Event()

    def append():
        try:
            for number in range(1, 1001, 5):
                journal.append([entry(number + n, size=500) for n in range(5)])
        finally:
            done.set()

    def settle_and_read():
        settled = 0
        while not done.is_set() or settled < 1000:
            held = journal.unsettled(1, 50)
            assert [e.offset for e in held] == list(range(settled + 1, settled + len(held) + 1))
            assert all(e.body == entry(e.offset, size=500).body for e in held)
            journal.settle([(settled + 1, settled + len(held))])
            settled += len(held)
            assert journal.stats().unsettled >= 0
        return settled

    with ThreadPoolExecutor(3) as threads:
        writer, settler = threads.submit(append), threads.submit(settle_and_read)
        reader = threads.submit(lambda: [journal.read(1, 10_000) for _ in range(50)])
        writer.result()
        assert settler.result() == 1000
        for held in reader.result():
            assert [e.offset for e in held] == list(range(1, len(held) + 1))
    assert journal.stats().unsettled == 0


def test_the_facts_of_the_journal_itself_are_not_for_others(opened):
    journal = opened()

    assert journal.facts() == {}
    with pytest.raises(ValueError, match="journal's own"):
        journal.append([], {"journal/epoch": b"1"})
    journal.append([], {"a/1": b"x", "a/2": b"y", "b": b"z"})
    journal.append([], {"a/1": None})
    assert journal.facts("a/") == {"a/2": b"y"}


def test_reading_stops_at_the_bytes_asked_for_but_gives_one_entry_at_least(opened):
    journal = opened()
    journal.append([entry(number, size=1000) for number in range(1, 11)])

    assert [e.offset for e in journal.read(1, 100, bytes_max=2500)] == [1, 2, 3]
    assert [e.offset for e in journal.read(5, 100, bytes_max=1)] == [5]
    assert [e.offset for e in journal.unsettled(2, 3)] == [2, 3, 4]
    assert journal.read(11, 100) == []


def test_settling_what_is_not_written_yet_has_no_effect_on_it(opened):
    journal = opened()
    journal.append([entry(1)])
    journal.settle([(0, 5)])

    journal.append([entry(2)])

    assert [e.offset for e in journal.unsettled(1, 10)] == [2]
    assert journal.stats().unsettled == 1
