"""Messages become the same columns by the fast way and by the general one, whatever they hold.

Bad messages are refused with their cause and harm no other; times are never a reason to refuse.
"""

import math
import os
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model import Quality, Reason, Sample
from gateway.sparkplug import (
    DataType,
    Limits,
    Metric,
    Payload,
    data_message,
    encode,
    encode_body,
    value_metric,
)
from hub.ingest.aliases import AliasTables
from hub.ingest.decode import Fault, Message, decode_generally, decode_messages
from hub.ingest.regular import read_regular
from hub.ingest.rows import Batch

NOON_MS = 1_790_000_000_000
EPOCH = 2**64 - 59

KINDS = {
    128: DataType.DOUBLE,
    129: DataType.DOUBLE,
    130: DataType.BOOLEAN,
    131: DataType.STRING,
    132: DataType.INT64,
    133: DataType.UINT64,
    134: DataType.FLOAT,
    135: DataType.INT32,
    136: DataType.DATETIME,
    137: DataType.UINT64_ARRAY,
    138: DataType.DOUBLE,
    16_383: DataType.DOUBLE,
    16_384: DataType.DOUBLE,
    5: DataType.BOOLEAN,
}
IGNORED_ALIAS = 138


def series_of(alias):
    return list(KINDS).index(alias)


@pytest.fixture(scope="module")
def tables():
    return AliasTables()


@pytest.fixture(scope="module")
def table(tables):
    other = tables.add()
    other.learn(128, 77, DataType.STRING)
    made = tables.add()
    for alias, datatype in KINDS.items():
        made.learn(alias, None if alias == IGNORED_ALIAS else series_of(alias), datatype)
    made.learn_name("mc-100", "Spindle/Speed", 50, DataType.DOUBLE)
    return made


def double(alias, value, time_ms=NOON_MS, **more):
    return Metric(alias=alias, datatype=DataType.DOUBLE, value=value, time_ms=time_ms, **more)


def entry(metrics, *, offset=7, seq=3, historical=False, time_ms=NOON_MS):
    return data_message(
        encode_body(metrics),
        time_ms=time_ms,
        epoch=EPOCH,
        offset=offset,
        seq=seq,
        historical=historical,
    )


def both_ways(payloads, tables, table, limits=None):
    """Decode by both ways, assert that they agree, and return what they say."""
    limits = limits or Limits()
    messages = [Message(payload, table, "mc-100", NOON_MS + 5) for payload in payloads]
    general = decode_generally(messages, limits)
    fast = decode_messages(messages, tables, limits, fast=True)
    assert_same(fast, general)
    return fast


def assert_same(fast, general):
    for name in ("series", "time_ms", "value", "quality", "reason", "message"):
        left, right = getattr(fast.columns, name), getattr(general.columns, name)
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(left, right, name)
    assert fast.columns.text == general.columns.text
    np.testing.assert_array_equal(fast.historical, general.historical)
    for name in ("epoch", "offset", "seq", "sent_ms"):
        np.testing.assert_array_equal(
            getattr(fast.headers, name), getattr(general.headers, name), name
        )
    np.testing.assert_array_equal(fast.replayed, general.replayed)
    np.testing.assert_array_equal(fast.newest_ms, general.newest_ms)
    assert fast.refused == general.refused


def usual_payload(seed):
    numbers = random.Random(seed)
    metrics = [double(128, numbers.random()), double(129, numbers.random())]
    metrics.append(
        Metric(alias=130, datatype=DataType.BOOLEAN, value=seed % 2 == 0, time_ms=NOON_MS)
    )
    return entry(metrics, offset=seed + 1, seq=seed % 128)


def test_usual_messages_take_the_fast_way_whole(tables, table):
    messages = [Message(usual_payload(seed), table, "mc-100", NOON_MS) for seed in range(40)]

    regular = read_regular(Batch(messages, Limits()), tables)

    assert regular.left == []
    assert [len(part.key) for part in regular.parts] == [120]


