"""Whatever the moment of a power cut: the journal opens, and what was acknowledged is in it.

Images are built by powercut.py from the recorded I/O of a seeded run that appends, settles, drops,
checkpoints, reopens and turns the epoch. A run with ``synchronous = NORMAL`` shows that the
simulator finds losses where there are some.
"""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.journal import Budget, Journal, NewEntry
from tests.gateway.journal.powercut import ApswConnection, Event, RecordingVfs, images

NOW_MS = 1_800_000_000_000
MIB = 1024 * 1024
BUDGET = Budget(MIB, age_max_s=30 * 86_400, keep_settled_s=3_600)


@dataclass
class Known:
    """What the journal had acknowledged when an operation returned."""

    events: int
    epoch: int
    next: int
    settled: frozenset[tuple[int, int]]  # (epoch, offset)


@dataclass
class Run:
    """A seeded life of a journal, and what was known after each step."""

    events: list[Event]
    known: list[Known]
    bodies: dict[tuple[int, int], bytes] = field(default_factory=dict)
    asked: list[tuple[int, int, int]] = field(default_factory=list)  # (events, epoch, offset)
    dropped: int = 0
    turns: list[tuple[int, int]] = field(default_factory=list)  # (events before, new epoch)


def open_journal(path: Path, clock: list[int], connect=None) -> Journal:
    options = {"connect": connect} if connect else {}
    numbers = random.Random(len(clock))
    clock.append(clock[-1])
    return Journal.open(
        path,
        budget=BUDGET,
        when_full="drop_oldest",
        now_ms=lambda: clock[-1],
        random64=lambda: numbers.getrandbits(64),
        **options,
    )


def lived(directory: Path, seed: int, steps: int, connect=None, *, turn: bool = False) -> Run:
    """Record a run of `steps` random operations."""
    vfs = RecordingVfs()
    rng = random.Random(seed)
    clock = [NOW_MS]
    connect = connect(vfs) if connect else vfs.connect
    journal = open_journal(directory / "journal", clock, connect)
    run = Run(vfs.events, [])
    number = 0

    def note() -> None:
        settled = frozenset((epoch, offset) for _, epoch, offset in run.asked)
        run.known.append(Known(len(vfs.events), journal.epoch, journal.next, settled))

    note()
    for step in range(steps):
        clock[-1] += rng.randrange(60_000)
        what = rng.choices(["append", "settle", "reopen"], [8, 3, 0.4])[0]
        if what == "append":
            entries = []
            for _ in range(rng.randrange(1, 7)):
                number += 1
                body = f"{number} ".encode() + rng.randbytes(rng.choice([80, 400, 2_000, 9_000]))
                entries.append(NewEntry("mc-100", clock[-1], body, 3))
            before = journal.next
            for offset, entry in enumerate(entries, start=before):
                run.bodies[journal.epoch, offset] = entry.body
            last = str(before + len(entries) - 1).encode()
            assert journal.append(entries, {"last": last, f"fact/{number % 7}": last}) == before
        elif what == "settle" and journal.next > 1:
            first = max(journal.next - rng.randrange(1, 20), 1)
            last = min(first + rng.randrange(10), journal.next - 1)
            run.asked += [(len(vfs.events), journal.epoch, o) for o in range(first, last + 1)]
            journal.settle([(first, last)])
        elif what == "reopen":
            journal.close()
            journal = open_journal(directory / "journal", clock, connect)
        if turn and step == steps // 2:
            kept = journal.unsettled(1, 10_000, 1 << 30)
            run.turns.append((len(vfs.events), 0))
            journal.begin_new_epoch(lambda: seed + 1)
            run.turns[-1] = (run.turns[-1][0], journal.epoch)
            for offset, entry in enumerate(kept, start=1):
                run.bodies[journal.epoch, offset] = entry.body
        note()
    run.dropped = journal.stats().dropped_samples
    journal.close()
    return run


