"""Whatever bytes arrive, over TCP or a serial line, they are our answer, a refusal or nothing.

Frames of the tests are put together here from the specifications, with nothing of the code under
test.
"""

import os
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agents.drivers.decoder import GarbledError
from edge_agents.drivers.frames import (
    Question,
    Refusal,
    RtuFraming,
    TcpFraming,
    crc,
    identification,
    identifying,
    reading,
)
from edge_agents.drivers.registers import Block, Table
from tests.edge_agents.drivers.bus import checksum

INPUTS = 1_000_000 if os.environ.get("MACHIKOBA_FUZZ") else 20_000
UNIT = 17
FUNCTIONS = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}


def serial(unit, pdu):
    frame = bytes([unit]) + pdu
    return frame + checksum(frame)


def numbered(number, unit, pdu):
    return struct.pack(">HHHB", number, 0, len(pdu) + 1, unit) + pdu


def block(count=2, table=Table.HOLDING, address=0):
    return Block(table, address, count, 1_000, ())


def honest(rng, asked):
    """The answer to a block as section 6.1 or 6.3 describes it, or an exception."""
    if rng.random() < 0.2:
        return bytes([FUNCTIONS[asked.table] | 0x80, rng.randrange(1, 12)])
    count = (asked.count + 7) // 8 if asked.table.of_bits else 2 * asked.count
    return bytes([FUNCTIONS[asked.table], count]) + rng.randbytes(count)


def random_block(rng):
    table = rng.choice(list(Table))
    return block(rng.randrange(1, 2_001 if table.of_bits else 126), table)


def spoiled(rng, frame):
    """Flip, cut, insert, repeat or replace bytes of a frame."""
    data = bytearray(frame)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                data += frame
            case _:
                data[: rng.randrange(12)] = rng.randbytes(rng.randrange(12))
    return bytes(data)


def in_pieces(rng, data):
    cut = rng.randrange(len(data) + 1)
    return [part for part in (data[:cut], data[cut:]) if part]


def heard(framing, pieces):
    """What a conversation makes of pieces: an answer, "garbled", or None to go on waiting."""
    for piece in pieces:
        try:
            outcome = framing.feed(piece)
        except GarbledError:
            return "garbled"
        if outcome is not None:
            return outcome
    return "garbled" if framing.hopeless() else None


def expected(pdu):
    return Refusal(pdu[1]) if pdu[0] & 0x80 else pdu[2:]


def conversations(framing_of, frame_of, inputs, seed):
    """Feed spoiled answers; return how many were taken, having checked each one that was."""
    rng = random.Random(seed)
    framing = framing_of()
    taken = refused = garbled = 0
    for _ in range(inputs):
        if framing.broken:
            framing = framing_of()
        asked = random_block(rng)
        left_over = bool(framing._buffer)
        sent = framing.ask(reading(UNIT, asked))
        pdu = honest(rng, asked)
        frame = frame_of(sent, pdu)
        data = frame if rng.random() < 0.05 else spoiled(rng, frame)
        outcome = heard(framing, in_pieces(rng, data))
        if data == frame and not left_over:
            assert outcome == expected(pdu)
        if isinstance(outcome, bytes) and frame_of is rtu_frame:
            assert serial(UNIT, bytes([FUNCTIONS[asked.table], len(outcome)]) + outcome) in data
        taken += isinstance(outcome, bytes)
        refused += isinstance(outcome, Refusal)
        garbled += outcome == "garbled"
        framing.forget()
    return taken / inputs, refused / inputs, garbled / inputs


def tcp_frame(sent, pdu):
    return numbered(int.from_bytes(sent[:2], "big"), sent[6], pdu)


def rtu_frame(sent, pdu):
    return serial(sent[0], pdu)


@pytest.mark.fuzz
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(
    ("framing", "frame"), [(TcpFraming, tcp_frame), (RtuFraming, rtu_frame)], ids=["tcp", "rtu"]
)
def test_no_bytes_raise_and_only_our_own_answer_is_taken(framing, frame):
    taken, refused, garbled = conversations(framing, frame, INPUTS, seed=20261122)

    assert taken > 0.2
    assert refused > 0.02
    assert garbled > 0.05


