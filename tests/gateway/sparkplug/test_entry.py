"""Entries keep their layout, their order and their place in the journal, however they are sent."""

import pytest

from gateway.model import Quality, Reason, Sample
from gateway.sparkplug import (
    DataType,
    Metric,
    SparkplugError,
    data_message,
    decode,
    encode_body,
    entry_point,
    names,
    quality_of,
    read_entry,
    value_metric,
)

NOON_MS = 1_790_000_000_000
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


def test_the_place_is_readable_even_when_the_body_is_not():
    payload = bytearray(message([double(128, 1.5), double(129, 2.5)]))
    payload[9] = 0xFF  # the length of the first metric

    with pytest.raises(SparkplugError):
        decode(bytes(payload))
    assert read_entry(bytes(payload)) == (EPOCH, 7)
