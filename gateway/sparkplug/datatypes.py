"""Sparkplug's datatypes and how their values are laid out on the wire.

The numbers and layouts are those of the specification 3.0, sections 6.4.16 and 6.4.17. Signed
integers travel as two's complement in unsigned fields; arrays travel as packed little-endian bytes.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from gateway.model import Value
from gateway.sparkplug.errors import SparkplugError


class DataType(IntEnum):
    """What a metric or a property holds."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    """Milliseconds since 1970-01-01 UTC."""
    TEXT = 14
    UUID = 15
    DATASET = 16
    """Kept as the bytes of its own protobuf message."""
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    """Kept as the bytes of its own protobuf message."""
    PROPERTYSET = 20
    PROPERTYSET_LIST = 21
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32
    STRING_ARRAY = 33
    DATETIME_ARRAY = 34


MetricValue = Value | bytes | Sequence[int] | Sequence[float] | Sequence[bool] | Sequence[str]
"""What a metric can hold. None is Sparkplug's null; DataSets and Templates are opaque bytes."""

NaturalValue = int | float | bool | str | bytes
"""What a protobuf field gives before the datatype says how to read it."""

ARRAY_LENGTH_MAX: Final = 32_768
"""How many elements an array may have unless a caller says otherwise."""

_INTEGER_RANGES: Final = {
    DataType.INT8: (-(2**7), 2**7 - 1),
    DataType.INT16: (-(2**15), 2**15 - 1),
    DataType.INT32: (-(2**31), 2**31 - 1),
    DataType.INT64: (-(2**63), 2**63 - 1),
    DataType.UINT8: (0, 2**8 - 1),
    DataType.UINT16: (0, 2**16 - 1),
    DataType.UINT32: (0, 2**32 - 1),
    DataType.UINT64: (0, 2**64 - 1),
    DataType.DATETIME: (0, 2**64 - 1),
}
# UInt32 too: all encoders of the field put it there, and one decoder looks nowhere else.
_LONGS: Final = frozenset({DataType.INT64, DataType.UINT32, DataType.UINT64, DataType.DATETIME})
_REALS: Final = frozenset({DataType.FLOAT, DataType.DOUBLE})
_TEXTS: Final = frozenset({DataType.STRING, DataType.TEXT, DataType.UUID})
_OPAQUE_FIELDS: Final = {
    DataType.BYTES: "bytes_value",
    DataType.FILE: "bytes_value",
    DataType.DATASET: "dataset_value",
    DataType.TEMPLATE: "template_value",
}
_ARRAY_CODES: Final = {
    DataType.INT8_ARRAY: "b",
    DataType.INT16_ARRAY: "h",
    DataType.INT32_ARRAY: "i",
    DataType.INT64_ARRAY: "q",
    DataType.UINT8_ARRAY: "B",
    DataType.UINT16_ARRAY: "H",
    DataType.UINT32_ARRAY: "I",
    DataType.UINT64_ARRAY: "Q",
    DataType.FLOAT_ARRAY: "f",
    DataType.DOUBLE_ARRAY: "d",
    DataType.DATETIME_ARRAY: "Q",
}
_SINGLE: Final = struct.Struct("<f")
_BOOLEAN_COUNT: Final = struct.Struct("<I")


def to_wire(value: MetricValue, datatype: DataType) -> tuple[str, NaturalValue]:
    """Return the protobuf field for a value and what to put there, or raise SparkplugError."""
    if datatype in _INTEGER_RANGES:
        return _integer_to_wire(value, datatype)
    if datatype in _REALS:
        return _real_to_wire(value, datatype)
    if datatype is DataType.BOOLEAN:
        return "boolean_value", _boolean(value)
    if datatype in _TEXTS:
        return "string_value", _text(value, datatype)
    if datatype in _OPAQUE_FIELDS:
        return _OPAQUE_FIELDS[datatype], _bytes(value, datatype)
    return "bytes_value", _pack_array(value, datatype)