@pytest.mark.fuzz
def test_noise_is_never_a_value_and_never_slow():
    rng = random.Random(3)
    framing = RtuFraming()
    for _ in range(INPUTS // 20):
        asked = random_block(rng)
        framing.ask(reading(UNIT, asked))
        likely = bytes([UNIT, *FUNCTIONS.values(), 2, 4, 0x83, 0xFF])
        noise = bytes(rng.choice(likely) for _ in range(rng.randrange(1, 60)))
        assert not isinstance(heard(framing, [noise]), bytes)


def test_a_flood_byte_by_byte_is_bounded_in_memory():
    framing = RtuFraming()
    framing.ask(reading(UNIT, block()))
    for _ in range(3_000):
        assert framing.feed(bytes([UNIT])) is None

    assert len(framing._buffer) <= 512


@given(st.binary(max_size=255))
def test_the_checksum_is_that_of_the_specification(data):
    assert crc(data) == checksum(data)


def test_the_checksum_of_the_published_example():
    # Modbus over Serial Line 1.02, section 6.2.2: the characters 02 07 give the CRC 1241 hex.
    assert crc(b"\x02\x07") == b"\x41\x12"


@pytest.mark.parametrize("function", sorted(set(range(256)) - {1, 2, 3, 4}))
def test_no_question_can_be_made_that_does_not_read(function):
    for pdu in (bytes([function]), bytes([function, 0, 0, 0, 1]), bytes([function, 0x0D, 1, 0])):
        with pytest.raises(ValueError, match="not for reading"):
            Question(1, pdu, lambda _: 0)


def test_frames_are_those_of_the_specifications():
    asked = reading(17, Block(Table.HOLDING, 0x6B, 3, 1_000, ()))

    # Application Protocol 1.1b3, section 6.3; the header is that of the messaging guide.
    assert TcpFraming().ask(asked) == bytes.fromhex("0001 0000 0006 11 03006B0003")
    assert RtuFraming().ask(asked) == serial(17, bytes.fromhex("03006B0003"))


@pytest.mark.parametrize(
    ("unit", "answering", "taken"),
    [(3, 3, True), (3, 4, False), (255, 1, True), (0, 255, True)],
)
def test_over_tcp_another_unit_answers_only_for_a_device_that_has_no_units(unit, answering, taken):
    framing = TcpFraming()
    framing.ask(reading(unit, block(1)))

    outcome = heard(framing, [numbered(1, answering, b"\x03\x02\0\7")])

    assert outcome == (b"\0\7" if taken else None)


def test_over_tcp_late_answers_that_come_with_the_right_one_are_passed_over():
    framing = TcpFraming()
    for _ in range(3):
        framing.ask(reading(1, block(1)))
    stream = b"".join(numbered(one, 1, b"\x03\x02\0" + bytes([one])) for one in (1, 2, 3))

    assert heard(framing, [stream[:5], stream[5:20], stream[20:]]) == b"\0\3"


def test_over_tcp_half_an_answer_ends_the_connection_with_its_question():
    framing = TcpFraming()
    framing.ask(reading(1, block(1)))
    assert framing.feed(numbered(1, 1, b"\x03\x02\0\1")[:9]) is None
    framing.forget()

    assert framing.broken


@pytest.mark.parametrize("stream", [b"HTTP/1.1 400 Bad Request", bytes(600), b"\0\1\0\0\xff\xff\1"])
def test_what_is_no_modbus_tcp_ends_the_connection(stream):
    framing = TcpFraming()
    framing.ask(reading(1, block(1)))

    assert heard(framing, [stream]) == "garbled"
    assert framing.broken


@pytest.mark.parametrize(
    "before",
    [b"\0", b"\xff\xff\0", b"\x11", b"\x11\x03", b"\x11\x11\x11", bytes(300),
     serial(5, b"\x03\x04\1\2\3\4"), serial(17, b"\x03\x02\0\1"), serial(17, b"\x84\x02"),
     serial(9, b"\x81\x0b") + b"\xff"],
    ids=lambda one: one.hex()[:20],
)  # fmt: skip
def test_on_a_serial_line_the_answer_is_found_behind_noise_and_late_frames(before):
    framing = RtuFraming()
    framing.ask(reading(17, block(2)))
    answer = serial(17, b"\x03\x04\x11\x03\x04\x05")

    assert heard(framing, [before + answer]) == b"\x11\x03\x04\x05"
    framing.ask(reading(17, block(2)))
    assert heard(framing, [bytes([one]) for one in before + answer]) == b"\x11\x03\x04\x05"


@pytest.mark.parametrize("spoilt", range(9))
def test_on_a_serial_line_no_wrong_byte_passes(spoilt):
    answer = bytearray(serial(17, b"\x03\x04\x11\x03\x04\x05"))
    answer[spoilt] ^= 0x10
    framing = RtuFraming()
    framing.ask(reading(17, block(2)))

    assert not isinstance(heard(framing, [bytes(answer)]), bytes)


def test_what_arrives_before_the_question_is_thrown_away():
    framing = RtuFraming()
    answer = serial(17, b"\x03\x04\1\2\3\4")
    assert framing.feed(answer) is None
    framing.ask(reading(17, block(2)))

    assert not framing.hopeless()
    assert framing.feed(b"") is None


def test_the_beginning_of_an_answer_is_worth_waiting_for_and_noise_is_not():
    framing = RtuFraming()
    framing.ask(reading(17, block(2)))

    framing.feed(b"\x11\x03\x04\x00")
    assert not framing.hopeless()
    framing.feed(b"\0" * 20)
    assert framing.hopeless()


def test_a_unit_is_asked_who_it_is():
    # Application Protocol 1.1b3, section 6.21: the example of a basic identification.
    said = {0: b"Company identification", 1: b"Product code XX", 2: b"V2.11"}
    objects = b"".join(bytes([one, len(text)]) + text for one, text in said.items())
    pdu = b"\x2b\x0e\x01\x01\x00\x00\x03" + objects
    for framing, frame in (
        (TcpFraming(), numbered(1, 1, pdu)),
        (RtuFraming(), serial(1, pdu)),
    ):
        sent = framing.ask(identifying(1))
        assert b"\x2b\x0e\x01\x00" in sent
        data = heard(framing, [bytes([one]) for one in frame])
        told = identification(data)

        assert told.objects == {one: text.decode() for one, text in said.items()}
        assert told.next_object is None


@pytest.mark.fuzz
@pytest.mark.timeout(1_800)
def test_no_identification_raises_anything_but_garbled():
    rng = random.Random(8)
    told = 0
    for _ in range(INPUTS):
        count = rng.randrange(4)
        objects = b"".join(
            bytes([rng.randrange(9), length]) + rng.randbytes(length)
            for length in (rng.randrange(20) for _ in range(count))
        )
        more = rng.choice([0, 0xFF])
        pdu = b"\x2b\x0e\x01\x01" + bytes([more, rng.randrange(9), count]) + objects
        framing = TcpFraming()
        sent = framing.ask(identifying(1))
        outcome = heard(framing, [tcp_frame(sent, spoiled(rng, pdu)[:250] or b"\0")])
        if isinstance(outcome, bytes):
            told += bool(identification(outcome).objects)

    assert told > INPUTS / 10
