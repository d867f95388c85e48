"""Machines behind real Modbus TCP: what is read is what they are, and every fault is on the wire.

Promises: registers show the machine at the instant of reading; each fault does what its name says,
to its machine only, until it is cleared or over; nothing can be written; with a step counter on
reads, consecutive answers carry consecutive values.
"""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from simulators.faults import Fault, FaultKind
from simulators.machine import KINDS, Machine, Phase
from simulators.modbus_server import ModbusDevice, ModbusLine, encode, registers_of
from tests.simulators.conftest import Clock, until
from tests.simulators.modbus_wire import connected

READ_INPUT = 4
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, NO_RESPONSE = 1, 2, 11


def device(clock, slug="machining-centre", *, device_id=1, step_interval_ms=1000):
    machine = Machine(
        KINDS[slug], seed=1, start_ms=clock(), time_scale=5.0, step_interval_ms=step_interval_ms
    )
    return ModbusDevice(machine, device_id=device_id, clock=clock)


@asynccontextmanager
async def running(**devices):
    line = ModbusLine(devices, rng=random.Random(1))
    await line.start()
    try:
        yield line
    finally:
        await line.stop()


@pytest.mark.parametrize("slug", ["machining-centre", "press", "wire-edm"])
@pytest.mark.parametrize("phase", list(Phase))
async def test_an_ordinary_client_reads_what_the_machine_is(clock, slug, phase):
    mine = device(clock, slug)
    clock.now_ms += 3_600_000
    mine.machine.force(phase, clock(), for_ms=1_000_000)
    async with running(m=mine) as line:
        client = AsyncModbusTcpClient("127.0.0.1", port=line.port, retries=0)
        await client.connect()
        reads = {
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
            "input": client.read_input_registers,
            "holding": client.read_holding_registers,
        }
        for register in registers_of(KINDS[slug]):
            answer = await reads[register.table](register.address, count=register.count)
            bit = register.type == "bool"
            shown = [int(answer.bits[0])] if bit else answer.registers
            assert shown == encode(register, mine.machine.values()[register.signal.name]), register
        client.close()


async def test_registers_follow_the_machine_from_read_to_read(clock):
    mine = device(clock)
    async with running(m=mine) as line, connected(line.port) as client:
        first = (await client.ask(READ_INPUT, 0, 36)).words
        clock.now_ms += 70_000
        second = (await client.ask(READ_INPUT, 0, 36)).words

    assert first[:2] == [0, 0]
    assert second[:2] == [0, 70]
    assert second[2:] != first[2:]


async def test_bits_are_read_from_anywhere_in_their_word(clock):
    mine = device(clock, "press")
    mine.machine.force(Phase.SETUP, clock(), for_ms=1_000_000)
    async with running(m=mine) as line, connected(line.port) as client:
        answer = await client.ask(1, 17, 2)

    assert answer.body == bytes([1, 0b01])


@pytest.mark.parametrize(
    ("function", "address", "count"), [(4, 500, 1), (4, 30, 60), (3, 0, 1), (1, 400, 1)]
)
async def test_registers_that_do_not_exist_are_an_illegal_address(clock, function, address, count):
    async with running(m=device(clock)) as line, connected(line.port) as client:
        answer = await client.ask(function, address, count)

    assert (answer.function, answer.body) == (function | 0x80, bytes([ILLEGAL_ADDRESS]))


@pytest.mark.parametrize(("function", "address"), [(5, 0), (6, 0), (6, 100)])
async def test_nothing_can_be_written_and_every_try_is_counted(clock, function, address):
    mine = device(clock, "press")
    async with running(m=mine) as line, connected(line.port) as client:
        answer = await client.ask(function, address, 0xFF00)
        truth = line.truth("m")

    assert (answer.function, answer.body) == (function | 0x80, bytes([ILLEGAL_FUNCTION]))
    assert truth["writes"] == 1


async def test_machines_of_one_line_answer_by_device_id_and_nobody_else_does(clock):
    a, b = device(clock, device_id=3), device(clock, device_id=7, step_interval_ms=100)
    clock.now_ms += 10_000
    async with running(a=a, b=b) as line, connected(line.port) as client:
        assert (await client.ask(READ_INPUT, 0, 2, unit=3)).words == [0, 10]
        assert (await client.ask(READ_INPUT, 0, 2, unit=7)).words == [0, 100]
        answer = await client.ask(READ_INPUT, 0, 2, unit=9)

    assert (answer.unit, answer.function, answer.body) == (9, 0x84, bytes([NO_RESPONSE]))


def test_two_machines_with_one_device_id_are_refused(clock):
    with pytest.raises(ValueError, match="same device id"):
        ModbusLine({"a": device(clock), "b": device(clock)}, rng=random.Random(1))


