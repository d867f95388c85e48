"""A person may ask the units of a line one by one; each answer belongs to its question."""

import random

import pytest

from edge_agents.config import ModbusConfig
from edge_agents.drivers import open_transport
from edge_agents.drivers.enquiry import enquiring
from edge_agents.drivers.frames import Refusal, RtuFraming
from edge_agents.drivers.line import Disconnected
from edge_agents.drivers.modbus import ModbusTransport, Pace
from edge_agents.drivers.registers import Block, Table
from edge_agents.drivers.serial_port import SerialLink, SerialSettings
from tests.edge_agents.drivers.bus import Bus
from tests.edge_agents.drivers.plc import Plc

SAID = {0: b"Maker", 1: b"PM-5", 2: b"V2.11", 4: "計器".encode(), 0x80: b"private"}


def block(address=0, count=1, table=Table.HOLDING):
    return Block(table, address, count, 1_000, ())


class Named(Plc):
    """Says who it is, one object an answer (Application Protocol 1.1b3, section 6.21)."""

    async def _answer(self, head, body, writer):
        if body[:2] != b"\x2b\x0e":
            await super()._answer(head, body, writer)
            return
        self.requests.append((head[6], 0x2B, body[2], body[3]))
        mine = [one for one in SAID if one <= (2 if body[2] == 1 else 0x7F) and one >= body[3]]
        later = mine[1:2]
        said = SAID[mine[0]]
        more = bytes([0xFF if later else 0, later[0] if later else 0])
        pdu = b"\x2b\x0e" + body[2:3] + b"\x83" + more + bytes([1, mine[0], len(said)]) + said
        writer.write(self._frame(head, pdu))


async def test_a_unit_says_who_it_is_over_several_answers():
    async with Named() as plc:
        transport = open_transport(ModbusConfig.model_validate({"tcp": f"127.0.0.1:{plc.port}"}))
        async with enquiring(transport, 1.0) as line:
            said = await line.identify(1, 1.0)

    assert said == {"vendor": "Maker", "product_code": "PM-5", "revision": "V2.11",
                    "product": "計器"}  # fmt: skip
    assert {function for _, function, *_ in plc.requests} == {0x2B}


@pytest.mark.parametrize("serial", [False, True])
async def test_a_unit_that_does_not_say_who_it_is_is_asked_for_registers_all_the_same(serial):
    class Plain(Plc):
        async def _answer(self, head, body, writer):
            if body[0] == 0x2B:
                writer.write(self._frame(head, b"\xab\x01"))
            else:
                await super()._answer(head, body, writer)

        async def _serve(self, reader, writer):
            if self.serial:  # its question is seven bytes long
                question = await reader.readexactly(7)
                await self._answer(bytes(6) + question[:1], question[1:-2], writer)
            await super()._serve(reader, writer)

    async with Plain(words={5: 7}, serial=serial) as plc:
        way = {"rtu_tcp" if serial else "tcp": f"127.0.0.1:{plc.port}"}
        async with enquiring(open_transport(ModbusConfig.model_validate(way)), 1.0) as line:
            assert await line.identify(1, 1.0) == {}
            assert await line.read(1, block(5), 1.0) == b"\0\7"
            assert await line.read(1, block(6), 1.0) == Refusal(2)


async def test_a_connection_that_ended_is_opened_again_for_the_next_question():
    async with Plc(words={0: 7}) as plc:
        transport = open_transport(ModbusConfig.model_validate({"tcp": f"127.0.0.1:{plc.port}"}))
        async with enquiring(transport, 1.0) as line:
            plc.hang_up = True
            with pytest.raises(Disconnected):
                await line.read(1, block(), 1.0)
            plc.hang_up = False
            assert await line.read(1, block(), 1.0) == b"\0\7"


async def test_nobody_there_is_said_at_once():
    transport = open_transport(ModbusConfig.model_validate({"tcp": "127.0.0.1:1"}))
    with pytest.raises(Disconnected, match=r"no connection to 127\.0\.0\.1:1"):
        async with enquiring(transport, 1.0):
            pass


async def test_no_late_answer_is_taken_when_a_slow_unit_is_asked_again_and_again():
    rng = random.Random(2)
    async with Bus(1) as bus:
        bus.delay_s[1] = lambda: rng.choice([0.0, 0.03, 0.05])
        link = SerialLink(SerialSettings(bus.path, 115_200))
        answers = timeouts = 0
        async with enquiring(ModbusTransport(link, RtuFraming, Pace(0.0, 0.005)), 1.0) as line:
            for _ in range(60):
                try:
                    data = await line.read(1, block(40 * rng.randrange(2), 2), 0.02)
                except TimeoutError:
                    timeouts += 1
                    continue
                answers += 1
                assert int.from_bytes(data[:2], "big") == bus.asked[1]

    assert answers > 10
    assert timeouts > 10
