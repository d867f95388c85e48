"""Which rows of a batch say what a machine is doing, when it was read, and which to keep."""

from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.model import Quality, State
from gateway.sparkplug import names
from hub.columns import Columns, SeriesIndex, StateChange
from hub.ingest.silences import Read

_STATE, _REASON, _EVIDENCE, _READ_AT, _MAX_AGE = 1, 2, 3, 8, 9
_APART_MS: Final = 1000
"""Readings closer to each other than this say nothing that the last of them does not."""
_ROLES: Final = {
    names.STATE: _STATE,
    names.STATE_REASON: _REASON,
    names.STATE_EVIDENCE: _EVIDENCE,
    names.READ_AT: _READ_AT,
    names.MAX_AGE: _MAX_AGE,
}


class StateRows:
    """Reads state changes from columns. Used by one thread."""

    def __init__(self, index: SeriesIndex) -> None:
        self._index = index
        self._roles: NDArray[np.uint8] = np.zeros(0, np.uint8)

    def split(self, columns: Columns) -> tuple[Columns, list[StateChange], list[Read]]:
        """Give the rows worth keeping, what machines were doing, and when they were read.

        Left out are rows that only refresh a promise; they mean nothing an hour later.
        """
        roles = self._roles_of(columns)
        if not roles.any():
            return columns, [], []
        kept = columns.rows(roles < _READ_AT)
        return kept, self._changes(columns, roles), self._reads(columns, roles)

    def _reads(self, columns: Columns, roles: NDArray[np.uint8]) -> list[Read]:
        """Give the first and the last reading of each machine, and those around a longer pause."""
        rows = np.nonzero((roles == _READ_AT) & np.isfinite(columns.value))[0]
        if not len(rows):
            return []
        rows = rows[np.argsort(columns.series[rows], kind="stable")]
        series, time_ms = columns.series[rows], columns.value[rows]
        apart = (np.diff(series) != 0) | (np.abs(np.diff(time_ms)) > _APART_MS)
        kept = np.append(apart, [True]) | np.insert(apart, 0, True)
        ages = self._ages(columns, roles)
        reads = []
        for each, value in zip(series[kept].tolist(), time_ms[kept].tolist(), strict=True):
            name = self._index.name(each)
            age_ms = ages.get((name.site, name.machine))
            reads.append(Read(name.site, name.machine, int(value), age_ms))
        return reads

    def _ages(self, columns: Columns, roles: NDArray[np.uint8]) -> dict[tuple[str, str], int]:
        ages = {}
        for row in np.nonzero((roles == _MAX_AGE) & (columns.value > 0))[0].tolist():
            name = self._index.name(int(columns.series[row]))
            ages[name.site, name.machine] = int(columns.value[row])
        return ages

    def _changes(self, columns: Columns, roles: NDArray[np.uint8]) -> list[StateChange]:
        told: defaultdict[tuple[int, str, str, int], dict[int, str]] = defaultdict(dict)
        for row in np.nonzero((roles > 0) & (roles <= _EVIDENCE))[0].tolist():
            name = self._index.name(int(columns.series[row]))
            key = (int(columns.message[row]), name.site, name.machine, int(columns.time_ms[row]))
            good = columns.quality[row] != Quality.BAD
            told[key][int(roles[row])] = columns.text.get(row, "") if good else ""
        return [
            StateChange(site, machine, time_ms, _state(words[_STATE]), words.get(_REASON, ""),
                        words.get(_EVIDENCE, ""))
            for (_, site, machine, time_ms), words in told.items()
            if _STATE in words
        ]  # fmt: skip

    def _roles_of(self, columns: Columns) -> NDArray[np.uint8]:
        known = len(self._roles)
        if known < len(self._index):
            fresh = [
                _ROLES.get(self._index.name(series).signal, 0)
                for series in range(known, len(self._index))
            ]
            self._roles = np.concatenate([self._roles, np.array(fresh, np.uint8)])
        return self._roles[columns.series]


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        return State.UNKNOWN
