"""The journal's files: one SQLite database in WAL mode, inside a budget, set aside if broken.

One connection writes and checkpoints; a second one only reads, one statement at a time. That and
the absence of mmap keep clear of the WAL-reset fault of SQLite before 3.51.3, which needs two
connections that write or checkpoint.
"""

import functools
import itertools
import logging
import os
import shutil
import sqlite3
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol

if sys.platform != "win32":  # Windows (untested) has no flock: nothing stops a second process.
    import fcntl
from gateway.journal.words import JournalCorrupt, JournalError, JournalTooNew

log = logging.getLogger(__name__)

PAGE_BYTES: Final = 4096
FRAME_BYTES: Final = PAGE_BYTES + 24
"""A page in the WAL carries a frame header (SQLite file format, section 4.1)."""

BYTES_MIN: Final = 1024 * 1024
"""The smallest budget that leaves room for data beside WAL, ballast and index."""

SHM_BYTES: Final = 64 * 1024
SPARE_PAGES: Final = 16
"""Kept from entries, for facts and for renumbering in a file that is full."""

CHECKED_BYTES_MAX: Final = 32 * 1024 * 1024
"""A larger file is checked page by page only when it is under suspicion: starting must be quick."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE entries (position INTEGER PRIMARY KEY, key BLOB NOT NULL,
        time_ms INTEGER NOT NULL, count INTEGER NOT NULL, crc INTEGER NOT NULL,
        body BLOB NOT NULL)""",
        """CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL)
        WITHOUT ROWID""",
        """CREATE TABLE settled (first INTEGER PRIMARY KEY, last INTEGER NOT NULL,
        at_ms INTEGER NOT NULL)""",
        """CREATE TABLE drops (id INTEGER PRIMARY KEY, first INTEGER NOT NULL,
        last INTEGER NOT NULL, entries INTEGER NOT NULL, samples INTEGER NOT NULL,
        cause TEXT NOT NULL, declared INTEGER NOT NULL)""",
        """CREATE TABLE totals (cause TEXT PRIMARY KEY, entries INTEGER NOT NULL,
        samples INTEGER NOT NULL) WITHOUT ROWID""",
    ),
)
"""What brings a file from version N to N + 1; the version is `PRAGMA user_version`."""

OWN_FACTS: Final = "journal/"
"""Facts under this prefix are the journal's own: epoch, base, next position, version."""

OUTSIDE: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
    }
)
"""Errors that speak of the disk or of other programs, not of what the file holds."""


DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""Errors that speak of what the file holds."""


class Connection(Protocol):
    """What the journal needs of an SQL connection; errors are those of `sqlite3`."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement and give a cursor."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Any:
        """Run one statement for each set of parameters."""

    def close(self) -> None:
        """Give the file back."""


Connect = Callable[[Path], Connection]