def from_wire(
    field: str,
    natural: NaturalValue,
    datatype: DataType,
    array_length_max: int = ARRAY_LENGTH_MAX,
) -> MetricValue:
    """Read what a protobuf field held as a value of `datatype`, or raise SparkplugError.

    Nodes disagree about the field to use for small integers and about the width of negative ones,
    so a number in another number's field is converted when it is in range.
    """
    if datatype in _INTEGER_RANGES:
        return _integer_from_wire(natural, datatype)
    if datatype in _REALS:
        return _real_from_wire(field, natural, datatype)
    if datatype is DataType.BOOLEAN:
        return _boolean(natural)
    if datatype in _TEXTS:
        return _text(natural, datatype)
    return _bytes_from_wire(field, natural, datatype, array_length_max)


def _bytes_from_wire(
    field: str, natural: NaturalValue, datatype: DataType, array_length_max: int
) -> MetricValue:
    if field != _OPAQUE_FIELDS.get(datatype, "bytes_value"):
        raise _mismatch(datatype, natural)
    if datatype in _OPAQUE_FIELDS:
        return _bytes(natural, datatype)
    return _unpack_array(_bytes(natural, datatype), datatype, array_length_max)


def infer_field(value: MetricValue) -> tuple[str, NaturalValue]:
    """Choose a protobuf field for a value whose datatype is not known."""
    match value:
        case bool():
            return "boolean_value", value
        case int():
            return to_wire(value, DataType.INT64 if value < 0 else DataType.UINT64)
        case float():
            return "double_value", value
        case str():
            return "string_value", value
        case bytes():
            return "bytes_value", value
        case _:
            raise SparkplugError(f"a {type(value).__name__} needs a datatype to be written")


def _mismatch(datatype: DataType, value: object) -> SparkplugError:
    return SparkplugError(f"{datatype.name} cannot hold a {type(value).__name__}")


def _whole(value: MetricValue, datatype: DataType) -> int:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise _mismatch(datatype, value)


def _in_range(number: int, datatype: DataType) -> int:
    lowest, highest = _INTEGER_RANGES[datatype]
    if lowest <= number <= highest:
        return number
    raise SparkplugError(f"{number} is out of the range of {datatype.name}")


def _integer_to_wire(value: MetricValue, datatype: DataType) -> tuple[str, int]:
    number = _in_range(_whole(value, datatype), datatype)
    if datatype in _LONGS:
        return "long_value", number % 2**64
    return "int_value", number % 2**32


def _integer_from_wire(natural: NaturalValue, datatype: DataType) -> int:
    number = _whole(natural, datatype)
    lowest, highest = _INTEGER_RANGES[datatype]
    if lowest < 0:
        # Some nodes cut a negative number to its own width, some extend it to the field's.
        width = highest - lowest + 1
        for span in (width, 2**32, 2**64):
            if span >= width and span + lowest <= number < span:
                return number - span
    return _in_range(number, datatype)


def _real(value: MetricValue, datatype: DataType) -> float:
    if isinstance(value, (float, int)):
        try:
            return float(value)
        except OverflowError as error:
            raise SparkplugError(f"{datatype.name} cannot hold an integer so large") from error
    raise _mismatch(datatype, value)


def _real_to_wire(value: MetricValue, datatype: DataType) -> tuple[str, float]:
    number = _real(value, datatype)
    if datatype is DataType.DOUBLE:
        return "double_value", number
    return "float_value", _single(number)


def _real_from_wire(field: str, natural: NaturalValue, datatype: DataType) -> float:
    number = _real(natural, datatype)
    return number if datatype is DataType.DOUBLE or field == "float_value" else _single(number)


def _single(number: float) -> float:
    """Round to single precision."""
    try:
        (rounded,) = _SINGLE.unpack(_SINGLE.pack(number))
    except OverflowError as error:
        raise SparkplugError(f"{number} is out of the range of FLOAT") from error
    return float(rounded)