async def test_a_taken_port_is_refused(clock):
    async with running(m=device(clock)) as line:
        second = ModbusLine({"m": device(clock)}, rng=random.Random(1), port=line.port)
        with pytest.raises(OSError, match=str(line.port)):
            await second.start()


async def test_noise_from_a_client_hurts_nobody_else(clock):
    rng = random.Random(5)
    async with running(m=device(clock)) as line, connected(line.port) as good:
        for _ in range(200):
            async with connected(line.port) as bad:
                frame = b"\0\1\0\0" + rng.randbytes(rng.randrange(3, 40))
                bad.writer.write(rng.choice([frame, rng.randbytes(rng.randrange(1, 900))]))
        answer = await good.ask(READ_INPUT, 0, 2)

    assert answer.words == [0, 0]


# -- the ledger --------------------------------------------------------------------------


async def test_every_answer_with_the_step_carries_the_next_value(clock):
    mine = device(clock, step_interval_ms=None)
    async with running(m=mine) as line, connected(line.port) as client:
        shown = [(await client.ask(READ_INPUT, 0, 20)).words[:2] for _ in range(50)]
        others = await client.ask(READ_INPUT, 10, 5)
        half = await client.ask(READ_INPUT, 1, 5)
        truth = line.truth("m")

    assert shown == [[0, value] for value in range(1, 51)]
    assert truth["steps"] == 50
    assert len(others.words) == 5
    assert half.words[0] == 51  # Half of the pair is no reading of it, and counts nothing.


async def test_two_readers_never_see_the_same_step(clock):
    mine = device(clock, "press", step_interval_ms=None)
    async with (
        running(m=mine) as line,
        connected(line.port) as one,
        connected(line.port) as other,
    ):
        shown = []
        for _ in range(20):
            answers = await asyncio.gather(one.ask(READ_INPUT, 0, 2), other.ask(READ_INPUT, 0, 2))
            shown += [answer.words[0] for answer in answers]  # low word first at this maker

    assert sorted(shown) == list(range(1, 41))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.SILENT),
        Fault(FaultKind.GARBAGE),
        Fault(FaultKind.EXCEPTION, code=4),
    ],
    ids=lambda fault: fault.kind.value,
)
async def test_an_answer_that_never_went_out_counts_no_step(clock, fault):
    mine = device(clock, step_interval_ms=None)
    async with running(m=mine) as line, connected(line.port) as client:
        await client.ask(READ_INPUT, 0, 2)
        await line.apply("m", fault)
        for _ in range(5):
            client.send(READ_INPUT, 0, 2)
            await until(lambda: mine.requests == client.transaction)
        await line.clear("m")
        async with connected(line.port) as again:
            after = (await again.ask(READ_INPUT, 0, 2)).words

    assert after == [0, 2]


async def test_an_answer_to_nobody_counts_no_step(clock):
    mine = device(clock, step_interval_ms=None)
    async with running(m=mine) as line:
        await line.apply("m", Fault(FaultKind.SLOW, ms=100))
        async with connected(line.port) as hasty:
            hasty.send(READ_INPUT, 0, 2)
            await until(lambda: mine.requests == 1)
        await line.clear("m")
        async with connected(line.port) as client:
            assert await client.hears_nothing_for(0.2)
            answer = await client.ask(READ_INPUT, 0, 2)

    assert answer.words == [0, 1]


# -- faults ------------------------------------------------------------------------------


async def test_a_silent_machine_takes_questions_and_says_nothing_until_cleared(clock):
    mine = device(clock)
    async with running(m=mine) as line, connected(line.port) as client:
        await line.apply("m", Fault(FaultKind.SILENT))
        client.send(READ_INPUT, 0, 2)
        assert await client.hears_nothing_for(0.2)
        assert line.truth("m")["fault"] == "silent"
        assert mine.requests == 1

        await line.clear("m")
        answer = await client.ask(READ_INPUT, 0, 2)

    assert answer.transaction == 2


async def test_a_silent_machine_leaves_its_neighbour_on_the_line_alone(clock):
    a, b = device(clock, device_id=1), device(clock, device_id=2)
    async with running(a=a, b=b) as line, connected(line.port) as client:
        assert await line.apply("a", Fault(FaultKind.SILENT)) == ["a"]
        client.send(READ_INPUT, 0, 2, unit=1)
        await until(lambda: a.requests == 1)
        answer = await client.ask(READ_INPUT, 0, 2, unit=2)

    assert (answer.unit, answer.transaction) == (2, 2)


