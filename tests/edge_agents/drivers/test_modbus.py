"""A transport says what became of each question, and never waits for an answer that cannot come."""

import asyncio

import pytest

from edge_agents.drivers.decoder import GarbledError
from edge_agents.drivers.frames import Refusal
from edge_agents.drivers.line import Disconnected
from edge_agents.drivers.modbus import over_tcp, rtu_over_tcp
from edge_agents.drivers.registers import Block, Table
from tests.edge_agents.drivers.plc import Plc

LONG_S = 30.0
WORD = Block(Table.HOLDING, 0, 1, 1_000, ())


@pytest.fixture(params=[False, True], ids=["tcp", "rtu"])
async def plc(request):
    async with Plc(words={0: 7}, serial=request.param) as plc:
        yield plc


@pytest.fixture
async def transport(plc):
    transport = (rtu_over_tcp if plc.serial else over_tcp)("127.0.0.1", plc.port)
    await transport.connect(1.0)
    yield transport
    transport.close()


async def test_an_answer_and_a_refusal_are_told_apart(plc, transport):
    assert await transport.read(1, WORD, LONG_S) == b"\0\7"
    plc.exceptions[1] = 2
    assert await transport.read(1, WORD, LONG_S) == Refusal(2)


async def test_silence_is_a_time_out_and_the_connection_stays(plc, transport):
    plc.silent.add(1)
    with pytest.raises(TimeoutError):
        await transport.read(1, WORD, 0.05)

    assert transport.connected
    assert await transport.read(2, WORD, LONG_S) == b"\0\7"


async def test_noise_is_told_without_waiting_for_the_time_out(plc, transport):
    plc.garbage = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    async with asyncio.timeout(5):
        with pytest.raises(GarbledError):
            await transport.read(1, WORD, LONG_S)


async def test_a_connection_that_ends_is_told_without_waiting_for_the_time_out(plc, transport):
    plc.hang_up = True
    async with asyncio.timeout(5):
        with pytest.raises(Disconnected, match="closed the connection"):
            await transport.read(1, WORD, LONG_S)

    assert not transport.connected


async def test_closing_ends_the_question_that_is_on_its_way(plc, transport):
    plc.silent.add(1)
    asking = asyncio.create_task(transport.read(1, WORD, LONG_S))
    await asyncio.wait({asking}, timeout=0.05)
    transport.close()

    with pytest.raises(Disconnected):
        await asyncio.wait_for(asking, 5)


async def test_a_closed_transport_can_be_opened_again(transport):
    transport.close()
    with pytest.raises(Disconnected):
        await transport.read(1, WORD, LONG_S)
    await transport.connect(1.0)

    assert await transport.read(1, WORD, LONG_S) == b"\0\7"


async def test_a_cancelled_question_leaves_nothing_behind(plc, transport):
    plc.silent.add(1)
    asking = asyncio.create_task(transport.read(1, WORD, LONG_S))
    await asyncio.wait({asking}, timeout=0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    plc.silent.clear()
    assert await transport.read(1, WORD, LONG_S) == b"\0\7"


async def test_a_server_that_hangs_up_at_once_is_no_connection():
    async def hang_up(_, writer):
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = over_tcp("127.0.0.1", port)

    async def ask():
        await transport.connect(1.0)
        await transport.read(1, WORD, LONG_S)

    with pytest.raises(Disconnected):
        await asyncio.wait_for(ask(), 5)
    transport.close()
    server.close()
    await server.wait_closed()


async def test_an_address_in_version_six_is_written_in_brackets():
    assert over_tcp("::1", 502).name == "modbus [::1]:502"
    assert rtu_over_tcp("host", 4001).name == "modbus rtu host:4001"
