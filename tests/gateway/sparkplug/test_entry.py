"""Entries keep their layout, their order and their place in the journal, however they are sent."""

import struct
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sparkplug import (
    DataType,
    Metric,
    Payload,
    SparkplugError,
    data_message,
    decode,
    encode,
    encode_body,
    entry_point,
    names,
    read_entry,
    typed,
)

NOON_MS = 1_790_000_000_000
# A busy machine is no reason to fail.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
EPOCH = 2**64 - 59


def double(alias, value, time_ms=NOON_MS):
    return Metric(alias=alias, datatype=DataType.DOUBLE, value=value, time_ms=time_ms)


def message(metrics, *, offset=7, seq=3, historical=False, datatypes=False):
    return data_message(
        encode_body(metrics, datatypes=datatypes),
        time_ms=NOON_MS,
        epoch=EPOCH,
        offset=offset,
        seq=seq,
        historical=historical,
        datatypes=datatypes,
    )


def test_a_double_takes_21_bytes_and_a_boolean_14():
    boolean = Metric(alias=16_383, datatype=DataType.BOOLEAN, value=True, time_ms=NOON_MS)

    assert len(encode_body([double(128, 0.0)])) == 21
    assert len(encode_body([boolean])) == 14


@pytest.mark.parametrize("seq", [0, 127, 128, 255])
@pytest.mark.parametrize("historical", [False, True])
def test_the_place_in_the_journal_is_read_from_the_tail(seq, historical):
    payload = message([double(128, 1.5)], offset=2**63, seq=seq, historical=historical)

    assert read_entry(payload) == (EPOCH, 2**63)
    assert decode(payload).seq == seq


@pytest.mark.parametrize("seq", [0, 127, 128, 255])
def test_the_place_is_readable_even_when_the_body_is_not(seq):
    payload = bytearray(message([double(128, 1.5), double(129, 2.5)], seq=seq))
    payload[9] = 0xFF  # the length of the first metric

    with pytest.raises(SparkplugError):
        decode(bytes(payload))
    assert read_entry(bytes(payload)) == (EPOCH, 7)


@st.composite
def value_metrics(draw):
    datatype, value = draw(
        st.tuples(st.just(DataType.DOUBLE), st.floats(allow_nan=False) | st.none())
        | st.tuples(st.just(DataType.BOOLEAN), st.booleans() | st.none())
        | st.tuples(st.just(DataType.INT64), st.integers(-(2**63), 2**63 - 1))
        | st.tuples(st.just(DataType.STRING), st.just("運転中"))
    )
    return Metric(
        name=draw(st.none() | st.just("spindle_rpm")),
        alias=draw(st.sampled_from([None, 0, 127, 128, 255, 256, 16_383, 16_384, 2**64 - 1])),
        datatype=datatype,
        value=value,
        time_ms=draw(
            st.sampled_from(
                [None, 0, 2**35 - 1, 2**35, NOON_MS, NOON_MS + 1, 2**42 - 1, 2**42, 2**64 - 1]
            )
        ),
        historical=draw(st.booleans()),
        properties=draw(st.just({}) | st.just({"Quality": 0, "Machikoba/Quality": 1})),
    )


def in_order(metrics):
    return sorted(metrics, key=lambda metric: metric.time_ms or 0)


@unhurried
@given(st.lists(value_metrics(), max_size=6), st.booleans())
def test_an_entry_decodes_to_what_protobuf_would_have_written(metrics, datatypes):
    read = decode(message(metrics, datatypes=datatypes))
    place = read.metrics.pop()

    expected = encode(Payload(NOON_MS, 3, in_order(metrics)), datatypes=datatypes)
    assert read == decode(expected)
    assert (place.name, place.time_ms, entry_point(place.value)) == (
        names.ENTRY,
        NOON_MS,
        (EPOCH, 7),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"name": "spindle_rpm"},
        {"historical": True},
        {"properties": {"Machikoba/Quality": 9, "Quality": 192}},
        {"alias": 127},
        {"alias": 16_384},
        {"time_ms": 2**35 - 1},
        {"time_ms": 2**42},
        {"value": 3},
        {"value": None},
        {"datatype": DataType.FLOAT},
    ],
)
def test_a_metric_that_is_not_quite_regular_keeps_what_it_has(change):
    metric = replace(double(128, 1.5), **change)

    expected = decode(encode(Payload(NOON_MS, 3, [metric]), datatypes=False)).metrics
    assert decode(message([metric])).metrics[:-1] == expected


@pytest.mark.parametrize(
    "metric",
    [
        # The bytes of its value look like those of a time.
        Metric(
            alias=128,
            datatype=DataType.DOUBLE,
            value=struct.unpack("<d", b"\x81\x81\x81\x81\x81\x01\x20\x40")[0],
        ),
        Metric(name="x" * 40, datatype=DataType.DOUBLE, value=1.5),
        Metric(alias=1, datatype=DataType.STRING, value="\u0700" * 20, time_ms=5),
    ],
)
def test_a_metric_with_another_head_is_marked_historical_too(metric):
    marked = decode(message([metric], historical=True)).metrics[0]

    assert marked == replace(decode(message([metric])).metrics[0], historical=True)


