"""How questions and answers look on the wire, over Modbus TCP and over serial lines. Pure.

Questions are built here and nowhere else, and only for reading: nothing is written to a machine.
Sources: Modbus Application Protocol 1.1b3 (sections 6.1 to 6.4, 6.21, 7), Modbus Messaging on
TCP/IP 1.0b (section 3.1.3), Modbus over Serial Line 1.02 (section 2.5.1).

A client knows what it asked, so it knows how long the answer is. That makes serial frames, which
say nothing of their length, easy to find even between noise.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from edge_agents.drivers.decoder import GarbledError
from edge_agents.drivers.registers import Block, Table

READ_FUNCTIONS: Final = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
"""Function codes that read a table."""
IDENTIFY: Final = 0x2B
DEVICE_IDENTIFICATION: Final = 0x0E
"""The one read-only use of function code 43 that is ever asked for (its MEI type)."""
REFUSED: Final = 0x80
"""Set in the function code of an answer that is an exception."""

PDU_BYTES_MAX: Final = 253
_HEAD: Final = struct.Struct(">HHH")
_UNIT_AT: Final = _HEAD.size
_LENGTH_MIN: Final = 2
_LENGTH_MAX: Final = PDU_BYTES_MAX + 1
_NO_UNIT: Final = frozenset({0, 255})
"""Device ids by which a device with an address of its own is asked; it may answer with any."""
_CRC_BYTES: Final = 2
_REFUSAL_BYTES: Final = 2 + _CRC_BYTES + 1
_BUFFER_BYTES_MAX: Final = 512
"""Twice the longest serial frame: what does not fit is noise."""

UNKNOWN: Final = 0
"""A size that cannot be told yet."""
IMPOSSIBLE: Final = -1
"""The size of what can be no answer."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The unit answered a request with an exception code."""

    code: int


@dataclass(frozen=True, slots=True)
class Question:
    """One request to one unit, which can only be one that reads.

    Raises ValueError for any other function: this is where a write would have to pass.
    """

    device_id: int
    pdu: bytes
    """Function code and what follows it."""
    answer_size: Callable[[bytes], int]
    """Bytes of an answer's PDU, judged by its beginning after the function code."""

    def __post_init__(self) -> None:
        reads = self.function in READ_FUNCTIONS.values()
        if not (reads or self.pdu[:2] == bytes([IDENTIFY, DEVICE_IDENTIFICATION])):
            raise ValueError(f"function code {self.function} is not for reading")

    @property
    def function(self) -> int:
        """The function code."""
        return self.pdu[0]

    def size_of(self, beginning: bytes) -> int:
        """Return how many bytes the PDU has that begins so; UNKNOWN yet, or IMPOSSIBLE."""
        if not beginning:
            return UNKNOWN
        if beginning[0] == self.function | REFUSED:
            return 2
        if beginning[0] != self.function:
            return IMPOSSIBLE
        return self.answer_size(beginning[1:])

    def understood(self, pdu: bytes) -> bytes | Refusal:
        """Return the data of an answer after its byte count, or its refusal.

        Raises GarbledError if the PDU is no answer to this question.
        """
        if self.size_of(pdu) != len(pdu):
            raise GarbledError("the answer belongs to another question")
        return Refusal(pdu[1]) if pdu[0] & REFUSED else pdu[2:]


def reading(device_id: int, block: Block) -> Question:
    """Ask a unit for the addresses of a block; the data is one that the block's decoder reads."""
    data_bytes = answer_bytes(block)

    def size(beginning: bytes) -> int:
        if not beginning:
            return UNKNOWN
        return 2 + data_bytes if beginning[0] == data_bytes else IMPOSSIBLE

    pdu = struct.pack(">BHH", READ_FUNCTIONS[block.table], block.address, block.count)
    return Question(device_id, pdu, size)


def answer_bytes(block: Block) -> int:
    """Return how many bytes of data answer a block."""
    return (block.count + 7) // 8 if block.table.of_bits else 2 * block.count


