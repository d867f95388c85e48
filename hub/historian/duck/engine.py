"""The embedded historian: DuckDB, one file, nothing to install.

Rows, cursor and marks go in one transaction, so a restart continues exactly where the store
stands. Roll-ups are recomputed from the rows and never incremented: writing marks the touched
minutes dirty in the same transaction, `maintain` recomputes them, and queries read minutes that
are still dirty from the rows themselves.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from gateway.model import Quality, State, Value
from gateway.sparkplug import names
from hub.columns import Columns, SeriesIndex, SeriesName, StateChange
from hub.historian.duck.archive import Archive
from hub.historian.historian import (
    Cursor,
    Health,
    HistorianUnavailableError,
    Latest,
    Range,
    Span,
    StateInterval,
    WriteBatch,
)

log = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 1
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
DIRTY_MINUTES_MAX: Final = 240
"""Minutes recomputed in one go; the rest waits for the next call."""
RESTORED_MS: Final = 3 * 86_400_000
"""How far before the newest roll-up live state is restored from."""
READERS_MAX: Final = 4
ERASED: Final = -1
"""In the place of a series' id in the store: it has none until a value comes again."""
RAW_COLUMNS: Final = ("t", "value", "quality", "reason")
BUCKET_COLUMNS: Final = ("t", "mean", "min", "max", "last", "n", "bad_n")
WIDTHS_MS: Final = tuple(
    1000 * s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
) + tuple(HOUR_MS * h for h in (2, 3, 6, 12, 24, 48, 168, 720, 2160, 8760))
"""Widths of buckets that people can read off a time axis."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta(key VARCHAR PRIMARY KEY, value VARCHAR);
CREATE TABLE IF NOT EXISTS series(id INTEGER PRIMARY KEY, site VARCHAR, machine VARCHAR,
  signal VARCHAR, kind VARCHAR, unit VARCHAR, UNIQUE(site, machine, signal));
CREATE TABLE IF NOT EXISTS sample_recent(series INTEGER, ts_ms BIGINT, value DOUBLE,
  quality UTINYINT, reason UTINYINT);
CREATE TABLE IF NOT EXISTS sample_text(series INTEGER, ts_ms BIGINT, value VARCHAR,
  quality UTINYINT, reason UTINYINT);
CREATE TABLE IF NOT EXISTS machine_state(site VARCHAR, machine VARCHAR, ts_ms BIGINT,
  state VARCHAR, reason VARCHAR, evidence VARCHAR, source VARCHAR);
CREATE TABLE IF NOT EXISTS rollup_1m(series INTEGER, bucket_ms BIGINT, mean DOUBLE, min DOUBLE,
  max DOUBLE, last DOUBLE, n INTEGER, bad_n INTEGER);
CREATE TABLE IF NOT EXISTS rollup_1h(series INTEGER, bucket_ms BIGINT, mean DOUBLE, min DOUBLE,
  max DOUBLE, last DOUBLE, n INTEGER, bad_n INTEGER);
CREATE TABLE IF NOT EXISTS dirty(bucket_ms BIGINT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS written(epoch UBIGINT, "offset" UBIGINT);
CREATE TABLE IF NOT EXISTS mark(key VARCHAR PRIMARY KEY, value BLOB);
"""

_FROM_ROWS: Final = """
SELECT series, ts_ms // {width} * {width} AS bucket_ms,
  avg(value) FILTER (quality < 2) AS mean, min(value) FILTER (quality < 2) AS min,
  max(value) FILTER (quality < 2) AS max, arg_max(value, ts_ms) FILTER (quality < 2) AS last,
  count(value) FILTER (quality < 2) AS n, count(*) FILTER (quality = 2) AS bad_n
FROM sample WHERE {where} GROUP BY ALL
"""

_FROM_ROLLUP: Final = """
SELECT series, bucket_ms // {width} * {width} AS bucket_ms,
  sum(mean * n) / nullif(sum(n), 0) AS mean, min(min) AS min, max(max) AS max,
  arg_max(last, bucket_ms) FILTER (last IS NOT NULL) AS last, sum(n) AS n, sum(bad_n) AS bad_n
FROM {table} WHERE {where} GROUP BY ALL
"""


