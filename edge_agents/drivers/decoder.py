"""From the bytes of one answer to samples. Pure; everything that can be settled is settled once.

A block's signals are compiled into one `struct.Struct`, so that an answer costs one unpacking
however many signals it holds. Values in another order than ABCD are put right by one permutation
of the answer's bytes beforehand. Only signals that overlap others need a second layer.
"""

import codecs
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from typing import Any, Final, Protocol

from edge_agents.drivers.registers import Block, Kind, RegisterSignal
from gateway.model import Quality, Reason, Sample, Value

_FORMATS: Final = {
    Kind.BOOL: "H",
    Kind.INT8: "xb",
    Kind.UINT8: "xB",
    Kind.INT16: "h",
    Kind.UINT16: "H",
    Kind.INT32: "i",
    Kind.UINT32: "I",
    Kind.INT64: "q",
    Kind.UINT64: "Q",
    Kind.FLOAT16: "e",
    Kind.FLOAT32: "f",
    Kind.FLOAT64: "d",
    Kind.BCD16: "H",
    Kind.BCD32: "I",
    Kind.BCD64: "Q",
}
_DECIMALS: Final = frozenset({Kind.BCD16, Kind.BCD32, Kind.BCD64})
_FLOATS: Final = {Kind.FLOAT16: ">e", Kind.FLOAT32: ">f"}
_EXACT_MAX: Final = 2**53
"""Above this a double no longer holds every whole number."""
_NIBBLE_MAX: Final = 9

Outcome = tuple[Value, Reason]
"""A value and why it is bad; Reason.NONE for a good one."""
Step = Callable[[Any], Outcome]


class Meaning(Protocol):
    """What a raw number of a signal means; registers and OPC UA nodes say it alike."""

    @property
    def kind(self) -> Kind:
        """How the machine encodes the number."""

    @property
    def scale(self) -> float:
        """Value = raw * scale + offset."""

    @property
    def offset(self) -> float:
        """See `scale`."""

    @property
    def words_for(self) -> tuple[tuple[int, str], ...]:
        """Texts for raw numbers."""

    @property
    def invalid(self) -> tuple[float, ...]:
        """Raw numbers that mean 'no value'."""

    @property
    def minimum(self) -> float | None:
        """Lowest plausible value."""

    @property
    def maximum(self) -> float | None:
        """Highest plausible value."""


class GarbledError(ValueError):
    """The answer has another length than the question asked for."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """Values that do not overlap, unpacked together."""

    unpack: Callable[[bytes], tuple[Any, ...]]
    permuted: Callable[[bytes], tuple[int, ...]] | None
    """Gives the bytes in the order ABCD; None where they already are."""
    steps: tuple[tuple[str, int, Step | None], ...]
    """Name, place in the unpacked values, and what is left to do with the value."""


class Decoder:
    """Decodes the answers to one block. Signals come in the block's order within each layer."""

    def __init__(self, block: Block) -> None:
        self._bytes = (block.count + 7) // 8 if block.table.of_bits else block.count * 2
        self._bits: tuple[tuple[str, int, int, Step | None], ...] = ()
        self._layers: tuple[_Layer, ...] = ()
        if block.table.of_bits:
            self._bits = tuple(_bit_step(signal, block.address) for signal in block.signals)
        else:
            self._layers = tuple(_layer(signals, block) for signals in _apart(block.signals))

    def decode(self, data: bytes, time_ms: int) -> tuple[Sample, ...]:
        """Return one sample per signal, all read at `time_ms`.

        Raises GarbledError if `data` is not as long as the block.
        """
        if len(data) != self._bytes:
            raise GarbledError(f"{len(data)} bytes came where {self._bytes} were asked for")
        samples: list[Sample] = []
        for name, place, mask, step in self._bits:
            samples.append(_sample(name, data[place] & mask != 0, step, time_ms))
        for layer in self._layers:
            ordered = data if layer.permuted is None else bytes(layer.permuted(data))
            raws = layer.unpack(ordered)
            for name, place, step in layer.steps:
                samples.append(_sample(name, raws[place], step, time_ms))
        return tuple(samples)


def conversion(signal: RegisterSignal) -> Step | None:
    """Compile what is left to do with a raw value of `signal`; None when nothing is.

    The result never raises for a value of the signal's kind.
    """
    if signal.kind is Kind.STRING:
        return _text_step(signal.length_bytes, signal.encoding)
    if signal.kind is Kind.BOOL:
        return _bool_step(signal)
    step = number_step(signal)
    if signal.kind in _DECIMALS:
        return _bcd_step(step)
    return step


def number_step(signal: Meaning) -> Step | None:
    """Compile sentinels, texts, scale, finiteness and plausible range; None when there is nothing.

    The result takes any number and never raises.
    """
    texts = dict(signal.words_for)
    invalid = frozenset(_as_sent(number, signal.kind) for number in signal.invalid)
    scaled = _scaling(signal.scale, signal.offset)
    low = -math.inf if signal.minimum is None else signal.minimum
    high = math.inf if signal.maximum is None else signal.maximum
    whole = signal.kind not in {Kind.FLOAT16, Kind.FLOAT32, Kind.FLOAT64}
    if whole and scaled is None and not (texts or invalid) and low == -high == -math.inf:
        return None

    def step(raw: float) -> Outcome:
        if invalid and float(raw) in invalid:
            return None, Reason.SENTINEL
        if texts:
            text = texts.get(int(raw)) if math.isfinite(raw) and raw == int(raw) else None
            return (None, Reason.RANGE) if text is None else (text, Reason.NONE)
        value = raw if scaled is None else scaled(raw)
        if not math.isfinite(value):
            return None, Reason.NOT_FINITE
        return (value, Reason.NONE) if low <= value <= high else (None, Reason.RANGE)

    return step


