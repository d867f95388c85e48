"""One metric to one row: the general way, which defines what every other way must give."""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.model import Quality, Reason
from gateway.sparkplug import (
    DataType,
    Limits,
    Metric,
    MetricValue,
    SparkplugError,
    names,
    quality_of,
    typed,
)
from hub.ingest.aliases import IGNORED, AliasTable, Signal

TIME_LAST_MS: Final = 9_223_372_036_853
"""The last millisecond that a 64-bit count of nanoseconds can hold, in the year 2262."""
EXACT_MAX: Final = 2**53
"""Integers up to here are exact as a double; larger ones are kept as text."""

# A foreign node may report these; they are about the session and never samples.
SESSION_METRICS: Final = frozenset({names.BDSEQ, names.REBIRTH})
TEXT_TYPES: Final = frozenset({DataType.STRING, DataType.TEXT, DataType.UUID})


class Message(NamedTuple):
    """One data message and what is needed to understand it."""

    payload: bytes
    table: AliasTable
    device: str | None
    """The device in its topic; None for a message of the node itself."""
    received_ms: int
    """When it arrived. It stands in for missing and impossible times."""


@dataclass(slots=True)
class Headers:
    """What messages say about themselves; every array has one item per message."""

    epoch: NDArray[np.uint64]
    """With `offset` the place in the agent's journal; both 0 where a message names none."""
    offset: NDArray[np.uint64]
    seq: NDArray[np.int16]
    """-1 where there is none within 0..255."""
    sent_ms: NDArray[np.int64]
    """The payload's own time; -1 where there is none."""

    @classmethod
    def unread(cls, count: int) -> "Headers":
        """Make the headers of messages that were not read yet."""
        return cls(
            epoch=np.zeros(count, np.uint64),
            offset=np.zeros(count, np.uint64),
            seq=np.full(count, -1, np.int16),
            sent_ms=np.full(count, -1, np.int64),
        )

    def forget(self, index: int) -> None:
        """Make the header of one message unread again."""
        self.epoch[index] = self.offset[index] = 0
        self.seq[index] = self.sent_ms[index] = -1


class Batch:
    """The messages decoded together, and the headers found in them."""

    def __init__(self, messages: Sequence[Message], limits: Limits) -> None:
        self.messages = messages
        self.limits = limits
        columns = tuple(zip(*messages, strict=True)) or ((), (), (), ())
        self.payloads: tuple[bytes, ...] = columns[0]
        self.tables: tuple[AliasTable, ...] = columns[1]
        self.received_ms = np.array(columns[3], np.int64)
        """When each message arrived."""
        self.headers = Headers.unread(len(messages))
        self.lengths = np.array([len(payload) for payload in self.payloads], np.int64)
        self.starts: NDArray[np.int64] = np.cumsum(self.lengths) - self.lengths
        """Where each message begins when all are joined. Keys of its rows count from there."""


class UnknownMetricError(Exception):
    """A metric that no birth has told; the text names it."""


class Cell(NamedTuple):
    """What one metric says. ``text`` is None unless the value is not a number."""

    value: float
    text: str | None
    quality: Quality
    reason: Reason


@dataclass(slots=True)
class Rows:
    """Rows as arrays of one length, each with a ``key`` that orders it in its batch."""

    key: NDArray[np.int64]
    message: NDArray[np.int32]
    series: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    historical: NDArray[np.bool_]
    text: dict[int, str] = field(default_factory=dict)
    """Key -> text."""

    def where(self, keep: NDArray[np.bool_]) -> "Rows":
        """Return only some of the rows."""
        kept = Rows(
            key=self.key[keep],
            message=self.message[keep],
            series=self.series[keep],
            time_ms=self.time_ms[keep],
            value=self.value[keep],
            quality=self.quality[keep],
            reason=self.reason[keep],
            historical=self.historical[keep],
        )
        if self.text:
            keys = set(kept.key.tolist())
            kept.text = {key: text for key, text in self.text.items() if key in keys}
        return kept


