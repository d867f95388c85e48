"""A journal stays inside its budget, WAL and all, and every unsettled entry forced out is counted.

Settled entries go first, then the oldest; under `refuse` an entry that was stored never goes.
"""

import sqlite3

import pytest

from gateway.journal import Drop, JournalError, JournalFull, NewEntry
from tests.gateway.journal.conftest import DAY_S, MIB, entry


def bytes_on_disk(path):
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def announced(drops):
    return [NewEntry("", 0, repr((d.first, d.last, d.samples)).encode(), 0) for d in drops]


def keep_time(journal, clock):
    """Let the journal see a quarter of an hour without a leap."""
    for _ in range(16):
        journal.append([])
        clock.pass_s(60)


def append_until_refused(journal, clock):
    for _ in range(1000):
        clock.pass_s(60)
        try:
            journal.append([entry(1, size=8000)], {"mark": str(journal.next).encode()})
        except JournalFull:
            return
    pytest.fail("nothing was refused")


def test_files_never_exceed_the_budget_and_every_dropped_sample_is_counted(opened, path):
    journal = opened(bytes_max=2 * MIB)
    appended = 0
    for number in range(150):
        journal.append([entry(number, size=1000, count=3) for _ in range(40)])
        appended += 40 * 3
        assert bytes_on_disk(path) <= 2 * MIB

    held = journal.read(1, 100_000, 1 << 30)
    stats = journal.stats()
    assert sum(e.count for e in held) + stats.dropped_samples == appended
    assert stats.dropped == {"budget": stats.dropped_samples}
    assert [e.offset for e in held] == list(range(journal.first, journal.next))
    assert sum(len(e.body) for e in held) > MIB / 2
    assert (stats.entries, stats.unsettled) == (len(held), len(held))
    assert stats.bytes == bytes_on_disk(path)


def test_drops_join_to_one_range_that_reaches_up_to_the_oldest_entry_held(opened):
    journal = opened(bytes_max=MIB)
    for number in range(100):
        journal.append([entry(number, size=8000)])

    (drop,) = journal.drops()

    assert drop == Drop(1, journal.first - 1, journal.first - 1, journal.first - 1, "budget")


def test_a_reader_that_never_ends_cannot_make_the_wal_outgrow_the_budget(opened, path):
    journal = opened(bytes_max=2 * MIB)
    journal.append([entry(0)])
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM entries").fetchall()

    def append_on_and_on():
        for number in range(1000):
            journal.append([entry(number, size=1000) for _ in range(40)])
            assert bytes_on_disk(path) <= 2 * MIB

    with pytest.raises(JournalError, match="another program keeps reading"):
        append_on_and_on()
    held = journal.next

    reader.close()
    assert journal.append([entry(1)]) == held


def test_settled_entries_make_room_before_any_unsettled_one_is_dropped(opened):
    journal = opened(bytes_max=MIB)
    for number in range(20):
        journal.append([entry(number, size=8000)])
    journal.settle([(9, 20)])

    for number in range(10):
        journal.append([entry(number, size=8000)])

    assert journal.stats().dropped_samples == 0
    assert journal.stats().entries < 30
    assert {e.offset for e in journal.unsettled(1, 100)} == {*range(1, 9), *range(21, 31)}


def test_announcements_follow_the_drop_in_the_same_transaction_and_stay_longest(opened):
    journal = opened(bytes_max=MIB)
    for number in range(150):
        journal.append([entry(number, size=8000, count=2)], declare=announced)

    held = journal.read(1, 1000, 1 << 30)
    said = [eval(e.body) for e in held if e.count == 0]  # noqa: S307 - written above
    assert sum(samples for _, _, samples in said) == journal.stats().dropped_samples > 0
    gone = {offset for first, last, _ in said for offset in range(first, last + 1)}
    assert gone == set(range(1, journal.next)) - {e.offset for e in held}


def test_a_drop_that_nobody_announced_yet_is_announced_after_a_restart(opened):
    journal = opened()
    journal.append([entry(1)], lost=[Drop(0, 0, 0, 5, "buffer")])  # Without anyone to announce.
    journal.append([entry(2)], lost=[Drop(0, 0, 0, 7, "buffer")], declare=lambda _: ())
    journal.close()
    told = []

    opened().append([entry(3)], declare=lambda drops: told.extend(drops) or announced(drops))
    journal.close()

    assert told == [Drop(0, 0, 0, 7, "buffer")]