def _sample(name: str, raw: Any, step: Step | None, time_ms: int) -> Sample:
    if step is None:
        return Sample(name, raw, time_ms)
    value, reason = step(raw)
    if reason is Reason.NONE:
        return Sample(name, value, time_ms)
    return Sample(name, None, time_ms, Quality.BAD, reason)


def _bit_step(signal: RegisterSignal, start: int) -> tuple[str, int, int, Step | None]:
    """Place a coil in its byte: the first coil is the lowest bit (protocol, section 6.1)."""
    offset = signal.address - start
    return (signal.name, offset // 8, 1 << offset % 8, conversion(signal))


def _apart(signals: Sequence[RegisterSignal]) -> list[list[RegisterSignal]]:
    """Deal signals into layers in which different encodings never overlap."""
    layers: list[list[RegisterSignal]] = []
    for signal in signals:
        for layer in layers:
            if all(_together(signal, other) for other in layer):
                layer.append(signal)
                break
        else:
            layers.append([signal])
    return layers


def _together(one: RegisterSignal, other: RegisterSignal) -> bool:
    """Tell whether both can be unpacked at once: apart, or read from the same raw value."""
    return one.end <= other.address or other.end <= one.address or _field(one) == _field(other)


def _field(signal: RegisterSignal) -> tuple[int, str, str, str]:
    """Identify the raw value of a signal: where it lies and how it is unpacked."""
    text = signal.kind is Kind.STRING
    code = f"{signal.size * 2}s" if text else _FORMATS[signal.kind]
    words = "big" if text else signal.word_order  # a string's words stay in their order
    return (signal.address, code, words, signal.byte_order)


def _layer(signals: Sequence[RegisterSignal], block: Block) -> _Layer:
    places: dict[tuple[int, str, str, str], int] = {}
    form = ">"
    at = block.address
    order = list(range(block.count * 2))
    for signal in signals:
        field = _field(signal)
        if field in places:
            continue
        places[field] = len(places)
        form += "x" * (2 * (signal.address - at)) + field[1]
        at = signal.end
        begin = 2 * (signal.address - block.address)
        order[begin : begin + 2 * signal.size] = _byte_order(begin, signal)
    form += "x" * (2 * (block.end - at))
    steps = tuple((one.name, places[_field(one)], conversion(one)) for one in signals)
    permuted = None if order == sorted(order) else itemgetter(*order)
    return _Layer(struct.Struct(form).unpack, permuted, steps)


def _byte_order(begin: int, signal: RegisterSignal) -> list[int]:
    """List the places of a value's bytes, the highest first."""
    _, _, word_order, byte_order = _field(signal)
    words = range(signal.size) if word_order == "big" else range(signal.size - 1, -1, -1)
    both = (0, 1) if byte_order == "big" else (1, 0)
    return [begin + 2 * word + byte for word in words for byte in both]


def _bool_step(signal: RegisterSignal) -> Step | None:
    """A coil is a bool already; a word is one by its bit, or by not being zero."""
    texts = dict(signal.words_for)
    if signal.table.of_bits and not texts:
        return None
    mask = 0xFFFF if signal.bit is None else 1 << signal.bit

    def step(raw: int) -> Outcome:
        on = raw & mask != 0
        if not texts:
            return on, Reason.NONE
        return (texts[on], Reason.NONE) if on in texts else (None, Reason.RANGE)

    return step


def _text_step(length_bytes: int, encoding: str) -> Step:
    """Read up to the first zero byte; a field may end in the middle of a character."""
    decoder = codecs.getincrementaldecoder(encoding)

    def step(raw: bytes) -> Outcome:
        written, end, _ = raw[:length_bytes].partition(b"\0")
        try:
            text = decoder().decode(written, bool(end)).rstrip()
        except UnicodeDecodeError:
            return None, Reason.GARBLED
        return (text, Reason.NONE) if text.isprintable() else (None, Reason.GARBLED)

    return step


def _bcd_step(then: Step | None) -> Step:
    """Four bits are one decimal digit; A to F are none."""

    def step(raw: int) -> Outcome:
        number, place = 0, 1
        while raw:
            raw, nibble = divmod(raw, 16)
            if nibble > _NIBBLE_MAX:
                return None, Reason.GARBLED
            number += nibble * place
            place *= 10
        return (number, Reason.NONE) if then is None else then(number)

    return step


def _as_sent(number: float, kind: Kind) -> float:
    """Round a sentinel to what the machine's own type can hold: -999.9 is no float32."""
    form = _FLOATS.get(kind)
    if form is None:
        return float(number)
    try:
        return float(struct.unpack(form, struct.pack(form, number))[0])
    except OverflowError:
        return float(number)


def _scaling(scale: float, offset: float) -> Callable[[float], float] | None:
    """Compile raw * scale + offset; None when it changes nothing.

    Scale and offset are taken as the decimals that were written, and a whole raw number is
    divided only once, at the end: 3 at a scale of 0.1 is 0.3, not 0.30000000000000004.
    """
    if scale == 1.0 and offset == 0.0:
        return None
    factor, shift = Fraction(repr(scale)), Fraction(repr(offset))
    divisor = math.lcm(factor.denominator, shift.denominator)
    times, plus = int(factor * divisor), int(shift * divisor)
    if max(divisor, abs(times), abs(plus)) > _EXACT_MAX:
        return lambda raw: raw * scale + offset
    if divisor == 1:
        return lambda raw: raw * times + plus
    return lambda raw: (raw * times + plus) / divisor