class RowList:
    """Gathers rows one by one."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int, float, int, int, bool]] = []
        self._text: dict[int, str] = {}

    def add(
        self, key: int, index: int, message: Message, metric: Metric, sent_ms: int | None
    ) -> None:
        """Add the row of a metric of the message with this index.

        Raises UnknownMetricError when no birth has told the metric, and SparkplugError when its
        value cannot be of the datatype announced.
        """
        signal = _find(message, metric)
        value = _as_announced(metric, signal.datatype)
        if signal.series == IGNORED:
            return
        cell = read_cell(value, quality_of(metric.properties, is_null=value is None))
        time_ms = _first(metric.time_ms, sent_ms, message.received_ms)
        if time_ms > TIME_LAST_MS:
            time_ms = message.received_ms
            cell = _with_wrong_clock(cell)
        self.put(key, index, signal.series, time_ms, cell, historical=metric.historical)

    def put(
        self, key: int, index: int, series: int, time_ms: int, cell: Cell, *, historical: bool
    ) -> None:
        """Add a row that is ready."""
        self._rows.append(
            (key, index, series, time_ms, cell.value, cell.quality, cell.reason, historical)
        )
        if cell.text is not None:
            self._text[key] = cell.text

    def cut(self, length: int) -> None:
        """Take back all rows but the first `length`."""
        for row in self._rows[length:]:
            self._text.pop(row[0], None)
        del self._rows[length:]

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Rows:
        """Return the rows gathered so far as arrays."""
        columns = list(zip(*self._rows, strict=True)) or [()] * 8
        return Rows(
            key=np.array(columns[0], np.int64),
            message=np.array(columns[1], np.int32),
            series=np.array(columns[2], np.int32),
            time_ms=np.array(columns[3], np.int64),
            value=np.array(columns[4], np.float64),
            quality=np.array(columns[5], np.uint8),
            reason=np.array(columns[6], np.uint8),
            historical=np.array(columns[7], np.bool_),
            text=self._text,
        )


def read_cell(value: MetricValue, quality: tuple[Quality, Reason]) -> Cell:
    """Turn a value into a number, or into text when it is no number that a double holds exactly.

    Arrays become JSON; bytes, DataSets and Templates become base64: kept, not understood.
    """
    if value is None:
        return Cell(math.nan, None, *quality)
    if isinstance(value, float):
        if math.isfinite(value):
            return Cell(value, None, *quality)
        bad = (Quality.BAD, Reason.NOT_FINITE)
        return Cell(math.nan, None, *(quality if quality[0] is Quality.BAD else bad))
    if isinstance(value, int) and abs(value) <= EXACT_MAX:
        return Cell(float(value), None, *quality)
    return Cell(math.nan, _as_text(value), *quality)


def _as_text(value: MetricValue) -> str:
    match value:
        case str():
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case int():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _find(message: Message, metric: Metric) -> Signal:
    signal = None
    if metric.alias is not None:
        signal = message.table.find(metric.alias)
    if signal is None and metric.name is not None:
        signal = message.table.find_name(message.device, metric.name)
    if signal is None:
        told = f"alias {metric.alias}" if metric.name is None else f"metric {metric.name!r}"
        raise UnknownMetricError(f"{told} is in no birth")
    return signal


def _as_announced(metric: Metric, announced: DataType) -> MetricValue:
    """Return the value, provided that it is of the kind that the birth announced."""
    value = typed(metric, announced)
    told = metric.datatype
    if told is not None and (told in TEXT_TYPES) != (announced in TEXT_TYPES):
        raise SparkplugError(f"a signal announced as {announced.name} came as {told.name}")
    return value


def _first(*times: int | None) -> int:
    return next(time for time in times if time is not None)


def _with_wrong_clock(cell: Cell) -> Cell:
    if cell.quality is not Quality.GOOD:
        return cell
    return cell._replace(quality=Quality.UNCERTAIN, reason=Reason.CLOCK)
