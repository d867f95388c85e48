"""A damaged file never keeps the journal from starting: it is set aside, or what is damaged goes.

Nothing that is read was ever different when it was written.
"""

import random
import sqlite3

import pytest

from gateway.journal import Drop, Journal, JournalCorrupt, JournalError, JournalTooNew
from gateway.journal.storage import MIGRATIONS, connect_sqlite, migrate
from tests.gateway.journal.conftest import entry


@pytest.fixture
def written(opened):
    """A journal of 40 entries, closed; its bodies by offset, and its epoch."""
    journal = opened()
    for number in range(1, 41, 4):
        journal.append([entry(number + n, size=900) for n in range(4)], {"mark": b"%d" % number})
    journal.settle([(1, 8)])
    journal.append([], lost=[Drop(0, 0, 0, 3, "buffer")])
    journal.close()
    return {number: entry(number, size=900).body for number in range(1, 41)}, journal.epoch


def check_start(journal: Journal, bodies, epoch):
    """Check what must hold whatever happened to the file."""
    if journal.set_aside is None:
        assert journal.epoch == epoch
        for held in journal.read(1, 1000, 1 << 30):
            assert bodies[held.offset] == held.body
    else:
        assert journal.epoch != epoch
        assert (journal.first, journal.next) == (1, 1)
        assert journal.set_aside.exists()
    offset = journal.next
    assert journal.append([entry(99)]) == offset


def check_start_or_restart(opened, written):
    """Check the start; damage that is met only later takes one more start."""
    journal = opened()
    try:
        check_start(journal, *written)
    except JournalCorrupt:
        journal.close()
        check_start(opened(), *written)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_set_aside_and_a_new_epoch_begins(opened, path, written, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    if keep == 0.0:
        path.with_name(path.name + "-wal").write_bytes(b"what the database did not get yet")

    journal = opened()

    assert journal.set_aside is not None
    assert journal.set_aside.read_bytes() == content[: int(len(content) * keep)]
    check_start(journal, *written)


def test_a_file_that_is_no_database_is_set_aside(opened, path, written):
    path.write_bytes(b"This is not a database, it is a letter. " * 200)

    journal = opened()

    assert journal.set_aside is not None
    check_start(journal, *written)


def test_only_the_newest_damaged_file_is_kept(opened, path, clock):
    for _ in range(3):
        path.write_bytes(b"no database" * 1000)
        opened().close()
        clock.pass_s(1)

    assert len(list(path.parent.glob("*.corrupt-*"))) == 1


def test_a_file_that_lost_its_last_bytes_gives_nothing_that_was_not_written(opened, path, written):
    path.write_bytes(path.read_bytes()[:-100])

    check_start_or_restart(opened, written)


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_is_never_read_as_data_and_never_prevents_the_start(
    opened, path, written, seed
):
    rng = random.Random(seed)
    content = bytearray(path.read_bytes())
    # Half of the flips hit the header, the schema and the small tables, which matter most.
    reach = len(content) if seed % 2 else 6 * 4096
    content[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)

    check_start_or_restart(opened, written)


def test_an_entry_whose_bytes_changed_is_dropped_as_corrupt_at_the_next_start(
    opened, path, written
):
    content = path.read_bytes()
    at = content.index(b"17:.....")
    path.write_bytes(content[:at] + b"71" + content[at + 2 :])
    journal = opened()

    with pytest.raises(JournalCorrupt, match="entry 17"):
        journal.read(17, 1)
    journal.close()
    again = opened()

    assert again.set_aside is None
    assert [e.offset for e in again.read(16, 2)] == [16, 18]
    assert again.stats().dropped == {"buffer": 3, "corrupt": 1}
    check_start(again, *written)
    again.close()
    assert opened().stats().dropped == {"buffer": 3, "corrupt": 1}


def test_a_fact_whose_bytes_changed_sets_the_file_aside(opened, path, written):
    damage = sqlite3.connect(path)
    damage.execute("UPDATE facts SET value = x'00' WHERE name = 'mark'")
    damage.commit()
    damage.close()

    journal = opened()

    assert journal.set_aside is not None
    check_start(journal, *written)


def test_damage_met_while_running_is_told_and_examined_at_the_next_start(opened, path, written):
    journal = opened()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(size - 4096))

    def use():
        journal.append([entry(41)])  # The reader has to look at the disk again.
        journal.read(1, 40, 1 << 30)

    with pytest.raises(JournalCorrupt):
        use()
    journal.close()

    check_start(opened(), *written)


def test_a_file_of_a_newer_program_is_refused_with_the_remedy(opened, path):
    opened().close()
    writer = connect_sqlite(path)
    migrate(writer, path, (*MIGRATIONS, ("CREATE TABLE novelty (id INTEGER)",)))
    writer.close()

    with pytest.raises(JournalTooNew, match=r"newer machikoba \(journal version 2.*move the file"):
        opened()

    assert not list(path.parent.glob("*.corrupt-*"))


def test_an_older_file_is_brought_forward_one_version_at_a_time(path, written):
    bodies, _ = written
    writer = connect_sqlite(path)
    steps = (*MIGRATIONS, ("CREATE TABLE a (x)", "INSERT INTO a VALUES (1)"), ("DROP TABLE a",))

    migrate(writer, path, steps[:2])
    assert writer.execute("SELECT x FROM a").fetchall() == [(1,)]
    migrate(writer, path, steps)
    migrate(writer, path, steps)

    assert writer.execute("PRAGMA user_version").fetchone() == (3,)
    assert writer.execute("SELECT count(*) FROM entries").fetchone() == (len(bodies),)
    writer.close()


def test_another_program_s_database_is_left_alone(opened, path):
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE recipes (name)")
    theirs.commit()
    theirs.close()

    with pytest.raises(JournalError, match="another program"):
        opened()

    assert sqlite3.connect(path).execute("SELECT * FROM recipes").fetchall() == []


def test_a_second_process_cannot_open_the_same_journal(opened):
    opened()

    with pytest.raises(JournalError, match="in use by another process"):
        opened()


def test_a_directory_in_its_place_is_refused(opened, path):
    path.mkdir()

    with pytest.raises(JournalError, match="not a file"):
        opened()
