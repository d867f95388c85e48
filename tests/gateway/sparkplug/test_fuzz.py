"""Nothing but SparkplugError leaves a decoder, whatever the bytes, and never after long thought.

20,000 inputs run each time; MACHIKOBA_FUZZ=1 with `-m fuzz` runs a million.
"""

import os
import random
import time

import pytest

from gateway.model import Quality, Reason, Sample
from gateway.sparkplug import (
    DataType,
    Metric,
    Payload,
    SparkplugError,
    data_message,
    decode,
    encode,
    encode_body,
    parse_topic,
    read_entry,
    unquote_level,
    value_metric,
)
from gateway.sparkplug.payload import decode_metric

NOON_MS = 1_790_000_000_000
SLOWEST_S = 1.0
TOKENS = [b"\x12", b"\x0a", b"\x92\x01", b"\x8a\x01", b"\x82\x01", b"\x4a", b"\xff" * 9 + b"\x01"]


def corpus():
    samples = [
        Sample("x", 1.5, NOON_MS),
        Sample("x", 2.5, NOON_MS, Quality.UNCERTAIN, Reason.CLOCK),
        Sample("x", 2.5, NOON_MS, Quality.BAD, Reason.TIMEOUT),
    ]
    metrics = [value_metric(one, DataType.DOUBLE, alias=128) for one in samples]
    metrics.append(Metric("名前", 300, DataType.STRING, "運転", NOON_MS, properties={"a": "b"}))
    metrics += [
        Metric("x", None, DataType.STRING_ARRAY, ["a", "b"]),
        Metric("x", None, DataType.BOOLEAN_ARRAY, [True] * 9),
        Metric("x", None, DataType.UINT64_ARRAY, [1, 2]),
        Metric("x", None, DataType.INT8, -5),
        Metric("x", None, DataType.DATASET, bytes.fromhex("08011201611a01032204 0a020804")),
        Metric("x", None, DataType.TEMPLATE, bytes.fromhex("0a013112050a01792003 2800")),
    ]
    body = encode_body(metrics)
    point = {"time_ms": NOON_MS, "epoch": 2**63, "offset": 1}
    return [
        encode(Payload(NOON_MS, 0, metrics)),
        encode(Payload(NOON_MS, 0, metrics), datatypes=False),
        data_message(body, seq=3, historical=False, **point),
        data_message(body, seq=200, historical=True, **point),
        encode(Payload(NOON_MS, 1)),
    ]


def mutate(numbers, seeds):
    """Make an input out of the seeds: flip, cut, repeat, splice, insert, or just noise."""
    data = bytearray(numbers.choice(seeds))
    for _ in range(numbers.randrange(1, 6)):
        at = numbers.randrange(len(data) + 1)
        match numbers.randrange(7):
            case 0 if at < len(data):
                data[at] = numbers.randrange(256)
            case 1 if at < len(data):
                data[at] ^= 1 << numbers.randrange(8)
            case 2:
                del data[at : at + numbers.randrange(1, 20)]
            case 3:
                data[at:at] = data[at : at + numbers.randrange(1, 60)] * numbers.randrange(1, 4)
            case 4:
                data[at:] = numbers.choice(seeds)[numbers.randrange(60) :]
            case 5:
                data[at:at] = numbers.choice(TOKENS)
            case 6:
                data = bytearray(numbers.randbytes(numbers.randrange(80)))
    return bytes(data)


def feed(data):
    """Give the bytes to every decoder, and return whether they were a payload."""
    read_entry(data)
    text = data.decode(errors="replace")
    for read, argument in (
        (parse_topic, text),
        (unquote_level, text),
        (decode_metric, data),
        (decode, data),
    ):
        try:
            result = read(argument)
        except SparkplugError:
            result = None
    if result is not None:
        # What was read can be written, and reads the same again.
        assert repr(decode(encode(result))) == repr(result)
    return result is not None


def hammer(seed, count):
    numbers = random.Random(seed)
    seeds = corpus()
    accepted = 0
    slowest = 0.0
    for _ in range(count):
        data = mutate(numbers, seeds)
        before = time.perf_counter()
        try:
            accepted += feed(data)
        except Exception as error:
            raise AssertionError(f"{error!r} for {data.hex()}") from error
        slowest = max(slowest, time.perf_counter() - before)
    assert accepted > count // 50, "the mutations are too wild to test anything"
    assert slowest < SLOWEST_S


@pytest.mark.parametrize("seed", range(4))
def test_garbage_raises_nothing_but_our_error(seed):
    hammer(seed, 5_000)


@pytest.mark.fuzz
@pytest.mark.skipif("MACHIKOBA_FUZZ" not in os.environ, reason="asked for by `make fuzz`")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 120))
def test_a_million_inputs_raise_nothing_but_our_error(seed):
    hammer(seed, 50_000)


@pytest.mark.parametrize(
    "data",
    [
        b"\x12\x00" * 131_072,  # metrics of nothing
        b"\x12\x80\x80\x0c" + b"\x4a\x02\x0a\x00" * 49_152,  # property keys of nothing
        b"\x12\x83\x80\x10\x7a\xff\xff\x0f" + b"a" * 262_143,
        b"\x0b" * 262_144,  # groups in groups
    ],
)
def test_payloads_made_to_hurt_are_refused_at_once(data):
    before = time.perf_counter()

    with pytest.raises(SparkplugError):
        decode(data)

    assert time.perf_counter() - before < SLOWEST_S
