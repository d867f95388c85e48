"""Data messages to columns.

There are two ways from bytes to rows, with the same result. Messages of a regular layout are read
many at a time by `hub.ingest.regular`; every other message, and every metric of an unusual shape
inside a regular message, takes the general way through `hub.ingest.rows`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.model import Quality, Reason
from gateway.sparkplug import (
    Limits,
    Metric,
    Payload,
    SparkplugError,
    decode,
    entry_point,
    names,
    read_entry,
)
from gateway.sparkplug.payload import DEFAULT_LIMITS
from hub.columns import Columns
from hub.ingest.aliases import AliasTables
from hub.ingest.regular import read_regular
from hub.ingest.rows import (
    SESSION_METRICS,
    Batch,
    Headers,
    Message,
    RowList,
    Rows,
    UnknownMetricError,
)

CLOCK_FIRST_MS: Final = 946_684_800_000
"""No clock that is right says less than 2000-01-01."""
CLOCK_AHEAD_MS: Final = 600_000
"""How far a sample may be ahead of its arrival before its clock is held to be wrong."""

_WORTHWHILE_BYTES: Final = 700
"""Below this the general way is faster than to set up arrays."""
_SEQ_MAX: Final = 255
_INT64_MAX: Final = 2**63 - 1


class Fault(StrEnum):
    """Why a message gave no rows."""

    GARBLED = "garbled"
    """It cannot be decoded, now or ever."""
    UNKNOWN_METRIC = "unknown-metric"
    """It uses an alias or a name that no birth has told: a rebirth will."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that gave no rows, by its index, and the cause in words."""

    message: int
    fault: Fault
    cause: str


@dataclass(slots=True)
class Decoded:
    """A batch of messages as columns."""

    columns: Columns
    """Rows in the order of messages, and of metrics within a message."""
    historical: NDArray[np.bool_]
    """Per row: the metric was marked historical."""
    headers: Headers
    replayed: NDArray[np.bool_]
    """Per message: at least one row is historical."""
    newest_ms: NDArray[np.int64]
    """Per message: the newest time among its rows; -1 where it has none."""
    refused: list[Refusal] = field(default_factory=list)
    """Messages without rows, in order."""


def decode_messages(
    messages: Sequence[Message],
    tables: AliasTables,
    limits: Limits = DEFAULT_LIMITS,
    *,
    fast: bool | None = None,
) -> Decoded:
    """Decode data messages. Nothing is raised for bad ones: they are listed as refused.

    Samples of one signal that share a time within a message move by 1 ms. A sample whose time is
    impossible becomes uncertain with `Reason.CLOCK`. Neither is ever a reason to refuse it.
    `fast` chooses the way, which changes nothing but the time it takes.
    """
    batch = Batch(messages, limits)
    if not (batch.lengths.sum() >= _WORTHWHILE_BYTES if fast is None else fast):
        return decode_generally(messages, limits)
    regular = read_regular(batch, tables)
    general = _General(batch)
    for index in regular.left:
        general.read(index)
    return _finish(batch, [*regular.parts, general.rows()], general.refused)