@unhurried
@given(st.lists(value_metrics(), max_size=6))
def test_every_value_of_a_message_sent_again_is_historical(metrics):
    first, again = decode(message(metrics)), decode(message(metrics, historical=True))

    assert all(metric.historical for metric in again.metrics[:-1])
    assert not again.metrics[-1].historical
    for metric in (*first.metrics, *again.metrics):
        metric.historical = False
    assert again == first


@pytest.mark.tck(
    "operational-behavior-data-publish-dbirth-order",
    "operational-behavior-data-publish-nbirth-order",
)
def test_values_of_a_message_are_in_the_order_of_their_times():
    late, early, tie = double(128, 1.0, NOON_MS + 9), double(129, 2.0), double(130, 3.0)

    read = decode(message([late, early, tie])).metrics

    assert [metric.alias for metric in read[:-1]] == [129, 130, 128]


@pytest.mark.tck(
    "payloads-alias-data-cmd-requirement",
    "payloads-name-birth-data-requirement",
    "payloads-metric-datatype-not-req",
    "payloads-ddata-timestamp",
    "payloads-ddata-seq",
)
def test_a_data_message_calls_its_values_by_alias_with_time_and_without_datatype():
    payload = decode(message([double(128, 1.5), double(129, None)]))

    assert (payload.time_ms, payload.seq) == (NOON_MS, 3)
    for metric in payload.metrics[:-1]:
        assert (metric.name, metric.datatype, metric.time_ms) == (None, None, NOON_MS)
    assert payload.metrics[-1].time_ms == NOON_MS


def test_datatypes_are_there_for_hosts_that_need_them():
    payload = decode(message([double(128, 1.5)], datatypes=True))

    assert [metric.datatype for metric in payload.metrics] == [
        DataType.DOUBLE,
        DataType.UINT64_ARRAY,
    ]
    assert read_entry(message([double(128, 1.5)], datatypes=True)) == (EPOCH, 7)


def test_an_integer_of_an_entry_is_read_with_the_datatype_of_its_birth():
    metric = Metric(alias=128, datatype=DataType.INT64, value=-7, time_ms=NOON_MS)

    assert typed(decode(message([metric])).metrics[0], DataType.INT64) == -7


def test_the_place_is_found_wherever_an_ordinary_encoder_puts_it():
    place = Metric(names.ENTRY, None, DataType.UINT64_ARRAY, [EPOCH, 7], NOON_MS)
    other = double(128, 1.5)

    for metrics in ([place, other], [other, place]):
        assert read_entry(encode(Payload(NOON_MS, 3, metrics))) == (EPOCH, 7)
        assert read_entry(encode(Payload(None, None, metrics), datatypes=False)) == (EPOCH, 7)


def test_of_two_places_the_last_one_counts():
    places = [
        Metric(names.ENTRY, None, DataType.UINT64_ARRAY, [EPOCH, offset], NOON_MS)
        for offset in (6, 7)
    ]

    assert read_entry(encode(Payload(NOON_MS, None, places))) == (EPOCH, 7)
    assert read_entry(encode(Payload(NOON_MS, 3, places), datatypes=False)) == (EPOCH, 7)


def test_a_value_that_ends_like_a_place_is_not_taken_for_one():
    content = message([double(128, 1.5)])[-45:-2]
    text = Metric("note", None, DataType.BYTES, content, NOON_MS)

    assert content.startswith(b"\x0a\x0fMachikoba/Entry")
    assert read_entry(encode(Payload(NOON_MS, 3, [text]))) is None


@pytest.mark.parametrize(
    "value",
    [b"short", [1], [1, 2, 3], [1.5, 2.5], [-1, 2], ["a", "b"], None, 7, "text of 16 bytes"],
)
def test_what_is_no_place_is_none(value):
    assert entry_point(value) is None


def test_a_message_without_a_place_has_none():
    assert read_entry(encode(Payload(NOON_MS, 3, [double(128, 1.5)]))) is None
    assert read_entry(b"") is None
    assert read_entry(b"\x18\x03") is None
    assert read_entry(names.ENTRY.encode()) is None


@unhurried
@given(st.binary(max_size=80), st.binary(max_size=8))
def test_text_that_looks_like_a_place_is_not_taken_for_one(before, after):
    lookalike = message([double(128, 1.5)])[-47:-2]
    text = Metric("note", None, DataType.BYTES, before + lookalike + after, NOON_MS)

    assert read_entry(encode(Payload(NOON_MS, 3, [text, double(128, 1.5)]))) is None
    assert read_entry(encode(Payload(NOON_MS, None, [text, double(128, 1.5)]))) is None


@pytest.mark.parametrize(
    "body", [b"\x12", b"\x12\x05abc", b"\x18\x01", b"\x12" + b"\xff" * 12, b"junk"]
)
def test_a_body_that_holds_no_metrics_is_refused(body):
    with pytest.raises(SparkplugError):
        data_message(body, time_ms=NOON_MS, epoch=1, offset=1, seq=0, historical=True)


@pytest.mark.parametrize("change", [{"epoch": 2**64}, {"offset": -1}, {"time_ms": -1}, {"seq": -1}])
def test_numbers_that_do_not_fit_are_refused(change):
    point = {"time_ms": NOON_MS, "epoch": 1, "offset": 1, "seq": 0, "historical": False}

    with pytest.raises(SparkplugError):
        data_message(b"", **{**point, **change})
