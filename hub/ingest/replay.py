"""Entries of the inbox back to columns: after a restart, or when the historian fell behind."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.delivery.mark import MARK_FACT
from gateway.journal import Entry
from gateway.sparkplug import DataType, Limits, Payload, SparkplugError, decode, names
from hub.columns import Columns, SeriesIndex, StateChange
from hub.inbox import DeadLetter, Source
from hub.ingest.aliases import AliasTable, AliasTables
from hub.ingest.decode import decode_messages
from hub.ingest.rows import Message
from hub.ingest.sessions import Sessions, describe_series
from hub.ingest.silences import Read
from hub.ingest.states import StateRows
from hub.live.live import NOT_LIVE, order_key

_DROPPED_LENGTH: Final = 3  # from, to, samples


@dataclass(slots=True)
class Stored:
    """A stretch of the inbox as columns: what the historian gets."""

    first: int
    last: int
    time_ms: int
    """Arrival of the oldest entry."""
    columns: Columns
    states: Sequence[StateChange] = ()
    settled: dict[str, list[int]] = field(default_factory=dict)
    """Mark -> the agent's offsets among these entries."""
    reads: Sequence[Read] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """What an agent declares to have lost, inclusive."""

    first: int
    last: int
    samples: int
    cause: str


class ForeignTables:
    """Series of foreign metrics by name, for messages that tell names and datatypes themselves."""

    def __init__(self, index: SeriesIndex, tables: AliasTables) -> None:
        self._index = index
        self._tables = tables
        self._by_source: dict[Source, AliasTable] = {}

    def message(self, source: Source, body: bytes, received_ms: int) -> Message:
        """Make a stored foreign message decodable; raise SparkplugError when it is none."""
        table = self._by_source.get(source)
        if table is None:
            table = self._by_source[source] = self._tables.add()
        for metric in decode(body).metrics:
            if metric.name is None or metric.datatype is None:
                continue
            if table.find_name(None, metric.name) is None:
                series = None
                if metric.datatype <= DataType.UUID:
                    series = self._index.id(source.site, source.machine, metric.name)
                    describe_series(self._index, series, metric)
                table.learn_name(None, metric.name, series, metric.datatype)
        return Message(body, table, None, received_ms)


class Replay:
    """Decodes entries again, under the lock that guards the alias tables."""

    def __init__(
        self,
        index: SeriesIndex,
        tables: AliasTables,
        sessions: Sessions,
        lock: threading.Lock,
        limits: Limits,
    ) -> None:
        self._index = index
        self._tables = tables
        self._sessions = sessions
        self._lock = lock
        self._limits = limits
        self._states = StateRows(index)
        self._foreign = ForeignTables(index, tables)

    def stored(self, entries: Sequence[Entry]) -> tuple[Stored, list[DeadLetter]]:
        """Give what the historian must write for these entries, and those beyond reading.

        An entry was read once before it was stored, so there should be none of the latter.
        """
        with self._lock:
            columns, found, dead = self._decode(entries)
            lasting, states, reads = self._states.split(columns)
        settled: dict[str, list[int]] = {}
        for entry, (epoch, offset) in zip(entries, found, strict=True):
            if offset:
                source = Source.of_key(entry.key)
                settled.setdefault(mark_name(source, epoch), []).append(offset)
        first, last = entries[0].offset, entries[-1].offset
        stored = Stored(first, last, entries[0].time_ms, lasting, states, settled, reads)
        return stored, dead

    def live(self, entries: Sequence[Entry]) -> tuple[Columns, NDArray[np.int64]]:
        """Give columns and the live state's keys, to restore what the historian lacks."""
        with self._lock:
            columns, found, _ = self._decode(entries)
            keys = [self._key(e, at) for e, at in zip(entries, found, strict=True)]
        return columns, np.array(keys, np.int64)

    def _key(self, entry: Entry, place: tuple[int, int]) -> int:
        source = Source.of_key(entry.key)
        session = self._sessions.find(source.site, source.agent)
        epoch = session.epochs.get(place[0]) if session else None
        return order_key(epoch.rank, place[1]) if epoch else NOT_LIVE

    def _decode(
        self, entries: Sequence[Entry]
    ) -> tuple[Columns, list[tuple[int, int]], list[DeadLetter]]:
        messages: list[Message] = []
        dead: list[DeadLetter] = []
        nothing = self._tables.add()
        for entry in entries:
            try:
                messages.append(self._message(entry))
            except (SparkplugError, LookupError) as error:
                dead.append(_letter(entry, str(error)))
                messages.append(Message(b"", nothing, None, entry.time_ms))
        decoded = decode_messages(messages, self._tables, self._limits)
        self._tables.forget(nothing)
        dead += [_letter(entries[r.message], r.cause) for r in decoded.refused]
        epochs, offsets = decoded.headers.epoch.tolist(), decoded.headers.offset.tolist()
        return decoded.columns, list(zip(epochs, offsets, strict=True)), dead

    def _message(self, entry: Entry) -> Message:
        source = Source.of_key(entry.key)
        if source.foreign:
            return self._foreign.message(source, entry.body, entry.time_ms)
        table = self._sessions.table_of(source.site, source.agent, entry.body)
        if table is None:
            raise LookupError("no birth of its epoch is known")
        return Message(entry.body, table, source.machine or None, entry.time_ms)


def mark_name(source: Source, epoch: int) -> str:
    """Name the mark that an entry counts for."""
    return f"{MARK_FACT}{source.site}/{source.agent}/{epoch}"


def read_dropped(payload: Payload) -> list[Dropped]:
    """Read what a message declares dropped; nothing from what cannot be understood."""
    causes = [m.value for m in payload.metrics if m.name == names.DROPPED_CAUSE]
    runs = [m.value for m in payload.metrics if m.name == names.DROPPED]
    dropped = []
    for at, run in enumerate(runs):
        if not isinstance(run, Sequence) or isinstance(run, (str, bytes)):
            continue
        numbers = [number for number in run if isinstance(number, int)]
        if len(numbers) == _DROPPED_LENGTH:
            cause = causes[at] if at < len(causes) else None
            word = cause if isinstance(cause, str) else "undeclared"
            first, last, samples = numbers
            dropped.append(Dropped(first, last, samples, word[:64]))
    return dropped


def _letter(entry: Entry, cause: str) -> DeadLetter:
    source = Source.of_key(entry.key)
    return DeadLetter(entry.time_ms, source.site, source.agent, 0, 0, cause, entry.body)
