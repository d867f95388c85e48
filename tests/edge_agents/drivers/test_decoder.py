"""Bytes become exactly the values that the standards say, or bad samples with their reason.

Nothing but GarbledError ever leaves the decoder.

The cases are tables written by hand from IEEE 754, the Modbus specification and makers' manuals.
The generated inputs are checked against plain slicing and `struct`, not against the decoder's
own way of compiling a block.
"""

import contextlib
import json
import math
import os
import random
import struct
from pathlib import Path

import pytest

from edge_agents.drivers.decoder import Decoder, GarbledError
from edge_agents.drivers.registers import Kind, RegisterSignal, Table, block_of
from gateway.model import Quality, Reason

CASES = Path(__file__).parents[2] / "cases"
INPUTS = 1_000_000 if os.environ.get("MACHIKOBA_FUZZ") else 20_000
ANSWERS_PER_BLOCK = 10
DECIMALS = {Kind.BCD16, Kind.BCD32, Kind.BCD64}
ENCODINGS = ["utf-8", "ascii", "shift_jis", "cp932"]
FORMS = {
    Kind.INT16: "h",
    Kind.UINT16: "H",
    Kind.INT32: "i",
    Kind.UINT32: "I",
    Kind.INT64: "q",
    Kind.UINT64: "Q",
    Kind.FLOAT16: "e",
    Kind.FLOAT32: "f",
    Kind.FLOAT64: "d",
}


def case_signals(case):
    for name, given in case["signals"].items():
        fields = {key: value for key, value in given.items() if key not in {"value", "bad"}}
        fields["kind"] = Kind(fields["kind"])
        for key in ("words_for", "invalid"):
            fields[key] = (
                tuple(map(tuple, fields[key]))
                if key == "words_for" and key in fields
                else tuple(fields.get(key, ()))
            )
        yield RegisterSignal(name=name, table=Table(case["table"]), **fields)


@pytest.mark.parametrize("folder", sorted(CASES.glob("decode-*")), ids=lambda path: path.name)
def test_an_answer_means_what_the_standard_says(folder):
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    block = block_of(list(case_signals(case)))

    assert block.address == case["address"]
    samples = Decoder(block).decode(bytes.fromhex(case["answer"]), 1_000)

    told = {one.signal: (one.value, one.quality, one.reason) for one in samples}
    expected = {
        name: (None, Quality.BAD, Reason[given["bad"]])
        if "bad" in given
        else (given["value"], Quality.GOOD, Reason.NONE)
        for name, given in case["signals"].items()
    }
    assert told == expected
    assert {name: type(value) for name, (value, _, _) in told.items()} == {
        name: type(value) for name, (value, _, _) in expected.items()
    }
    assert {one.time_ms for one in samples} == {1_000}


def random_signal(rng, index):
    kind = rng.choice(list(Kind))
    return RegisterSignal(
        name=f"s{index}",
        table=Table.HOLDING,
        address=rng.randrange(60),
        kind=kind,
        bit=rng.randrange(16) if kind is Kind.BOOL and rng.random() < 0.7 else None,
        length_bytes=rng.randrange(1, 21) if kind is Kind.STRING else 0,
        encoding=rng.choice(ENCODINGS),
        word_order=rng.choice(["big", "little"]),
        byte_order=rng.choice(["big", "little"]),
        scale=rng.choice([1.0, 1.0, 0.1, -2.5, 1e300, 1 / 3]),
        offset=rng.choice([0.0, 0.0, -40.0, 0.7]),
        invalid=rng.choice([(), (), (0.0,), (65535.0, -1.0)]),
        words_for=rng.choice([(), (), (), ((0, "off"), (1, "on"))]),
        minimum=rng.choice([None, None, -1000.0]),
        maximum=rng.choice([None, None, 1000.0]),
    )


def random_bytes(rng, length):
    """Random bytes, with a liking for zeros and ones, where the extremes lie."""
    style = rng.randrange(3)
    if style == 0:
        return rng.randbytes(length)
    return bytes(rng.choice([0, 0, 1, 0x7F, 0x80, 0xF0, 0xFF, 0x41]) for _ in range(length))


def raw_bytes(signal, start, data):
    """The value's bytes in the order ABCD, by the definition of the orders."""
    begin = 2 * (signal.address - start)
    words = [data[begin + 2 * i : begin + 2 * i + 2] for i in range(signal.size)]
    if signal.byte_order == "little":
        words = [word[::-1] for word in words]
    if signal.word_order == "little" and signal.kind is not Kind.STRING:
        words.reverse()
    return b"".join(words)