class DuckHistorian:
    """History below one folder, owned by one process (DuckDB lets no second one in)."""

    def __init__(
        self,
        folder: Path,
        index: SeriesIndex,
        *,
        memory_mib: int = 256,
        raw_days: int = 90,
        rollup_days: int = 3650,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "history.duckdb"
        self._index = index
        self._raw_ms = raw_days * DAY_MS
        self._rollup_ms = rollup_days * DAY_MS
        self._archive = Archive(folder / "days")
        self._connection = _connect(self._path, folder / "spill", memory_mib)
        self._writing = threading.Lock()
        self._reading = threading.BoundedSemaphore(READERS_MAX)
        self._closed = False
        _migrate(self._connection, self._path)
        self._archive.open(self._connection)
        self._raw_from_ms = _raw_from_ms(self._connection)
        self._writer = self._connection.cursor()
        self._own_ids: NDArray[np.int32] = np.empty(0, np.int32)
        self._described: list[SeriesName] = []
        self._newest_write_ms: int | None = None
        self._next_forget_ms = 0

    def write(self, batch: WriteBatch) -> None:
        """Store rows, state changes, cursor and marks in one transaction."""
        with self._writing, self._transaction() as sql:
            self._adopt_series(sql)
            self._insert_samples(sql, batch.columns)
            _insert_states(sql, batch.states)
            if batch.cursor is not None:
                sql.execute("DELETE FROM written")
                sql.execute("INSERT INTO written VALUES (?, ?)", list(batch.cursor))
            for key, value in batch.marks.items():
                sql.execute("INSERT OR REPLACE INTO mark VALUES (?, ?)", [key, value])
        if len(batch.columns):
            self._newest_write_ms = int(batch.columns.time_ms.max())

    def cursor(self) -> Cursor | None:
        """Tell how far the inbox was written."""
        row = self._read('SELECT epoch, "offset" FROM written').fetchone()
        return None if row is None else Cursor(*row)

    def marks(self) -> dict[str, bytes]:
        """Give the settled marks last written."""
        return dict(self._read("SELECT key, value FROM mark").fetchall())

    def range(
        self, site: str, machine: str, signal: str, span: Span, *, points_max: int, raw: bool
    ) -> Range | None:
        """Give raw rows when they fit in `points_max` or are asked for, buckets otherwise."""
        found = self._read(
            "SELECT id, kind, unit FROM series WHERE site = ? AND machine = ? AND signal = ?",
            [site, machine, signal],
        ).fetchone()
        if found is None:
            return None
        series, kind, unit = found
        kept = span.from_ms >= self._raw_from_ms
        few = kept and self._count(series, span, points_max) <= points_max
        if raw or few or kind == "string":
            return self._raw(series, unit, span, points_max)
        return self._buckets(series, unit, span, _width_ms(span, points_max))

    def states(self, site: str, machine: str, span: Span) -> list[StateInterval]:
        """Give the states in `span`, the one carried in clipped to its start."""
        rows = self._read(
            """SELECT ts_ms, state, reason, evidence, source FROM machine_state
            WHERE site = $site AND machine = $machine AND ts_ms < $to_ms AND ts_ms >= coalesce(
              (SELECT max(ts_ms) FROM machine_state
               WHERE site = $site AND machine = $machine AND ts_ms <= $from_ms), $from_ms)
            ORDER BY ts_ms, rowid""",
            {"site": site, "machine": machine, "from_ms": span.from_ms, "to_ms": span.to_ms},
        ).fetchall()
        return _intervals(rows, span)

    def counted(self, site: str, machine: str, signal: str, span: Span) -> float | None:
        """Sum the advances of a counter; after a reset it counts from zero again."""
        row = self._read(
            """WITH rows AS (SELECT ts_ms, value,
                 lag(value) OVER (ORDER BY ts_ms) AS before FROM sample
               WHERE series = (SELECT id FROM series
                 WHERE site = ? AND machine = ? AND signal = ?)
               AND value IS NOT NULL AND quality < 2 AND ts_ms < ? AND ts_ms >= ? - 86400000)
            SELECT sum(CASE WHEN value >= before THEN value - before ELSE value END)
            FROM rows WHERE before IS NOT NULL AND ts_ms >= ?""",
            [site, machine, signal, span.to_ms, span.from_ms, span.from_ms],
        ).fetchone()
        return None if row is None else row[0]

    def latest(self) -> list[Latest]:
        """Give the newest value of every signal."""
        rows = self._read(
            """SELECT site, machine, signal, max(ts_ms), arg_max(value, ts_ms),
                 arg_max(quality, ts_ms), arg_max(reason, ts_ms)
               FROM (SELECT series, ts_ms, coalesce(value, 'nan') AS value, quality, reason
                     FROM sample WHERE ts_ms >= ?) JOIN series ON series.id = series GROUP BY ALL
               UNION ALL
               SELECT site, machine, signal, max(ts_ms), NULL, 0, 0
               FROM sample_text JOIN series ON series.id = series GROUP BY ALL""",
            [self._recent_ms()],
        ).fetchall()
        texts = self._latest_texts()
        return [_latest(row, texts) for row in rows] + self._latest_states()

    def erase(self, site: str, machine: str | None) -> None:
        """Rewrite the files that hold such rows, then change files and tables in one step."""
        with self._writing:
            try:
                where = "site = $site AND ($machine IS NULL OR machine = $machine)"
                whose = {"site": site, "machine": machine}
                ids = [
                    row[0]
                    for row in self._writer.execute(
                        f"SELECT id FROM series WHERE {where}",  # noqa: S608 (literals)
                        whose,
                    ).fetchall()
                ]
                files = self._archive.write_without(self._writer, ids)
            except (duckdb.Error, OSError) as error:
                raise HistorianUnavailableError(f"erasing: {error}") from error
            with self._transaction() as sql:
                self._archive.adopt_without(sql, files)
                for table in ("sample_recent", "sample_text", "rollup_1m", "rollup_1h"):
                    query = f"DELETE FROM {table} WHERE series IN (SELECT unnest(?))"  # noqa: S608 (literals)
                    sql.execute(query, [ids])
                for table in ("machine_state", "series"):
                    sql.execute(f"DELETE FROM {table} WHERE {where}", whose)  # noqa: S608 (literals)
            self._own_ids[np.isin(self._own_ids, ids)] = ERASED
            self._overwrite()

    def maintain(self, now_ms: int) -> None:
        """Recompute dirty minutes, archive a closed day, forget what retention says."""
        with self._writing:
            self._roll_up(now_ms)
            self._archive.sweep()
            self._archive_day(now_ms)
            self._forget(now_ms)
            self._describe_again()

    def health(self) -> Health:
        """Tell bytes, and the rows not yet archived; an estimate, as counting would read them."""
        row = self._read(
            "SELECT sum(estimated_size) FROM duckdb_tables() "
            "WHERE table_name IN ('sample_recent', 'sample_text')"
        ).fetchone()
        return Health(
            engine="duckdb",
            rows=int(row[0] or 0) if row else 0,
            bytes_on_disk=_bytes_on_disk(self._path) + self._archive.bytes_on_disk(),
            newest_write_ms=self._newest_write_ms,
        )

    def close(self) -> None:
        """Write out and let go of the file."""
        with self._writing:
            if not self._closed:
                self._closed = True
                self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Commit what is done inside, or nothing of it."""
        try:
            self._writer.begin()
            try:
                yield self._writer
                self._writer.commit()
            except BaseException:
                self._own_ids = np.empty(0, np.int32)  # Ids adopted in vain: adopt them again.
                self._described = []
                self._writer.rollback()
                raise
        except duckdb.Error as error:
            raise HistorianUnavailableError(f"DuckDB: {error}") from error

    def _read(
        self, query: str, parameters: Sequence[object] | dict[str, object] | None = None
    ) -> "_Answer":
        """Run one query on a cursor of its own: it sees one consistent snapshot."""
        if not self._reading.acquire(timeout=10.0):
            raise HistorianUnavailableError("too many questions at once", 2.0)
        try:
            cursor = self._connection.cursor()
            try:
                return _Answer(cursor.execute(query, parameters).fetchall())
            finally:
                cursor.close()
        except duckdb.Error as error:
            raise HistorianUnavailableError(f"DuckDB: {error}") from error
        finally:
            self._reading.release()

    def _adopt_series(self, sql: duckdb.DuckDBPyConnection) -> None:
        """Give every series of the index that is new here an id in the store."""
        first, end = len(self._own_ids), len(self._index)
        if first == end:
            return
        names = [self._index.name(i) for i in range(first, end)]
        self._own_ids = np.concatenate([self._own_ids, _ids_of(sql, names)])
        self._described.extend(names)

    def _own_ids_of(
        self, sql: duckdb.DuckDBPyConnection, series: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Give the store's ids of series of the index; what was erased gets a new one."""
        own = self._own_ids[series]
        if (again := np.unique(series[own == ERASED])).size:
            self._own_ids[again] = _ids_of(sql, [self._index.name(int(i)) for i in again])
            own = self._own_ids[series]
        return own

    def _insert_samples(self, sql: duckdb.DuckDBPyConnection, columns: Columns) -> None:
        if not len(columns):
            return
        plain = np.ones(len(columns), np.bool_)
        if columns.text:
            plain[np.fromiter(columns.text, np.intp, len(columns.text))] = False
        own = self._own_ids_of(sql, columns.series)
        rows = {
            "series": own[plain],
            "ts_ms": columns.time_ms[plain],
            "value": columns.value[plain],
            "quality": columns.quality[plain],
            "reason": columns.reason[plain],
        }
        sql.register("incoming", rows)
        sql.execute(
            "INSERT INTO sample_recent SELECT series, ts_ms, "
            "CASE WHEN isnan(value) THEN NULL ELSE value END, quality, reason FROM incoming"
        )
        sql.unregister("incoming")
        _insert_many(sql, "sample_text", _texts(columns, own))
        minutes = np.unique(columns.time_ms // MINUTE_MS) * MINUTE_MS
        sql.register("touched", {"bucket_ms": minutes})
        sql.execute("INSERT OR IGNORE INTO dirty SELECT bucket_ms FROM touched")
        sql.unregister("touched")

    def _count(self, series: int, span: Span, enough: int) -> int:
        """Count a signal's rows, but no further than is needed to decide."""
        row = self._read(
            "SELECT count(*) FROM (SELECT 1 FROM sample WHERE series = ? AND ts_ms >= ? "
            "AND ts_ms < ? LIMIT ?)",
            [series, *span, enough + 1],
        ).fetchone()
        return int(row[0]) if row else 0

    def _raw(self, series: int, unit: str | None, span: Span, points_max: int) -> Range:
        """Give rows as they were read; text and numbers of one signal in order of time."""
        rows = self._read(
            """SELECT ts_ms, value, NULL, quality, reason FROM sample
               WHERE series = $series AND ts_ms >= $from_ms AND ts_ms < $to_ms
               UNION ALL
               SELECT ts_ms, NULL, value, quality, reason FROM sample_text
               WHERE series = $series AND ts_ms >= $from_ms AND ts_ms < $to_ms
               ORDER BY ts_ms LIMIT $enough""",
            {
                "series": series,
                "from_ms": span.from_ms,
                "to_ms": span.to_ms,
                "enough": points_max + 1,
            },
        ).fetchall()
        next_ms = rows[points_max][0] if len(rows) > points_max else None
        told: list[tuple[Value, ...]] = [
            (time_ms, number if text is None else text, quality, reason)
            for time_ms, number, text, quality, reason in rows[:points_max]
        ]
        return Range(unit, 0, RAW_COLUMNS, told, next_ms)

    def _buckets(self, series: int, unit: str | None, span: Span, width_ms: int) -> Range:
        """Read the coarsest source that fits; minutes still dirty come from the rows."""
        where = f"series = {series} AND bucket_ms >= {_floor(span.from_ms, width_ms)}"
        where += f" AND bucket_ms < {span.to_ms}"
        if width_ms < MINUTE_MS:
            query = _rows_query(series, span, width_ms)
        else:
            table = "rollup_1h" if width_ms % HOUR_MS == 0 else "rollup_1m"
            unit_ms = HOUR_MS if table == "rollup_1h" else MINUTE_MS
            dirty = f"SELECT DISTINCT bucket_ms // {unit_ms} * {unit_ms} FROM dirty"  # noqa: S608 (integers)
            fresh = _FROM_ROWS.format(
                width=unit_ms,
                where=f"series = {series} AND ts_ms >= {_floor(span.from_ms, width_ms)} "
                f"AND ts_ms < {span.to_ms} AND ts_ms // {unit_ms} * {unit_ms} IN ({dirty})",
            )
            parts = (
                f"(SELECT * FROM {table} WHERE {where} AND bucket_ms NOT IN ({dirty}) "  # noqa: S608 (integers)
                f"UNION ALL BY NAME {fresh})"
            )
            query = _FROM_ROLLUP.format(width=width_ms, table=parts, where="true")
        found = {row[1]: row for row in self._read(query).fetchall()}
        starts = range(_floor(span.from_ms, width_ms), span.to_ms, width_ms)
        return Range(unit, width_ms, BUCKET_COLUMNS, [_bucket(t, found.get(t)) for t in starts])

    def _recent_ms(self) -> int:
        """Say since when samples are looked at for the newest: not all years need be read."""
        row = self._read("SELECT max(bucket_ms) FROM rollup_1h").fetchone()
        newest_ms = None if row is None else row[0]
        return 0 if newest_ms is None else int(newest_ms) - RESTORED_MS

    def _latest_texts(self) -> dict[tuple[str, str, str], tuple[str, int, int]]:
        rows = self._read(
            """SELECT site, machine, signal, arg_max(value, ts_ms), arg_max(quality, ts_ms),
                 arg_max(reason, ts_ms)
               FROM sample_text JOIN series ON series.id = series GROUP BY ALL"""
        ).fetchall()
        return {row[:3]: row[3:] for row in rows}

    def _latest_states(self) -> list[Latest]:
        """Give the state that each machine was last said to be in, as its reserved signals."""
        rows = self._read(
            """SELECT site, machine, max(ts_ms), arg_max(state, (ts_ms, rowid)),
                 arg_max(reason, (ts_ms, rowid)), arg_max(evidence, (ts_ms, rowid))
               FROM machine_state GROUP BY ALL"""
        ).fetchall()
        said = (names.STATE, names.STATE_REASON, names.STATE_EVIDENCE)
        return [
            Latest(site, machine, name, time_ms, text, 0, 0)
            for site, machine, time_ms, *texts in rows
            for name, text in zip(said, texts, strict=True)
        ]

    def _roll_up(self, now_ms: int) -> None:
        """Recompute the dirty minutes that have closed, and the hours they belong to."""
        rows = self._writer.execute(
            "SELECT bucket_ms FROM dirty WHERE bucket_ms < ? ORDER BY bucket_ms LIMIT ?",
            [_floor(now_ms, MINUTE_MS), DIRTY_MINUTES_MAX],
        ).fetchall()
        if not rows:
            return
        minutes = [row[0] for row in rows]
        with self._transaction() as sql:
            for run in _runs(minutes, MINUTE_MS):
                where = f"ts_ms >= {run.from_ms} AND ts_ms < {run.to_ms}"
                rows_query = _FROM_ROWS.format(width=MINUTE_MS, where=where)
                _replace(sql, "rollup_1m", run, rows_query)
            for run in _runs(sorted({_floor(m, HOUR_MS) for m in minutes}), HOUR_MS):
                where = f"bucket_ms >= {run.from_ms} AND bucket_ms < {run.to_ms}"
                minutes_query = _FROM_ROLLUP.format(width=HOUR_MS, table="rollup_1m", where=where)
                _replace(sql, "rollup_1h", run, minutes_query)
            sql.executemany("DELETE FROM dirty WHERE bucket_ms = ?", [[m] for m in minutes])

    def _archive_day(self, now_ms: int) -> None:
        """Move a closed day into a file; late rows of an archived day are merged into it."""
        try:
            day_ms = self._archive.due(self._writer, now_ms)
            if day_ms is None:
                return
            name = self._archive.write_day(self._writer, day_ms)
        except (duckdb.Error, OSError) as error:
            raise HistorianUnavailableError(f"archiving a day: {error}") from error
        with self._transaction() as sql:
            self._archive.adopt_day(sql, day_ms, name)

    def _forget(self, now_ms: int) -> None:
        """Delete what is older than promised; once an hour is often enough."""
        if now_ms < self._next_forget_ms:
            return
        self._next_forget_ms = now_ms + HOUR_MS
        oldest_raw, oldest_rollup = now_ms - self._raw_ms, now_ms - self._rollup_ms
        with self._transaction() as sql:
            self._archive.forget(sql, oldest_raw)
            for table in ("sample_recent", "sample_text"):
                sql.execute(f"DELETE FROM {table} WHERE ts_ms < ?", [oldest_raw])  # noqa: S608 (literals)
            for table in ("rollup_1m", "rollup_1h"):
                sql.execute(f"DELETE FROM {table} WHERE bucket_ms < ?", [oldest_rollup])  # noqa: S608 (literals)
            sql.execute("INSERT OR REPLACE INTO meta VALUES ('raw_from_ms', ?)", [str(oldest_raw)])
        self._raw_from_ms = oldest_raw

    def _overwrite(self) -> None:
        """Bring deletions into the file itself, where a reader of the disk would look."""
        try:
            self._writer.execute("CHECKPOINT")
        except duckdb.Error as error:
            # Somebody reads an older snapshot; the engine checkpoints later by itself.
            log.debug("the file is rewritten later: %s", error)

    def _describe_again(self) -> None:
        """Store units and kinds that births have changed since the series was adopted."""
        with self._transaction() as sql:
            for i, stored in enumerate(self._described):
                name = self._index.name(i)
                if name != stored and self._own_ids[i] != ERASED:
                    sql.execute(
                        "UPDATE series SET kind = ?, unit = ? WHERE id = ?",
                        [name.kind, name.unit, int(self._own_ids[i])],
                    )
                    self._described[i] = name


class _Answer:
    """Rows already fetched, so that no cursor stays open."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows[0] if self._rows else None


def _connect(path: Path, spill: Path, memory_mib: int) -> duckdb.DuckDBPyConnection:
    """Open the file with bounded memory and disk use."""
    try:
        return duckdb.connect(
            str(path),
            config={
                "memory_limit": f"{memory_mib}MiB",
                "temp_directory": str(spill),
                "max_temp_directory_size": "1GiB",
                "threads": 1,  # Halves commit time on two cores; readers have their own threads.
            },
        )
    except duckdb.Error as error:
        raise HistorianUnavailableError(f"{path} cannot be opened: {error}") from error


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Create the tables, or refuse a store written by a newer program."""
    connection.execute(_SCHEMA)
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    if row is None:
        connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])
    elif int(row[0]) > SCHEMA_VERSION:
        connection.close()
        raise HistorianUnavailableError(
            f"{path} was written by a newer Machikoba (schema {row[0]}, this one knows "
            f"{SCHEMA_VERSION}). Upgrade the hub, or move the file away to begin anew"
        )


