"""What was appended is there after a restart, in order, numbered 1, 2, 3 …, until it is settled."""

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
