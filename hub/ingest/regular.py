"""Many messages at once: the fast way from bytes to rows.

Messages of one length that have their tags and lengths in the same places need walking only once;
numpy checks the rest of them against the first. The metrics of all messages are then read together
as records of fixed width. Only what is exactly of a known shape is read here, so that the result
is that of the general way; a message with anything else in it is left to the general way, or one
odd metric to the general decoder.

The shapes are those of `gateway.sparkplug.entry`: a metric begins with an alias of two varint bytes
and a time of six, then perhaps ``is_historical``, then a value of fixed width.
"""

from collections import defaultdict
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.model import Quality, Reason
from gateway.sparkplug import ALIAS_FIRST, DataType, SparkplugError, names, quality_of
from gateway.sparkplug.datatypes import from_wire
from gateway.sparkplug.payload import decode_metric
from hub.ingest.aliases import IGNORED, UNKNOWN, AliasTables
from hub.ingest.rows import (
    SESSION_METRICS,
    TEXT_TYPES,
    Batch,
    Cell,
    RowList,
    Rows,
    UnknownMetricError,
    read_cell,
)

_Ints = NDArray[np.int64]

# Tags: field number << 3 | wire type (gateway/sparkplug/schema.py).
_PAYLOAD_TIME: Final = 0x08
_METRIC: Final = 0x12
_SEQ: Final = 0x18
_NULL: Final = b"\x38\x01"
_PROPERTIES: Final = 0x4A
_LONG: Final = 0x58
_FLOAT: Final = 0x65
_DOUBLE: Final = 0x69
_BOOLEAN: Final = 0x70
_TEXT: Final = 0x7A
_HISTORICAL: Final = b"\x28\x01"
_MORE: Final = 0x80
"""The bit of a varint's byte that says that another byte follows."""

_TIME_BYTES: Final = 6
_BODY: Final = 1 + _TIME_BYTES
"""Where the first metric of a message begins."""
_HEAD: Final = 10
"""How long the regular beginning of a metric is: alias and time."""

# `Machikoba/Entry`: name, time, and 16 bytes of value.
_ENTRY_NAME: Final = b"\x0a" + bytes([len(names.ENTRY)]) + names.ENTRY.encode()
_ENTRY_TIME: Final = len(_ENTRY_NAME)
_ENTRY_TIME_TAG: Final = 0x18
_ENTRY_VALUE_AT: Final = _ENTRY_TIME + 1 + _TIME_BYTES
_ENTRY_VALUE: Final = b"\x82\x01\x10"
_ENTRY_POINT: Final = _ENTRY_VALUE_AT + len(_ENTRY_VALUE)
_ENTRY_LENGTH: Final = _ENTRY_POINT + 16

_SEQ_MAX: Final = 255
_GOOD: Final = (Quality.GOOD, Reason.NONE)
_LONG_TYPES: Final = frozenset({DataType.INT64, DataType.UINT64, DataType.DATETIME})
# Datatypes that are alike on the wire, for the values read here, count as the first of them.
_ALIKE: Final = np.arange(256, dtype=np.uint8)
_ALIKE[[*_LONG_TYPES]] = DataType.INT64
_ALIKE[[*TEXT_TYPES]] = DataType.STRING
_LONG_BYTES_MAX: Final = 9
_SKELETONS_MAX: Final = 8
"""How many layouts to look for among messages of one length before walking each of them."""
_EQUALS_MIN: Final = 16
"""How many messages make it worthwhile to look for a common layout."""
_WORD: Final = np.dtype("<u8")
_START: Final = attrgetter("start")
_ROOM: Final = attrgetter("room")

