"""Payloads of Sparkplug B: bytes to metrics and back.

Whatever the bytes, the only exception that leaves `decode` is SparkplugError, and `Limits` hold
from the wire inwards: the length is checked before parsing, the counts before anything is copied.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.model import Quality, Reason, Sample, Value
from gateway.sparkplug import schema
from gateway.sparkplug.datatypes import (
    ARRAY_LENGTH_MAX,
    DataType,
    MetricValue,
    NaturalValue,
    from_wire,
    infer_field,
    to_wire,
)
from gateway.sparkplug.errors import SparkplugError
from gateway.sparkplug.quality import quality_properties


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a payload may ask of us."""

    payload_bytes: int = 262_144
    metrics: int = 10_000
    text_length: int = 65_536
    array_length: int = ARRAY_LENGTH_MAX
    properties: int = 64
    """Per metric."""
    depth: int = 8
    """Templates inside templates."""


DEFAULT_LIMITS: Final = Limits()


@dataclass(slots=True)
class Metric:
    """One value with its name or alias.

    ``time_ms`` is in milliseconds since 1970-01-01 UTC. A ``value`` of None is Sparkplug's null.
    When ``datatype`` is None, an integer is as it was on the wire, unsigned: read it again with
    `typed` once the birth has told the datatype.
    """

    name: str | None = None
    alias: int | None = None
    datatype: DataType | None = None
    value: MetricValue = None
    time_ms: int | None = None
    historical: bool = False
    properties: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Payload:
    """A whole message. ``time_ms`` is when it was sent, ``seq`` its number within the session."""

    time_ms: int | None = None
    seq: int | None = None
    metrics: list[Metric] = field(default_factory=list)


def value_metric(
    sample: Sample, datatype: DataType, *, alias: int | None = None, name: str | None = None
) -> Metric:
    """Return a sample as the metric that carries it, always one that can be encoded.

    A bad sample has no value on the wire. A value that the announced datatype cannot hold becomes
    bad with `Reason.TYPE`, and one that is not a finite number bad with `Reason.NOT_FINITE`.
    """
    value, quality, reason = sample.value, sample.quality, sample.reason
    if quality is Quality.BAD or value is None:
        value, quality = None, Quality.BAD
    elif isinstance(value, float) and not math.isfinite(value):
        value, quality, reason = None, Quality.BAD, Reason.NOT_FINITE
    elif not _fits(value, datatype):
        value, quality, reason = None, Quality.BAD, Reason.TYPE
    elif datatype is DataType.DOUBLE:
        value = float(value)
    properties = quality_properties(quality, reason)
    return Metric(name, alias, datatype, value, sample.time_ms, properties=properties)


def encode(payload: Payload, *, datatypes: bool = True) -> bytes:
    """Write a payload, or raise SparkplugError when a value does not fit its datatype.

    Births must tell datatypes; data and command messages should not (`datatypes` False).
    """
    wire = schema.Payload()
    with _refusing():
        if payload.time_ms is not None:
            wire.timestamp = payload.time_ms
        for metric in payload.metrics:
            _write_metric(wire.metrics.add(), metric, datatypes=datatypes)
        if payload.seq is not None:
            wire.seq = payload.seq
        return bytes(wire.SerializeToString())


def encode_metric(metric: Metric, *, datatypes: bool) -> bytes:
    """Write one metric alone, without the tag and length that it has inside a payload."""
    wire = schema.Metric()
    with _refusing():
        _write_metric(wire, metric, datatypes=datatypes)
        return bytes(wire.SerializeToString())


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Payload:
    """Read a payload, or raise SparkplugError, whatever the bytes."""
    if len(data) > limits.payload_bytes:
        raise SparkplugError(
            f"a payload of {len(data)} bytes exceeds the limit of {limits.payload_bytes}"
        )
    wire = _parse(schema.Payload, data)
    if len(wire.metrics) > limits.metrics:
        raise SparkplugError(
            f"a payload of {len(wire.metrics)} metrics exceeds the limit of {limits.metrics}"
        )
    return Payload(
        time_ms=wire.timestamp if wire.HasField("timestamp") else None,
        seq=wire.seq if wire.HasField("seq") else None,
        metrics=[_read_metric(metric, limits) for metric in wire.metrics],
    )


