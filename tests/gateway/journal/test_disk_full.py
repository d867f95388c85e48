"""On a full or failing disk the journal refuses or makes do, stays whole, and goes on later."""

import errno
import logging
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from gateway.journal import JournalError
from tests.gateway.journal.conftest import MIB, entry

FULL = sqlite3.SQLITE_FULL
BROKEN = sqlite3.SQLITE_IOERR | (4 << 8)  # SQLITE_IOERR_FSYNC


class TroubledDisk:
    """Connections that fail with `code` at statements that begin with `at`."""

    def __init__(self):
        self.code = 0
        self.at = "COMMIT"

    def connect(self, path):
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql, parameters=(), /):
                if disk.code and sql.startswith(disk.at):
                    error = sqlite3.OperationalError("injected")
                    error.sqlite_errorcode = disk.code
                    raise error
                return super().execute(sql, parameters)

        return sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=Connection
        )


@pytest.mark.parametrize("code", [FULL, BROKEN])
@pytest.mark.parametrize("at", ["BEGIN", "COMMIT", "INSERT OR REPLACE INTO facts"])
def test_a_failed_append_stores_nothing_and_the_next_one_goes_on(opened, clock, code, at):
    disk = TroubledDisk()
    journal = opened(connect=disk.connect)
    journal.append([entry(1)], {"mark": b"1"})

    disk.code, disk.at = code, at
    with pytest.raises(JournalError):
        journal.append([entry(2)], {"mark": b"2"})
    disk.code = 0
    clock.pass_s(60)

    assert journal.next == 2
    assert journal.append([entry(3)], {"mark": b"3"}) == 2
    journal.close()
    again = opened()
    assert [e.body for e in again.read(1, 10)] == [entry(1).body, entry(3).body]
    assert again.facts() == {"mark": b"3"}


def test_a_disk_that_fails_at_the_start_is_told_as_such_and_nothing_is_set_aside(opened, path):
    journal = opened()
    journal.append([entry(1)])
    journal.close()
    disk = TroubledDisk()
    disk.code, disk.at = BROKEN, "PRAGMA journal_mode"

    with pytest.raises(JournalError, match="injected"):
        opened(connect=disk.connect)

    assert [e.body for e in opened().read(1, 10)] == [entry(1).body]
    assert not list(path.parent.glob("*.corrupt-*"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB, smaller than the journal's budget."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a file system here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take every byte that is left, as another program may."""
    filler = place / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017 - anything else is a real error
    return filler


def test_on_a_disk_smaller_than_the_budget_the_oldest_go_and_are_counted(
    opened, small_disk, caplog
):
    caplog.set_level(logging.WARNING)
    journal = opened(path=small_disk / "outbox", bytes_max=64 * MIB)
    appended = 0
    for number in range(200):
        journal.append([entry(number, size=2_000, count=2) for _ in range(20)])
        appended += 40

    held = journal.read(1, 100_000, 1 << 30)
    stats = journal.stats()
    assert [e.offset for e in held] == list(range(journal.first, journal.next))
    assert sum(e.count for e in held) + stats.dropped_samples == appended
    assert set(stats.dropped) == {"budget"}
    assert not stats.cramped
    assert [r.message.split(":")[0] for r in caplog.records] == [
        f"the disk has no room for {64 * MIB} bytes"
    ]
    journal.close()

    again = opened(path=small_disk / "outbox", bytes_max=64 * MIB)
    assert again.set_aside is None
    assert again.read(1, 100_000, 1 << 30) == held


def test_when_another_program_fills_the_disk_the_journal_lives_on_within_its_size(
    opened, small_disk, clock
):
    journal = opened(path=small_disk / "outbox", bytes_max=MIB)
    appended = 0
    while journal.stats().bytes < 400_000:
        journal.append([entry(1, size=2_000) for _ in range(4)])
        appended += 4
    filler = fill(small_disk)

    stored = 0
    for _ in range(60):
        try:
            journal.append([entry(1, size=2_000) for _ in range(4)])
            stored += 4
        except JournalError:
            fill(small_disk)
    held = journal.read(1, 100_000, 1 << 30)
    assert stored > 0
    assert journal.stats().cramped
    assert len(held) + journal.stats().dropped_samples == appended + stored
    assert set(journal.stats().dropped) == {"disk-full"}
    filler.unlink()
    clock.pass_s(60)

    before = journal.next
    assert journal.append([entry(7)]) == before
    assert not journal.stats().cramped
    journal.close()
    again = opened(path=small_disk / "outbox", bytes_max=MIB)
    assert again.set_aside is None
    assert again.read(before, 1)[0].body == entry(7).body


def test_a_journal_that_refuses_loses_nothing_on_a_full_disk(opened, small_disk, clock):
    journal = opened(
        path=small_disk / "inbox", bytes_max=64 * MIB, when_full="refuse", keep_settled_s=0
    )
    stored = 0
    for _ in range(200):
        try:
            journal.append([entry(stored + n, size=2_000) for n in range(1, 11)])
            stored += 10
        except JournalError:
            break
    else:
        pytest.fail("a disk of 2 MiB took everything")
    held = [e.body for e in journal.unsettled(1, 100_000, 1 << 30)]
    assert held == [entry(n, size=2_000).body for n in range(1, stored + 1)]

    journal.settle([(1, stored // 2)])
    clock.pass_s(1)

    assert journal.append([entry(0)]) == stored + 1
    assert len(journal.unsettled(1, 100_000, 1 << 30)) == stored - stored // 2 + 1


def test_a_journal_on_a_full_disk_opens_again(opened, small_disk):
    journal = opened(path=small_disk / "outbox", bytes_max=64 * MIB)
    for number in range(200):
        journal.append([entry(number, size=2_000) for _ in range(20)])
    held = [e.offset for e in journal.read(1, 100_000, 1 << 30)]
    journal.close()
    fill(small_disk)

    again = opened(path=small_disk / "outbox", bytes_max=64 * MIB)

    assert [e.offset for e in again.read(1, 100_000, 1 << 30)] == held