# One metric as a record, read from the first byte of its content; fields overlap on purpose.
_RECORD: Final = np.dtype(
    {
        "names": [
            *("head", "time", "mark", "tag", "double", "float", "boolean", "long"),
            *("tag_marked", "double_marked", "float_marked", "boolean_marked", "long_marked"),
        ],
        "formats": ["<u4", "<u8", "<u2", *["u1", "<f8", "<f4", "u1", "<u8"] * 2],
        "offsets": [0, 4, 10, 10, 11, 11, 11, 11, 12, 13, 13, 13, 13],
        "itemsize": 24,
    }
)
# Tag of the alias, one byte with and one without continuation, tag of the time.
_HEAD_MASK: Final = np.uint32(0xFF8080FF)
_HEAD_BITS: Final = np.uint32(0x18008010)
# Five bytes with continuation and one without.
_TIME_MASK: Final = np.uint64(0x0000808080808080)
_TIME_BITS: Final = np.uint64(0x0000008080808080)
_TIME_INSIDE: Final = np.uint64(0x0000FFFFFFFFFFFF)
_MORE_BITS: Final = np.uint64(0x8080808080808080)
_VARINT_BYTES_MAX: Final = 7
_TEXT_AT: Final = _HEAD + 2
_TEXT_AT_MARKED: Final = _TEXT_AT + len(_HISTORICAL)
_MARK: Final = np.uint16(int.from_bytes(_HISTORICAL, "little"))
# (field of the record, tag, bytes of tag and value, datatype that the birth must have told)
_SHAPES: Final = (
    ("double", _DOUBLE, 9, DataType.DOUBLE),
    ("boolean", _BOOLEAN, 2, DataType.BOOLEAN),
    ("float", _FLOAT, 5, DataType.FLOAT),
)


@dataclass(slots=True)
class Regular:
    """What the fast way made of a batch."""

    parts: list[Rows]
    left: list[int]
    """Messages that need the general way, in order of their indexes; they have no rows here."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Where the parts of a message are, relative to its first byte."""

    metrics: list[int]
    """Where the content of each value metric begins."""
    lengths: list[int]
    """How long each of them is."""
    entry: int
    """Where the content of `Machikoba/Entry` begins; 0 when there is none."""
    seq: int
    """Where the value of ``seq`` begins."""
    size: int


def read_regular(batch: Batch, tables: AliasTables) -> Regular:
    """Read all that is regular in a batch, filling in the headers of those messages."""
    return _Reader(batch, tables).read()


def read_skeleton(payload: bytes) -> Skeleton | None:
    """Find the parts of a message, or None when it is not of a regular layout."""
    size = len(payload)
    if size <= _BODY + 1 or payload[0] != _PAYLOAD_TIME or not _is_time(payload, 1):
        return None
    metrics: list[int] = []
    lengths: list[int] = []
    at = _BODY
    last = size - 2  # At least a tag and one byte of seq come after the metrics.
    while at < last and payload[at] == _METRIC:
        length = payload[at + 1]
        at += 2
        if length >= _MORE:
            if payload[at] >= _MORE:
                return None
            length = length & 0x7F | payload[at] << 7
            at += 1
        metrics.append(at)
        lengths.append(length)
        at += length
    if not _is_seq(payload, at):
        return None
    entry = 0
    if metrics and payload.startswith(_ENTRY_NAME, metrics[-1]):
        entry = metrics.pop()
        if not _is_entry(payload, entry, lengths.pop()):
            return None
    return Skeleton(metrics, lengths, entry, at + 1, size)


def _is_time(payload: bytes, at: int) -> bool:
    """Tell whether six bytes are a varint, given that they are there."""
    return min(payload[at : at + 5]) >= _MORE > payload[at + 5]


def _is_seq(payload: bytes, at: int) -> bool:
    """Tell whether the payload ends here with a ``seq`` of one or two bytes."""
    if at >= len(payload) or payload[at] != _SEQ:
        return False
    value = payload[at + 1 :]
    if len(value) == 1:
        return value[0] < _MORE
    return len(value) == 2 and value[0] >= _MORE > value[1]  # noqa: PLR2004 -- bytes


def _is_entry(payload: bytes, at: int, length: int) -> bool:
    return (
        length == _ENTRY_LENGTH
        and payload[at + _ENTRY_TIME] == _ENTRY_TIME_TAG
        and _is_time(payload, at + _ENTRY_TIME + 1)
        and payload.startswith(_ENTRY_VALUE, at + _ENTRY_VALUE_AT)
    )


