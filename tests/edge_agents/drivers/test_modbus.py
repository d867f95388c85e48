"""Whatever bytes come over a Modbus TCP connection, they are an answer, a refusal or nothing."""

import asyncio
import os
import random

import pytest

from edge_agents.drivers.decoder import GarbledError
from edge_agents.drivers.line import Refusal
from edge_agents.drivers.modbus import TcpTransport, understood
from tests.edge_agents.drivers.plc import Plc

INPUTS = 1_000_000 if os.environ.get("MACHIKOBA_FUZZ") else 20_000
TRANSACTION, UNIT, FUNCTION = 0x1234, 17, 3


def honest_frame(rng):
    """An answer as section 6.3 of the protocol describes it, or an exception."""
    if rng.random() < 0.2:
        pdu = bytes([FUNCTION | 0x80, rng.randrange(1, 12)])
    else:
        words = rng.randrange(1, 126)
        pdu = bytes([FUNCTION, 2 * words]) + rng.randbytes(2 * words)
    head = TRANSACTION.to_bytes(2, "big") + bytes(2) + (len(pdu) + 1).to_bytes(2, "big")
    return head + bytes([UNIT]) + pdu


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


@pytest.mark.fuzz
async def test_no_bytes_raise_and_only_our_own_answer_is_taken():
    rng = random.Random(20261122)
    loop = asyncio.get_running_loop()
    taken = refused = 0
    async with Plc(words={0: 7}) as plc:
        transport = TcpTransport("127.0.0.1", plc.port)
        await transport.connect(1.0)
        context = transport._client.ctx
        context.request_dev_id, context.request_transaction_id = UNIT, TRANSACTION
        for _ in range(INPUTS):
            frame = honest_frame(rng)
            data = frame if rng.random() < 0.05 else spoiled(rng, frame)
            context.recv_buffer = b""
            context.response_future = loop.create_future()
            cut = rng.randrange(len(data) + 1)
            for part in (data[:cut], data[cut:]):
                if part:
                    context.data_received(part)
            if not context.response_future.done():
                continue
            try:
                answer = understood(FUNCTION, context.response_future.result())
            except GarbledError:
                continue
            if data == frame and isinstance(answer, bytes):
                assert answer == frame[9:]
            taken += isinstance(answer, bytes)
            refused += isinstance(answer, Refusal)
        assert transport.connected
        transport.close()

    assert taken > INPUTS / 20
    assert refused > INPUTS / 100


async def test_an_honest_answer_is_taken_even_when_late_ones_come_with_it():
    rng = random.Random(5)
    loop = asyncio.get_running_loop()
    async with Plc(words={0: 7}) as plc:
        transport = TcpTransport("127.0.0.1", plc.port)
        await transport.connect(1.0)
        context = transport._client.ctx
        context.request_dev_id, context.request_transaction_id = UNIT, TRANSACTION
        context.response_future = loop.create_future()
        own = honest_frame(rng)
        late = b"\x12\x33" + own[2:]
        context.data_received(late + late + own)
        answer = context.response_future.result()
        transport.close()

    assert answer.transaction_id == TRANSACTION
    assert answer.data == own[9:]
