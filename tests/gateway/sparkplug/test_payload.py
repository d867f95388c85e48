"""Every datatype survives the wire, the bytes are those of the specification, limits hold."""

import math
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model import Quality, Reason, Sample
from gateway.sparkplug import (
    DataType,
    Limits,
    Metric,
    Payload,
    SparkplugError,
    decode,
    encode,
    quality_of,
    quality_properties,
    typed,
    value_metric,
)
from gateway.sparkplug.schema import Payload as WirePayload

NOON_MS = 1_790_000_000_000
# A busy machine is no reason to fail.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
VALUES = {
    DataType.INT8: st.integers(-(2**7), 2**7 - 1),
    DataType.INT16: st.integers(-(2**15), 2**15 - 1),
    DataType.INT32: st.integers(-(2**31), 2**31 - 1),
    DataType.INT64: st.integers(-(2**63), 2**63 - 1),
    DataType.UINT8: st.integers(0, 2**8 - 1),
    DataType.UINT16: st.integers(0, 2**16 - 1),
    DataType.UINT32: st.integers(0, 2**32 - 1),
    DataType.UINT64: st.integers(0, 2**64 - 1),
    DataType.FLOAT: st.floats(width=32, allow_nan=False),
    DataType.DOUBLE: st.floats(allow_nan=False),
    DataType.BOOLEAN: st.booleans(),
    DataType.STRING: texts,
    DataType.DATETIME: st.integers(0, 2**64 - 1),
    DataType.TEXT: texts,
    DataType.UUID: st.uuids().map(str),
    DataType.BYTES: st.binary(max_size=40),
    DataType.FILE: st.binary(max_size=40),
    DataType.INT8_ARRAY: st.lists(st.integers(-(2**7), 2**7 - 1)),
    DataType.INT16_ARRAY: st.lists(st.integers(-(2**15), 2**15 - 1)),
    DataType.INT32_ARRAY: st.lists(st.integers(-(2**31), 2**31 - 1)),
    DataType.INT64_ARRAY: st.lists(st.integers(-(2**63), 2**63 - 1)),
    DataType.UINT8_ARRAY: st.lists(st.integers(0, 2**8 - 1)),
    DataType.UINT16_ARRAY: st.lists(st.integers(0, 2**16 - 1)),
    DataType.UINT32_ARRAY: st.lists(st.integers(0, 2**32 - 1)),
    DataType.UINT64_ARRAY: st.lists(st.integers(0, 2**64 - 1)),
    DataType.FLOAT_ARRAY: st.lists(st.floats(width=32, allow_nan=False)),
    DataType.DOUBLE_ARRAY: st.lists(st.floats(allow_nan=False)),
    DataType.BOOLEAN_ARRAY: st.lists(st.booleans(), max_size=40),
    DataType.STRING_ARRAY: st.lists(texts.map(lambda text: text.replace("\0", ""))),
    DataType.DATETIME_ARRAY: st.lists(st.integers(0, 2**64 - 1)),
}
SCALARS = [one for one in VALUES if one < DataType.BYTES]


@st.composite
def metrics(draw):
    datatype = draw(st.sampled_from(list(VALUES)))
    return Metric(
        name=draw(st.none() | texts),
        alias=draw(st.none() | st.integers(0, 2**64 - 1)),
        datatype=datatype,
        value=draw(st.none() | VALUES[datatype]),
        time_ms=draw(st.none() | st.integers(0, 2**64 - 1)),
        historical=draw(st.booleans()),
        properties=draw(
            st.dictionaries(
                texts,
                st.none()
                | st.booleans()
                | texts
                | st.integers(-(2**63), 2**63 - 1)
                | st.floats(allow_nan=False),
                max_size=3,
            )
        ),
    )


uint64s = st.integers(0, 2**64 - 1)


@unhurried
@given(
    st.builds(Payload, st.none() | uint64s, st.none() | uint64s, st.lists(metrics(), max_size=5))
)
def test_what_is_written_is_read_back(payload):
    assert decode(encode(payload)) == payload