async def test_a_slow_machine_answers_late_and_to_the_right_question(clock):
    async with running(m=device(clock)) as line, connected(line.port) as client:
        await line.apply("m", Fault(FaultKind.SLOW, ms=150))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        client.send(READ_INPUT, 0, 2)
        assert await client.hears_nothing_for(0.05)
        client.send(READ_INPUT, 10, 4)
        late, later = await client.answer(), await client.answer()

    assert loop.time() - began_s >= 0.15
    assert (late.transaction, len(late.words)) == (1, 2)
    assert (later.transaction, len(later.words)) == (2, 4)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_garbage_is_never_a_frame_to_be_believed(seed):
    async def scene():
        line = ModbusLine({"m": device(Clock())}, rng=random.Random(seed))
        await line.start()
        try:
            async with connected(line.port) as client:
                await line.apply("m", Fault(FaultKind.GARBAGE))
                client.send(READ_INPUT, 0, 2)
                return await asyncio.wait_for(client.reader.read(300), 5)
        finally:
            await line.stop()

    noise = asyncio.run(scene())
    transaction, protocol = noise[:2], noise[2:4]
    body = noise[9:]
    believable = (
        transaction == b"\0\1"
        and protocol == b"\0\0"
        and noise[6:8] == bytes([1, READ_INPUT])
        and noise[8] == len(body)
    )
    assert noise
    assert not believable


@pytest.mark.parametrize("code", [2, 4, 6])
async def test_an_exception_is_answered_with_its_code(clock, code):
    async with running(m=device(clock)) as line, connected(line.port) as client:
        await line.apply("m", Fault(FaultKind.EXCEPTION, code=code))
        answer = await client.ask(READ_INPUT, 0, 2)

    assert (answer.function, answer.body) == (0x84, bytes([code]))


async def test_a_frozen_machine_repeats_itself_while_the_true_one_lives_on(clock):
    mine = device(clock)
    async with running(m=mine) as line, connected(line.port) as client:
        before = await client.ask(READ_INPUT, 0, 36)
        await line.apply("m", Fault(FaultKind.FROZEN))
        clock.now_ms += 600_000
        frozen = await client.ask(READ_INPUT, 0, 36)
        await line.clear("m")
        thawed = await client.ask(READ_INPUT, 0, 36)

    assert frozen.words == before.words
    assert thawed.words[:2] == [0, 600]


async def test_a_frozen_step_counter_repeats_its_last_value(clock):
    mine = device(clock, step_interval_ms=None)
    async with running(m=mine) as line, connected(line.port) as client:
        before = [(await client.ask(READ_INPUT, 0, 2)).words for _ in range(3)][-1]
        await line.apply("m", Fault(FaultKind.FROZEN))
        frozen = [(await client.ask(READ_INPUT, 0, 2)).words for _ in range(3)]
        await line.clear("m")
        after = (await client.ask(READ_INPUT, 0, 2)).words

    assert frozen == [before, before, before]
    assert after == [0, 4]


async def test_a_closed_machine_drops_its_connections_and_refuses_new_ones(clock):
    async with running(m=device(clock)) as line, connected(line.port) as client:
        port = line.port
        await client.ask(READ_INPUT, 0, 2)
        await line.apply("m", Fault(FaultKind.CLOSED))
        assert await asyncio.wait_for(client.reader.read(), 5) == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

        await line.clear("m")
        async with connected(port) as again:
            assert (await again.ask(READ_INPUT, 0, 2)).words == [0, 0]


async def test_a_restart_ends_by_itself_on_the_same_port_and_may_reset_counters(clock):
    mine = device(clock)
    clock.now_ms += 7_200_000
    async with running(m=mine) as line, connected(line.port) as client:
        assert (await client.ask(READ_INPUT, 10, 2)).words != [0, 0]
        await line.apply("m", Fault(FaultKind.RESTART, for_ms=50, reset_counters=True))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", line.port)
        again = await asyncio.wait_for(_reconnected(line.port), 5)
        again[1].close()
        clock.now_ms += 51
        async with connected(line.port) as after:
            assert (await after.ask(READ_INPUT, 10, 2)).words == [0, 0]
        assert line.truth("m")["fault"] is None


async def _reconnected(port):
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)


async def test_a_closed_machine_behind_a_gateway_is_the_gateways_to_excuse(clock):
    a, b = device(clock, device_id=1), device(clock, device_id=2)
    async with running(a=a, b=b) as line, connected(line.port) as client:
        await line.apply("a", Fault(FaultKind.CLOSED))
        excused = await client.ask(READ_INPUT, 0, 2, unit=1)
        healthy = await client.ask(READ_INPUT, 0, 2, unit=2)

    assert (excused.function, excused.body) == (0x84, bytes([NO_RESPONSE]))
    assert healthy.function == READ_INPUT


async def test_a_timed_fault_ends_by_the_clock(clock):
    async with running(m=device(clock)) as line, connected(line.port) as client:
        await line.apply("m", Fault(FaultKind.EXCEPTION, code=6, for_ms=1_000))
        clock.now_ms += 999
        assert (await client.ask(READ_INPUT, 0, 2)).function == 0x84
        clock.now_ms += 1

        assert (await client.ask(READ_INPUT, 0, 2)).function == READ_INPUT