def test_every_value_arrives_with_its_place_in_the_journal(tables, table):
    decoded = both_ways([usual_payload(seed) for seed in range(200)], tables, table)

    assert decoded.refused == []
    assert decoded.headers.offset.tolist() == list(range(1, 201))
    assert set(decoded.headers.epoch.tolist()) == {EPOCH}
    assert decoded.headers.seq.tolist() == [seed % 128 for seed in range(200)]
    assert decoded.columns.message.tolist() == [seed for seed in range(200) for _ in range(3)]
    expected = random.Random(11)
    assert decoded.columns.value[33:36].tolist() == [expected.random(), expected.random(), 0.0]
    assert decoded.newest_ms.tolist() == [NOON_MS] * 200


def test_messages_of_the_general_way_keep_their_order(tables, table):
    """Two lengths alternate, so that messages of one length are not neighbours."""
    named = Metric("Spindle/Speed", None, DataType.DOUBLE, 1.0)
    payloads = [
        encode(Payload(NOON_MS, None, [named] * (1 + at % 2))) + b"\x2a\x01x" for at in range(8)
    ]

    decoded = both_ways(payloads, tables, table)

    assert decoded.columns.message.tolist() == [0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7]


VALUES = {
    DataType.DOUBLE: st.floats(allow_nan=True),
    DataType.FLOAT: st.floats(width=32),
    DataType.BOOLEAN: st.booleans(),
    DataType.STRING: st.text(max_size=150),
    DataType.INT64: st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
    DataType.INT32: st.integers(-(2**31), 2**31 - 1),
    DataType.UINT64_ARRAY: st.lists(st.integers(0, 2**64 - 1), max_size=3),
    DataType.UINT64: st.integers(0, 2**64 - 1) | st.integers(0, 300),
    DataType.DATETIME: st.integers(0, 2**64 - 1) | st.just(NOON_MS),
}


@st.composite
def metrics(draw):
    alias = draw(st.sampled_from([*KINDS, 128, 129, 130, 139]))
    datatype = KINDS.get(alias, DataType.DOUBLE)
    if draw(st.integers(0, 40)) == 0:
        datatype = draw(st.sampled_from([DataType.STRING, DataType.DOUBLE, DataType.INT64]))
    value = draw(VALUES[datatype] | st.none())
    time_ms = draw(
        st.integers(NOON_MS, NOON_MS + 3)
        | st.sampled_from([0, 1, 2**35 - 1, 2**35, 2**42 - 1, 2**42, 2**63, 2**64 - 1])
        | st.just(NOON_MS)
    )
    properties = draw(
        st.just({})
        | st.sampled_from(
            [
                {"Quality": 192, "Machikoba/Quality": 9},
                {"Quality": 0, "Machikoba/Quality": 1},
                {"Quality": 500},
                {"Quality": 0},
                {"engUnit": "rpm"},
                {"Quality": 77, "Machikoba/Quality": 77},
            ]
        )
    )
    name = "Spindle/Speed" if draw(st.integers(0, 30)) == 0 else None
    historical = draw(st.integers(0, 15)) == 0
    if name is not None:
        alias, datatype, value = None, DataType.DOUBLE, 1.5
    return Metric(name, alias, datatype, value, time_ms, historical, properties)


@st.composite
def payloads(draw):
    body = draw(st.lists(metrics(), max_size=8))
    return entry(
        body,
        offset=draw(st.sampled_from([0, 1, 2, 2**64 - 1])),
        seq=draw(st.sampled_from([0, 127, 128, 255, 256, 20_000])),
        historical=draw(st.booleans()),
        time_ms=draw(st.sampled_from([NOON_MS, NOON_MS, NOON_MS, 5, 2**35, 2**63 + 1])),
    )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(payloads(), max_size=6), st.integers(0, 20))
def test_both_ways_give_the_same_columns(tables, table, varied, repeats):
    both_ways([*varied, *varied[:1] * repeats, usual_payload(1)], tables, table)


