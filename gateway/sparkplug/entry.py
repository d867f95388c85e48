"""Entries of a journal as Sparkplug messages, in a layout that stays regular.

A message is: payload timestamp, value metrics, `Machikoba/Entry`, ``seq``. A value metric with an
alias of two varint bytes, a time between 1971 and 2109 and a good Double or Boolean always has the
same length, so that the hub can read many of them in one pass. Everything else is ordinary
protobuf; any Sparkplug decoder reads all of it.
"""

import struct
from collections.abc import Sequence
from typing import Final

from gateway.sparkplug import names
from gateway.sparkplug.datatypes import DataType, MetricValue
from gateway.sparkplug.errors import SparkplugError
from gateway.sparkplug.payload import Metric, decode, encode_metric

ALIAS_FIRST: Final = 128
"""The first alias to hand out: from here on an alias is two varint bytes."""
ALIAS_LAST: Final = 16_383
"""The last alias of two varint bytes. Later ones work too, only slower."""

TIME_FIRST_MS: Final = 1 << 35
TIME_LAST_MS: Final = (1 << 42) - 1
"""Between them (1971 and 2109) a time is six varint bytes."""

# Tags are field number << 3 | wire type, of the messages in schema.py.
_METRIC: Final = b"\x12"
_PAYLOAD_TIME: Final = b"\x08"
_SEQ: Final = b"\x18"
_ALIAS: Final = b"\x10"
_TIME: Final = b"\x18"
_DATATYPE: Final = b"\x20"
_HISTORICAL: Final = b"\x28\x01"
_DOUBLE: Final = b"\x69"
_BOOLEAN: Final = b"\x70"
_ENTRY_NAME: Final = b"\x0a" + bytes([len(names.ENTRY)]) + names.ENTRY.encode()
_ENTRY_VALUE: Final = b"\x82\x01\x10"

_DOUBLE_HEAD: Final = _METRIC + b"\x13" + _ALIAS
_BOOLEAN_HEAD: Final = _METRIC + b"\x0c" + _ALIAS
_DOUBLE_RECORD: Final = struct.Struct("<3sH7ssd")
_BOOLEAN_RECORD: Final = struct.Struct("<3sH7ss?")
_ENTRY_POINT: Final = struct.Struct("<QQ")
_HEAD_LENGTH: Final = 10  # alias and time of a regular metric

_MORE: Final = 0x80
"""The bit of a varint's byte that says that another byte follows."""
_VARINT_MAX: Final = (1 << 64) - 1
_VARINT_BYTES_MAX: Final = 10


def encode_body(metrics: Sequence[Metric], *, datatypes: bool = False) -> bytes:
    """Write value metrics in the order of their times, or raise SparkplugError.

    The result is kept in the journal and sent by `data_message`, as often as it takes. Datatypes
    are left out, as data messages should, unless a foreign host needs them (`datatypes`).
    """
    parts: list[bytes] = []
    time_ms: int | None = None
    time_field = b""
    for metric in _chronological(metrics):
        if metric.time_ms != time_ms or time_ms is None:
            time_ms = metric.time_ms
            time_field = _regular_time(time_ms)
        record = b"" if datatypes or not time_field else _regular_record(metric, time_field)
        parts.append(record or _general_record(metric, datatypes=datatypes))
    return b"".join(parts)


def data_message(
    body: bytes,
    *,
    time_ms: int,
    epoch: int,
    offset: int,
    seq: int,
    historical: bool,
    datatypes: bool = False,
) -> bytes:
    """Wrap a body of `encode_body` as the message of one journal entry.

    ``time_ms`` is the time of sending. ``historical`` marks each value metric so, as a message
    that is sent again must be. Raises SparkplugError when the body is not one.
    """
    time = _varint(time_ms)
    try:
        point = _ENTRY_POINT.pack(epoch, offset)
    except struct.error as error:
        raise SparkplugError(f"not an entry of a journal: {epoch}, {offset}") from error
    datatype = _DATATYPE + _varint(DataType.UINT64_ARRAY) if datatypes else b""
    entry = b"".join((_ENTRY_NAME, _TIME, time, datatype, _ENTRY_VALUE, point))
    return b"".join(
        (
            _PAYLOAD_TIME,
            time,
            _mark_historical(body) if historical else body,
            _METRIC,
            _varint(len(entry)),
            entry,
            _SEQ,
            _varint(seq),
        )
    )


def read_entry(payload: bytes) -> tuple[int, int] | None:
    """Return (epoch, offset) of a message, or None when it carries none or is beyond reading.

    Messages of `data_message` are read from their tail without decoding the rest, so that a
    message whose body is broken can still be settled. A value made to look like such a tail is
    taken for one: its sender could as well have written the place itself.
    """
    return read_entry_tail(payload) or _read_entry_anywhere(payload)