def _structure(skeleton: Skeleton) -> tuple[_Ints, NDArray[np.uint8]]:
    """Return the positions that make the layout, and which bits of the bytes there do."""
    whole = [0, skeleton.seq - 1]
    end = _BODY
    for at, length in zip(skeleton.metrics, skeleton.lengths, strict=True):
        whole += range(end, at)
        end = at + length
    varints = [*range(1, _BODY), *range(skeleton.seq, skeleton.size)]
    if skeleton.entry:
        time = skeleton.entry + _ENTRY_TIME + 1
        value = skeleton.entry + _ENTRY_VALUE_AT
        varints += range(time, time + _TIME_BYTES)
        whole += [*range(end, time), *range(value, value + len(_ENTRY_VALUE))]
    positions = np.array(whole + varints, np.int64)
    bits = np.full(len(positions), 0xFF, np.uint8)
    bits[len(whole) :] = _MORE
    return positions, bits


class _Found:
    """Positions in the joined messages, gathered group by group."""

    def __init__(self) -> None:
        self.left: list[int] = []
        """Messages that are not of a regular layout."""
        self._groups: list[tuple[_Ints, _Ints, _Ints, _Ints]] = []
        self._at: list[int] = []
        self._length: list[int] = []
        self._count: list[int] = []
        self._headers: list[tuple[int, int, int, int]] = []

    def add_group(self, indexes: _Ints, starts: _Ints, skeleton: Skeleton) -> None:
        """Add messages that share a skeleton."""
        at = np.array(skeleton.metrics, np.int64)
        headers = np.empty((len(indexes), 4), np.int64)
        headers[:, 0] = indexes
        headers[:, 1] = starts + skeleton.entry if skeleton.entry else -1
        headers[:, 2] = starts + skeleton.seq
        headers[:, 3] = skeleton.size - skeleton.seq
        self._groups.append(
            (
                (starts[:, None] + at).ravel(),
                np.tile(np.array(skeleton.lengths, np.int64), len(indexes)),
                np.repeat(indexes, len(at)),
                headers,
            )
        )

    def add(self, index: int, start: int, skeleton: Skeleton) -> None:
        """Add one message."""
        self._at += [start + at for at in skeleton.metrics]
        self._length += skeleton.lengths
        self._count.append(len(skeleton.metrics))
        entry = start + skeleton.entry if skeleton.entry else -1
        seq_length = skeleton.size - skeleton.seq
        self._headers.append((index, entry, start + skeleton.seq, seq_length))

    def arrays(self) -> tuple[_Ints, _Ints, _Ints, _Ints]:
        """Return position, length and message of all metrics, by position, and the headers.

        A header is: index, position of the entry (-1: none), position and length of ``seq``.
        """
        headers = np.array(self._headers, np.int64).reshape(-1, 4)
        messages = np.repeat(headers[:, 0], np.array(self._count, np.int64))
        singles = (
            np.array(self._at, np.int64),
            np.array(self._length, np.int64),
            messages,
            headers,
        )
        groups = list(zip(singles, *self._groups, strict=True))
        at, length, message, header = (np.concatenate(group) for group in groups)
        if (at[1:] > at[:-1]).all():
            return at, length, message, header
        order = np.argsort(at, kind="stable")
        return at[order], length[order], message[order], header


