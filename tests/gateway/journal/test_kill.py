"""A process that is killed at any moment loses nothing that its journal had acknowledged."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.journal import Budget, Journal, NewEntry

WRITER = """
import os, random, sys
from pathlib import Path
from gateway.journal import Budget, Journal, NewEntry

rng = random.Random(int(sys.argv[2]))
journal = Journal.open(
    Path(sys.argv[1]),
    budget=Budget(64 * 1024 * 1024, 1e9, 60),
    when_full="refuse",
    now_ms=lambda: 1_800_000_000_000,
    random64=lambda: 7,
)
while True:
    first = journal.next
    entries = [
        NewEntry("mc-100", 0, b"%d:" % (first + n) + rng.randbytes(rng.randrange(3000)), 1)
        for n in range(rng.randrange(1, 20))
    ]
    journal.append(entries, {"mark": str(first + len(entries) - 1).encode()})
    os.write(1, b"%d\\n" % (journal.next - 1))  # Acknowledged only now.
    if rng.random() < 0.2:
        journal.settle([(max(first - 50, 1), max(first - 30, 1))])
"""


def killed_after(path: Path, seed: int, lines: int, delay_s: float) -> int:
    """Let a process append, kill it, and return the last offset that it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(seed)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        try:
            process.wait(delay_s)
        except subprocess.TimeoutExpired:
            process.kill()
        told += process.stdout.read().splitlines(keepends=True)
    return int([line for line in told if line.endswith(b"\n")][-1])


@pytest.mark.timeout(120)
def test_what_was_acknowledged_survives_every_kill(tmp_path):
    rng = random.Random(3)
    path = tmp_path / "journal"
    acknowledged = 0
    for seed in range(12):
        acknowledged = killed_after(path, seed, rng.randrange(1, 30), rng.random() * 0.05)

        journal = Journal.open(
            path,
            budget=Budget(64 * 1024 * 1024, 1e9, 60),
            when_full="refuse",
            now_ms=lambda: 1_800_000_000_000,
            random64=lambda: 8,
        )
        assert (journal.set_aside, journal.epoch) == (None, 7)
        assert journal.next > acknowledged
        assert journal.facts() == {"mark": str(journal.next - 1).encode()}
        at = 1
        while entries := journal.read(at, 1000):
            assert [e.offset for e in entries] == list(range(at, at + len(entries)))
            assert all(e.body.startswith(b"%d:" % e.offset) for e in entries)
            at += len(entries)
        assert at == journal.next
        assert journal.append([NewEntry("mc-100", 0, b"%d:" % at, 1)], {"mark": b"%d" % at}) == at
        journal.close()
