"""The control port switches faults and tells the truth, and no line can break it."""

import asyncio
import json
import random
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.control import LINE_BYTES_MAX, ControlPort
from simulators.machine import KINDS, Machine
from simulators.modbus_server import ModbusDevice, ModbusLine
from tests.simulators.conftest import Clock
from tests.simulators.modbus_wire import connected


def line_of(clock, slug="nc-lathe"):
    machine = Machine(KINDS[slug], seed=1, start_ms=clock(), step_interval_ms=None)
    device = ModbusDevice(machine, device_id=1, clock=clock)
    return ModbusLine({"nl-1": device}, rng=random.Random(1))


@asynccontextmanager
async def region(clock):
    servers = {("ota", "nl-1"): line_of(clock), ("suwa", "nl-1"): line_of(clock)}
    for server in servers.values():
        await server.start()
    control = ControlPort(servers, clock)
    port = await control.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def order(**words):
        writer.write(json.dumps(words).encode() + b"\n")
        return json.loads(await asyncio.wait_for(reader.readline(), 5))

    try:
        yield order, servers
    finally:
        writer.close()
        await control.stop()
        for server in servers.values():
            await server.stop()


async def test_a_fault_is_switched_on_seen_and_cleared(clock):
    async with region(clock) as (order, servers):
        port = servers[("ota", "nl-1")].port
        begun = await order(do="fault", site="ota", machine="nl-1", fault="exception", code=6)
        async with connected(port) as client:
            assert (await client.ask(4, 0, 2)).body == b"\6"
            states = (await order(do="state"))["machines"]
            assert [state["fault"] for state in states] == ["exception", None]
            assert await order(do="clear") == {"ok": True, "machines": ["nl-1", "nl-1"]}
            assert (await client.ask(4, 0, 2)).words == [0, 1]

    assert begun == {"ok": True, "machines": ["nl-1"]}


async def test_the_state_is_the_truth_of_the_moment(clock):
    async with region(clock) as (order, servers):
        server = servers[("suwa", "nl-1")]
        clock.now_ms += 7_200_000
        async with connected(server.port) as client:
            for _ in range(3):
                await client.ask(4, 0, 2)
        state = (await order(do="state", site="suwa"))["machines"][0]
        machine = server.machines["nl-1"]

    assert state["steps"] == 3
    assert state["requests"] == 3
    assert state["phase"] == machine.phase
    assert state["parts_good"] == machine.parts_good > 0
    assert state["energy_kwh"] == pytest.approx(machine.energy_kwh, abs=1e-3)
    assert state["shown"]["program"] == machine.values()["program"]


async def test_a_forced_phase_shows_at_the_machine(clock):
    async with region(clock) as (order, servers):
        assert (await order(do="force", site="ota", machine="nl-1", phase="down", for_ms=5000))[
            "ok"
        ]
        assert servers[("ota", "nl-1")].machines["nl-1"].phase == "down"
        assert servers[("suwa", "nl-1")].machines["nl-1"].phase != "down"


async def test_ports_tell_where_each_machine_is(clock):
    async with region(clock) as (order, servers):
        told = (await order(do="ports"))["machines"]

    assert told == [
        {
            "site": site,
            "machine": machine,
            "protocol": "modbus",
            "over": "tcp",
            "host": "127.0.0.1",
            "port": server.port,
            "device_id": 1,
        }
        for (site, machine), server in servers.items()
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"do": "fault", "site": "ota", "machine": "x", "fault": "silent"}, "no machine ota/x"),
        ({"do": "fault", "site": "ota", "machine": "nl-1", "fault": "bad"}, "fault.fault"),
        ({"do": "fault", "site": "ota", "machine": "nl-1", "fault": "slow", "ms": -1}, "ms"),
        ({"do": "fault", "fault": "silent"}, "site"),
        ({"do": "force", "site": "ota", "machine": "nl-1", "phase": "off"}, "phase"),
        ({"do": "explode"}, "do"),
        ({"do": "state", "colour": "red"}, "colour"),
        ({}, "discriminator"),
    ],
)
async def test_an_order_that_cannot_be_obeyed_is_answered_with_the_reason(clock, words, error):
    async with region(clock) as (order, _):
        answer = await order(**words)
        assert (await order(do="ports"))["ok"]  # and the port goes on

    assert answer["ok"] is False
    assert error in answer["error"]


async def test_a_line_without_end_is_refused_and_hung_up(clock):
    control = ControlPort({("ota", "nl-1"): line_of(clock)}, clock)
    port = await control.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x" * (2 * LINE_BYTES_MAX))
    answer = json.loads(await asyncio.wait_for(reader.readline(), 5))
    rest = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await control.stop()

    assert answer == {"ok": False, "error": "the line is too long"}
    assert rest == b""


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_answered(line):
    clock = Clock()
    control = ControlPort({("ota", "nl-1"): line_of(clock)}, clock)

    answer = asyncio.run(control.obey(line))

    assert answer["ok"] is False
    assert answer["error"]
    json.dumps(answer)
