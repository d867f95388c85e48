"""What a display shows is found again among everything that the words could mean.

Promises: whatever a machine shows, encoded in any type, order and usual scale, is among the
matches, written so that the settings understand it; a value that is not there is not found.
"""

import struct
from decimal import Decimal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge_agents.config import SignalConfig
from edge_agents.drivers.registers import Kind, Table
from edge_agents.first_look.probe import (
    MATCHES_MAX,
    ORDERS,
    matches,
    meanings,
    order_rows,
    word_rows,
)
from gateway.settings import parse

FORMS = {
    Kind.UINT16: "H", Kind.INT16: "h", Kind.UINT32: "I", Kind.INT32: "i", Kind.FLOAT32: "f",
    Kind.UINT64: "Q", Kind.INT64: "q", Kind.FLOAT64: "d",
}  # fmt: skip


def encoded(kind, number, word_order, byte_order):
    raw = struct.pack(f">{FORMS[kind]}", number)
    words = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    if word_order == "little":
        words.reverse()
    return b"".join(word if byte_order == "big" else word[::-1] for word in words)


def as_settings(match):
    text = f"signal: {match.meaning.written(match.scale)}"
    return SignalConfig.model_validate(parse(text, Path("x")).data["signal"])


@given(
    kind=st.sampled_from(list(FORMS)),
    orders=st.sampled_from(ORDERS),
    scale=st.sampled_from([Decimal(1), Decimal("0.1"), Decimal("0.01"), Decimal("0.001")]),
    number=st.integers(300, 30_000),
    place=st.tuples(st.integers(0, 3), st.binary(min_size=12, max_size=12)),
)
def test_what_the_display_shows_is_among_the_matches(kind, orders, scale, number, place):
    before, noise = place
    floating = FORMS[kind] in "fd"
    value = float(number * scale) if floating else number
    data = noise[: 2 * before] + encoded(kind, value, *orders) + noise[2 * before :]
    if kind in (Kind.UINT16, Kind.INT16):
        orders = ("big", orders[1])

    found = matches(meanings(Table.HOLDING, 100, data), number * scale)

    best = found[0]
    assert best.off == 0
    written = (kind, 100 + before, *orders)
    exact = [one.meaning for one in found if one.off == 0]
    seen = [(one.kind, one.address, one.word_order, one.byte_order) for one in exact]
    assert written in seen or len(found) == MATCHES_MAX
    config = as_settings(best)
    assert (str(config.source), str(config.type)) == (
        f"holding {best.meaning.address}", str(best.meaning.kind),
    )  # fmt: skip


def test_a_meter_that_shows_231_4_is_understood_at_once():
    data = bytes.fromhex("0000 0000") + encoded(Kind.FLOAT32, 231.43, "little", "big")

    first = matches(meanings(Table.INPUT, 30, data), Decimal("231.4"))[0]

    assert first.meaning.written(first.scale) == (
        "{register: input 32, type: float32, word_order: little}"
    )


def test_a_scaled_number_is_recognised_with_its_scale():
    data = bytes.fromhex("0102") + encoded(Kind.UINT16, 4998, "big", "big")

    first = matches(meanings(Table.HOLDING, 7, data), Decimal("49.98"))[0]

    assert first.meaning.written(first.scale) == "{register: holding 8, type: uint16, scale: 0.01}"


def test_what_is_not_there_is_not_found():
    assert matches(meanings(Table.HOLDING, 0, bytes(16)), Decimal("231.4")) == []


def test_words_and_orders_are_laid_out_for_the_eye():
    data = encoded(Kind.FLOAT32, 231.5, "big", "big")

    assert word_rows(100, data) == [
        (100, "4367", 17255, 17255, "0100 0011 0110 0111", "Cg"),
        (101, "8000", 32768, -32768, "1000 0000 0000 0000", ".."),
    ]
    (row,) = order_rows(meanings(Table.HOLDING, 100, data), [Kind.FLOAT32])
    assert row[:3] == (100, Kind.FLOAT32, "231.5")
    assert len(row) == 2 + len(ORDERS)
