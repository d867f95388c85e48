"""What the aliases of each journal epoch stand for, laid out for looking up thousands at once.

All tables share two arrays, and a table is a stretch of them: so one numpy gather finds the series
of every metric in a batch, whatever agents its messages came from.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.sparkplug import ALIAS_FIRST, ALIAS_LAST, DataType

UNKNOWN: Final = -1
"""Stands for the series of an alias that no birth has told."""
IGNORED: Final = -2
"""Stands for the series of a metric that is known and makes no rows."""

_SPAN: Final = ALIAS_LAST - ALIAS_FIRST + 1
_STRETCH_FIRST: Final = 64


class Signal(NamedTuple):
    """What a birth has told about a metric. ``series`` may be IGNORED."""

    series: int
    datatype: DataType


class AliasTable:
    """The metrics of one journal epoch of one agent, or of one session of a foreign node.

    Made by `AliasTables.add` only.
    """

    def __init__(self, tables: "AliasTables") -> None:
        self._tables = tables
        self._aliases: dict[int, Signal] = {}
        self._names: dict[tuple[str | None, str], Signal] = {}
        self.start = 0
        """Where in the shared arrays the first regular alias of this table is."""
        self.room = 0
        """How many regular aliases, from the first, this table has a place for."""

    def learn(self, alias: int, series: int | None, datatype: DataType) -> None:
        """Remember what an alias stands for. A ``series`` of None makes no rows."""
        signal = Signal(IGNORED if series is None else series, datatype)
        self._aliases[alias] = signal
        if ALIAS_FIRST <= alias <= ALIAS_LAST:
            self._tables.place(self, alias - ALIAS_FIRST, signal)

    def learn_name(
        self, device: str | None, name: str, series: int | None, datatype: DataType
    ) -> None:
        """Remember a metric that data messages of a device (None: the node) call by its name."""
        self._names[device, name] = Signal(IGNORED if series is None else series, datatype)

    def find(self, alias: int) -> Signal | None:
        """Tell what an alias stands for, or None when no birth has told."""
        return self._aliases.get(alias)

    def find_name(self, device: str | None, name: str) -> Signal | None:
        """Tell what a name stands for, or None when no birth has told."""
        return self._names.get((device, name))

    def __len__(self) -> int:
        return len(self._aliases) + len(self._names)


class AliasTables:
    """All alias tables of a hub. Used from one thread."""

    def __init__(self) -> None:
        self._tables: dict[AliasTable, None] = {}
        self._end = 0
        self.series: NDArray[np.int32] = np.empty(0, np.int32)
        """Series of each place, or UNKNOWN or IGNORED."""
        self.datatype: NDArray[np.uint8] = np.empty(0, np.uint8)
        """DataType of each place, 0 where the series is UNKNOWN."""
        self._allot(1024)

    def add(self) -> AliasTable:
        """Make an empty table."""
        table = AliasTable(self)
        self._tables[table] = None
        return table

    def forget(self, table: AliasTable) -> None:
        """Drop a table that no message will need again; its room is won back later."""
        del self._tables[table]
        table.room = 0

    def place(self, table: AliasTable, at: int, signal: Signal) -> None:
        """Write one regular alias into the shared arrays. Called by `AliasTable.learn`.

        A table that was forgotten has no place there any more; its aliases are found one by one.
        """
        if table not in self._tables:
            return
        if at >= table.room:
            self._widen(table, at + 1)
        self.series[table.start + at] = signal.series
        self.datatype[table.start + at] = signal.datatype

    def _widen(self, table: AliasTable, needed: int) -> None:
        """Move a table to the end of the arrays, with room for twice what it needs."""
        room = min(_SPAN, max(_STRETCH_FIRST, 2 * needed))
        if self._end + room > len(self.series):
            self._compact(room)
        start, self._end = self._end, self._end + room
        self._move(table, start, room, self.series, self.datatype)

    def _compact(self, extra: int) -> None:
        """Copy the stretches still in use into fresh arrays with room for as much again."""
        series, datatype = self.series, self.datatype
        self._allot(2 * (extra + sum(table.room for table in self._tables)))
        self._end = 0
        for table in self._tables:
            start, self._end = self._end, self._end + table.room
            self._move(table, start, table.room, series, datatype)

    def _allot(self, places: int) -> None:
        self.series = np.full(places, UNKNOWN, np.int32)
        self.datatype = np.zeros(places, np.uint8)

    def _move(
        self,
        table: AliasTable,
        start: int,
        room: int,
        series: NDArray[np.int32],
        datatype: NDArray[np.uint8],
    ) -> None:
        used = slice(table.start, table.start + table.room)
        self.series[start : start + table.room] = series[used]
        self.datatype[start : start + table.room] = datatype[used]
        table.start, table.room = start, room