def test_entries_older_than_the_budget_allows_are_dropped_by_age(opened, clock):
    journal = opened(age_max_s=DAY_S)
    journal.append([NewEntry("mc-100", clock.at_ms, b"old", 4)])
    clock.pass_s(DAY_S / 2)
    journal.append([NewEntry("mc-100", clock.at_ms, b"young", 4)])
    clock.pass_s(DAY_S / 2 + 1)
    keep_time(journal, clock)

    assert [e.body for e in journal.read(1, 10)] == [b"young"]
    assert journal.drops() == [Drop(1, 1, 1, 4, "age")]


def test_a_clock_that_leaps_and_is_corrected_costs_nothing(opened, clock):
    journal = opened(age_max_s=DAY_S)
    journal.append([entry(1)])
    keep_time(journal, clock)

    clock.pass_s(365 * DAY_S)
    for _ in range(5):
        journal.append([])
        clock.pass_s(60)
    clock.pass_s(-365 * DAY_S)
    journal.append([])

    assert journal.stats().dropped_samples == 0
    clock.pass_s(365 * DAY_S)
    keep_time(journal, clock)
    assert journal.stats().dropped == {"age": 1}


def test_settled_entries_stay_for_their_time_and_then_go(opened, clock):
    journal = opened(keep_settled_s=DAY_S)
    journal.append([entry(1), entry(2)])
    journal.settle([(1, 1)])
    clock.pass_s(DAY_S * 0.9)
    journal.append([])
    assert [e.offset for e in journal.read(1, 10)] == [1, 2]

    clock.pass_s(DAY_S * 0.2)
    journal.append([])

    assert [e.offset for e in journal.read(1, 10)] == [2]
    assert (journal.first, journal.stats().entries, journal.stats().unsettled) == (2, 1, 1)


def test_a_journal_that_refuses_keeps_what_it_stored_and_goes_on_once_it_is_settled(opened, clock):
    journal = opened(bytes_max=MIB, when_full="refuse", age_max_s=1)
    append_until_refused(journal, clock)
    stored = journal.next - 1
    assert [e.offset for e in journal.unsettled(1, 1000)] == list(range(1, stored + 1))
    with pytest.raises(JournalFull):
        journal.append([entry(0, size=8000)])

    journal.settle([(1, 10)])

    assert journal.append([entry(0, size=8000)]) == stored + 1
    assert {e.offset for e in journal.unsettled(1, 1000)} == set(range(11, stored + 2))
    assert journal.stats().dropped_samples == 0


def test_a_refused_append_leaves_no_trace(opened, clock):
    journal = opened(bytes_max=MIB, when_full="refuse")
    append_until_refused(journal, clock)

    assert journal.facts() == {"mark": str(journal.next - 1).encode()}


def test_a_batch_larger_than_a_transaction_may_be_is_refused_with_the_limit(opened):
    journal = opened(bytes_max=MIB)

    with pytest.raises(JournalFull, match=f"{journal.batch_bytes_max} bytes"):
        journal.append([entry(1, size=journal.batch_bytes_max)])
    journal.append([entry(1, key="", size=journal.batch_bytes_max)])


def test_what_is_free_is_what_can_be_appended_before_anything_is_lost(opened):
    journal = opened(bytes_max=4 * MIB)
    free = journal.stats().bytes_free
    appended = 0
    while not journal.stats().dropped_samples:
        journal.append([entry(1, size=1000) for _ in range(20)])
        appended += 20 * 1000

    assert 0.65 * free < appended < 1.1 * free  # Pages are never quite full.


def test_a_budget_too_small_for_any_data_is_refused(opened):
    with pytest.raises(ValueError, match="at least"):
        opened(bytes_max=100_000)


def test_a_full_journal_still_takes_facts(opened, clock, path):
    journal = opened(bytes_max=MIB, when_full="refuse")
    append_until_refused(journal, clock)

    for number in range(50):
        journal.append([], {f"mark/{number}": b"x" * 100})

    assert len(journal.facts("mark/")) == 50
    assert bytes_on_disk(path) <= MIB
