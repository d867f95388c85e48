"""One block of registers in every type and order side by side, and which of them is meant (pure).

Manuals are silent or wrong about types and orders more often than about addresses. The display of
the machine is not: what it shows is looked for among everything that the words could mean.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from edge_agents.drivers.decoder import Decoder
from edge_agents.drivers.registers import Block, Kind, Order, RegisterSignal, Table
from gateway.model import Value

SINGLE: Final = (Kind.UINT16, Kind.INT16, Kind.FLOAT16, Kind.BCD16)
MULTIPLE: Final = (
    Kind.UINT32,
    Kind.INT32,
    Kind.FLOAT32,
    Kind.BCD32,
    Kind.UINT64,
    Kind.INT64,
    Kind.FLOAT64,
)
ORDERS: Final[tuple[tuple[Order, Order], ...]] = (
    ("big", "big"),
    ("little", "big"),
    ("big", "little"),
    ("little", "little"),
)
"""Word order and byte order: ABCD, CDAB, BADC, DCBA."""
LETTERS: Final = {
    ("big", "big"): "ABCD",
    ("little", "big"): "CDAB",
    ("big", "little"): "BADC",
    ("little", "little"): "DCBA",
}
SCALES: Final = tuple(Decimal(10) ** power for power in (0, -1, -2, -3, 1, 2, 3))
"""Factors that makers use, the likely ones first."""
NEAR: Final = Decimal("0.02")
"""A value may have moved this far, as a part of itself, since the display was read."""
MATCHES_MAX: Final = 12
_SANE: Final = 1e-6, 1e12
"""Floats beyond this are accidents of a wrong order."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What words mean when they are taken for one type in one order."""

    table: Table
    address: int
    kind: Kind
    word_order: Order
    byte_order: Order
    value: Value

    def written(self, scale: Decimal = Decimal(1)) -> str:
        """Write it as a signal's settings."""
        parts = [f"register: {self.table} {self.address}", f"type: {self.kind}"]
        if self.word_order != "big":
            parts.append(f"word_order: {self.word_order}")
        if self.byte_order != "big":
            parts.append(f"byte_order: {self.byte_order}")
        if scale != 1:
            parts.append(f"scale: {scale.normalize():f}")
        return "{" + ", ".join(parts) + "}"


@dataclass(frozen=True, slots=True)
class Match:
    """A meaning that gives what the display shows, and how far from it."""

    meaning: Meaning
    scale: Decimal
    value: Decimal
    off: Decimal
    """Distance from the display, as a part of it; 0 where it rounds to what is shown."""


def meanings(table: Table, address: int, data: bytes) -> list[Meaning]:
    """Take the words of `data`, read from `address` on, for everything that they could be.

    Types of several words are tried at every address where they fit; what cannot be decoded (no
    number, digits that are none) is left out.
    """
    count = len(data) // 2
    signals = tuple(_candidates(table, address, count))
    block = Block(table, address, count, 1_000, signals)
    samples = {sample.signal: sample.value for sample in Decoder(block).decode(data, 0)}
    found = (
        Meaning(table, one.address, one.kind, one.word_order, one.byte_order, samples.get(one.name))
        for one in signals
    )
    return [meaning for meaning in found if meaning.value is not None]


def _candidates(table: Table, first: int, count: int) -> Iterator[RegisterSignal]:
    for address in range(first, first + count):
        for kind in (*SINGLE, *MULTIPLE):
            orders = ORDERS if kind in MULTIPLE else (ORDERS[0], ORDERS[2])
            for word_order, byte_order in orders:
                name = f"{address} {kind} {word_order} {byte_order}"
                signal = RegisterSignal(
                    name, table, address, kind, word_order=word_order, byte_order=byte_order
                )
                if signal.end <= first + count:
                    yield signal


def matches(found: Iterable[Meaning], display: Decimal) -> list[Match]:
    """Find the meanings that agree with what a display shows, the closest and simplest first."""
    good = [match for meaning in found if (match := _match(meaning, display)) is not None]
    good.sort(key=lambda one: (one.off, SCALES.index(one.scale), _plainness(one.meaning)))
    return good[:MATCHES_MAX]


def _match(meaning: Meaning, display: Decimal) -> Match | None:
    value = meaning.value
    if isinstance(value, bool | str) or value is None or not math.isfinite(value):
        return None
    whole = meaning.kind not in {Kind.FLOAT16, Kind.FLOAT32, Kind.FLOAT64}
    best: Match | None = None
    for scale in SCALES if whole else SCALES[:1] + SCALES[3:]:
        scaled = Decimal(repr(value)) * scale
        off = _distance(scaled, display)
        if off <= NEAR and (best is None or off < best.off):
            best = Match(meaning, scale, scaled, off)
    return best


def _distance(value: Decimal, display: Decimal) -> Decimal:
    """Tell how far a value is from what is shown; 0 when it would be shown just so."""
    exponent = display.as_tuple().exponent
    digit = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
    off = abs(value - display)
    if off <= digit / 2:
        return Decimal(0)
    return off / max(abs(display), digit)


def _plainness(meaning: Meaning) -> tuple[int, int, int]:
    orders = ORDERS.index((meaning.word_order, meaning.byte_order))
    kinds = (*SINGLE[:2], *MULTIPLE[:3], Kind.INT64, Kind.UINT64, Kind.FLOAT64)
    kind = kinds.index(meaning.kind) if meaning.kind in kinds else len(kinds)
    return kind, orders, meaning.address


def word_rows(address: int, data: bytes) -> list[tuple[object, ...]]:
    """Lay out single words: address, hexadecimal, unsigned, signed, bits, text."""
    rows: list[tuple[object, ...]] = []
    for at in range(0, len(data) - 1, 2):
        word = data[at : at + 2]
        unsigned = int.from_bytes(word, "big")
        signed = int.from_bytes(word, "big", signed=True)
        bits = f"{unsigned:016b}"
        spaced = " ".join(bits[i : i + 4] for i in range(0, 16, 4))
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in word)  # noqa: PLR2004 (ASCII)
        rows.append((address + at // 2, word.hex().upper(), unsigned, signed, spaced, text))
    return rows


def order_rows(found: Sequence[Meaning], kinds: Sequence[Kind]) -> list[tuple[object, ...]]:
    """Lay out types of several words: address, type, and one column for each order."""
    table: dict[tuple[int, Kind], dict[str, str]] = {}
    for meaning in found:
        if meaning.kind in kinds:
            column = LETTERS[meaning.word_order, meaning.byte_order]
            row = table.setdefault((meaning.address, meaning.kind), {})
            row[column] = _short(meaning.value)
    return [
        (address, kind, *(row.get(letters, "-") for letters in LETTERS.values()))
        for (address, kind), row in table.items()
        if any(_sane(text) for text in row.values())
    ]


def _short(value: Value) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _sane(text: str) -> bool:
    number = abs(float(text))
    return number == 0 or _SANE[0] <= number <= _SANE[1]