class _Reader:
    """Reads one batch."""

    def __init__(self, batch: Batch, tables: AliasTables) -> None:
        self._batch = batch
        self._tables = tables
        # The last metric is read as a record too, which may reach beyond the end.
        self._joined = b"".join([*batch.payloads, bytes(_RECORD.itemsize)])
        self._bytes = np.frombuffer(self._joined, np.uint8)
        self._odd: set[int] = set()

    def read(self) -> Regular:
        """Walk the messages, then read their headers and their metrics."""
        found = self._walk()
        at, length, message, headers = found.arrays()
        self._read_headers(headers)
        parts = self._read_metrics(at, length, message)
        odd = sorted(self._odd)
        if odd:
            parts = [part.where(~np.isin(part.message, odd)) for part in parts]
        return Regular(parts, sorted(found.left + odd))

    def _walk(self) -> _Found:
        found = _Found()
        by_size: defaultdict[int, list[int]] = defaultdict(list)
        for index, size in enumerate(self._batch.lengths.tolist()):
            by_size[size].append(index)
        for size, indexes in by_size.items():
            if size > self._batch.limits.payload_bytes:
                found.left += indexes
            else:
                self._walk_equals(np.array(indexes, np.int64), found)
        return found

    def _walk_equals(self, rest: _Ints, found: _Found) -> None:
        """Walk messages of one length, many of which may have the layout of the first."""
        starts = self._batch.starts
        for _ in range(_SKELETONS_MAX):
            if len(rest) < _EQUALS_MIN:
                break
            payload = self._batch.payloads[rest[0]]
            skeleton = self._skeleton(payload)
            if skeleton is None:
                found.left.append(int(rest[0]))
                rest = rest[1:]
                continue
            positions, bits = _structure(skeleton)
            structure = self._bytes[starts[rest][:, None] + positions] & bits
            alike = (structure == structure[0]).all(axis=1)
            found.add_group(rest[alike], starts[rest[alike]], skeleton)
            rest = rest[~alike]
        for index in rest.tolist():
            skeleton = self._skeleton(self._batch.payloads[index])
            if skeleton is None:
                found.left.append(index)
            else:
                found.add(index, int(starts[index]), skeleton)

    def _skeleton(self, payload: bytes) -> Skeleton | None:
        skeleton = read_skeleton(payload)
        if skeleton is None or len(skeleton.metrics) >= self._batch.limits.metrics:
            return None
        return skeleton

    def _read_headers(self, headers: _Ints) -> None:
        index, entry, seq, seq_length = headers.T
        target = self._batch.headers
        target.sent_ms[index] = _squeeze(
            self._gather(self._batch.starts[index] + 1, _WORD) & _TIME_INSIDE
        )
        low = self._bytes[seq].astype(np.int16)
        high = self._bytes[seq + 1].astype(np.int16)
        value = np.where(seq_length == 1, low, low & 0x7F | high << 7)
        target.seq[index] = np.where(value <= _SEQ_MAX, value, -1)
        index, entry = index[entry >= 0], entry[entry >= 0]
        target.epoch[index] = self._gather(entry + _ENTRY_POINT, _WORD)
        target.offset[index] = self._gather(entry + _ENTRY_POINT + 8, _WORD)
        self._odd.update(index[target.offset[index] == 0].tolist())

    def _gather(self, at: _Ints, record: np.dtype[Any]) -> NDArray[Any]:
        """Read records at any positions; they may overlap and need no alignment."""
        width = record.itemsize
        everywhere: NDArray[Any] = np.ndarray(
            (len(self._joined) - width + 1,), f"V{width}", buffer=self._joined, strides=(1,)
        )
        return everywhere[at].view(record)

    def _read_metrics(self, at: _Ints, length: _Ints, message: _Ints) -> list[Rows]:
        records = self._gather(at, _RECORD)
        head = records["head"].copy()
        time = records["time"].copy()
        headed = (head & _HEAD_MASK == _HEAD_BITS) & (time & _TIME_MASK == _TIME_BITS)
        alias = (head >> 8 & 0x7F | head >> 9 & 0x3F80).astype(np.int64)
        value, datatype = _values(records, length, headed)
        series = self._series(alias, message, datatype)
        finite = np.isfinite(value)
        rows = Rows(
            key=at,
            message=message.astype(np.int32),
            series=series,
            time_ms=_squeeze(time & _TIME_INSIDE),
            value=value,
            quality=np.zeros(len(at), np.uint8),
            reason=np.zeros(len(at), np.uint8),
            historical=headed & (records["mark"] == _MARK),
        )
        if not finite.all():
            _mark_not_finite(rows, ~finite)
        self._read_texts(
            rows, length, np.flatnonzero((datatype == DataType.STRING) & (series >= 0))
        )
        if len(series) and series.min() >= 0:
            return [rows]
        odd = np.flatnonzero(series == UNKNOWN)
        return [rows.where(series >= 0), self._read_oddities(rows, odd, length[odd], headed[odd])]

    def _series(
        self, alias: _Ints, message: _Ints, datatype: NDArray[np.uint8]
    ) -> NDArray[np.int32]:
        """Find the series of metrics; UNKNOWN where the birth told of no such datatype."""
        start = np.array(list(map(_START, self._batch.tables)), np.int64)
        room = np.array(list(map(_ROOM, self._batch.tables)), np.int64)
        place = (start - ALIAS_FIRST)[message] + alias
        inside = (datatype != 0) & (place < (start + room)[message])
        place *= inside
        known = inside & (_ALIKE[self._tables.datatype[place]] == datatype)
        return np.where(known, self._tables.series[place], np.int32(UNKNOWN))

    def _read_texts(self, rows: Rows, length: _Ints, where: _Ints) -> None:
        """Read the texts of rows that have one."""
        rows.value[where] = np.nan
        start = rows.key[where] + np.where(rows.historical[where], _TEXT_AT_MARKED, _TEXT_AT)
        end = rows.key[where] + length[where]
        columns = (rows.key[where], start, end, rows.message[where])
        for key, first, last, index in zip(*(one.tolist() for one in columns), strict=True):
            try:
                text = rows.text[key] = self._joined[first:last].decode()
            except UnicodeDecodeError:
                self._odd.add(index)
            else:
                if len(text) > self._batch.limits.text_length:
                    self._odd.add(index)

    def _read_oddities(
        self, rows: Rows, odd: _Ints, length: _Ints, headed: NDArray[np.bool_]
    ) -> Rows:
        """Read metrics of other shapes one by one."""
        out = _Oddities(self._batch)
        columns = (rows.key[odd], length, rows.message[odd], rows.time_ms[odd], headed)
        for at, size, index, time_ms, regular in zip(
            *(one.tolist() for one in columns), strict=True
        ):
            content = self._joined[at : at + size]
            try:
                if not (regular and out.read_regular(at, index, time_ms, content)):
                    out.read(at, index, content)
            except (SparkplugError, UnknownMetricError):
                self._odd.add(index)  # The general way finds the words for it.
        return out.rows()


