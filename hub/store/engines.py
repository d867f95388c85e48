"""The two engines: SQLite in one file, PostgreSQL by URL. What differs between them stays here.

SQLite: only one connection ever writes or checkpoints, readers open the file read-only. Two
connections that checkpoint at once corrupt a file of any SQLite before 3.51.3 (its "WAL reset"
bug), and Debian 12 has 3.40. ``synchronous=FULL`` because NORMAL loses commits at power loss.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool, StaticPool

from hub.store.errors import StoreError

WAIT_S: Final = 5.0
"""How long a transaction waits for its turn or its connection."""
STATEMENT_S: Final = 15.0
"""How long one statement may take on a server."""
READERS: Final = 8
PAGES_MAX: Final = 2_097_152
"""8 GiB of SQLite's 4 KiB pages: bookings of a region for decades."""
WAL_BYTES_KEPT: Final = 16 * 1024 * 1024
POSTGRESQL: Final = "postgresql+psycopg"
LOOPBACK: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})
ADVISORY_LOCK: Final = 0x6D61_6368_696B
"""The key under which all writers of one PostgreSQL database take turns ("machik")."""


class Engines(Protocol):
    """A place to keep rows, with the two kinds of transaction that the store needs."""

    place: str
    """What to call it in messages; never with a password."""

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open the one transaction that may write; nobody else writes until it ends."""
        ...

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that sees one snapshot and cannot write."""
        ...

    def close(self) -> None:
        """Let go of every connection."""
        ...


def open_engines(url: URL, password: str | None, ca_file: Path | None) -> Engines:
    """Choose the engine by the scheme of its URL.

    Raises:
        StoreError: no engine of ours has this scheme.
    """
    if url.drivername == "sqlite":
        return SqliteEngines(Path(url.database or ""))
    if url.drivername in {"postgresql", POSTGRESQL}:
        return PostgresqlEngines(url.set(drivername=POSTGRESQL), password, ca_file)
    raise StoreError(
        f"the store cannot be kept in {url.drivername}: use sqlite:///file or postgresql://host/db"
    )


class SqliteEngines:
    """One file, one writer, several readers."""

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # its WAL gets the same mode
        self._writer = create_engine(
            "sqlite://", creator=lambda: _writer(path), poolclass=StaticPool
        )
        self._readers = create_engine(
            "sqlite://",
            creator=lambda: _reader(path),
            poolclass=QueuePool,
            pool_size=READERS,
            max_overflow=0,
            pool_timeout=WAIT_S,
        )
        event.listen(self._writer, "begin", _begin_immediate)
        event.listen(self._readers, "begin", _begin)
        self._check()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Begin with the write lock: a transaction that reads first could not get it later."""
        with self._writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read through a connection that opened the file read-only."""
        with self._readers.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close readers first, so that the writer makes the last checkpoint."""
        self._readers.dispose()
        self._writer.dispose()

    def _check(self) -> None:
        """Refuse a file that is damaged: bookings on top of it would be worth nothing."""
        try:
            with self._writer.connect() as connection:
                raw = connection.connection.driver_connection
                found = raw.execute("PRAGMA quick_check(1)").fetchone()[0] if raw else "no file"
        except Exception as error:
            self.close()
            raise _damaged(self.place, str(error)) from error
        if found != "ok":
            self.close()
            raise _damaged(self.place, found)


def _damaged(place: str, found: str) -> StoreError:
    return StoreError(f"{place} cannot be used ({found}). Restore a back-up of it")


def _writer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=WAIT_S, isolation_level=None, check_same_thread=False
    )
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        f"max_page_count = {PAGES_MAX}",
        f"journal_size_limit = {WAL_BYTES_KEPT}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _reader(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        timeout=WAIT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


class PostgresqlEngines:
    """A server. Writers of all processes take turns by an advisory lock of the database.

    The write transaction is READ COMMITTED on purpose: its snapshot is taken by each statement,
    so after the lock by all that decide. Under REPEATABLE READ the snapshot would be as old as
    the wait for the lock, and two holders in a row could book the same hour.
    """

    def __init__(self, url: URL, password: str | None, ca_file: Path | None) -> None:
        self.place = url.render_as_string(hide_password=True)
        self._engine = _server(url.set(password=password) if password else url, ca_file)
        self._turn = text(
            f"SET LOCAL lock_timeout = {round(WAIT_S * 1000)};"
            f"SET LOCAL statement_timeout = {round(STATEMENT_S * 1000)};"
            f"SET LOCAL idle_in_transaction_session_timeout = {round(STATEMENT_S * 1000)};"
            "SET LOCAL synchronous_commit = on;"
            f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"
        )
        self._snapshot = text(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;"
            f"SET LOCAL statement_timeout = {round(STATEMENT_S * 1000)};"
            f"SET LOCAL idle_in_transaction_session_timeout = {round(STATEMENT_S * 1000)}"
        )

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Begin, and wait for the turn."""
        with self._engine.begin() as connection:
            connection.execute(self._turn)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Begin, bound to one snapshot."""
        with self._engine.begin() as connection:
            connection.execute(self._snapshot)
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _server(url: URL, ca_file: Path | None) -> Engine:
    try:
        return create_engine(
            url,
            pool_size=READERS + 1,
            max_overflow=0,
            pool_timeout=WAIT_S,
            pool_pre_ping=True,
            pool_recycle=1800,
            connect_args=connection_settings(url, ca_file),
        )
    except (ArgumentError, ImportError) as error:
        raise StoreError(
            f"PostgreSQL cannot be used ({error}). Install machikoba[postgres]"
        ) from error


def connection_settings(url: URL, ca_file: Path | None) -> Mapping[str, Any]:
    """Give what libpq is told beside the URL: time-outs, and TLS wherever a network is between."""
    told: dict[str, Any] = {
        "connect_timeout": round(WAIT_S),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": round(STATEMENT_S * 1000),
        "application_name": "machikoba-hub",
    }
    hosts = url.query.get("host", url.host or "")
    far = isinstance(hosts, tuple) or not (hosts in LOOPBACK or hosts.startswith("/"))
    if "sslmode" not in url.query and (far or ca_file):
        # libpq would settle for no encryption when the server, or somebody between, offers none.
        told["sslmode"] = "verify-full"
        told["sslrootcert"] = str(ca_file) if ca_file else "system"
    return told