def check_number(signal, raw, sample):
    if raw in {float(one) for one in signal.invalid}:
        assert sample.reason is Reason.SENTINEL
    elif signal.words_for:
        texts = dict(signal.words_for)
        assert sample.value == texts.get(raw)
    elif not math.isfinite(raw) or not math.isfinite(raw * signal.scale + signal.offset):
        assert sample.reason is Reason.NOT_FINITE
    elif sample.quality is Quality.GOOD:
        exact = raw * signal.scale + signal.offset
        assert math.isclose(sample.value, exact, rel_tol=1e-9, abs_tol=1e-9)
    else:
        value = raw * signal.scale + signal.offset
        assert sample.reason is Reason.RANGE
        assert (signal.minimum is not None and value <= signal.minimum + 1e-9) or (
            signal.maximum is not None and value >= signal.maximum - 1e-9
        )


def check(signal, start, data, sample):
    assert (sample.value is None) == (sample.quality is Quality.BAD)
    assert (sample.reason is Reason.NONE) == (sample.quality is Quality.GOOD)
    if isinstance(sample.value, float):
        assert math.isfinite(sample.value)
    raw = raw_bytes(signal, start, data)
    if signal.kind in FORMS:
        check_number(signal, struct.unpack(">" + FORMS[signal.kind], raw)[0], sample)
    elif signal.kind is Kind.INT8:
        check_number(signal, struct.unpack("b", raw[1:])[0], sample)
    elif signal.kind is Kind.UINT8:
        check_number(signal, raw[1], sample)
    elif signal.kind is Kind.BOOL and not signal.words_for:
        word = int.from_bytes(raw, "big")
        assert sample.value == (word != 0 if signal.bit is None else bool(word >> signal.bit & 1))
    elif signal.kind in DECIMALS and not raw.hex().isdecimal():
        assert sample.reason is Reason.GARBLED
    elif signal.kind in DECIMALS:
        check_number(signal, int(raw.hex()), sample)
    elif signal.kind is Kind.STRING:
        check_text(signal, raw[: signal.length_bytes], sample)


def check_text(signal, raw, sample):
    """A text is what the shortest cut of it means that leaves no half character."""
    written, zero, _ = raw.partition(b"\0")
    cuts = [written] if zero else [written[: len(written) - cut] for cut in range(4)]
    meant = []
    for cut in cuts:
        with contextlib.suppress(UnicodeDecodeError):
            meant.append((cut, cut.decode(signal.encoding).rstrip()))
    if sample.quality is Quality.GOOD:
        assert sample.value in [text for _, text in meant]
        assert sample.value.isprintable()
    else:
        assert sample.reason is Reason.GARBLED
        assert not any(cut == written and text.isprintable() for cut, text in meant)


def decode_generated(inputs, seed):
    """Decode `inputs` generated answers and check every sample of them."""
    rng = random.Random(seed)
    for _ in range(inputs // ANSWERS_PER_BLOCK):
        signals = [random_signal(rng, index) for index in range(rng.randrange(1, 9))]
        block = block_of(signals)
        decoder = Decoder(block)
        by_name = {signal.name: signal for signal in signals}
        for _ in range(ANSWERS_PER_BLOCK):
            data = random_bytes(rng, block.count * 2)
            samples = decoder.decode(data, 5)
            assert sorted(one.signal for one in samples) == sorted(by_name)
            for sample in samples:
                check(by_name[sample.signal], block.address, data, sample)


@pytest.mark.fuzz
def test_generated_answers_decode_as_plain_slicing_says():
    decode_generated(INPUTS, seed=20261122)


@pytest.mark.parametrize("table", [Table.COIL, Table.DISCRETE])
def test_bits_of_every_place_and_length_are_found(table):
    for count in range(1, 40):
        signals = [RegisterSignal(f"b{i}", table, 7 + i, Kind.BOOL) for i in range(count)]
        decoder = Decoder(block_of(signals))
        for place in range(count):
            samples = decoder.decode((1 << place).to_bytes((count + 7) // 8, "little"), 1)
            assert [one.value for one in samples] == [i == place for i in range(count)]


@pytest.mark.parametrize("length", [0, 1, 3, 5, 250])
def test_an_answer_of_another_length_is_garbled_and_nothing_else(length):
    decoder = Decoder(block_of([RegisterSignal("a", Table.HOLDING, 0, Kind.UINT32)]))

    with pytest.raises(GarbledError):
        decoder.decode(bytes(length), 1)
