"""Registers lie where the three families of makers put them, and hold what the standard says.

Promises: no two signals share a register; the words of known values are the known words; values
beyond a register's range are cut off at its ends.
"""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.machine import KINDS, Signal, signals_of
from simulators.modbus_server import Register, encode, registers_of

ANY = Signal("any", "analog")


@pytest.mark.parametrize("slug", sorted(KINDS))
def test_every_signal_has_its_own_place(slug):
    registers = registers_of(KINDS[slug])
    places = list(
        itertools.chain.from_iterable(
            [(one.table, one.address + word) for word in range(one.count)] for one in registers
        )
    )

    assert [one.signal for one in registers] == list(signals_of(KINDS[slug]))
    assert len(places) == len(set(places))


def test_the_families_differ_in_table_order_and_type():
    def spindle(slug):
        return next(one for one in registers_of(KINDS[slug]) if one.signal.name == "power")

    def energy(slug):
        return next(one for one in registers_of(KINDS[slug]) if one.signal.name == "energy")

    plain, swapped, floating = "machining-centre", "press", "wire-edm"
    assert [spindle(slug).table for slug in (plain, swapped, floating)] == [
        "input",
        "holding",
        "holding",
    ]
    assert [spindle(slug).type for slug in (plain, swapped, floating)] == [
        "uint16",
        "uint16",
        "float32",
    ]
    assert [energy(slug).word_order for slug in (plain, swapped, floating)] == [
        "big",
        "little",
        "big",
    ]


@pytest.mark.parametrize("slug", sorted(KINDS))
def test_the_step_counter_is_always_the_first_pair_of_input_registers(slug):
    step = registers_of(KINDS[slug])[0]

    assert (step.signal.name, step.table, step.address, step.count) == ("step", "input", 0, 2)


@pytest.mark.parametrize(
    ("register", "value", "words"),
    [
        (Register(ANY, "input", 0, "uint16"), 513, [0x0201]),
        (Register(ANY, "input", 0, "uint16", scale=0.1), 51.3, [0x0201]),
        (Register(ANY, "input", 0, "int16", scale=0.1), -0.1, [0xFFFF]),
        (Register(ANY, "input", 0, "uint32"), 0x01020304, [0x0102, 0x0304]),
        (Register(ANY, "input", 0, "uint32", "little"), 0x01020304, [0x0304, 0x0102]),
        (Register(ANY, "input", 0, "float32"), 1.5, [0x3FC0, 0x0000]),
        (Register(ANY, "input", 0, "bool"), True, [1]),
        (Register(ANY, "input", 0, "string"), "O12", [0x4F31, 0x3200, 0, 0, 0, 0, 0, 0]),
        (Register(ANY, "input", 0, "uint16"), 70000, [0xFFFF]),
        (Register(ANY, "input", 0, "uint16"), -1, [0]),
        (Register(ANY, "input", 0, "int16"), -40000, [0x8000]),
        (Register(ANY, "input", 0, "int16"), 40000, [0x7FFF]),
    ],
)
def test_known_values_give_known_words(register, value, words):
    assert encode(register, value) == words


@given(st.integers(0, 2**32 - 1), st.sampled_from(["big", "little"]))
def test_words_of_a_long_counter_give_it_back(number, order):
    words = encode(Register(ANY, "input", 0, "uint32", order), number)
    high, low = words if order == "big" else reversed(words)

    assert struct.unpack(">I", struct.pack(">HH", high, low)) == (number,)