def identifying(device_id: int, first_object: int = 0) -> Question:
    """Ask a unit who it is: function 43/14, regular objects from `first_object` on.

    The data follows the MEI type: access, conformity, more, next object, count and the objects.
    """
    code = 1 if first_object <= _BASIC_LAST else 2
    pdu = bytes([IDENTIFY, DEVICE_IDENTIFICATION, code, first_object])
    return Question(device_id, pdu, _identification_size)


_BASIC_LAST: Final = 2
"""Objects 0 to 2 (vendor, product code, revision) are the basic ones."""
_MORE_FOLLOWS: Final = 0xFF
_IDENTIFICATION_HEAD: Final = 6
"""MEI type, access, conformity, more follows, next object, number of objects."""


def _identification_size(beginning: bytes) -> int:
    if beginning[:1] not in {b"", bytes([DEVICE_IDENTIFICATION])}:
        return IMPOSSIBLE
    if len(beginning) < _IDENTIFICATION_HEAD:
        return UNKNOWN
    at = _IDENTIFICATION_HEAD
    for _ in range(beginning[_IDENTIFICATION_HEAD - 1]):
        if len(beginning) < at + 2:
            return UNKNOWN if at + 2 < PDU_BYTES_MAX else IMPOSSIBLE
        at += 2 + beginning[at + 1]
    return at + 1 if at < PDU_BYTES_MAX else IMPOSSIBLE


@dataclass(frozen=True, slots=True)
class Identification:
    """What one answer told of a unit: texts by object id, and where to go on asking."""

    objects: dict[int, str]
    next_object: int | None


def identification(data: bytes) -> Identification:
    """Read the answer to `identifying`, whose lengths its question has checked."""
    at = _IDENTIFICATION_HEAD - 1
    _access, _conformity, more, next_object, count = data[:at]
    objects: dict[int, str] = {}
    for _ in range(count):
        object_id, length = data[at], data[at + 1]
        text = data[at + 2 : at + 2 + length].decode("utf-8", "replace")
        objects[object_id] = "".join(letter for letter in text if letter.isprintable()).strip()
        at += 2 + length
    return Identification(objects, next_object if more == _MORE_FOLLOWS else None)


class Framing(Protocol):
    """Wraps questions, and finds their answers in the bytes that arrive on one connection."""

    numbered: bool
    """Whether answers carry their question's number, so that a late one is known as such."""
    broken: bool
    """Whether frames cannot be told apart any more on this connection."""

    def ask(self, question: Question) -> bytes:
        """Return the bytes to send; what arrives from now on may be the answer."""

    def forget(self) -> None:
        """Nobody waits for the answer any more."""

    def feed(self, data: bytes) -> bytes | Refusal | None:
        """Take in what arrived; return the data or the refusal once the answer is complete.

        Raises GarbledError when the answer makes no sense.
        """

    def hopeless(self) -> bool:
        """Whether something arrived that, if nothing follows it, is no answer at all."""