@pytest.mark.tck("payloads-metric-datatype-not-req")
@unhurried
@given(st.lists(metrics(), max_size=5))
def test_a_value_without_datatype_is_read_when_the_birth_has_told_it(written):
    read = decode(encode(Payload(metrics=written), datatypes=False)).metrics

    assert [metric.datatype for metric in read] == [None] * len(written)
    assert [
        typed(metric, original.datatype) for metric, original in zip(read, written, strict=True)
    ] == [metric.value for metric in written]


@pytest.mark.tck(
    "payloads-metric-datatype-value-type",
    "payloads-metric-datatype-value",
    "payloads-metric-datatype-req",
)
@pytest.mark.parametrize("datatype", list(VALUES))
def test_a_metric_in_a_birth_tells_its_datatype(datatype):
    data = encode(Payload(NOON_MS, 0, [Metric("x", 128, datatype, None, NOON_MS)]))

    wire = WirePayload.FromString(data).metrics[0]
    assert wire.datatype == int(datatype)
    assert wire.is_null


# Written by hand from the field numbers of the specification, section 6.4.
GOLDEN = bytes.fromhex(
    "0880d8c1a28c34"  # 1: timestamp
    "1214"  # 2: metric of 20 bytes
    "0a0374656d"  # 1: name "tem"
    "1880d8c1a28c34"  # 3: timestamp
    "2003"  # 4: datatype Int32
    "50feffffff0f"  # 10: int_value, -2 in two's complement
    "1803"  # 3: seq
)


@pytest.mark.tck("payloads-name-requirement", "payloads-timestamp-in-UTC")
def test_the_bytes_are_those_of_the_specification():
    payload = Payload(NOON_MS, 3, [Metric("tem", None, DataType.INT32, -2, NOON_MS)])

    assert encode(payload) == GOLDEN
    assert decode(GOLDEN) == payload


@pytest.mark.parametrize(
    ("datatype", "value", "packed"),
    [
        # The examples of the specification, section 6.4.16.
        (DataType.INT8_ARRAY, [-23, 123], "e97b"),
        (DataType.INT16_ARRAY, [-30000, 30000], "d08a3075"),
        (DataType.INT32_ARRAY, [-1, 315338746], "fffffffffaafcb12"),
        (DataType.UINT8_ARRAY, [23, 250], "17fa"),
        (DataType.UINT16_ARRAY, [30, 52360], "1e0088cc"),
        (DataType.FLOAT_ARRAY, [1.23, 89.341], "a4709d3f98aeb242"),
        (
            DataType.BOOLEAN_ARRAY,
            [bool(int(bit)) for bit in "001101001101"],
            "0c00000034d0",
        ),
        (DataType.STRING_ARRAY, ["ABC", "hello"], "4142430068656c6c6f00"),
        (DataType.DATETIME_ARRAY, [1256102875335], "c7d0907524010000"),
    ],
)
def test_arrays_are_packed_as_in_the_specification(datatype, value, packed):
    data = encode(Payload(metrics=[Metric("x", None, datatype, value)]))

    assert WirePayload.FromString(data).metrics[0].bytes_value.hex() == packed


@pytest.mark.parametrize("bits", [8, 32, 64])
def test_a_negative_number_is_read_at_whatever_width_it_was_written(bits):
    wire = WirePayload()
    wire.metrics.add(name="x", datatype=DataType.INT8, long_value=2**bits - 5)

    assert decode(wire.SerializeToString()).metrics[0].value == -5


@pytest.mark.parametrize("number", [2**7, 2**8 - 5, 2**31, 2**32 - 5, 2**63 - 1])
def test_a_large_positive_number_does_not_turn_negative(number):
    metric = Metric("x", None, DataType.INT64, number)

    assert decode(encode(Payload(metrics=[metric]))).metrics == [metric]