class _Oddities:
    """Reads single metrics that are of no fixed width."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._rows = RowList()
        self._nulls: dict[bytes, Cell] = {}
        """What the metrics without value say; a batch has few different ones."""

    def rows(self) -> Rows:
        """Return what was read."""
        return self._rows.rows()

    def read(self, key: int, index: int, content: bytes) -> None:
        """Read a metric with the general decoder."""
        metric = decode_metric(content, self._batch.limits)
        if metric.name == names.ENTRY or metric.name in SESSION_METRICS:
            raise SparkplugError(f"{metric.name} is not where a regular message has it")
        message = self._batch.messages[index]
        sent_ms = int(self._batch.headers.sent_ms[index])
        self._rows.add(key, index, message, metric, sent_ms)

    def read_regular(self, key: int, index: int, time_ms: int, content: bytes) -> bool:
        """Read a metric with a regular head, unless its value is unusual."""
        historical = content.startswith(_HISTORICAL, _HEAD)
        value_at = _HEAD + len(_HISTORICAL) if historical else _HEAD
        signal = self._batch.messages[index].table.find((content[1] & 0x7F) | content[2] << 7)
        if signal is None:
            return False
        cell = self._cell(content[value_at:], content, signal.datatype)
        if cell is None:
            return False
        if signal.series != IGNORED:
            self._rows.put(key, index, signal.series, time_ms, cell, historical=historical)
        return True

    def _cell(self, value: bytes, content: bytes, datatype: DataType) -> Cell | None:
        """Read the usual values of variable width; None when it is something else."""
        if value.startswith(_NULL):
            return self._null(value, content)
        match value[:1], datatype in TEXT_TYPES, datatype in _LONG_TYPES:
            case b"\x7a", True, _:
                return self._text(value)
            case b"\x58", _, True:
                return _long(value, datatype)
            case _:
                return None

    def _null(self, value: bytes, content: bytes) -> Cell | None:
        """Read a metric without value, whose quality depends on its properties only."""
        known = self._nulls.get(value)
        if known is not None:
            return known
        properties = value[len(_NULL) :]
        if properties and not (properties[0] == _PROPERTIES and _is_measured(properties)):
            return None
        metric = decode_metric(content, self._batch.limits)
        cell = self._nulls[value] = read_cell(None, quality_of(metric.properties, is_null=True))
        return cell

    def _text(self, value: bytes) -> Cell | None:
        if not _is_measured(value):
            return None
        try:
            text = value[2:].decode()
        except UnicodeDecodeError:
            return None
        return read_cell(text, _GOOD) if len(text) <= self._batch.limits.text_length else None


def _is_measured(field: bytes) -> bool:
    """Tell whether this is a tag, one byte of length, and as many bytes as that says."""
    return len(field) > 1 and field[1] < _MORE and field[1] == len(field) - 2


def _long(value: bytes, datatype: DataType) -> Cell | None:
    """Read an integer of up to 63 bits; protobuf cuts longer ones in its own way."""
    varint = value[1:]
    if not 1 <= len(varint) <= _LONG_BYTES_MAX or varint[-1] >= _MORE:
        return None
    if min(varint[:-1], default=_MORE) < _MORE:
        return None
    number = 0
    for byte in reversed(varint):
        number = number << 7 | byte & 0x7F
    return read_cell(from_wire("long_value", number, datatype), _GOOD)


def _values(
    records: NDArray[Any], length: _Ints, headed: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Read values of usual shapes and their datatypes; the datatype is 0 for other shapes.

    Texts are told by their datatype only, with a value of 0.
    """
    value = np.zeros(len(records), np.float64)
    datatype = np.zeros(len(records), np.uint8)
    for suffix, marked in (("", 0), ("_marked", len(_HISTORICAL))):
        here = headed if marked == 0 else headed & (records["mark"] == _MARK)
        if not here.any():
            continue
        tag = records["tag" + suffix]
        for name, shape_tag, size, shape_datatype in _SHAPES:
            hit = here & (tag == shape_tag) & (length == _HEAD + marked + size)
            values = records[name + suffix]
            if shape_datatype is DataType.BOOLEAN:
                hit &= values <= 1
            with np.errstate(invalid="ignore"):  # a signalling NaN in a float
                np.copyto(value, values, where=hit)
            datatype[hit] = shape_datatype
            if datatype.all():
                return value, datatype
        measure = records["boolean" + suffix]  # of a text, its length
        hit = here & (tag == _TEXT) & (measure < _MORE)
        datatype[hit & (length == measure + (_TEXT_AT + marked))] = DataType.STRING
        longs = np.flatnonzero(here & (tag == _LONG))
        numbers, exact = _varints(
            records["long" + suffix][longs], length[longs] - marked - _HEAD - 1
        )
        value[longs[exact]] = numbers[exact]
        datatype[longs[exact]] = DataType.INT64
    return value, datatype