def broken_promises(run: Run, played: int, files: dict[str, bytes], directory: Path) -> list[str]:
    """Open one image and list what it fails to keep."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    known = [known for known in run.known if known.events <= played]
    try:
        journal = open_journal(directory / "journal", [NOW_MS])
    except Exception as error:  # noqa: BLE001 - whatever keeps it shut is a broken promise
        return [f"does not open: {error!r}"]
    try:
        return list(_unkept(run, played, known[-1] if known else None, journal))
    finally:
        journal.close()


def _unkept(run: Run, played: int, known: Known | None, journal: Journal) -> Iterator[str]:
    if journal.set_aside is not None:
        yield "was taken for damaged"
    if known is None:
        return  # The journal itself was not made yet.
    turning = any(known.events <= at <= played and new == journal.epoch for at, new in run.turns)
    if journal.epoch != known.epoch and not turning:
        yield "has another epoch"
        return
    if journal.next < known.next and not turning:
        yield f"lost entries: next is {journal.next}, {known.next} was acknowledged"
    yield from _unkept_entries(run, played, journal)
    marks = not run.turns and known.next > 1
    if marks and journal.facts().get("last") != str(journal.next - 1).encode():
        yield "has facts of another transaction than its entries"
    following = journal.next
    if journal.append([NewEntry("mc-100", NOW_MS, b"after the cut", 1)]) != following:
        yield "does not go on where it was"


def _unkept_entries(run: Run, played: int, journal: Journal) -> Iterator[str]:
    held = {entry.offset: entry for entry in journal.read(1, 100_000, 1 << 30)}
    dropped = {o for drop in journal.drops() for o in range(drop.first, drop.last + 1)}
    asked = {o for at, epoch, o in run.asked if epoch == journal.epoch and at <= played}
    if missing := set(range(1, journal.next)) - held.keys() - dropped - asked:
        yield f"misses {sorted(missing)} without a word"
    if any(run.bodies.get((journal.epoch, o)) != entry.body for o, entry in held.items()):
        yield "holds an entry that was never written so"
    unsettled = {entry.offset for entry in journal.unsettled(1, 100_000, 1 << 30)}
    if held.keys() - unsettled - asked:
        yield "takes for settled what was not"
    lost = sum(drop.samples for drop in journal.drops())
    if journal.stats().dropped_samples != lost or lost != 3 * len(dropped):
        yield "counts its drops wrongly"


@pytest.fixture
def memory_directory() -> Iterator[Path]:
    """A directory in memory where there is one: the images need no real disk."""
    shared = Path("/dev/shm")  # noqa: S108 - only its speed is wanted; the directory is private
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as directory:
        yield Path(directory)


def examine(
    run: Run,
    directory: Path,
    seed: int,
    *,
    first: int = 0,
    last: int | None = None,
    every: int = 1,
) -> tuple[int, list[str]]:
    """Open the images of a run; count them and list those that break a promise."""
    count, broken = 0, []
    for played, survival, files in images(run.events[:last], seed, every):
        if played < first:
            continue
        count += 1
        if promises := broken_promises(run, played, files, directory / "image"):
            broken.append(f"after {played} events, {survival.name}: {'; '.join(promises)}")
    return count, broken


@pytest.fixture
def told(capsys) -> Callable[[str], None]:
    """Print a figure of the evidence, captured or not."""

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n  power cut: {text}", end=" ")  # noqa: T201 - evidence is to be seen

    return tell


def test_no_power_cut_loses_what_was_acknowledged(memory_directory, told):
    run = lived(memory_directory, seed=1, steps=45)
    assert {event.kind for event in run.events} == {
        "create", "write", "truncate", "sync", "delete",
    }  # fmt: skip

    assert run.dropped > 0
    count, broken = examine(run, memory_directory, seed=1)

    told(f"{len(run.events)} writes and syncs, {count} images, {len(broken)} broken")
    assert count >= 2_000
    assert broken == []


def test_no_power_cut_while_entries_get_new_numbers_loses_one(memory_directory, told):
    run = lived(memory_directory, seed=5, steps=30, turn=True)
    start, _ = run.turns[0]
    end = next(known.events for known in run.known if known.events > start)

    count, broken = examine(run, memory_directory, seed=5, first=start, last=end)

    told(f"{count} images while a new epoch began, {len(broken)} broken")
    assert count >= 100
    assert broken == []


class LaxConnection(ApswConnection):
    """A connection that does not wait for the disk at each commit."""

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return super().execute(
            sql.replace("synchronous = FULL", "synchronous = NORMAL"), parameters
        )


def test_the_simulator_finds_the_losses_of_a_journal_that_does_not_sync(memory_directory, told):
    run = lived(memory_directory, 1, 60, lambda vfs: lambda path: LaxConnection(path, vfs.name))

    count, broken = examine(run, memory_directory, seed=1, every=9)

    told(f"synchronous = NORMAL: {len(broken)} of {count} images lost entries")
    assert any("lost entries" in promise for promise in broken)
