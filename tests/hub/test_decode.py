"""Messages become the same columns by the fast way and by the general one, whatever they hold.

Bad messages are refused with their cause and harm no other; times are never a reason to refuse.
"""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sparkplug import (
    DataType,
    Limits,
    Metric,
    Payload,
    data_message,
    encode,
    encode_body,
)
from hub.ingest.aliases import AliasTables
from hub.ingest.decode import Message, decode_generally, decode_messages
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


@settings(max_examples=150, deadline=None)
@given(st.lists(payloads(), max_size=6), st.integers(0, 9))
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


@pytest.mark.parametrize("seed", range(20))
def test_both_ways_agree_on_garbage(tables, table, seed):
    numbers = random.Random(seed)
    corpus = corpus_of_messages()

    both_ways([mutated(numbers, corpus) for _ in range(100)], tables, table)