def test_null_outweighs_a_value():
    wire = WirePayload()
    wire.metrics.add(name="x", datatype=DataType.DOUBLE, double_value=1.5, is_null=True)

    assert decode(wire.SerializeToString()).metrics[0].value is None


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (DataType.INT8, 128),
        (DataType.INT16, -32_769),
        (DataType.UINT8, -1),
        (DataType.UINT64, 2**64),
        (DataType.DATETIME, -1),
        (DataType.INT32, 1.5),
        (DataType.INT32, math.inf),
        (DataType.INT32, "12"),
        (DataType.FLOAT, 1e39),
        (DataType.DOUBLE, 10**400),
        (DataType.DOUBLE, "1.5"),
        (DataType.BOOLEAN, 2),
        (DataType.BOOLEAN, "true"),
        (DataType.STRING, 5),
        (DataType.STRING, "\ud800"),
        (DataType.BYTES, "text"),
        (DataType.DATASET, b"\xff"),
        (DataType.UINT8_ARRAY, [256]),
        (DataType.UINT8_ARRAY, 7),
        (DataType.BOOLEAN_ARRAY, [2]),
        (DataType.STRING_ARRAY, ["a\0b"]),
        (DataType.STRING_ARRAY, ["\ud800"]),
        (DataType.FLOAT_ARRAY, ["x"]),
        (DataType.PROPERTYSET, {"a": 1}),
        (None, [1, 2]),
        (None, 2**64),
    ],
)
def test_a_value_that_does_not_fit_is_refused_at_encoding(datatype, value):
    with pytest.raises(SparkplugError):
        encode(Payload(metrics=[Metric("x", None, datatype, value)]))


@pytest.mark.parametrize(
    "metric",
    [Metric("\ud800"), Metric(alias=-1), Metric(time_ms=2**64), Metric(properties={"x": 2**64})],
)
def test_a_metric_that_cannot_be_written_is_refused(metric):
    with pytest.raises(SparkplugError):
        encode(Payload(metrics=[metric]))


@pytest.mark.parametrize(
    ("datatype", "fields"),
    [
        (DataType.INT8, {"int_value": 300}),
        (DataType.UINT16, {"int_value": 70_000}),
        (DataType.DOUBLE, {"string_value": "1.5"}),
        (DataType.STRING, {"double_value": 1.5}),
        (DataType.BOOLEAN, {"int_value": 2}),
        (DataType.INT32, {"double_value": math.nan}),
        (DataType.UINT64_ARRAY, {"bytes_value": b"1234567"}),
        (DataType.BOOLEAN_ARRAY, {"bytes_value": b"\x09\0\0\0\xff"}),
        (DataType.BOOLEAN_ARRAY, {"bytes_value": b"\x09"}),
        (DataType.STRING_ARRAY, {"bytes_value": b"abc"}),
        (DataType.STRING_ARRAY, {"bytes_value": b"\xff\0"}),
        (DataType.DATASET, {"bytes_value": b""}),
        (DataType.BYTES, {"string_value": "x"}),
    ],
)
def test_a_value_that_is_not_of_its_datatype_is_refused_at_decoding(datatype, fields):
    wire = WirePayload()
    wire.metrics.add(name="x", datatype=datatype, **fields)

    with pytest.raises(SparkplugError):
        decode(wire.SerializeToString())


@pytest.mark.parametrize(
    ("datatype", "fields", "value"),
    [
        (DataType.DOUBLE, {"int_value": 3}, 3.0),
        (DataType.DOUBLE, {"float_value": 0.5}, 0.5),
        (DataType.INT32, {"double_value": -3.0}, -3),
        (DataType.UINT32, {"int_value": 3}, 3),
        (DataType.BOOLEAN, {"int_value": 1}, True),
    ],
)
def test_a_number_in_another_numbers_field_is_converted(datatype, fields, value):
    wire = WirePayload()
    wire.metrics.add(name="x", datatype=datatype, **fields)

    read = decode(wire.SerializeToString()).metrics[0].value
    assert read == value
    assert type(read) is type(value)