FOREIGN = [
    Payload(NOON_MS, 3, [double(128, 1.0), double(130, 2.0)]),
    Payload(None, 3, [double(128, 1.0, None)]),
    Payload(NOON_MS, None, [double(128, 1.0, None)]),
    Payload(NOON_MS, 3, [Metric("Spindle/Speed", None, DataType.DOUBLE, 4, NOON_MS)]),
    Payload(NOON_MS, 3, [Metric("Spindle/Speed", 128, DataType.DOUBLE, 4, NOON_MS)]),
    Payload(NOON_MS, 3, [Metric("bdSeq", None, DataType.INT64, 4, NOON_MS), double(128, 1.0)]),
    Payload(NOON_MS, 3, [Metric("Spindle/Speed", None, DataType.STRING, "x", NOON_MS)]),
    Payload(
        NOON_MS, 3, [Metric("Machikoba/Entry", None, DataType.UINT64_ARRAY, [1, 2], NOON_MS)] * 2
    ),
    Payload(NOON_MS, 3, [Metric("Machikoba/Entry", None, DataType.BYTES, b"short", NOON_MS)]),
    Payload(NOON_MS, 3, []),
]


def mutated(numbers, corpus):
    """Change some bytes of a message, or cut, double or splice some."""
    data = bytearray(numbers.choice(corpus))
    for _ in range(numbers.randrange(1, 4)):
        at = numbers.randrange(len(data))
        match numbers.randrange(6):
            case 0:
                data[at] = numbers.randrange(256)
            case 1:
                data[at] ^= 1 << numbers.randrange(8)
            case 2:
                del data[at : at + numbers.randrange(1, 12)]
            case 3:
                data[at:at] = data[at : at + numbers.randrange(1, 30)]
            case 4:
                data[at:at] = numbers.randbytes(numbers.randrange(1, 5))
            case 5:
                other = numbers.choice(corpus)
                data[at:] = other[numbers.randrange(len(other)) :]
        if not data:
            data = bytearray(b"\x08")
    return bytes(data)


def corpus_of_messages():
    odd = [
        double(129, None, properties={"Quality": 0, "Machikoba/Quality": 1}),
        double(128, 2.5, properties={"Quality": 192, "Machikoba/Quality": 9}),
        Metric(alias=131, datatype=DataType.STRING, value="運転中", time_ms=NOON_MS),
        Metric(alias=132, datatype=DataType.INT64, value=-7, time_ms=NOON_MS),
        Metric(alias=136, datatype=DataType.DATETIME, value=NOON_MS, time_ms=NOON_MS),
        Metric(alias=134, datatype=DataType.FLOAT, value=0.5, time_ms=NOON_MS),
    ]
    return [
        usual_payload(1),
        usual_payload(2),
        entry(odd),
        entry(odd, historical=True),
        *(encode(payload) for payload in FOREIGN),
        *(encode(payload, datatypes=False) for payload in FOREIGN),
    ]


def padded(payload):
    """Put the message between usual ones, where it must neither harm nor be harmed."""
    return [usual_payload(1), payload, usual_payload(2)]


def rows_of(decoded, message=1):
    columns = decoded.columns
    at = np.flatnonzero(columns.message == message)
    return [
        (
            int(columns.series[row]),
            int(columns.time_ms[row]),
            columns.text.get(int(row), float(columns.value[row])),
            Quality(columns.quality[row]),
            Reason(columns.reason[row]),
        )
        for row in at
    ]


GOOD = (Quality.GOOD, Reason.NONE)


