"""The ledger: what the simulation counted, what agents committed, what the historian holds.

Read from the files themselves once everything has stopped: the agents' journals (which keep what
is settled for a day), and the historian's raw rows through an own connection to the database.
"""

import itertools
import json
from collections import Counter
from dataclasses import dataclass, field

import duckdb

from gateway.journal import Budget, Journal
from gateway.sparkplug import decode

READ_ENTRIES = 2_000
SIGNAL = "step"


@dataclass
class Ledger:
    """Counts over all step counters; everything but `expected` and `committed` should be 0."""

    expected: int = 0
    committed: int = 0
    lost: int = 0
    duplicates: int = 0
    order_violations: int = 0
    declared_drops: int = 0
    foreign_rows: int = 0
    rows: int = 0
    examples: list = field(default_factory=list)

    @property
    def uncommitted(self):
        return self.expected - self.committed


def settle_up(plant, first_steps, last_steps, rows):
    """Compare the three books of every machine.

    `first_steps` and `last_steps` are the simulation's counts when the run began and ended.
    `rows` are the raw rows by machine, in the order in which they were stored.
    """
    ledger = Ledger()
    committed = {}
    for site, agent in plant.agents.items():
        del agent
        found, dropped = committed_steps(plant.folder / "configs" / f"agent-{site}")
        ledger.declared_drops += dropped
        committed |= {(site, machine): steps for machine, steps in found.items()}
    for key in plant.machines:
        _compare(ledger, key, committed.get(key, Counter()), rows.get(key, []))
        ledger.expected += last_steps[key] - first_steps[key]
        inside = range(first_steps[key] + 1, last_steps[key] + 1)
        ledger.committed += sum(1 for step in committed.get(key, ()) if step in inside)
    return ledger


def _compare(ledger, key, committed, rows):
    stored = Counter(step for _, step in rows)
    missing = committed - stored
    extra = stored - committed
    ledger.rows += len(rows)
    ledger.lost += missing.total()
    ledger.duplicates += sum(min(count, stored[step] - 1) for step, count in extra.items())
    ledger.foreign_rows += sum(1 for step in extra if step not in committed)
    by_time = [step for _, step in sorted(rows)]
    backwards = sum(b < a for a, b in itertools.pairwise(by_time))
    ledger.order_violations += backwards
    if missing or extra or backwards:
        ledger.examples.append((key, sorted(missing)[:5], sorted(extra)[:5], backwards))


def committed_steps(folder):
    """Read what an agent committed: the steps of each machine, and how many samples it dropped."""
    path = folder / "outbox.db"
    journal = Journal.open(
        path,
        budget=Budget(1 << 30, 1e12, 1e12),
        when_full="refuse",
        now_ms=lambda: 0,
        random64=lambda: 1,
    )
    try:
        aliases = {
            int(name.removeprefix("alias/")): json.loads(fact)[:2]
            for name, fact in journal.facts("alias/").items()
        }
        steps = {}
        first = journal.first
        while entries := journal.read(first, READ_ENTRIES):
            for entry in entries:
                for metric in decode(entry.body).metrics:
                    machine, signal = aliases.get(metric.alias, (None, None))
                    if signal == SIGNAL and metric.value is not None:
                        steps.setdefault(machine, Counter())[int(metric.value)] += 1
            first = entries[-1].offset + 1
        return steps, sum(drop.samples for drop in journal.drops())
    finally:
        journal.close()


def stored_steps(folder):
    """Read the raw rows of every step counter: (time_ms, step) in the order of storing."""
    with duckdb.connect(str(folder / "history.duckdb"), read_only=True) as connection:
        found = connection.execute(
            "SELECT site, machine, ts_ms, value FROM sample JOIN series ON series.id = series "
            "WHERE signal = ? AND value IS NOT NULL",
            [SIGNAL],
        ).fetchall()
    rows = {}
    for site, machine, time_ms, value in found:
        rows.setdefault((site, machine), []).append((time_ms, int(value)))
    return rows