def measured(tag, content):
    """A protobuf field of up to 16 KiB, written by hand: the library refuses great depth."""
    return tag + bytes([len(content) & 0x7F | 0x80, len(content) >> 7]) + content


def nested_template(depth):
    content = b""
    for _ in range(depth):
        content = b"\x20\x13" + measured(b"\x92\x01", measured(b"\x12", content))
    return measured(b"\x12", content)


def test_templates_and_data_sets_are_kept_as_they_came():
    wire = WirePayload()
    metric = wire.metrics.add(name="x", datatype=DataType.DATASET)
    metric.dataset_value.num_of_columns = 1
    metric.dataset_value.columns.append("a")
    metric.dataset_value.types.append(DataType.INT32)
    metric.dataset_value.rows.add().elements.add(int_value=4)
    data = wire.SerializeToString()

    assert decode(data).metrics[0].value == metric.dataset_value.SerializeToString()
    assert encode(decode(data)) == data
    template = decode(nested_template(3))
    assert decode(encode(template)) == template


def test_every_limit_is_kept():
    limits = Limits(payload_bytes=600, metrics=3, text_length=5, array_length=4, properties=2)
    numbers = [Metric("x", None, DataType.INT32, 1)]
    plain = Metric("x", None, DataType.STRING, "12345", properties={"a": 1, "b": "12345"})
    array = Metric("x", None, DataType.UINT8_ARRAY, [1, 2, 3, 4])
    bits = Metric("x", None, DataType.BOOLEAN_ARRAY, [True] * 4)
    assert decode(encode(Payload(metrics=[plain, array, bits])), limits)

    beyond = [
        Payload(metrics=numbers * 4),
        Payload(metrics=[Metric("123456")]),
        Payload(metrics=[Metric("x", None, DataType.STRING, "123456")]),
        Payload(metrics=[Metric("x", None, DataType.UINT8_ARRAY, [1] * 5)]),
        Payload(metrics=[Metric("x", None, DataType.BOOLEAN_ARRAY, [True] * 5)]),
        Payload(metrics=[Metric("x", None, DataType.STRING_ARRAY, [""] * 5)]),
        Payload(metrics=[Metric("x", properties={"a": 1, "b": 2, "c": 3})]),
        Payload(metrics=[Metric("x", properties={"123456": 1})]),
        Payload(metrics=[Metric("x", properties={"a": "123456"})]),
        Payload(metrics=[Metric("x", None, DataType.BYTES, bytes(600))]),
    ]
    for payload in beyond:
        with pytest.raises(SparkplugError):
            decode(encode(payload), limits)


def test_templates_are_not_followed_without_end():
    assert decode(nested_template(8))
    for depth in (9, 60, 300):
        with pytest.raises(SparkplugError):
            decode(nested_template(depth))


def test_a_boolean_array_may_not_claim_more_than_it_brings():
    wire = WirePayload()
    claim = struct.pack("<I", 2**32 - 1)
    wire.metrics.add(name="x", datatype=DataType.BOOLEAN_ARRAY, bytes_value=claim)

    with pytest.raises(SparkplugError):
        decode(wire.SerializeToString())


def test_text_that_is_not_utf_8_is_refused():
    for data in (b"\x12\x04\x0a\x02\xff\xfe", b"\x12\x04\x7a\x02\xff\xfe"):
        with pytest.raises(SparkplugError, match="UTF-8"):
            decode(data)


@pytest.mark.tck("payloads-propertyset-keys-array-size", "payloads-propertyset-values-array-size")
def test_there_are_as_many_property_keys_as_values():
    wire = WirePayload()
    metric = wire.metrics.add(name="x")
    metric.properties.keys.append("a")

    with pytest.raises(SparkplugError):
        decode(wire.SerializeToString())

    written = encode(Payload(metrics=[Metric("x", properties={"a": 1, "b": None})]))
    properties = WirePayload.FromString(written).metrics[0].properties
    assert len(properties.keys) == len(properties.values) == 2


