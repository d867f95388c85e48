"""Closed days as files: sorted by series and time, a sixth of the size, deleted whole.

A file counts when the table `archived` names it, and the view `sample` is made from that table in
the transaction that also deletes the copied rows. So after a crash at any point each row is seen
exactly once: either in the table or in a file that is named.
"""

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb

log = logging.getLogger(__name__)

DAY_MS: Final = 86_400_000
GRACE_MS: Final = 3_600_000
"""A day counts as closed this long after its end: a backlog may still bring rows."""
RECENT: Final = "sample_recent"
_COLUMNS: Final = "series, ts_ms, value, quality, reason"


class Archive:
    """The files below one folder. All methods are called by the one thread that writes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._doomed: list[Path] = []

    def open(self, sql: duckdb.DuckDBPyConnection) -> None:
        """Make the view, and delete files that a crash left behind."""
        sql.execute("CREATE TABLE IF NOT EXISTS archived(day_ms BIGINT PRIMARY KEY, file VARCHAR)")
        self.replace_view(sql)
        named = {name for _, name in self._named(sql)}
        for path in self._folder.iterdir():
            if path.suffix in {".parquet", ".tmp"} and path.name not in named:
                path.unlink()

    def replace_view(self, sql: duckdb.DuckDBPyConnection) -> None:
        """Let the view `sample` show the table and every named file."""
        query = f"SELECT {_COLUMNS} FROM {RECENT}"  # noqa: S608 (names of our own)
        paths = [self._folder / name for _, name in self._named(sql)]
        if paths:
            listed = ", ".join(_quoted(path) for path in paths)
            query += f" UNION ALL SELECT {_COLUMNS} FROM read_parquet([{listed}])"  # noqa: S608
        sql.execute(f"CREATE OR REPLACE VIEW sample AS {query}")

    def due(self, sql: duckdb.DuckDBPyConnection, now_ms: int) -> int | None:
        """Name a closed day that has rows in the table, the oldest first."""
        row = sql.execute(
            f"SELECT min(ts_ms) // {DAY_MS} * {DAY_MS} FROM {RECENT}"  # noqa: S608 (names of our own)
        ).fetchone()
        day_ms = None if row is None else row[0]
        return day_ms if day_ms is not None and day_ms + DAY_MS + GRACE_MS <= now_ms else None

    def write_day(self, sql: duckdb.DuckDBPyConnection, day_ms: int) -> str:
        """Write a day's rows, from the table and an earlier file of it, to a new durable file."""
        rows = f"FROM sample WHERE ts_ms >= {day_ms} AND ts_ms < {day_ms + DAY_MS}"
        return self._write(sql, day_ms, rows)

    def adopt_day(self, sql: duckdb.DuckDBPyConnection, day_ms: int, name: str) -> None:
        """Inside a transaction: name the file, forget the copied rows, make the view again."""
        self._doom(sql, "day_ms = ?", day_ms)
        sql.execute("INSERT INTO archived VALUES (?, ?)", [day_ms, name])
        sql.execute(
            f"DELETE FROM {RECENT} WHERE ts_ms >= ? AND ts_ms < ?",  # noqa: S608 (a name of our own)
            [day_ms, day_ms + DAY_MS],
        )
        self.replace_view(sql)

    def write_without(
        self, sql: duckdb.DuckDBPyConnection, series: Sequence[int]
    ) -> dict[int, str | None]:
        """Write the days that hold any of these series anew without them; give days and files.

        A day of which nothing is left has no file.
        """
        listed = ", ".join(str(int(each)) for each in series) or "NULL"
        written: dict[int, str | None] = {}
        for day_ms, name in self._named(sql):
            rows = f"FROM read_parquet({_quoted(self._folder / name)}) WHERE series"
            if sql.execute(f"SELECT 1 {rows} IN ({listed}) LIMIT 1").fetchone() is None:
                continue
            rest = f"{rows} NOT IN ({listed})"
            left = sql.execute(f"SELECT 1 {rest} LIMIT 1").fetchone() is not None
            written[day_ms] = self._write(sql, day_ms, rest) if left else None
        return written

    def adopt_without(
        self, sql: duckdb.DuckDBPyConnection, files: Mapping[int, str | None]
    ) -> None:
        """Inside a transaction: name the new files of these days in the place of the old ones."""
        for day_ms, name in files.items():
            self._doom(sql, "day_ms = ?", day_ms)
            if name is not None:
                sql.execute("INSERT INTO archived VALUES (?, ?)", [day_ms, name])
        if files:
            self.replace_view(sql)

    def forget(self, sql: duckdb.DuckDBPyConnection, oldest_ms: int) -> None:
        """Inside a transaction: let go of days that ended before `oldest_ms`."""
        if self._doom(sql, f"day_ms + {DAY_MS} <= ?", oldest_ms):
            self.replace_view(sql)

    def sweep(self) -> None:
        """Delete files let go of before the last call: nobody reads them any more."""
        doomed, self._doomed = self._doomed, []
        for path in doomed:
            with contextlib.suppress(OSError):
                path.unlink()

    def bytes_on_disk(self) -> int:
        """Add up the files."""
        total = 0
        for path in self._folder.glob("*.parquet"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def _write(self, sql: duckdb.DuckDBPyConnection, day_ms: int, rows: str) -> str:
        """Write rows to the next version of a day's file, durably, and give its name."""
        versions = [name for at_ms, name in self._named(sql) if at_ms == day_ms]
        number = 1 + max((int(name.split(".")[1]) for name in versions), default=0)
        path = self._folder / f"{day_ms // DAY_MS}.{number}.parquet"
        partial = path.with_suffix(".parquet.tmp")
        sql.execute(
            f"COPY (SELECT {_COLUMNS} {rows} ORDER BY series, ts_ms) TO {_quoted(partial)} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
        _make_durable(partial)
        partial.replace(path)
        _make_durable(self._folder)
        return path.name

    def _named(self, sql: duckdb.DuckDBPyConnection) -> list[tuple[int, str]]:
        return sql.execute("SELECT day_ms, file FROM archived ORDER BY day_ms").fetchall()

    def _doom(self, sql: duckdb.DuckDBPyConnection, where: str, value: int) -> bool:
        """Take files out of the list; they are deleted by the sweep after the next."""
        gone = sql.execute(f"DELETE FROM archived WHERE {where} RETURNING file", [value]).fetchall()  # noqa: S608 (literals)
        self._doomed += [self._folder / name for (name,) in gone]
        return bool(gone)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _make_durable(path: Path) -> None:
    """Force a file or folder to the disk; the engine does not do it for files it copies to."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