def _varints(words: NDArray[np.uint64], length: _Ints) -> tuple[_Ints, NDArray[np.bool_]]:
    """Read varints of up to seven bytes, and tell which ones are: longer ones may be negative."""
    exact = (length >= 1) & (length <= _VARINT_BYTES_MAX)
    bits = np.where(exact, length * 8, 8).astype(np.uint64)
    inside = (np.uint64(1) << bits) - np.uint64(1)
    more = _MORE_BITS & inside
    exact &= words & more == more >> np.uint64(8)
    return _squeeze(words & inside), exact


def _mark_not_finite(rows: Rows, where: NDArray[np.bool_]) -> None:
    rows.value[where] = np.nan
    rows.quality[where] = Quality.BAD
    rows.reason[where] = Reason.NOT_FINITE


def _squeeze(words: NDArray[np.uint64]) -> _Ints:
    """Put the lower 7 bits of each of seven bytes together, those of the first byte lowest."""
    x = words & np.uint64(0x007F007F007F007F) | (words & np.uint64(0x7F007F007F00)) >> np.uint64(1)
    x = (
        x & np.uint64(0x3FFF)
        | (x & np.uint64(0x3FFF0000)) >> np.uint64(2)
        | (x & np.uint64(0x3FFF00000000)) >> np.uint64(4)
        | (x & np.uint64(0x7F000000000000)) >> np.uint64(6)
    )
    return np.asarray(x.astype(np.int64))