@pytest.mark.parametrize("historical", [False, True])
@pytest.mark.parametrize(
    ("alias", "value", "stored"),
    [
        (128, 1.5, 1.5),
        (128, -0.0, 0.0),
        (130, True, 1.0),
        (130, False, 0.0),
        (131, "運転中", "運転中"),
        (131, "", ""),
        (131, "x" * 127, "x" * 127),
        (131, "x" * 128, "x" * 128),
        (131, "x" * 40_000, "x" * 40_000),
        (132, -1, -1.0),
        (132, 2**32 - 5, 2.0**32 - 5),
        (132, -(2**53), -(2.0**53)),
        (132, -(2**53) - 1, "-9007199254740993"),
        *((133, 2**bits - 1, 2.0**bits - 1) for bits in (0, 1, 7, 8, 14, 21, 28, 35, 42, 49, 53)),
        *((133, 2**bits, 2.0**bits) for bits in (7, 14, 21, 28, 35, 42, 49, 53)),
        (133, 2**53 + 1, "9007199254740993"),
        (133, 2**64 - 1, "18446744073709551615"),
        (134, 0.5, 0.5),
        (135, -(2**31), -(2.0**31)),
        (136, NOON_MS, float(NOON_MS)),
        (137, [1, 2, 2**64 - 1], "[1,2,18446744073709551615]"),
        (16_383, 2.5, 2.5),
        (16_384, 2.5, 2.5),
        (5, True, 1.0),
    ],
)
def test_each_kind_of_value_becomes_a_number_or_a_text(
    tables, table, alias, *, value, stored, historical
):
    metric = Metric(alias=alias, datatype=KINDS[alias], value=value, time_ms=NOON_MS)

    decoded = both_ways(padded(entry([metric], historical=historical)), tables, table)

    assert rows_of(decoded) == [(series_of(alias), NOON_MS, stored, *GOOD)]
    assert decoded.replayed.tolist() == [False, historical, False]
    assert decoded.historical.tolist() == [False] * 3 + [historical] + [False] * 3


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("alias", [128, 134])
def test_what_is_not_finite_is_bad_and_has_no_value(tables, table, alias, number):
    metric = Metric(alias=alias, datatype=KINDS[alias], value=number, time_ms=NOON_MS)

    ((_, _, value, *quality),) = rows_of(both_ways(padded(entry([metric])), tables, table))

    assert math.isnan(value)
    assert quality == [Quality.BAD, Reason.NOT_FINITE]


@pytest.mark.parametrize("historical", [False, True])
def test_quality_arrives_with_its_reason(tables, table, historical):
    samples = [
        Sample("x", 1.5, NOON_MS, Quality.UNCERTAIN, Reason.RANGE),
        Sample("x", 1.5, NOON_MS, Quality.BAD, Reason.TIMEOUT),
        Sample("x", None, NOON_MS),
    ]
    metrics = [
        value_metric(sample, DataType.DOUBLE, alias=alias)
        for sample, alias in zip(samples, (128, 129, 16_383), strict=True)
    ]

    decoded = both_ways(padded(entry(metrics, historical=historical)), tables, table)

    uncertain, timeout, missing = rows_of(decoded)
    assert uncertain[2:] == (1.5, Quality.UNCERTAIN, Reason.RANGE)
    assert timeout[3:] == (Quality.BAD, Reason.TIMEOUT)
    assert missing[3:] == (Quality.BAD, Reason.UNKNOWN)
    assert math.isnan(timeout[2])


def test_samples_that_share_a_time_move_by_a_millisecond(tables, table):
    times = [0, 0, 1, 1, 0, 9]
    metrics = [double(128, at, NOON_MS + time) for at, time in enumerate(times)]
    metrics.append(double(129, 1.0))

    decoded = both_ways(padded(entry(metrics)), tables, table)

    own = [(time - NOON_MS, value) for series, time, value, *_ in rows_of(decoded) if series == 0]
    assert own == [(0, 0.0), (1, 1.0), (2, 4.0), (3, 2.0), (4, 3.0), (9, 5.0)]
    assert decoded.newest_ms.tolist() == [NOON_MS, NOON_MS + 9, NOON_MS]
    assert [time for series, time, *_ in rows_of(decoded) if series == 1] == [NOON_MS]