def connect_sqlite(path: Path) -> sqlite3.Connection:
    """Open a connection whose transactions are begun and ended by us, from any thread."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)


def entry_crc(key: bytes, time_ms: int, count: int, body: bytes) -> int:
    """Give the checksum that every entry carries, because SQLite does not notice a flipped bit."""
    head = zlib.crc32(key, zlib.crc32(struct.pack("<qq", time_ms, count)))
    return _signed(zlib.crc32(body, head))


def fact_crc(name: str, value: bytes) -> int:
    """Give the checksum of a fact."""
    return _signed(zlib.crc32(value, zlib.crc32(name.encode())))


def put_fact(writer: Connection, name: str, value: bytes) -> None:
    """Store a fact under its checksum."""
    writer.execute(
        "INSERT OR REPLACE INTO facts (name, value, crc) VALUES (?, ?, ?)",
        (name, value, fact_crc(name, value)),
    )


def _signed(crc: int) -> int:
    # SQLite stores a signed 32-bit number in four bytes, an unsigned one in six.
    return crc - (1 << 32) if crc >= 1 << 31 else crc


@dataclass(frozen=True, slots=True)
class Layout:
    """How a budget in bytes is divided."""

    bytes_max: int
    wal_bytes: int
    ballast_bytes: int
    pages: int
    autocheckpoint_pages: int
    batch_bytes: int

    @classmethod
    def within(cls, bytes_max: int) -> "Layout":
        """Divide `bytes_max` between database, WAL, WAL index and ballast."""
        if bytes_max < BYTES_MIN:
            raise ValueError(f"a journal needs at least {BYTES_MIN} bytes, not {bytes_max}")
        wal = min(max(bytes_max // 8, 512 * 1024), 16 * 1024 * 1024)
        checkpoint_pages = wal // 4 // FRAME_BYTES
        # Enough for a checkpoint of a usual WAL to grow the database when the disk is full.
        ballast = (checkpoint_pages + 8) * FRAME_BYTES
        pages = (bytes_max - wal - ballast - SHM_BYTES) // PAGE_BYTES - SPARE_PAGES
        batch = min(wal // 4, pages * PAGE_BYTES // 4)
        return cls(bytes_max, wal, ballast, pages, checkpoint_pages, batch)


def error_code(error: sqlite3.Error) -> int:
    """Give SQLite's primary result code, 0 where there is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class Storage:
    """The open files of one journal."""

    def __init__(self, path: Path, connect: Connect, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self._lock_file = _lock(path)
        self._reading = Lock()
        self._reader: Connection | None = None
        self._writer: Connection | None = None
        try:
            self._writer = _open_writer(path, connect, layout)
            self._reader = connect(path)
            self._reader.execute("PRAGMA query_only = 1")
            self._reader.execute("PRAGMA wal_autocheckpoint = 0")
            self._reader.execute("PRAGMA mmap_size = 0")
        except BaseException:
            self.close()
            raise

    @property
    def writer(self) -> Connection:
        """The one connection that writes; the caller sees to it that one thread uses it."""
        if self._writer is None:
            raise JournalError(f"{self.path} is closed")
        return self._writer

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commit what the block does, durably, or nothing of it.

        A commit that failed may have left a whole transaction in the WAL. It is never adopted:
        the next transaction of this connection overwrites it, so the connection is kept.
        """
        writer = self.writer
        try:
            writer.execute("BEGIN IMMEDIATE")
            yield writer
            writer.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            raise

    @contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turn SQLite's errors into the journal's, and remember a damaged file."""
        try:
            yield
        except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its message.
            self.suspect()
            raise JournalCorrupt(f"{self.path} is damaged: {error}") from error
        except sqlite3.Error as error:
            # Python itself complains of text that is no UTF-8, without a code.
            unreadable_text = not error_code(error) and "UTF-8" in str(error)
            if unreadable_text or error_code(error) in DAMAGE:
                self.suspect()
                raise JournalCorrupt(f"{self.path} is damaged: {error}") from error
            raise JournalError(f"{self.path} cannot be used now: {error}") from error

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run one reading statement to its end."""
        with self._reading:
            return list(self._reading_connection().execute(sql, parameters))

    def query_until(
        self, enough: Callable[[Any], bool], sql: str, parameters: Sequence[Any]
    ) -> list[Any]:
        """Run one reading statement up to and including the row that is `enough`."""
        rows: list[Any] = []
        with self._reading:
            cursor = self._reading_connection().execute(sql, parameters)
            try:
                for row in cursor:
                    rows.append(row)
                    if enough(row):
                        break
            finally:
                cursor.close()
        return rows

    def pages(self) -> tuple[int, int]:
        """Give the number of pages of the database and of those that are free."""
        (total,), (free,) = (
            next(iter(self.writer.execute(f"PRAGMA {name}")))
            for name in ("page_count", "freelist_count")
        )
        return int(total), int(free)

    def limit_pages(self, pages: int) -> None:
        """Let the database grow to `pages` at most, however many it has now."""
        list(self.writer.execute(f"PRAGMA max_page_count = {pages}"))

    def wal_bytes(self) -> int:
        """Give the size of the WAL on disk."""
        return _size(_beside(self.path, "-wal"))

    def bytes_on_disk(self) -> int:
        """Give the size of all the files together."""
        return sum(
            _size(file)
            for file in (self.path, *(_beside(self.path, end) for end in ("-wal", "-shm")))
        ) + _size(self._ballast)

    def checkpoint(self) -> bool:
        """Move the WAL into the database and empty it; False if someone else is reading it."""
        with self._reading:
            (row,) = list(self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        return not row[0]

    def release_ballast(self) -> bool:
        """Give the reserved disk space free; False if there was none."""
        try:
            self._ballast.unlink()
        except OSError:
            return False
        return True

    def keep_ballast(self) -> bool:
        """Reserve disk space for the day when the disk is full; False if it is too late."""
        size = self.layout.ballast_bytes
        try:
            if _size(self._ballast) == size:
                return True
            if shutil.disk_usage(self.path.parent).free < 4 * size:
                return False
            # Written, not merely sized: a sparse file would reserve nothing.
            with self._ballast.open("wb") as file:
                file.write(bytes(size))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                self._ballast.unlink()
            return False
        return True

    def suspect(self) -> None:
        """Have the next start examine every page."""
        with suppress(OSError):
            _beside(self.path, "-suspect").touch()

    @property
    def suspected(self) -> bool:
        """Whether damage was seen since the file was last examined."""
        return _beside(self.path, "-suspect").exists()

    def trust(self) -> None:
        """Say that the file was examined and is sound."""
        _beside(self.path, "-suspect").unlink(missing_ok=True)

    def close(self) -> None:
        """Close both connections, the writing one last: it checkpoints and removes the WAL."""
        with self._reading:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    with suppress(sqlite3.Error):
                        connection.close()
            self._reader = self._writer = None
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    @property
    def _ballast(self) -> Path:
        return _beside(self.path, "-ballast")

    def _reading_connection(self) -> Connection:
        if self._reader is None:
            raise JournalError(f"{self.path} is closed")
        return self._reader


def affordable(path: Path, layout: Layout) -> Layout:
    """Give the layout that the disk has room for: SQLite can do nothing at all on a full one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = sum(_size(_beside(path, end)) for end in ("", "-wal", "-shm", "-ballast"))
    room = own + shutil.disk_usage(path.parent).free * 3 // 4
    if layout.bytes_max <= room:
        return layout
    smaller = Layout.within(max(room, BYTES_MIN))
    log.warning(
        "the disk has no room for %d bytes: %s makes do with %d",
        layout.bytes_max,
        path,
        smaller.bytes_max,
    )
    # What is stored already stays.
    return replace(smaller, pages=max(smaller.pages, min(_size(path) // PAGE_BYTES, layout.pages)))


def open_storage(path: Path, connect: Connect, layout: Layout) -> Storage:
    """Open the file at `path`, made anew where it is missing.

    Raises JournalCorrupt for a damaged file, JournalTooNew for one of a newer program, and
    JournalError where the place cannot be used at all.
    """
    if path.exists() and not path.is_file():
        raise JournalError(f"{path} is not a file; name another place for the journal")
    if _headless(path):
        raise JournalCorrupt(f"{path} is gone, its WAL is not")
    try:
        return _open_with_space(path, connect, layout)
    except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its message.
        raise JournalCorrupt(f"{path} is damaged: {error}") from error
    except sqlite3.Error as error:
        if _damaged(error, path):
            raise JournalCorrupt(f"{path} is damaged: {error}") from error
        raise JournalError(f"{path} cannot be opened: {error}") from error


def _damaged(error: sqlite3.Error, path: Path) -> bool:
    """Tell damage of the file from trouble around it."""
    if error_code(error) not in OUTSIDE:
        return True
    with path.open("rb") as file:
        header = file.read(20)
    # Read and write version are 2 in WAL mode; any other number makes SQLite say "read-only".
    return len(header) == len(b"SQLite format 3") + 5 and header[18:20] not in (b"\1\1", b"\2\2")


def _open_with_space(path: Path, connect: Connect, layout: Layout) -> Storage:
    try:
        storage = Storage(path, connect, layout)
    except sqlite3.Error as error:
        if _damaged(error, path):
            raise
        # Even the WAL's index needs a few pages: on a full disk the ballast provides them.
        _beside(path, "-ballast").unlink(missing_ok=True)
        storage = Storage(path, connect, layout)
    try:
        _examine(storage)
    except BaseException:
        storage.close()
        raise
    return storage


def _open_writer(path: Path, connect: Connect, layout: Layout) -> Connection:
    fresh = _size(path) == 0
    writer = connect(path)
    try:
        if fresh:
            list(writer.execute(f"PRAGMA page_size = {PAGE_BYTES}"))
        list(writer.execute("PRAGMA synchronous = FULL"))
        list(writer.execute("PRAGMA mmap_size = 0"))
        list(writer.execute("PRAGMA journal_mode = WAL"))
        # Spilling would write pages twice and overrun what the WAL was reckoned to need.
        list(writer.execute("PRAGMA cache_spill = 0"))
        list(writer.execute("PRAGMA secure_delete = 0"))
        list(writer.execute(f"PRAGMA journal_size_limit = {layout.wal_bytes}"))
        list(writer.execute(f"PRAGMA wal_autocheckpoint = {layout.autocheckpoint_pages}"))
        migrate(writer, path)
        list(writer.execute(f"PRAGMA max_page_count = {layout.pages + SPARE_PAGES}"))
    except BaseException:
        writer.close()
        raise
    if fresh:
        _sync_directory(path.parent)
    return writer


def migrate(
    writer: Connection, path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> None:
    """Bring the file to the version of this program, one transaction per version."""
    version = _version(writer, path, len(migrations))
    for number, statements in enumerate(migrations[version:], start=version + 1):
        writer.execute("BEGIN IMMEDIATE")
        for statement in statements:
            writer.execute(statement)
        put_fact(writer, f"{OWN_FACTS}schema_version", str(number).encode())
        list(writer.execute(f"PRAGMA user_version = {number}"))
        writer.execute("COMMIT")


def _version(writer: Connection, path: Path, known: int) -> int:
    ((version,),) = list(writer.execute("PRAGMA user_version"))
    tables = {row[0] for row in writer.execute("SELECT name FROM sqlite_master")}
    if not tables and version == 0:
        return 0
    if "facts" not in tables:
        raise JournalError(f"{path} is a database of another program; name another place")
    # The version is kept twice, lest one flipped bit make the file look like a newer program's.
    name = f"{OWN_FACTS}schema_version"
    rows = list(writer.execute("SELECT value FROM facts WHERE name = ?", (name,)))
    if [bytes(row[0]) for row in rows] != [str(version).encode()]:
        raise JournalCorrupt("the two places for the version disagree")
    if version > known:
        raise JournalTooNew(
            f"{path} was written by a newer machikoba (journal version {version}, this program"
            f" knows {known}). Install that version again, or move the file away to begin an"
            " empty journal."
        )
    return int(version)


def _examine(storage: Storage) -> None:
    """Raise JournalCorrupt, or SQLite's error, if the file cannot be trusted."""
    if storage.suspected or _size(storage.path) <= CHECKED_BYTES_MAX:
        (row, *_) = storage.query("PRAGMA quick_check(1)")
        if row[0] != "ok":
            raise JournalCorrupt(str(row[0]))
    if frozenset(storage.query("SELECT sql FROM sqlite_master")) != _schema():
        raise JournalCorrupt("the schema is not what was written")
    for name, value, crc in storage.query("SELECT CAST(name AS BLOB), value, crc FROM facts"):
        if _signed(zlib.crc32(value, zlib.crc32(name))) != crc:
            raise JournalCorrupt(f"the fact {name!r} is not what was written")


@functools.cache
def _schema() -> frozenset[tuple[str | None]]:
    """Give what the present version's schema looks like, by making one in memory."""
    memory = connect_sqlite(Path(":memory:"))
    for statement in itertools.chain.from_iterable(MIGRATIONS):
        memory.execute(statement)
    schema = frozenset(memory.execute("SELECT sql FROM sqlite_master"))
    memory.close()
    return schema


def set_aside(path: Path, cause: str, now_ms: int) -> Path:
    """Move the damaged file away, its WAL and index with it; keep only the newest such file."""
    for older in path.parent.glob(f"{path.name}.corrupt-*"):
        older.unlink(missing_ok=True)
    aside = path.with_name(f"{path.name}.corrupt-{now_ms}")
    # The database first: a WAL left behind alone is noticed, a database without its WAL is not.
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            _beside(path, end).rename(_beside(aside, end))
    _beside(path, "-suspect").unlink(missing_ok=True)
    _sync_directory(path.parent)
    log.error("%s was damaged (%s): set aside as %s, a new journal begins", path, cause, aside)
    return aside


def _headless(path: Path) -> bool:
    # SQLite would silently delete such a WAL, and with it the entries that were not moved yet.
    return _size(path) == 0 and _size(_beside(path, "-wal")) > 0


def _lock(path: Path) -> int:
    if sys.platform == "win32":
        return -1
    file = os.open(_beside(path, "-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise JournalError(f"{path} is in use by another process") from error
    return file


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
