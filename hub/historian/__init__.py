"""Where samples stay: one interface, one file per engine, one contract suite for all.

A new engine is a new file beside `duck.py` that satisfies `historian.Historian`; it is chosen in
`open_historian` and nowhere else.
"""

from pathlib import Path

from hub.columns import SeriesIndex
from hub.historian.duck import DuckHistorian
from hub.historian.historian import (
    Cursor,
    Health,
    Historian,
    HistorianUnavailableError,
    Latest,
    Range,
    Span,
    StateInterval,
    WriteBatch,
)

__all__ = [
    "Cursor",
    "Health",
    "Historian",
    "HistorianUnavailableError",
    "Latest",
    "Range",
    "Span",
    "StateInterval",
    "WriteBatch",
    "open_historian",
]


def open_historian(
    folder: Path, index: SeriesIndex, *, memory_mib: int, raw_days: int, rollup_days: int
) -> Historian:
    """Open the engine that keeps this hub's history below `folder`."""
    return DuckHistorian(
        folder, index, memory_mib=memory_mib, raw_days=raw_days, rollup_days=rollup_days
    )