def test_the_same_signal_in_two_messages_is_no_tie(tables, table):
    decoded = both_ways([entry([double(128, 1.0)], offset=at) for at in (1, 2)], tables, table)

    assert decoded.columns.time_ms.tolist() == [NOON_MS, NOON_MS]


@pytest.mark.parametrize(
    ("time_ms", "stored_ms", "reason"),
    [
        (NOON_MS + 600_005, NOON_MS + 600_005, Reason.NONE),
        (NOON_MS + 600_006, NOON_MS + 600_006, Reason.CLOCK),
        (2**42 - 1, 2**42 - 1, Reason.CLOCK),
        (2**42, 2**42, Reason.CLOCK),
        (946_684_800_000, 946_684_800_000, Reason.NONE),
        (946_684_799_999, 946_684_799_999, Reason.CLOCK),
        (0, 0, Reason.CLOCK),
        (9_223_372_036_853, 9_223_372_036_853, Reason.CLOCK),
        (9_223_372_036_854, NOON_MS + 5, Reason.CLOCK),
        (2**64 - 1, NOON_MS + 5, Reason.CLOCK),
    ],
)
def test_an_impossible_time_makes_a_sample_uncertain_and_keeps_it(
    tables, table, time_ms, stored_ms, reason
):
    decoded = both_ways(padded(entry([double(128, 1.5, time_ms)])), tables, table)

    quality = Quality.UNCERTAIN if reason else Quality.GOOD
    assert rows_of(decoded) == [(0, stored_ms, 1.5, quality, reason)]


def test_a_missing_time_is_that_of_the_payload_else_of_arrival(tables, table):
    timed = encode(Payload(NOON_MS - 9, 1, [double(128, 1.0, None)]))
    timeless = encode(Payload(None, 1, [double(128, 1.0, None)]))

    decoded = both_ways([timed, timeless], tables, table)

    assert decoded.columns.time_ms.tolist() == [NOON_MS - 9, NOON_MS + 5]
    assert decoded.columns.quality.tolist() == [Quality.GOOD] * 2


def test_an_alias_that_no_birth_told_refuses_its_message_only(tables, table):
    decoded = both_ways(padded(entry([double(128, 1.0), double(999, 2.0)])), tables, table)

    (refusal,) = decoded.refused
    assert (refusal.message, refusal.fault) == (1, Fault.UNKNOWN_METRIC)
    assert "999" in refusal.cause
    assert rows_of(decoded) == []
    assert decoded.headers.offset.tolist() == [2, 7, 3]
    assert len(decoded.columns) == 6


def test_an_alias_of_another_agent_is_unknown(tables, table):
    stranger = tables.add()
    messages = [
        Message(entry([double(128, 1.0)]), owner, "mc-100", NOON_MS) for owner in (table, stranger)
    ]

    decoded = decode_messages(messages, tables, fast=True)

    assert [refusal.message for refusal in decoded.refused] == [1]
    assert decoded.columns.message.tolist() == [0]


@pytest.mark.parametrize(
    "metric",
    [
        Metric(alias=128, datatype=DataType.STRING, value="text", time_ms=NOON_MS),
        Metric(alias=131, datatype=DataType.DOUBLE, value=1.5, time_ms=NOON_MS),
        Metric(alias=137, datatype=DataType.BYTES, value=b"odd", time_ms=NOON_MS),
    ],
)
def test_a_value_of_another_kind_than_announced_refuses_its_message(tables, table, metric):
    decoded = both_ways(padded(entry([metric])), tables, table)

    assert [(one.message, one.fault) for one in decoded.refused] == [(1, Fault.GARBLED)]
    assert decoded.headers.offset.tolist() == [2, 7, 3]


def test_a_garbled_body_is_refused_with_its_place_in_the_journal(tables, table):
    payload = bytearray(entry([double(128, 1.0), double(129, 2.0)]))
    payload[9] = 0xFF

    decoded = both_ways(padded(bytes(payload)), tables, table)

    assert [(one.message, one.fault) for one in decoded.refused] == [(1, Fault.GARBLED)]
    assert decoded.headers.offset.tolist() == [2, 7, 3]