def decode_metric(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Metric:
    """Read one metric written by `encode_metric`, or raise SparkplugError."""
    return _read_metric(_parse(schema.Metric, data), limits)


def typed(metric: Metric, datatype: DataType, limits: Limits = DEFAULT_LIMITS) -> MetricValue:
    """Return the value of a metric that came without datatype, read as `datatype`.

    Raises SparkplugError when the value on the wire cannot be of this datatype.
    """
    value = metric.value
    if value is None or metric.datatype is not None:
        return value
    if not isinstance(value, (int, float, str, bytes)):
        raise SparkplugError(f"{datatype.name} cannot hold a {type(value).__name__}")
    assumed = "bytes_value" if isinstance(value, bytes) else ""
    return from_wire(assumed, value, datatype, limits.array_length)


def _fits(value: float | str, datatype: DataType) -> bool:
    if datatype is DataType.DOUBLE and type(value) is float:
        return True  # the usual case
    try:
        to_wire(value, datatype)
        if isinstance(value, str):
            value.encode()
    except (SparkplugError, UnicodeEncodeError):
        return False
    return True


class _refusing:  # noqa: N801 -- a context manager, read as a verb
    """Turn protobuf's and Python's own complaints about a value into a SparkplugError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # UnicodeEncodeError is a ValueError.
        if isinstance(error, (TypeError, ValueError, OverflowError, schema.EncodeError)):
            raise SparkplugError(f"cannot be written: {error}") from error


def _parse(kind: Any, data: NaturalValue) -> Any:
    try:
        return kind.FromString(data)
    except schema.DecodeError as error:
        raise SparkplugError("the bytes are not a Sparkplug B message") from error


def _read_metric(wire: Any, limits: Limits) -> Metric:
    metric = Metric()
    if wire.HasField("name"):
        metric.name = _read_text(wire.name, limits)
    if wire.HasField("alias"):
        metric.alias = wire.alias
    if wire.HasField("timestamp"):
        metric.time_ms = wire.timestamp
    if wire.HasField("datatype"):
        metric.datatype = _METRIC_DATATYPES.get(wire.datatype)
    metric.historical = wire.is_historical
    if wire.HasField("properties"):
        metric.properties = _read_properties(wire.properties, limits)
    kind = wire.WhichOneof("value")
    if kind is not None and not wire.is_null:
        metric.value = _read_value(kind, getattr(wire, kind), metric.datatype, limits)
    return metric


def _read_value(kind: str, raw: Any, datatype: DataType | None, limits: Limits) -> MetricValue:
    natural: NaturalValue
    if kind == "string_value":
        natural = _read_text(raw, limits)
    elif kind in ("dataset_value", "template_value"):
        if kind == "template_value":
            _check_depth(raw, limits.depth)
        natural = bytes(raw.SerializeToString())
    else:
        natural = raw
    return natural if datatype is None else from_wire(kind, natural, datatype, limits.array_length)


def _read_text(raw: str | bytes, limits: Limits) -> str:
    """Accept what protobuf gives for a string field: bytes when it was not UTF-8."""
    if isinstance(raw, bytes):
        raise SparkplugError("a text is not UTF-8")
    if len(raw) > limits.text_length:
        raise SparkplugError(
            f"a text of {len(raw)} characters exceeds the limit of {limits.text_length}"
        )
    return raw


def _check_depth(template: Any, depth_left: int) -> None:
    if depth_left <= 0:
        raise SparkplugError("templates are nested too deeply")
    for metric in template.metrics:
        if metric.HasField("template_value"):
            _check_depth(metric.template_value, depth_left - 1)


def _read_properties(wire: Any, limits: Limits) -> dict[str, Value]:
    """Read the properties of a metric. Property sets inside it are passed over."""
    if len(wire.keys) != len(wire.values):
        raise SparkplugError(f"{len(wire.keys)} property keys for {len(wire.values)} values")
    if len(wire.keys) > limits.properties:
        raise SparkplugError(
            f"{len(wire.keys)} properties of a metric exceed the limit of {limits.properties}"
        )
    properties: dict[str, Value] = {}
    for key, value in zip(wire.keys, wire.values, strict=True):
        kind = value.WhichOneof("value")
        if kind not in ("propertyset_value", "propertysets_value"):
            properties[_read_text(key, limits)] = _read_property(kind, value, limits)
    return properties


def _read_property(kind: str | None, wire: Any, limits: Limits) -> Value:
    if kind is None or wire.is_null:
        return None
    value = _read_value(kind, getattr(wire, kind), _PROPERTY_DATATYPES.get(wire.type), limits)
    if isinstance(value, (int, float, str)):
        return value
    raise SparkplugError("a property holds neither a number nor a text")


def _write_metric(wire: Any, metric: Metric, *, datatypes: bool) -> None:
    if metric.name is not None:
        wire.name = metric.name
    if metric.alias is not None:
        wire.alias = metric.alias
    if metric.time_ms is not None:
        wire.timestamp = metric.time_ms
    if datatypes and metric.datatype is not None:
        wire.datatype = metric.datatype
    if metric.historical:
        wire.is_historical = True
    if metric.properties:
        _write_properties(wire.properties, metric.properties.items())
    _write_value(wire, metric)


def _write_value(wire: Any, metric: Metric) -> None:
    if metric.value is None:
        wire.is_null = True
        return
    if metric.datatype is None:
        kind, natural = infer_field(metric.value)
    else:
        kind, natural = to_wire(metric.value, metric.datatype)
    if kind in ("dataset_value", "template_value"):
        getattr(wire, kind).CopyFrom(_parse(type(getattr(wire, kind)), natural))
    else:
        setattr(wire, kind, natural)


def _write_properties(wire: Any, properties: Iterable[tuple[str, Value]]) -> None:
    for key, value in properties:
        wire.keys.append(key)
        written = wire.values.add()
        datatype = _property_datatype(value)
        written.type = datatype
        if value is None:
            written.is_null = True
        else:
            kind, natural = to_wire(value, datatype)
            setattr(written, kind, natural)


def _property_datatype(value: Value) -> DataType:
    match value:
        case bool():
            return DataType.BOOLEAN
        case int():
            # Sparkplug's own `Quality` must be an Int32 (specification 3.0, section 6.4.17).
            return DataType.INT32 if -(2**31) <= value < 2**31 else DataType.INT64
        case float():
            return DataType.DOUBLE
        case _:
            return DataType.STRING


_PROPERTY_DATATYPES: Final = {int(one): one for one in DataType if one <= DataType.TEXT}
_METRIC_DATATYPES: Final = {
    int(one): one
    for one in DataType
    if one not in (DataType.PROPERTYSET, DataType.PROPERTYSET_LIST)
}
