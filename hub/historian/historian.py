"""What the hub asks of every engine that keeps history: the whole contract on one screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.model import State, Value
from hub.columns import Columns, StateChange


class HistorianUnavailableError(Exception):
    """The engine cannot answer now; `retry_after_s` says when to ask again."""

    def __init__(self, cause: str, retry_after_s: float = 5.0) -> None:
        super().__init__(cause)
        self.retry_after_s = retry_after_s


class Cursor(NamedTuple):
    """How far the inbox has been written: everything up to `offset` of that inbox `epoch`."""

    epoch: int
    offset: int


class Span(NamedTuple):
    """A range of time [from_ms, to_ms)."""

    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """What is written at once: rows, state changes, and the cursor that says they are in."""

    columns: Columns
    states: Sequence[StateChange] = ()
    cursor: Cursor | None = None
    marks: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Range:
    """Values of one signal over time.

    `bucket_ms` 0 is raw, with columns ``t, value, quality, reason``; otherwise ``t, mean, min,
    max, last, n, bad_n``, one row per bucket, null where nothing was measured. `next_ms` is where
    to go on when there was more than asked for.
    """

    unit: str | None
    bucket_ms: int
    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]
    next_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StateInterval:
    """A machine was in `state` in [start_ms, end_ms); an open end is None."""

    start_ms: int
    end_ms: int | None
    state: State
    reason: str
    evidence: str
    source: str


class Latest(NamedTuple):
    """The newest value stored of one signal."""

    site: str
    machine: str
    signal: str
    time_ms: int
    value: Value
    quality: int
    reason: int


@dataclass(frozen=True, slots=True)
class Health:
    """How the engine is doing, for people and for metrics."""

    engine: str
    rows: int
    """Raw rows, about, that are not archived yet."""
    bytes_on_disk: int
    newest_write_ms: int | None
    trouble: str | None = None


class Historian(Protocol):
    """Keeps samples and state changes; one thread writes, any number read.

    Every method may raise `HistorianUnavailableError`; the caller keeps what it wanted written.
    """

    def write(self, batch: WriteBatch) -> None:
        """Store a batch with its cursor and marks, all or nothing, durably."""

    def cursor(self) -> Cursor | None:
        """Tell how far the inbox was written; None in an empty store."""

    def marks(self) -> dict[str, bytes]:
        """Give the settled marks last written, to seed a fresh inbox."""

    def range(
        self, site: str, machine: str, signal: str, span: Span, *, points_max: int, raw: bool
    ) -> Range | None:
        """Give a signal's values in buckets, or raw when few or asked for; None if unknown."""

    def states(self, site: str, machine: str, span: Span) -> list[StateInterval]:
        """Give the states in `span`, the one carried in clipped to its start."""

    def counted(self, site: str, machine: str, signal: str, span: Span) -> float | None:
        """Tell how far a counter advanced in `span`, across resets; None if unknown."""

    def latest(self) -> list[Latest]:
        """Give the newest value of every signal, to restore live state after a restart.

        What a machine was last said to be doing comes as its reserved signals.
        """

    def erase(self, site: str, machine: str | None) -> None:
        """Delete everything of a machine, or of all machines of a site, archived or not.

        Values that arrive later are kept again, under the same names.
        """

    def maintain(self, now_ms: int) -> None:
        """Bring roll-ups up to date, archive closed days, forget what retention says."""

    def health(self) -> Health:
        """Tell how the engine is doing."""

    def close(self) -> None:
        """Write out and let go of the files; safe to call twice."""