def decode_generally(messages: Sequence[Message], limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Give the result of `decode_messages` message by message, whatever their layout."""
    batch = Batch(messages, limits)
    general = _General(batch)
    for index in range(len(messages)):
        general.read(index)
    return _finish(batch, [general.rows()], general.refused)


class _General:
    """The general way: one message after the other through protobuf."""

    def __init__(self, batch: Batch) -> None:
        self.refused: list[Refusal] = []
        self._batch = batch
        self._headers = batch.headers
        self._rows = RowList()

    def read(self, index: int) -> None:
        """Read one message."""
        message = self._batch.messages[index]
        key = int(self._batch.starts[index])
        before = len(self._rows)
        self._headers.forget(index)
        try:
            payload = decode(message.payload, self._batch.limits)
            self._read_header(index, payload)
            for at, metric in enumerate(payload.metrics):
                if metric.name != names.ENTRY and metric.name not in SESSION_METRICS:
                    self._rows.add(key + at, index, message, metric, payload.time_ms)
        except SparkplugError as error:
            self._refuse(index, Fault.GARBLED, error)
            self._rows.cut(before)
        except UnknownMetricError as error:
            self._refuse(index, Fault.UNKNOWN_METRIC, error)
            self._rows.cut(before)

    def rows(self) -> Rows:
        """Return the rows of all messages read."""
        return self._rows.rows()

    def _read_header(self, index: int, payload: Payload) -> None:
        headers = self._headers
        if payload.seq is not None and payload.seq <= _SEQ_MAX:
            headers.seq[index] = payload.seq
        if payload.time_ms is not None and payload.time_ms <= _INT64_MAX:
            headers.sent_ms[index] = payload.time_ms
        point = _place_in_journal(payload.metrics)
        if point is not None:
            headers.epoch[index], headers.offset[index] = point

    def _refuse(self, index: int, fault: Fault, error: Exception) -> None:
        self.refused.append(Refusal(index, fault, str(error)))
        self._headers.forget(index)
        point = read_entry(self._batch.messages[index].payload)
        if point is not None:
            self._headers.epoch[index], self._headers.offset[index] = point


def _place_in_journal(metrics: Iterable[Metric]) -> tuple[int, int] | None:
    entries = [metric for metric in metrics if metric.name == names.ENTRY]
    if not entries:
        return None
    point = entry_point(entries[-1].value)
    if point is None or point[1] == 0:
        raise SparkplugError(f"{names.ENTRY} is not an epoch and an offset from 1 up")
    return point


def _finish(batch: Batch, parts: Sequence[Rows], refused: list[Refusal]) -> Decoded:
    """Order rows and settle what needs to see all of them: wrong clocks, ties, newest times."""
    rows = _joined(parts)
    time_ms = _without_ties(rows)
    newest_ms = np.full(len(batch.messages), -1, np.int64)
    np.maximum.at(newest_ms, rows.message, time_ms)
    replayed = np.zeros(len(batch.messages), np.bool_)
    replayed[rows.message[rows.historical]] = True
    _mark_wrong_clocks(rows, batch.received_ms)
    columns = Columns(
        series=rows.series,
        time_ms=time_ms,
        value=rows.value,
        quality=rows.quality,
        reason=rows.reason,
        message=rows.message,
        text=_by_row(rows),
    )
    refused.sort(key=lambda refusal: refusal.message)
    return Decoded(columns, rows.historical, batch.headers, replayed, newest_ms, refused)


def _joined(parts: Sequence[Rows]) -> Rows:
    """Put rows together in the order of their keys; each part is in that order already."""
    parts = [part for part in parts if len(part.key)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    text: dict[int, str] = {}
    for part in parts:
        text.update(part.text)
    key = np.concatenate([part.key for part in parts])
    order = np.argsort(key, kind="stable")
    return Rows(
        key=key[order],
        message=np.concatenate([part.message for part in parts])[order],
        series=np.concatenate([part.series for part in parts])[order],
        time_ms=np.concatenate([part.time_ms for part in parts])[order],
        value=np.concatenate([part.value for part in parts])[order],
        quality=np.concatenate([part.quality for part in parts])[order],
        reason=np.concatenate([part.reason for part in parts])[order],
        historical=np.concatenate([part.historical for part in parts])[order],
        text=text,
    )


def _by_row(rows: Rows) -> dict[int, str]:
    if not rows.text:
        return {}
    keys = np.fromiter(rows.text, np.int64, len(rows.text))
    at = np.searchsorted(rows.key, keys).tolist()
    return dict(zip(at, rows.text.values(), strict=True))


def _mark_wrong_clocks(rows: Rows, received_ms: NDArray[np.int64]) -> None:
    """Make good samples with an impossible time uncertain."""
    ahead = rows.time_ms > received_ms[rows.message] + CLOCK_AHEAD_MS
    wrong = (ahead | (rows.time_ms < CLOCK_FIRST_MS)) & (rows.quality == Quality.GOOD)
    rows.quality[wrong] = Quality.UNCERTAIN
    rows.reason[wrong] = Reason.CLOCK


def _without_ties(rows: Rows) -> NDArray[np.int64]:
    """Return the times, moved so that no two rows of a series within a message share one.

    In the order of time, each row comes at least 1 ms after the one before it.
    """
    pair = rows.message.astype(np.int64) << 32 | rows.series
    if (pair[1:] > pair[:-1]).all():
        return rows.time_ms
    pairs = np.sort(pair)
    if not (pairs[1:] == pairs[:-1]).any():
        return rows.time_ms
    order = np.lexsort((rows.time_ms, pair))
    repeated = np.flatnonzero(pair[order][1:] == pair[order][:-1]) + 1
    times = rows.time_ms[order].tolist()
    for at in repeated.tolist():
        times[at] = max(times[at], times[at - 1] + 1)
    moved = np.empty_like(rows.time_ms)
    moved[order] = times
    return moved