def _raw_from_ms(connection: duckdb.DuckDBPyConnection) -> int:
    """Tell since when raw rows are still there; before it only roll-ups are."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'raw_from_ms'").fetchone()
    return 0 if row is None else int(row[0])


def _ids_of(sql: duckdb.DuckDBPyConnection, names: Sequence[SeriesName]) -> NDArray[np.int32]:
    """Give the ids of series in the store, new ones to those that it does not know."""
    known = {
        row[1:]: row[0]
        for row in sql.execute("SELECT id, site, machine, signal FROM series").fetchall()
    }
    free = 1 + max(known.values(), default=-1)
    own: list[int] = []
    fresh: list[list[object]] = []
    for name in names:
        key = (name.site, name.machine, name.signal)
        if key not in known:
            known[key] = free + len(fresh)
            fresh.append([known[key], *key, name.kind, name.unit])
        own.append(known[key])
    _insert_many(sql, "series", fresh)
    return np.array(own, np.int32)


def _insert_states(sql: duckdb.DuckDBPyConnection, states: Sequence[StateChange]) -> None:
    rows = [
        [s.site, s.machine, s.time_ms, s.state.value, s.reason, s.evidence, s.source]
        for s in states
    ]
    _insert_many(sql, "machine_state", rows)


def _insert_many(
    sql: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Sequence[object]]
) -> None:
    """Insert rows by columns: row by row costs 0.4 ms for each, this way 3 us."""
    if rows:
        columns = {
            f"c{at}": np.array(column, dtype=object if any(map(_is_text, column)) else np.int64)
            for at, column in enumerate(zip(*rows, strict=True))
        }
        sql.register("incoming", columns)
        sql.execute(f"INSERT INTO {table} SELECT * FROM incoming")  # noqa: S608 (literals)
        sql.unregister("incoming")


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _texts(columns: Columns, own: NDArray[np.int32]) -> list[list[object]]:
    return [
        [
            int(own[row]),
            int(columns.time_ms[row]),
            text,
            int(columns.quality[row]),
            int(columns.reason[row]),
        ]
        for row, text in columns.text.items()
    ]


def _runs(starts: Sequence[int], width_ms: int) -> list[Span]:
    """Join sorted buckets that touch: one query for a run costs little more than for a bucket."""
    runs: list[Span] = []
    for start_ms in starts:
        first_ms = runs.pop().from_ms if runs and runs[-1].to_ms == start_ms else start_ms
        runs.append(Span(first_ms, start_ms + width_ms))
    return runs


def _replace(sql: duckdb.DuckDBPyConnection, table: str, run: Span, query: str) -> None:
    """Put what `query` computes in the place of a run of buckets."""
    where = "bucket_ms >= ? AND bucket_ms < ?"
    sql.execute(f"DELETE FROM {table} WHERE {where}", list(run))  # noqa: S608 (literals)
    sql.execute(f"INSERT INTO {table} BY NAME {query}")


def _rows_query(series: int, span: Span, width_ms: int) -> str:
    where = f"series = {series} AND ts_ms >= {span.from_ms} AND ts_ms < {span.to_ms}"
    return _FROM_ROWS.format(width=width_ms, where=where)


def _width_ms(span: Span, points_max: int) -> int:
    """Choose the narrowest readable bucket that needs no more than `points_max` of them."""
    needed = -(-(span.to_ms - span.from_ms) // points_max)
    return next((width for width in WIDTHS_MS if width >= needed), WIDTHS_MS[-1])


def _floor(time_ms: int, width_ms: int) -> int:
    return time_ms // width_ms * width_ms


def _bucket(start_ms: int, row: tuple[Any, ...] | None) -> tuple[Value, ...]:
    if row is None:
        return (start_ms, None, None, None, None, 0, 0)
    return (start_ms, *row[2:6], int(row[6]), int(row[7]))


def _intervals(rows: Sequence[tuple[Any, ...]], span: Span) -> list[StateInterval]:
    """Turn changes into intervals; the last one is open when it lasts beyond the span."""
    merged: list[StateInterval] = []
    for i, (time_ms, state, reason, evidence, source) in enumerate(rows):
        end_ms = rows[i + 1][0] if i + 1 < len(rows) else None
        start_ms = max(time_ms, span.from_ms)
        if end_ms is not None and end_ms <= start_ms:
            continue
        merged.append(StateInterval(start_ms, end_ms, State(state), reason, evidence, source))
    return merged


def _latest(
    row: tuple[Any, ...], texts: dict[tuple[str, str, str], tuple[str, int, int]]
) -> Latest:
    site, machine, signal, time_ms, value, quality, reason = row
    if (text := texts.get((site, machine, signal))) is not None and value is None:
        return Latest(site, machine, signal, time_ms, *text)
    number = None if value is None or value != value or quality == Quality.BAD else value  # noqa: PLR0124 (NaN)
    return Latest(site, machine, signal, time_ms, number, quality, reason)


def _bytes_on_disk(path: Path) -> int:
    total = 0
    for file in (path, path.with_suffix(path.suffix + ".wal")):
        try:
            total += file.stat().st_size
        except OSError:
            continue  # A write-ahead file comes and goes.
    return total