def test_metrics_without_a_series_make_no_rows(tables, table):
    payload = entry([double(IGNORED_ALIAS, 1.0), double(128, 2.0)])

    decoded = both_ways(padded(payload), tables, table)

    assert [series for series, *_ in rows_of(decoded)] == [0]
    assert decoded.refused == []


def test_limits_hold_on_both_ways(tables, table):
    text = Metric(alias=131, datatype=DataType.STRING, value="123456", time_ms=NOON_MS)
    three = [double(128, 1.0), double(129, 2.0), text]
    payload = entry(three)
    messages = [usual_payload(1), payload]
    exact = {"payload_bytes": len(payload), "metrics": 4, "text_length": 15}

    assert both_ways(messages, tables, table, Limits(**exact)).refused == []
    for name in ("payload_bytes", "metrics"):
        tight = Limits(**{**exact, name: exact[name] - 1})
        assert both_ways(messages, tables, table, tight).refused[-1].message == 1
    lone = encode(Payload(NOON_MS, 3, [text]), datatypes=False)
    refused = both_ways([lone], tables, table, Limits(text_length=5)).refused
    assert [one.message for one in refused] == [0]


def test_nothing_gives_nothing(tables):
    for decoded in (decode_messages([], tables, fast=True), decode_messages([], tables)):
        assert len(decoded.columns) == 0
        assert decoded.refused == []


@pytest.mark.parametrize("historical", [False, True])
@pytest.mark.parametrize("seq", [3, 200])
def test_one_changed_byte_in_a_message_among_many_alike_is_noticed(tables, table, seq, historical):
    """Messages of one length are checked against one of them: no byte may escape the check."""
    body = [
        double(128, 1.5),
        Metric(alias=130, datatype=DataType.BOOLEAN, value=True, time_ms=NOON_MS),
        Metric(alias=131, datatype=DataType.STRING, value="idle " * 30, time_ms=NOON_MS),
        Metric(alias=133, datatype=DataType.UINT64, value=2**40, time_ms=NOON_MS),
    ]
    usual = entry(body, seq=seq, historical=historical)
    changed = [
        usual[:at] + bytes([usual[at] ^ flip]) + usual[at + 1 :]
        for at in range(len(usual))
        for flip in (0x01, 0x08, 0x80, 0xFF)
    ]

    decoded = both_ways([usual] * 20 + changed, tables, table)

    assert len(decoded.refused) > len(usual) // 2


@pytest.mark.parametrize("alike", [15, 16, 17, 40])
def test_messages_without_a_place_are_read_together_too(tables, table, alike):
    payloads = [
        encode(Payload(NOON_MS + at, at, [double(128, float(at))]), datatypes=False)
        for at in range(alike)
    ]

    decoded = both_ways(payloads, tables, table)

    assert decoded.headers.seq.tolist() == list(range(alike))
    assert decoded.headers.sent_ms.tolist() == [NOON_MS + at for at in range(alike)]
    assert decoded.columns.value.tolist() == [float(at) for at in range(alike)]


def both_ways_on_garbage(tables, table, seed, count):
    numbers = random.Random(seed)
    corpus = corpus_of_messages()
    for start in range(0, count, 200):
        wild = [mutated(numbers, corpus) for _ in range(start, min(start + 200, count))]
        both_ways(wild, tables, table)


@pytest.mark.parametrize("seed", range(20))
def test_both_ways_agree_on_garbage(tables, table, seed):
    both_ways_on_garbage(tables, table, seed, 1_000)


@pytest.mark.fuzz
@pytest.mark.skipif("MACHIKOBA_FUZZ" not in os.environ, reason="asked for by `make fuzz`")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 120))
def test_both_ways_agree_on_a_million_inputs(tables, table, seed):
    both_ways_on_garbage(tables, table, seed, 50_000)
