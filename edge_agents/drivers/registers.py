"""Which registers hold which signals, and with how few requests they can be read. Pure.

Limits are those of the Modbus Application Protocol 1.1b3, sections 6.1 to 6.4: at most 2,000 bits
or 125 words in one read. Addresses are protocol addresses, counted from 0.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final, Literal

WORDS_MAX: Final = 125
BITS_MAX: Final = 2_000
ADDRESSES: Final = 65_536

Order = Literal["big", "little"]


class Table(StrEnum):
    """The four tables of a Modbus server."""

    COIL = "coil"
    DISCRETE = "discrete"
    INPUT = "input"
    HOLDING = "holding"

    @property
    def of_bits(self) -> bool:
        """Whether an address of the table is one bit rather than a word of 16."""
        return self is Table.COIL or self is Table.DISCRETE


class Kind(StrEnum):
    """How a value is encoded in words of 16 bits."""

    BOOL = "bool"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    BCD16 = "bcd16"
    BCD32 = "bcd32"
    BCD64 = "bcd64"
    STRING = "string"


_WORDS: Final = {
    Kind.INT32: 2,
    Kind.UINT32: 2,
    Kind.FLOAT32: 2,
    Kind.BCD32: 2,
    Kind.INT64: 4,
    Kind.UINT64: 4,
    Kind.FLOAT64: 4,
    Kind.BCD64: 4,
}


@dataclass(frozen=True, slots=True)
class RegisterSignal:
    """One signal: where it lies and how its raw value becomes a value (raw * scale + offset).

    Word and byte order big/big is ABCD, little/little DCBA, big/little BADC, little/big CDAB.
    Types of 8 bits lie in the low byte of their word, with byte order little in the high byte.
    """

    name: str
    table: Table
    address: int
    kind: Kind = Kind.UINT16
    bit: int | None = None
    """One bit of the word, 0 the lowest; its kind is bool."""
    length_bytes: int = 0
    """Strings only."""
    encoding: str = "utf-8"
    """Strings only: a codec of Python that keeps a zero byte for the end of the text."""
    word_order: Order = "big"
    byte_order: Order = "big"
    scale: float = 1.0
    offset: float = 0.0
    words_for: tuple[tuple[int, str], ...] = ()
    """Texts for raw numbers."""
    invalid: tuple[float, ...] = ()
    """Raw numbers that mean 'no value'."""
    minimum: float | None = None
    maximum: float | None = None
    """Plausible range of the scaled value."""
    period_ms: int = 1_000
    rolls_over_at: int | None = None
    """Counters only: the raw number that is shown as 0 again."""
    max_per_s: float | None = None
    """Counters only: the fastest that the raw number can rise."""

    @property
    def size(self) -> int:
        """Addresses that the value fills in its table."""
        if self.kind is Kind.STRING:
            return (self.length_bytes + 1) // 2
        return 1 if self.table.of_bits else _WORDS.get(self.kind, 1)

    @property
    def end(self) -> int:
        """The first address after the value."""
        return self.address + self.size


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One request and the signals in its answer. Two blocks are never equal: each is a job."""

    table: Table
    address: int
    count: int
    period_ms: int
    signals: tuple[RegisterSignal, ...]

    @property
    def end(self) -> int:
        """The first address after the block."""
        return self.address + self.count

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its signals."""
        return tuple(signal.name for signal in self.signals)


@dataclass(frozen=True, slots=True)
class Limits:
    """How far one request may reach."""

    gap_max: int = 8
    """Addresses that nobody asked for, but that may be read along."""
    words_max: int = 100
    """Words in one request; bits sixteen times as many. A single longer value is still read."""
    alone: bool = False
    """Give every signal a request of its own."""

    def count_max(self, table: Table) -> int:
        """Return the addresses that one request to `table` may span."""
        return min(self.words_max * 16, BITS_MAX) if table.of_bits else min(self.words_max, 125)


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a plan asks of its line."""

    requests: int
    addresses: int
    requests_per_s: float
    utilisation: float
    """Share of the line's time, 1.0 is all of it."""


def plan(
    signals: Iterable[RegisterSignal],
    limits: Limits,
    *,
    avoid: frozenset[int] = frozenset(),
) -> list[Block]:
    """Group the signals of one unit into few requests, in a fixed order.

    Signals share a request only if they share table and period. A value is never split. Gaps are
    read along up to ``limits.gap_max`` addresses, unless they hold an address to `avoid`.
    Raises ValueError for a signal that no request can hold.
    """
    ordered = sorted(signals, key=_order)
    blocks: list[Block] = []
    for _, group in groupby(ordered, key=lambda signal: (signal.period_ms, signal.table)):
        blocks.extend(_merged(list(group), limits, avoid))
    return blocks


def block_of(signals: Sequence[RegisterSignal]) -> Block:
    """Make the one request that covers signals of one table and period."""
    first = min(signals, key=_order)
    end = max(signal.end for signal in signals)
    count = end - first.address
    ordered = tuple(sorted(signals, key=_order))
    return Block(first.table, first.address, count, first.period_ms, ordered)


def halves(block: Block) -> tuple[Block, Block]:
    """Split a block of several signals in two: at its widest gap, else in the middle."""
    signals = block.signals
    gaps = list(_gaps(signals))
    widest = max(gaps)
    cut = gaps.index(widest) + 1 if widest > 0 else len(signals) // 2
    return block_of(signals[:cut]), block_of(signals[cut:])


def summary(blocks: Sequence[Block], request_ms: Callable[[Block], float]) -> PlanSummary:
    """Say what the blocks ask of a line, on which `request_ms` tells what each one takes."""
    rate = sum(1_000 / block.period_ms for block in blocks)
    addresses = sum(block.count for block in blocks)
    utilisation = sum(request_ms(block) / block.period_ms for block in blocks)
    return PlanSummary(len(blocks), addresses, rate, utilisation)


def _order(signal: RegisterSignal) -> tuple[int, str, int, int, str]:
    return (signal.period_ms, signal.table, signal.address, signal.end, signal.name)


def _gaps(signals: Sequence[RegisterSignal]) -> Iterator[int]:
    """Yield, between each signal and the next, how many addresses nobody asked for."""
    end = signals[0].end
    for signal in signals[1:]:
        yield max(0, signal.address - end)
        end = max(end, signal.end)


def _merged(
    signals: list[RegisterSignal], limits: Limits, avoid: frozenset[int]
) -> Iterator[Block]:
    """Cut a sorted run of one table and period where a request would reach too far."""
    begun: list[RegisterSignal] = []
    end = 0
    for signal in signals:
        _check(signal)
        if begun and not _fits(begun[0].address, end, signal, limits, avoid):
            yield block_of(begun)
            begun, end = [], 0
        begun.append(signal)
        end = max(end, signal.end)
    yield block_of(begun)


def _fits(
    start: int, end: int, signal: RegisterSignal, limits: Limits, avoid: frozenset[int]
) -> bool:
    """Tell whether a request from `start` to before `end` may grow to hold one signal more."""
    if limits.alone or signal.address - end > limits.gap_max:
        return False
    if max(end, signal.end) - start > limits.count_max(signal.table):
        return False
    return avoid.isdisjoint(range(end, signal.address))


def _check(signal: RegisterSignal) -> None:
    longest = BITS_MAX if signal.table.of_bits else WORDS_MAX
    if not 1 <= signal.size <= longest:
        raise ValueError(f"{signal.name}: no request can hold {signal.size} addresses")
    if signal.address < 0 or signal.end > ADDRESSES:
        raise ValueError(f"{signal.name}: {signal.table} {signal.address} lies outside the table")
