"""Closed days become small files; each row is seen exactly once whatever happens meanwhile."""

import math

import numpy as np
import pytest

from hub.columns import Columns, SeriesIndex
from hub.historian import Span, WriteBatch
from hub.historian.duck import DuckHistorian, archive

DAY_MS = 86_400_000
D0 = 20_775 * DAY_MS
CLOSED = DAY_MS + archive.GRACE_MS


def open_in(folder, **options):
    return DuckHistorian(folder, SeriesIndex(), memory_mib=64, **options)


def write(historian, times, value=1.0, machine="mc-1"):
    series = historian._index.id("ota", machine, "rpm")
    n = len(times)
    columns = Columns(
        series=np.full(n, series, np.int32),
        time_ms=np.array(times, np.int64),
        value=np.full(n, value),
        quality=np.zeros(n, np.uint8),
        reason=np.zeros(n, np.uint8),
        message=np.zeros(n, np.int32),
    )
    historian.write(WriteBatch(columns))


def times(historian):
    span = Span(0, D0 + 100 * DAY_MS)
    found = historian.range("ota", "mc-1", "rpm", span, points_max=100_000, raw=True)
    return [row[0] for row in found.rows]


def files(folder):
    return sorted(path.name for path in (folder / "days").iterdir())


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def test_a_closed_day_moves_into_a_file_and_nothing_changes_for_readers(folder):
    historian = open_in(folder)
    expected = [D0 + s * 1000 for s in range(500)] + [D0 + DAY_MS + 5]
    write(historian, expected)
    historian.maintain(D0 + DAY_MS + archive.GRACE_MS - 1)
    assert files(folder) == []

    historian.maintain(D0 + CLOSED)

    assert files(folder) == ["20775.1.parquet"]
    assert times(historian) == expected
    assert historian.health().rows <= 501
    historian.close()
    again = open_in(folder)
    assert times(again) == expected
    again.close()


def test_late_rows_are_merged_and_the_old_file_goes_once_nobody_reads_it(folder):
    historian = open_in(folder)
    write(historian, [D0 + 1, D0 + 3])
    historian.maintain(D0 + CLOSED)
    write(historian, [D0 + 2])
    assert times(historian) == [D0 + 1, D0 + 2, D0 + 3]

    historian.maintain(D0 + CLOSED)
    assert files(folder) == ["20775.1.parquet", "20775.2.parquet"]
    historian.maintain(D0 + CLOSED)

    assert files(folder) == ["20775.2.parquet"]
    assert times(historian) == [D0 + 1, D0 + 2, D0 + 3]
    historian.close()


@pytest.mark.parametrize("step", ["copied", "renamed"])
def test_a_crash_while_archiving_shows_no_row_twice_and_leaves_no_rubbish(
    folder, monkeypatch, step
):
    historian = open_in(folder)
    write(historian, [D0 + 1, D0 + 2])

    class PowerCutError(Exception):
        pass

    def cut(*_args):
        raise PowerCutError

    target = (archive, "_make_durable") if step == "copied" else (archive.Archive, "adopt_day")
    with monkeypatch.context() as patch:
        patch.setattr(*target, cut)
        with pytest.raises(PowerCutError):
            historian.maintain(D0 + CLOSED)
    assert len(files(folder)) == 1
    historian.close()

    again = open_in(folder)

    assert times(again) == [D0 + 1, D0 + 2]
    assert files(folder) == []
    again.maintain(D0 + CLOSED)
    assert times(again) == [D0 + 1, D0 + 2]
    again.close()


def test_old_days_are_forgotten_as_whole_files(folder):
    historian = open_in(folder, raw_days=2)
    write(historian, [D0 + 1, D0 + DAY_MS + 1])
    for _ in range(2):
        historian.maintain(D0 + DAY_MS + CLOSED)
    assert len(files(folder)) == 2

    for hours in range(4):
        historian.maintain(D0 + 3 * DAY_MS + (2 + hours) * 3_600_000)

    assert files(folder) == ["20776.1.parquet"]
    assert times(historian) == [D0 + DAY_MS + 1]
    historian.close()


def test_archived_samples_take_few_bytes(folder):
    historian = open_in(folder)
    for hour in range(20):
        write(
            historian,
            [D0 + hour * 3_600_000 + s * 1000 for s in range(3600)],
            value=round(math.sin(hour) * 100, 1),
        )
    historian.maintain(D0 + CLOSED)

    (path,) = (folder / "days").iterdir()

    assert path.stat().st_size / 72_000 < 3.0
    historian.close()


def test_an_erased_machine_leaves_the_files_too_and_a_day_of_its_own_loses_its_file(folder):
    historian = open_in(folder)
    write(historian, [D0 + 1, D0 + DAY_MS + 1])
    write(historian, [D0 + 2], 2.0, machine="mc-2")
    for day in (1, 2, 3):
        historian.maintain(D0 + day * DAY_MS + CLOSED)
    assert files(folder) == ["20775.1.parquet", "20776.1.parquet"]

    historian.erase("ota", "mc-1")
    historian.maintain(D0 + 5 * DAY_MS)

    assert files(folder) == ["20775.2.parquet"]
    assert historian.range("ota", "mc-1", "rpm", Span(0, D0 * 2), points_max=10, raw=True) is None
    other = historian.range("ota", "mc-2", "rpm", Span(0, D0 * 2), points_max=10, raw=True)
    assert other.rows == [(D0 + 2, 2.0, 0, 0)]
    historian.close()

    again = open_in(folder)
    assert [latest.machine for latest in again.latest()] == ["mc-2"]
    again.close()


def test_a_crash_while_erasing_leaves_everything_as_it_was(folder, monkeypatch):
    historian = open_in(folder)
    write(historian, [D0 + 1, D0 + 2])
    historian.maintain(D0 + CLOSED)

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(archive.Archive, "adopt_without", dies)
    with pytest.raises(KeyboardInterrupt):
        historian.erase("ota", "mc-1")
    historian.close()

    again = open_in(folder)
    assert times(again) == [D0 + 1, D0 + 2]
    assert files(folder) == ["20775.1.parquet"]
    again.close()
