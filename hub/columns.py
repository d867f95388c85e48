"""Samples inside the hub: columns, never a list of objects.

Ids in ``Columns.series`` belong to one ``SeriesIndex``, hence to one process; whoever stores
rows maps them to ids of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gateway.model import State


class SeriesName(NamedTuple):
    """What a series id stands for."""

    site: str
    machine: str
    signal: str
    unit: str | None = None
    kind: str = "double"
    """double, boolean, integer (exact as a double), int64 (maybe not, then text) or string."""
    counts: str | None = None
    """"good" or "scrap" when the signal counts parts."""


class SeriesIndex:
    """Small ids for (site, machine, signal), handed out in order from 0 and never taken back.

    One thread adds; any thread may look up, because rows are appended and replaced whole.
    """

    def __init__(self) -> None:
        self._names: list[SeriesName] = []
        self._ids: dict[tuple[str, str, str], int] = {}

    def id(self, site: str, machine: str, signal: str) -> int:
        """Give the id of a series, a new one when it was never seen."""
        key = (site, machine, signal)
        known = self._ids.get(key)
        if known is not None:
            return known
        self._names.append(SeriesName(site, machine, signal))
        self._ids[key] = fresh = len(self._names) - 1
        return fresh

    def find(self, site: str, machine: str, signal: str) -> int | None:
        """Give the id of a series, or None when it was never seen."""
        return self._ids.get((site, machine, signal))

    def name(self, series: int) -> SeriesName:
        """Tell what a series id stands for."""
        return self._names[series]

    def describe(
        self, series: int, *, unit: str | None, kind: str, counts: str | None = None
    ) -> None:
        """Remember what a birth says about a series."""
        self._names[series] = self._names[series]._replace(unit=unit, kind=kind, counts=counts)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(slots=True)
class Columns:
    """A batch of samples, one row each; all arrays have the same length.

    ``value`` is NaN where there is no value or the value is text; booleans are 0.0 and 1.0;
    integers beyond 2**53 are text. ``message`` is the index of the message that brought the row.
    """

    series: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    message: NDArray[np.int32]
    text: dict[int, str] = field(default_factory=dict)
    """Row -> text, for the few rows whose value is text."""

    @classmethod
    def empty(cls) -> Self:
        """Give a batch without rows."""
        return cls(
            series=np.empty(0, np.int32),
            time_ms=np.empty(0, np.int64),
            value=np.empty(0, np.float64),
            quality=np.empty(0, np.uint8),
            reason=np.empty(0, np.uint8),
            message=np.empty(0, np.int32),
        )

    @classmethod
    def joined(cls, parts: Sequence["Columns"]) -> "Columns":
        """Put batches one after the other; message indexes are kept as they are."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.empty()
        text: dict[int, str] = {}
        start = 0
        for part in parts:
            text.update((start + row, value) for row, value in part.text.items())
            start += len(part)
        return cls(
            series=np.concatenate([part.series for part in parts]),
            time_ms=np.concatenate([part.time_ms for part in parts]),
            value=np.concatenate([part.value for part in parts]),
            quality=np.concatenate([part.quality for part in parts]),
            reason=np.concatenate([part.reason for part in parts]),
            message=np.concatenate([part.message for part in parts]),
            text=text,
        )

    def rows(self, keep: NDArray[np.bool_]) -> "Columns":
        """Give only the rows where `keep` is true, in the same order."""
        if bool(keep.all()):
            return self
        moved = np.cumsum(keep) - 1
        return Columns(
            series=self.series[keep],
            time_ms=self.time_ms[keep],
            value=self.value[keep],
            quality=self.quality[keep],
            reason=self.reason[keep],
            message=self.message[keep],
            text={int(moved[row]): text for row, text in self.text.items() if keep[row]},
        )

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True)
class StateChange:
    """A machine began to be in a state at an instant, and why one may say so."""

    site: str
    machine: str
    time_ms: int
    state: State
    reason: str = ""
    evidence: str = ""
    source: str = "edge"
    """Who said so: ``edge`` or ``hub``."""
