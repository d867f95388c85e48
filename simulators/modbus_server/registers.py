"""Where each signal lies in a controller's registers, and how its value becomes words.

Three families, because makers differ: ``plain`` has scaled integers in input registers, high word
first; ``swapped`` has scaled integers in holding registers, low word first; ``floating`` has
floats in holding registers, high word first. Addresses count from 0, as on the wire (Modbus
Application Protocol 1.1b3, section 4.4). The step counter is always an input register pair.
"""

import struct
from dataclasses import dataclass
from typing import Final, Literal

from simulators.machine import Kind, Signal, Value, signals_of
from simulators.machine.signals import PROGRAM_BYTES

Table = Literal["coil", "discrete", "input", "holding"]
Order = Literal["big", "little"]

_FORMATS: Final = {
    "int16": ">h",
    "uint16": ">H",
    "uint32": ">I",
    "float32": ">f",
}
STEP_ADDRESS: Final = 0
STEP_WORDS: Final = 2


@dataclass(frozen=True, slots=True)
class _Family:
    """One maker's habits."""

    numbers: Table
    first: int
    flags: Table
    flags_first: int
    word_order: Order
    floats: bool
    every: int
    """Analog values begin at multiples of this many words; what lies between reads as zero."""


_FAMILIES: Final = {
    "plain": _Family("input", 10, "discrete", 0, "big", floats=False, every=1),
    "swapped": _Family("holding", 100, "coil", 16, "little", floats=False, every=2),
    "floating": _Family("holding", 1000, "discrete", 32, "big", floats=True, every=4),
}


@dataclass(frozen=True, slots=True)
class Register:
    """Where one signal lies: `value = raw * scale`."""

    signal: Signal
    table: Table
    address: int
    type: str
    word_order: Order = "big"
    scale: float = 1.0

    @property
    def count(self) -> int:
        """Words, or bits of a bit table, that the value fills."""
        if self.type == "bool":
            return 1
        return PROGRAM_BYTES // 2 if self.type == "string" else struct.calcsize(self._format) // 2

    @property
    def _format(self) -> str:
        return _FORMATS[self.type]


def registers_of(kind: Kind) -> tuple[Register, ...]:
    """Lay out all signals of one kind."""
    family = _FAMILIES[kind.family]
    next_word, next_flag = family.first, family.flags_first
    registers = []
    for signal in signals_of(kind):
        if signal.name == "step":
            register = Register(signal, "input", STEP_ADDRESS, "uint32", family.word_order)
        elif signal.nature == "flag":
            register = Register(signal, family.flags, next_flag, "bool")
            next_flag += 1
        else:
            next_word += -next_word % family.every if signal.nature == "analog" else 0
            register = _numeric(signal, family, next_word)
            next_word += register.count
        registers.append(register)
    return tuple(registers)


def _numeric(signal: Signal, family: _Family, address: int) -> Register:
    if signal.nature == "text":
        return Register(signal, family.numbers, address, "string")
    if signal.nature == "analog" and family.floats:
        return Register(signal, family.numbers, address, "float32", family.word_order)
    signed = signal.unit == "°C"
    kind = "uint32" if signal.bits > 16 else "int16" if signed else "uint16"  # noqa: PLR2004 - bits
    order = family.word_order if kind == "uint32" else "big"
    return Register(signal, family.numbers, address, kind, order, signal.resolution)


def encode(register: Register, value: Value) -> list[int]:
    """Turn a value into words of 16 bits (a flag into one 0 or 1); out of range is cut off."""
    if register.type == "bool":
        return [int(bool(value))]
    if register.type == "string":
        raw = str(value).encode("ascii", "replace")[:PROGRAM_BYTES].ljust(PROGRAM_BYTES, b"\0")
    elif register.type == "float32":
        raw = struct.pack(">f", float(value))
    else:
        raw = _integer(register.type, round(float(value) / register.scale))
    words = list(struct.unpack(f">{len(raw) // 2}H", raw))
    return words[::-1] if register.word_order == "little" else words


def _integer(kind: str, number: int) -> bytes:
    bits = int(kind.removeprefix("u").removeprefix("int"))
    signed = not kind.startswith("u")
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return struct.pack(_FORMATS[kind], min(max(number, lowest), highest))