def read_entry_tail(payload: bytes) -> tuple[int, int] | None:
    """Return (epoch, offset) when the message ends the way `data_message` writes it."""
    for seq_length in (1, 2):
        end = len(payload) - seq_length - 1
        start = payload.rfind(_ENTRY_NAME, max(0, end - 60), max(0, end))
        if start < 2 or payload[end : end + 1] != _SEQ:  # noqa: PLR2004 -- tag and length before it
            continue
        regular_head = payload[start - 2 : start] == _METRIC + bytes([end - start])
        point_at = end - _ENTRY_POINT.size
        if regular_head and payload[point_at - len(_ENTRY_VALUE) : point_at] == _ENTRY_VALUE:
            epoch, offset = _ENTRY_POINT.unpack_from(payload, point_at)
            return epoch, offset
    return None


def entry_point(value: MetricValue) -> tuple[int, int] | None:
    """Return (epoch, offset) from the value of a `Machikoba/Entry` metric, or None."""
    packed = value
    if isinstance(value, list):
        try:
            packed = _ENTRY_POINT.pack(*value)
        except struct.error:
            return None
    if isinstance(packed, bytes) and len(packed) == _ENTRY_POINT.size:
        epoch, offset = _ENTRY_POINT.unpack(packed)
        return epoch, offset
    return None


def _read_entry_anywhere(payload: bytes) -> tuple[int, int] | None:
    try:
        metrics = decode(payload).metrics
    except SparkplugError:
        return None
    for metric in reversed(metrics):
        if metric.name == names.ENTRY:
            return entry_point(metric.value)
    return None


def _chronological(metrics: Sequence[Metric]) -> Sequence[Metric]:
    """Order by time, as the specification wants within a message; equal times stay in order."""
    return sorted(metrics, key=lambda metric: metric.time_ms or 0)


def _regular_time(time_ms: int | None) -> bytes:
    """Return tag and value of a time, or nothing when it is not of the regular length."""
    if time_ms is None or not TIME_FIRST_MS <= time_ms <= TIME_LAST_MS:
        return b""
    return _TIME + _varint(time_ms)


def _regular_record(metric: Metric, time_field: bytes) -> bytes:
    """Write a good Double or Boolean, or return nothing when the metric is anything else."""
    alias = metric.alias
    if (
        alias is None
        or not ALIAS_FIRST <= alias <= ALIAS_LAST
        or metric.properties
        or metric.historical
        or metric.name is not None
    ):
        return b""
    alias_bytes = alias & 0x7F | 0x80 | alias >> 7 << 8
    value = metric.value
    if metric.datatype is DataType.DOUBLE and isinstance(value, float):
        return _DOUBLE_RECORD.pack(_DOUBLE_HEAD, alias_bytes, time_field, _DOUBLE, value)
    if metric.datatype is DataType.BOOLEAN and isinstance(value, bool):
        return _BOOLEAN_RECORD.pack(_BOOLEAN_HEAD, alias_bytes, time_field, _BOOLEAN, value)
    return b""


def _general_record(metric: Metric, *, datatypes: bool) -> bytes:
    content = encode_metric(metric, datatypes=datatypes)
    return b"".join((_METRIC, _varint(len(content)), content))


def _mark_historical(body: bytes) -> bytes:
    """Set ``is_historical`` in every metric of a body."""
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        if body[at] != _METRIC[0]:
            raise SparkplugError("a journal entry does not hold metrics")
        length, start = _read_varint(body, at + 1)
        at = start + length
        if at > len(body):
            raise SparkplugError("a journal entry is cut off")
        content = body[start:at]
        # Protobuf takes fields in any order; here the mark keeps the layout regular.
        cut = _HEAD_LENGTH if _has_regular_head(content) else length
        parts += (_METRIC, _varint(length + 2), content[:cut], _HISTORICAL, content[cut:])
    return b"".join(parts)


def _has_regular_head(content: bytes) -> bool:
    """Tell whether a metric begins with an alias of two bytes and a time of six."""
    return (
        len(content) >= _HEAD_LENGTH
        and content[0] == _ALIAS[0]
        and content[1] >= _MORE > content[2]
        and content[3] == _TIME[0]
        and min(content[4:9]) >= _MORE > content[9]
    )


def _varint(number: int) -> bytes:
    """Write a protobuf varint, the form of every tag, length and unsigned number."""
    if not 0 <= number <= _VARINT_MAX:
        raise SparkplugError(f"{number} is not an unsigned 64-bit number")
    out = bytearray()
    while number >= _MORE:
        out.append(number & 0x7F | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a varint and return it with the position after it."""
    number = 0
    for shift, byte in enumerate(data[at : at + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < _MORE:
            return number, at + shift + 1
    raise SparkplugError("a journal entry is cut off")
