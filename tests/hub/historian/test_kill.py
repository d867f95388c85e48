"""Killed at any moment, the store holds exactly the rows that its cursor says."""

import random
import subprocess
import sys

from hub.columns import SeriesIndex
from hub.historian import Span
from hub.historian.duck import DuckHistorian

KILLS = 6
ROWS = 500
WRITER = f"""
import sys
from pathlib import Path
import numpy as np
from hub.columns import Columns, SeriesIndex
from hub.historian import Cursor, WriteBatch
from hub.historian.duck import DuckHistorian

index = SeriesIndex()
index.id("ota", "mc-1", "n")
historian = DuckHistorian(Path(sys.argv[1]), index, memory_mib=64)
cursor = historian.cursor()
offset = cursor.offset if cursor else 0
while True:
    n = {ROWS}
    columns = Columns(
        np.zeros(n, np.int32), np.arange(offset * n, (offset + 1) * n), np.ones(n),
        np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.zeros(n, np.int32),
    )
    offset += 1
    historian.write(WriteBatch(columns, (), Cursor(9, offset)))
    if offset % 7 == 0:
        historian.maintain(offset * n)
    print(offset, flush=True)
"""


def test_rows_and_cursor_agree_after_every_kill(tmp_path):
    rng = random.Random(3)
    told = 0
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True
        ) as writer:
            for _ in range(rng.randint(2, 25)):
                told = int(writer.stdout.readline())
            writer.kill()
            rest = writer.stdout.read().split("\n")
            told = max([told, *(int(line) for line in rest[:-1])])
        historian = DuckHistorian(tmp_path, SeriesIndex(), memory_mib=64)
        offset = historian.cursor().offset
        rows = historian.range("ota", "mc-1", "n", Span(0, 10**9), points_max=10**6, raw=True).rows
        historian.close()

        assert told <= offset <= told + 1
        assert [row[0] for row in rows] == list(range(offset * ROWS))
