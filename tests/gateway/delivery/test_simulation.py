"""Whatever network, crashes and clocks do, every committed entry arrives once or is declared lost.

500 seeds in blocks, so that they can be spread over cores; every seed that ever failed is kept in
tests/cases/delivery-seeds and simulated again. The last tests make sure that the simulation can
fail, and that a seed always means the same run.
"""

from pathlib import Path

import pytest

from gateway.delivery.lineage import Lineage
from gateway.delivery.mark import Mark
from tests.gateway.delivery.simulation import FAULTS, run, simulate

SEEDS = 520
BLOCK = 20
CASES = Path(__file__).parents[2] / "cases" / "delivery-seeds" / "seeds.txt"


def kept_seeds():
    return [int(line.split()[0]) for line in CASES.read_text().splitlines() if line.strip()]


@pytest.mark.parametrize("start", range(0, SEEDS, BLOCK))
def test_nothing_is_lost_or_doubled_and_all_is_settled_in_the_end(start):
    report = run(BLOCK, start)

    assert not report.failures, next(iter(report.failures.values()))


@pytest.mark.parametrize("seed", kept_seeds())
def test_seeds_that_once_failed_hold(seed):
    simulate(seed)


def test_every_kind_of_fault_is_met():
    counts = run(60, 0).counts

    assert all(counts[kind] for kind in FAULTS)
    assert counts["lost"] > 100
    assert counts["duplicates refused"] > 100
    assert counts["dropped"] > 100


def test_a_seed_always_means_the_same_run():
    first, again = simulate(7), simulate(7)

    assert first.counts == again.counts
    assert list(first.log) == list(again.log)


def fails_soon():
    """Simulate until an invariant breaks."""
    return bool(run(150, 0, stop_at_first=True).failures)


def test_it_notices_a_hub_that_acknowledges_before_the_commit(monkeypatch):
    save = Mark.save

    def acknowledge_at_once(mark):
        fact = save(mark)
        mark.durable = mark.judged.copy()
        return fact

    monkeypatch.setattr(Mark, "save", acknowledge_at_once)

    assert fails_soon()


def test_it_notices_a_hub_that_stores_twice(monkeypatch):
    monkeypatch.setattr(Mark, "offer", lambda mark, offset: mark.offer_run([offset]) or True)

    assert fails_soon()


def test_it_notices_a_copied_journal_that_goes_on_under_the_same_numbers(monkeypatch):
    monkeypatch.setattr(Lineage, "is_forked", lambda _self, _claimed: False)

    assert fails_soon()
