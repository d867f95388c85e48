"""The store promises serial writes, snapshots, hooks in order and a start that understands files.

Every test runs on SQLite and, in the system run, on a real PostgreSQL.
"""

import threading

import pytest
from sqlalchemy import Column, MetaData, Table, insert, make_url, select, text, update
from sqlalchemy.exc import ProgrammingError

from hub.store import Store, StoreError, StoreTooNewError, StoreUnavailableError
from hub.store import store as store_module
from hub.store.engines import connection_settings
from hub.store.tables import Count, meta, word
from tests.brokers import wait_until

tables = MetaData()
tally = Table("tally", tables, Column("name", word(8), primary_key=True), Column("n", Count))


@pytest.fixture
def counting(store):
    with store.write() as tx:
        tables.create_all(tx.connection)
        tx.connection.execute(insert(tally).values(name="a", n=0))
    return store


def count(store):
    with store.read() as tx:
        return tx.connection.scalar(select(tally.c.n))


def add_one(store):
    with store.write() as tx:
        n = tx.connection.scalar(select(tally.c.n))
        tx.connection.execute(update(tally).values(n=n + 1))


def test_read_then_write_loses_no_update_however_many_threads_and_stores(counting, store_url):
    other = Store.open(store_url)  # as another process would
    start = threading.Barrier(8)

    def work(store):
        start.wait()
        for _ in range(10):
            add_one(store)

    threads = [threading.Thread(target=work, args=(s,)) for s in (counting, other) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()

    assert count(counting) == 80


def test_an_error_leaves_nothing_behind_and_no_hook_runs(counting):
    told = []

    def fail():
        with counting.write() as tx:
            tx.connection.execute(update(tally).values(n=7))
            tx.after_commit(lambda: told.append("committed"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (count(counting), told) == (0, [])


def test_hooks_run_after_the_commit_in_order_and_see_it(counting):
    told = []
    with counting.write() as tx:
        tx.connection.execute(update(tally).values(n=7))
        tx.after_commit(lambda: told.append(count(counting)))
        tx.after_commit(lambda: told.append("second"))
        assert told == []
    assert told == [7, "second"]


def test_a_hook_that_fails_does_not_make_a_commit_look_failed(counting, caplog):
    told = []
    with counting.write() as tx:
        tx.after_commit(lambda: 1 / 0)
        tx.after_commit(lambda: told.append("still"))
    assert told == ["still"]
    assert "what follows a commit failed" in caplog.text


def test_a_reader_sees_one_snapshot_whatever_is_written_meanwhile(counting):
    with counting.read() as tx:
        before = tx.connection.scalar(select(tally.c.n))
        add_one(counting)
        assert tx.connection.scalar(select(tally.c.n)) == before
    assert count(counting) == 1


def test_a_reader_cannot_write(counting):
    with pytest.raises(StoreUnavailableError), counting.read() as tx:
        tx.connection.execute(update(tally).values(n=1))
    assert count(counting) == 0


def test_a_write_inside_a_write_is_refused_instead_of_waiting_for_itself(counting):
    with counting.write(), pytest.raises(RuntimeError, match="inside"), counting.write():
        pass
    add_one(counting)
    assert count(counting) == 1


def test_whoever_waits_too_long_for_a_turn_is_told_to_try_again(counting, monkeypatch):
    monkeypatch.setattr(store_module, "WAIT_S", 0.05)
    refused = []

    def attempt():
        try:
            add_one(counting)
        except StoreUnavailableError as error:
            refused.append(error)

    with counting.write():
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert [error.retry_after_s for error in refused] == [1.0]


def test_put_inserts_once_and_then_updates(counting):
    for n in (3, 4):
        with counting.write() as tx:
            tx.put(tally, {"name": "b"}, {"n": n})
    with counting.read() as tx:
        rows = tx.connection.execute(select(tally).order_by(tally.c.name)).all()
    assert [tuple(row) for row in rows] == [("a", 0), ("b", 4)]


def test_words_sort_byte_by_byte_on_every_engine(counting):
    with counting.write() as tx:
        for name in ("B", "_", "é", "b", "-"):
            tx.connection.execute(insert(tally).values(name=name, n=1))
        names = tx.connection.scalars(select(tally.c.name).order_by(tally.c.name)).all()
    assert names == sorted(names, key=str.encode)


def test_a_mistake_of_ours_is_not_called_an_outage(counting):
    with pytest.raises(Exception, match="nowhere") as failed, counting.read() as tx:
        tx.connection.execute(text("SELECT * FROM nowhere"))
    assert isinstance(failed.value, ProgrammingError | StoreUnavailableError)


def test_what_was_committed_is_there_after_opening_again(counting, store_url):
    add_one(counting)
    counting.close()
    again = Store.open(store_url)
    assert count(again) == 1
    again.close()


def test_a_store_of_a_newer_program_is_refused_with_the_remedy(store, store_url):
    with store.write() as tx:
        tx.put(meta, {"key": "schema_version"}, {"value": "999"})
    with pytest.raises(StoreTooNewError, match=r"version 999 .* Install the program that wrote it"):
        Store.open(store_url)


def test_a_store_whose_version_is_unreadable_is_refused(store, store_url):
    with store.write() as tx:
        tx.put(meta, {"key": "schema_version"}, {"value": "one"})
    with pytest.raises(StoreError, match="'one'"):
        Store.open(store_url)


def test_an_older_store_is_brought_forward_once_and_keeps_its_rows(counting, store_url):
    runs = []

    def add_column(connection):
        runs.append(1)
        connection.execute(text("ALTER TABLE tally ADD COLUMN note VARCHAR(8) DEFAULT 'new'"))

    add_one(counting)
    for _ in range(2):
        newer = Store.open(store_url, steps=[add_column])
        with newer.read() as tx:
            assert tx.connection.execute(text("SELECT n, note FROM tally")).all() == [(1, "new")]
        newer.close()
    assert runs == [1]


def test_a_step_that_fails_changes_nothing(counting, store_url):
    def half(connection):
        connection.execute(text("DROP TABLE tally"))
        raise KeyError

    with pytest.raises(KeyError):
        Store.open(store_url, steps=[half])
    assert count(counting) == 0


def test_a_damaged_file_is_refused_with_the_remedy(tmp_path):
    file = tmp_path / "coordination.sqlite"
    file.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="Restore a back-up"):
        Store.open(f"sqlite:///{file}")


def test_nobody_else_may_read_the_file(tmp_path):
    file = tmp_path / "coordination.sqlite"
    store = Store.open(f"sqlite:///{file}")
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}
    store.close()


@pytest.mark.parametrize("url", ["mysql://h/db", "nonsense", "sqlite:////proc/1/no/such.sqlite"])
def test_a_place_that_cannot_be_used_is_refused(url):
    with pytest.raises(StoreError):
        Store.open(url)


@pytest.mark.system
def test_a_server_that_went_away_is_found_again_and_that_is_told_once_each(cluster, caplog):
    caplog.set_level("INFO", "hub.store")
    url = cluster.new_database()
    store = Store.open(url)
    cluster.kill()
    try:
        for _ in range(3):
            with pytest.raises(StoreUnavailableError), store.read():
                pass
    finally:
        wait_until(lambda: restarted(cluster), "the server to start again")
    with store.write() as tx:
        assert tx.connection.scalar(select(meta.c.value)) == "1"
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    store.close()
    cluster.drop(url)


def restarted(cluster):
    cluster.start()
    return True


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://hub@/machikoba?host=/run/postgresql", None),
        ("postgresql://hub@localhost/machikoba", None),
        ("postgresql://hub@db.example/machikoba", "verify-full"),
        ("postgresql://hub@/machikoba?host=db.example", "verify-full"),
        ("postgresql://hub@db.example/machikoba?sslmode=require", None),
    ],
)
def test_a_server_beyond_this_box_must_prove_who_it_is_unless_told_otherwise(url, mode):
    assert connection_settings(make_url(url), None).get("sslmode") == mode
