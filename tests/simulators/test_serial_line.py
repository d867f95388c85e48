"""Machines on a serial line answer in serial frames, alone, and excuse nobody who is not there.

Asked by pymodbus's own client, over TCP and through a pseudo terminal.
"""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU, FramerType

from simulators.faults import Fault, FaultKind
from simulators.machine import KINDS, Machine
from simulators.modbus_server import ModbusDevice, ModbusLine, encode, registers_of
from tests.simulators.conftest import Clock

TIMEOUT_S = 0.2


def device(clock, device_id):
    machine = Machine(KINDS["machining-centre"], seed=device_id, start_ms=clock(), time_scale=5.0)
    return ModbusDevice(machine, device_id=device_id, clock=clock)


@asynccontextmanager
async def running(over, **devices):
    line = ModbusLine(devices, rng=random.Random(1), over=over)
    await line.start()
    try:
        yield line
    finally:
        await line.stop()


@asynccontextmanager
async def client_of(line):
    place = line.address(next(iter(line.machines)))
    options = {"framer": FramerType.RTU, "timeout": TIMEOUT_S, "retries": 0}
    if line.over == "serial":
        client = AsyncModbusSerialClient(place["serial"], baudrate=place["baud"], **options)
    else:
        client = AsyncModbusTcpClient(place["host"], port=place["port"], **options)
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("over", ["rtu_tcp", "serial"])
async def test_an_ordinary_client_reads_what_the_machines_of_a_line_are(clock, over):
    a, b = device(clock, 3), device(clock, 4)
    clock.now_ms += 3_600_000
    async with running(over, a=a, b=b) as line, client_of(line) as client:
        for one in (a, b):
            for register in registers_of(KINDS["machining-centre"]):
                if register.table != "input":
                    continue
                answer = await client.read_input_registers(
                    register.address, count=register.count, device_id=one.device_id
                )
                shown = one.machine.values()[register.signal.name]
                assert answer.registers == encode(register, shown)


@pytest.mark.parametrize(
    "fault", [Fault(FaultKind.SILENT), Fault(FaultKind.CLOSED), None], ids=["silent", "off", "none"]
)
async def test_a_unit_that_is_not_there_says_nothing_and_its_neighbour_answers(clock, fault):
    a, b = device(clock, 3), device(clock, 4)
    async with running("rtu_tcp", a=a, b=b) as line, client_of(line) as client:
        if fault is not None:
            await line.apply("a", fault)
        absent = 3 if fault is not None else 9
        with pytest.raises(ModbusException):
            await client.read_input_registers(0, count=2, device_id=absent)
        answer = await client.read_input_registers(0, count=2, device_id=4)

    assert answer.registers == [0, 0]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_serial_garbage_is_never_a_frame_to_be_believed(seed):
    async def scene():
        clock = Clock()
        line = ModbusLine({"m": device(clock, 3)}, rng=random.Random(seed), over="rtu_tcp")
        await line.start()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
            await line.apply("m", Fault(FaultKind.GARBAGE))
            question = bytes([3, 4, 0, 0, 0, 2])
            writer.write(question + FramerRTU.compute_CRC(question).to_bytes(2, "big"))
            noise = await asyncio.wait_for(reader.read(300), 5)
            writer.close()
            return noise
        finally:
            await line.stop()

    noise = asyncio.run(scene())
    assert noise
    for at in range(len(noise) - 8):
        frame = noise[at : at + 9]
        whole = FramerRTU.compute_CRC(frame[:-2]) == int.from_bytes(frame[-2:], "big")
        assert not (frame[:3] == bytes([3, 4, 4]) and whole)


async def test_a_terminal_is_gone_while_its_line_is_closed_and_new_after(clock):
    mine = device(clock, 3)
    async with running("serial", m=mine) as line:
        async with client_of(line) as client:
            answer = await client.read_input_registers(0, count=2, device_id=3)
            assert answer.registers == [0, 0]
        await line.apply("m", Fault(FaultKind.CLOSED))
        await line.clear("m")
        async with client_of(line) as client:
            answer = await client.read_input_registers(0, count=2, device_id=3)

    assert answer.registers == [0, 0]