class TcpFraming:
    """Modbus TCP: frames with a number and a length."""

    numbered = True

    def __init__(self) -> None:
        self.broken = False
        self._buffer = bytearray()
        self._question: Question | None = None
        self._number = 0

    def ask(self, question: Question) -> bytes:
        """Number and wrap a question."""
        self._question = question
        self._number = (self._number + 1) % 65_536
        head = _HEAD.pack(self._number, 0, len(question.pdu) + 1)
        return head + bytes([question.device_id]) + question.pdu

    def forget(self) -> None:
        """Take no answer any more. Half of one means that the rest may never come."""
        if self._question is not None and self._buffer:
            self.broken = True
        self._question = None

    def feed(self, data: bytes) -> bytes | Refusal | None:
        """Take in what arrived; see `Framing`. Frames with another number are let pass."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _HEAD.size and not self.broken:
            number, protocol, length = _HEAD.unpack_from(buffer)
            if protocol != 0 or not _LENGTH_MIN <= length <= _LENGTH_MAX:
                self.broken = True
                raise GarbledError("this is no Modbus TCP")
            end = _HEAD.size + length
            if len(buffer) < end:
                return None
            frame = bytes(buffer[:end])
            del buffer[:end]
            question = self._question
            if question is not None and self._is_for(question, number, frame[_UNIT_AT]):
                self._question = None
                return question.understood(frame[_UNIT_AT + 1 :])
        return None

    def _is_for(self, question: Question, number: int, unit: int) -> bool:
        asked = question.device_id
        return number == self._number and (unit == asked or asked in _NO_UNIT)

    def hopeless(self) -> bool:
        """Frames say their length, so more may always follow."""
        return False


class RtuFraming:
    """Serial frames: unit, PDU and checksum, one question at a time.

    Frames of other units, and of this unit to another question, are late answers: they are passed
    over. Noise before the answer is, too.
    """

    numbered = False
    broken = False

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._question: Question | None = None
        self._spoilt: set[int] = set()
        """Places where a complete frame had a wrong checksum."""
        self._hope = False
        self._noise = False

    def ask(self, question: Question) -> bytes:
        """Wrap a question; what arrived before it is thrown away."""
        self._question = question
        self._clear()
        self._noise = False
        frame = bytes([question.device_id]) + question.pdu
        return frame + crc(frame)

    def forget(self) -> None:
        """Take no answer any more."""
        self._question = None
        self._clear()

    def feed(self, data: bytes) -> bytes | Refusal | None:
        """Take in what arrived; see `Framing`."""
        question = self._question
        if question is None:
            return None
        self._buffer += data
        if len(self._buffer) > _BUFFER_BYTES_MAX:
            del self._buffer[:-_BUFFER_BYTES_MAX]
            self._noise = True
            self._spoilt.clear()
        while (found := self._find(question)) is not None:
            at, size = found
            frame = bytes(self._buffer[at : at + size])
            del self._buffer[: at + size]
            self._spoilt.clear()
            if frame[0] == question.device_id and question.size_of(frame[1:]) == size - 3:
                self._question = None
                return question.understood(frame[1:-_CRC_BYTES])
        return None

    def hopeless(self) -> bool:
        """Whether only noise arrived, and no beginning of an answer."""
        return (self._noise or bool(self._buffer)) and not self._hope

    def _clear(self) -> None:
        self._buffer.clear()
        self._spoilt.clear()
        self._hope = False

    def _find(self, question: Question) -> tuple[int, int] | None:
        """Return place and size of the first whole frame, of our answer or of a late one."""
        self._hope = ours_begun = False
        held = bytes(self._buffer)
        for at in range(len(held)):
            size, ours = _frame_size(question, held, at)
            if size == IMPOSSIBLE or at in self._spoilt:
                continue
            if size == UNKNOWN or at + size > len(held):
                ours_begun = ours_begun or ours
                self._hope = self._hope or ours or at == 0
            elif ours or not ours_begun:
                if crc(held[at : at + size - _CRC_BYTES]) == held[at + size - 2 : at + size]:
                    return at, size
                self._spoilt.add(at)
        return None


def _frame_size(question: Question, held: bytes, at: int) -> tuple[int, bool]:
    """Return the size of the frame that may begin at a place, and whether it is our answer's."""
    if held[at] == question.device_id:
        size = question.size_of(held[at + 1 : at + 1 + PDU_BYTES_MAX])
        if size != IMPOSSIBLE:
            return (size and 1 + size + _CRC_BYTES), True
    if at + 1 >= len(held):
        return UNKNOWN, False
    function = held[at + 1]
    if function & ~REFUSED not in _KNOWN_FUNCTIONS:
        return IMPOSSIBLE, False
    if function & REFUSED:
        return _REFUSAL_BYTES, False
    if at + 2 >= len(held):
        return UNKNOWN, False
    return 3 + held[at + 2] + _CRC_BYTES, False


_KNOWN_FUNCTIONS: Final = frozenset(READ_FUNCTIONS.values())


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()


def crc(frame: bytes) -> bytes:
    """Return the checksum of a serial frame, low byte first (Serial Line 1.02, section 6.2.2)."""
    value, table = 0xFFFF, _CRC_TABLE
    for byte in frame:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")