@pytest.mark.tck(
    "payloads-propertyset-quality-value-type",
    "payloads-propertyset-quality-value-value",
    "payloads-metric-propertyvalue-type-type",
    "payloads-metric-propertyvalue-type-value",
    "payloads-metric-propertyvalue-type-req",
)
@pytest.mark.parametrize(("quality", "number"), [(Quality.UNCERTAIN, 192), (Quality.BAD, 0)])
def test_quality_is_an_int32_of_the_specified_values(quality, number):
    properties = quality_properties(quality, Reason.TIMEOUT)
    data = encode(Payload(metrics=[Metric("x", properties=properties)]))

    wire = WirePayload.FromString(data).metrics[0].properties
    told = dict(zip(wire.keys, wire.values, strict=True))
    assert (told["Quality"].type, told["Quality"].int_value) == (DataType.INT32, number)
    assert told["Machikoba/Quality"].int_value == Reason.TIMEOUT


@pytest.mark.parametrize("quality", list(Quality))
@pytest.mark.parametrize("reason", [one for one in Reason if one is not Reason.NONE])
def test_quality_and_reason_survive_the_wire(quality, reason):
    sample = Sample("x", 1.5, NOON_MS, quality, reason)

    data = encode(Payload(metrics=[value_metric(sample, DataType.DOUBLE, alias=128)]))

    read = decode(data).metrics[0]
    heard = quality_of(read.properties, is_null=read.value is None)
    assert heard == (quality, reason if quality is not Quality.GOOD else Reason.NONE)
    assert (read.value is None) == (quality is Quality.BAD)


@pytest.mark.parametrize(
    ("properties", "is_null", "expected"),
    [
        ({}, False, (Quality.GOOD, Reason.NONE)),
        ({}, True, (Quality.BAD, Reason.UNKNOWN)),
        ({"Quality": 192}, True, (Quality.BAD, Reason.UNKNOWN)),
        ({"Quality": 500}, False, (Quality.UNCERTAIN, Reason.STALE)),
        ({"Quality": 500}, True, (Quality.BAD, Reason.STALE)),
        ({"Quality": 0}, False, (Quality.BAD, Reason.UNKNOWN)),
        ({"Quality": 64}, False, (Quality.UNCERTAIN, Reason.UNKNOWN)),
        ({"Quality": "good"}, False, (Quality.UNCERTAIN, Reason.UNKNOWN)),
        ({"Machikoba/Quality": 9}, False, (Quality.UNCERTAIN, Reason.CLOCK)),
        ({"Machikoba/Quality": 999}, False, (Quality.UNCERTAIN, Reason.UNKNOWN)),
        ({"Machikoba/Quality": "x"}, False, (Quality.UNCERTAIN, Reason.UNKNOWN)),
        ({"Machikoba/Quality": None}, False, (Quality.GOOD, Reason.NONE)),
    ],
)
def test_quality_of_foreign_metrics_is_read_with_caution(properties, is_null, expected):
    assert quality_of(properties, is_null=is_null) == expected


@pytest.mark.parametrize(
    ("value", "datatype", "reason"),
    [
        (math.nan, DataType.DOUBLE, Reason.NOT_FINITE),
        (math.inf, DataType.FLOAT, Reason.NOT_FINITE),
        ("text", DataType.DOUBLE, Reason.TYPE),
        (1.5, DataType.STRING, Reason.TYPE),
        (2**63, DataType.INT64, Reason.TYPE),
        ("\ud800", DataType.STRING, Reason.TYPE),
        (None, DataType.DOUBLE, Reason.UNKNOWN),
    ],
)
def test_any_sample_becomes_a_metric_that_can_be_sent(value, datatype, reason):
    metric = value_metric(Sample("x", value, NOON_MS), datatype, alias=128)

    read = decode(encode(Payload(metrics=[metric]))).metrics[0]
    assert read.value is None
    assert quality_of(read.properties, is_null=True) == (Quality.BAD, reason)
