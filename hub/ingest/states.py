"""Which rows of a batch say what a machine is doing, and which are not worth keeping."""

from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.model import Quality, State
from gateway.sparkplug import names
from hub.columns import Columns, SeriesIndex, StateChange

_STATE, _REASON, _EVIDENCE, _TRANSIENT = 1, 2, 3, 9
_ROLES: Final = {
    names.STATE: _STATE,
    names.STATE_REASON: _REASON,
    names.STATE_EVIDENCE: _EVIDENCE,
    names.READ_AT: _TRANSIENT,
    names.MAX_AGE: _TRANSIENT,
}


class StateRows:
    """Reads state changes from columns. Used by one thread."""

    def __init__(self, index: SeriesIndex) -> None:
        self._index = index
        self._roles: NDArray[np.uint8] = np.zeros(0, np.uint8)

    def split(self, columns: Columns) -> tuple[Columns, list[StateChange]]:
        """Give the rows worth keeping, and what they say machines were doing, in their order.

        Left out are rows that only refresh a promise; they mean nothing an hour later.
        """
        roles = self._roles_of(columns)
        if not roles.any():
            return columns, []
        return columns.rows(roles != _TRANSIENT), self._changes(columns, roles)

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
