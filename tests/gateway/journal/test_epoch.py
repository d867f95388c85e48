"""A journal that was copied begins a new epoch: what is unsettled gets new numbers, all of it."""

import pytest

from gateway.journal import Drop, NewEntry
from tests.gateway.journal.conftest import MIB, entry


def bodies(journal):
    return [(e.offset, e.body) for e in journal.unsettled(1, 100_000, 1 << 30)]


@pytest.mark.parametrize(
    "settled",
    [
        [],
        [(1, 10)],
        [(1, 3), (8, 9)],
        [(4, 4), (6, 10)],
        [(2, 2), (4, 4), (6, 6), (10, 10)],
    ],
)
def test_unsettled_entries_are_numbered_anew_without_a_gap_and_in_order(opened, settled):
    journal = opened()
    journal.append([entry(number) for number in range(1, 11)], {"bdseq": b"3"})
    journal.settle(settled)
    kept = [body for _, body in bodies(journal)]
    old = journal.epoch

    journal.begin_new_epoch(lambda: 77)

    assert (journal.epoch, old == 77) == (77, False)
    assert bodies(journal) == list(enumerate(kept, start=1))
    assert (journal.first, journal.next) == (1, len(kept) + 1)
    assert journal.append([entry(99)]) == len(kept) + 1
    journal.close()

    again = opened()
    assert again.epoch == 77
    assert [body for _, body in bodies(again)] == [*kept, entry(99).body]
    assert again.facts() == {"bdseq": b"3"}
    assert again.stats().unsettled == len(kept) + 1


def test_a_new_epoch_is_never_the_old_one(opened):
    journal = opened()
    numbers = iter([journal.epoch, journal.epoch, 5])

    journal.begin_new_epoch(lambda: next(numbers))

    assert journal.epoch == 5


def test_a_large_backlog_is_renumbered_within_the_budget(opened, path):
    journal = opened(bytes_max=4 * MIB)
    while journal.stats().bytes_free > 100_000:
        journal.append([entry(journal.next, size=2_000) for _ in range(30)])
    journal.settle([(offset, offset) for offset in range(1, journal.next, 3)])
    kept = [body for _, body in bodies(journal)]

    journal.begin_new_epoch(lambda: 77)

    assert bodies(journal) == list(enumerate(kept, start=1))
    assert sum(f.stat().st_size for f in path.parent.glob(f"{path.name}*")) <= 4 * MIB


def test_announcements_that_were_not_settled_are_made_again_without_the_old_numbers(opened):
    def announce(drops):
        return [NewEntry("", 0, repr(drop).encode(), 0) for drop in drops]

    journal = opened(bytes_max=MIB)
    while not journal.stats().dropped_samples:
        journal.append([entry(1, size=8000, count=3)], declare=announce)
    dropped = journal.stats().dropped_samples

    journal.begin_new_epoch(lambda: 77)

    assert all(e.count for e in journal.unsettled(1, 1000, 1 << 30))
    told = []
    journal.append([entry(2)], declare=lambda drops: told.extend(drops) or announce(drops))
    assert told == [Drop(0, 0, dropped // 3, dropped, "budget")]
    assert journal.stats().dropped_samples == dropped