def _boolean(value: MetricValue) -> bool:
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise _mismatch(DataType.BOOLEAN, value)


def _text(value: MetricValue, datatype: DataType) -> str:
    if isinstance(value, str):
        return value
    raise _mismatch(datatype, value)


def _bytes(value: MetricValue, datatype: DataType) -> bytes:
    if isinstance(value, bytes):
        return value
    raise _mismatch(datatype, value)


def _pack_array(value: MetricValue, datatype: DataType) -> bytes:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise _mismatch(datatype, value)
    if datatype is DataType.BOOLEAN_ARRAY:
        return _pack_booleans([_boolean(item) for item in value])
    if datatype is DataType.STRING_ARRAY:
        return _pack_strings([_text(item, datatype) for item in value])
    if datatype not in _ARRAY_CODES:
        raise SparkplugError(f"{datatype.name} is not a datatype of metrics")
    try:
        return struct.pack(f"<{len(value)}{_ARRAY_CODES[datatype]}", *value)
    except (struct.error, OverflowError) as error:
        raise SparkplugError(f"{datatype.name} cannot hold these values: {error}") from error


def _pack_booleans(values: Sequence[bool]) -> bytes:
    packed = bytearray((len(values) + 7) // 8)
    for at, value in enumerate(values):
        packed[at // 8] |= value << (7 - at % 8)  # The first value is the highest bit.
    return _BOOLEAN_COUNT.pack(len(values)) + packed


def _pack_strings(values: Sequence[str]) -> bytes:
    if any("\0" in value for value in values):
        raise SparkplugError("STRING_ARRAY ends each text with NUL, so none may hold it")
    try:
        return b"".join(value.encode() + b"\0" for value in values)
    except UnicodeEncodeError as error:
        raise SparkplugError("STRING_ARRAY holds text that is not valid Unicode") from error


def _unpack_array(data: bytes, datatype: DataType, length_max: int) -> MetricValue:
    if datatype is DataType.BOOLEAN_ARRAY:
        return _unpack_booleans(data, length_max)
    if datatype is DataType.STRING_ARRAY:
        return _unpack_strings(data, length_max)
    code = _ARRAY_CODES.get(datatype)
    if code is None:
        raise SparkplugError(f"{datatype.name} is not a datatype of metrics")
    length, rest = divmod(len(data), struct.calcsize(f"<{code}"))
    if rest:
        raise SparkplugError(f"{datatype.name} of {len(data)} bytes is cut off")
    _check_array_length(length, length_max)
    return list(struct.unpack(f"<{length}{code}", data))


def _unpack_booleans(data: bytes, length_max: int) -> list[bool]:
    if len(data) < _BOOLEAN_COUNT.size:
        raise SparkplugError("BOOLEAN_ARRAY does not say how long it is")
    (length,) = _BOOLEAN_COUNT.unpack_from(data)
    _check_array_length(length, length_max)
    packed = data[_BOOLEAN_COUNT.size :]
    if len(packed) != (length + 7) // 8:
        raise SparkplugError(f"BOOLEAN_ARRAY of {length} has {len(packed)} bytes")
    return [bool(packed[at // 8] >> (7 - at % 8) & 1) for at in range(length)]


def _unpack_strings(data: bytes, length_max: int) -> list[str]:
    if data and not data.endswith(b"\0"):
        raise SparkplugError("STRING_ARRAY does not end with NUL")
    parts = data.split(b"\0")[:-1]
    _check_array_length(len(parts), length_max)
    try:
        return [part.decode() for part in parts]
    except UnicodeDecodeError as error:
        raise SparkplugError("STRING_ARRAY holds text that is not UTF-8") from error


def _check_array_length(length: int, length_max: int) -> None:
    if length > length_max:
        raise SparkplugError(f"an array of {length} elements exceeds the limit of {length_max}")
