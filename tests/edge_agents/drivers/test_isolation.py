"""Whatever happens in a child is that child's: the agent lives, and the other servers go on.

The children run stand-ins, written to hang, to eat memory, to talk nonsense or to die.
"""

import asyncio
import json
import random
import sys
import textwrap
import time
from contextlib import asynccontextmanager

import pytest

from edge_agents.drivers.isolation import IsolatedServer, Nursery
from edge_agents.drivers.nodes import NodeSignal, Server, ServerMachine, as_json, from_json
from edge_agents.drivers.registers import Kind
from gateway.model import Quality, Reason
from tests.contract.test_drivers import Record, now_ms

STAND_IN = """
    import asyncio, os, sys, time
    from edge_agents.drivers.driver import Delivery, DriverStatus
    from edge_agents.drivers.opcua_child import main
    from gateway.model import Sample

    class StandIn:
        def __init__(self, server, clock):
            self.clock = clock
            self.what = server.url.removeprefix("opc.tcp://")
            self.machine = server.machines[0].machine

        async def run(self, deliver):
            count = 0
            while True:
                count += 1
                sample = Sample("a", count, self.clock.now_ms())
                deliver(Delivery(self.machine, sample.time_ms, (sample,), True))
                await asyncio.sleep(0.05)
                if count == 10:
                    self.misbehave(deliver)

        def misbehave(self, deliver):
            if self.what == "hang":
                while True:
                    pass
            if self.what == "eat":
                self.eaten = []
                while True:
                    self.eaten.append(bytes(1 << 24))
            if self.what == "die":
                os._exit(9)
            if self.what == "nonsense":
                os.write(1, b"\\n[1, 2, 3]\\n")
            if self.what == "intrude":
                deliver(Delivery("somebody-else", 1, (), True))
            if self.what == "babble":
                os.write(1, b"x" * (5 << 20))

        def status(self):
            return DriverStatus(self.what, True, 1, 0, 0, 0, 0, 0.0, 0.0, ())

        def owns(self, thing):
            return thing is self

    main(StandIn)
"""


def server(what, machine):
    return Server(f"opc.tcp://{what}", (ServerMachine(machine, (NodeSignal("a", "i=1"),)),))


@asynccontextmanager
async def serving(*servers, processes=1, clock_offset_ms=lambda: None):
    command = (sys.executable, "-c", textwrap.dedent(STAND_IN))
    nursery = Nursery(
        processes, rng=random.Random(2), command=command, clock_offset_ms=clock_offset_ms
    )
    record = Record()
    drivers = [IsolatedServer(one, nursery, now_ms=now_ms) for one in servers]
    tasks = [asyncio.create_task(one.run(record)) for one in drivers]
    try:
        yield record, drivers, nursery
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert nursery._children == []


def good(record, machine):
    return [
        sample.value
        for one in record.deliveries
        if one.machine == machine
        for sample in one.samples
        if sample.quality is Quality.GOOD
    ]


def bad(record, machine):
    return [
        sample.reason
        for one in record.deliveries
        if one.machine == machine
        for sample in one.samples
        if sample.quality is Quality.BAD
    ]


async def test_a_server_that_hangs_its_child_gets_one_of_its_own_and_the_others_go_on(caplog):
    async with serving(server("hang", "guilty"), server("well", "innocent")) as served:
        record, drivers, nursery = served
        await record.until(lambda: bool(bad(record, "guilty")))
        before = len(good(record, "innocent"))
        await record.until(lambda: len(good(record, "innocent")) > before + 30)
        solitary = [child.solitary for child in nursery._children if child.servers]

    assert [one.suspect for one in drivers] == [True, False]
    assert sorted(solitary) == [False, True]
    assert bad(record, "innocent") == [Reason.CONNECTION]
    assert any("hung it" in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize("what", ["die", "nonsense", "intrude", "babble"])
async def test_a_child_that_fails_is_replaced_and_its_machines_come_back(what):
    async with serving(server(what, "m1")) as (record, _, _):
        await record.until(lambda: bool(bad(record, "m1")))
        before = len(good(record, "m1"))
        await record.until(lambda: len(good(record, "m1")) > before)

    assert bad(record, "m1")[:1] == [Reason.CONNECTION]
    assert {one.machine for one in record.deliveries} == {"m1"}


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of address space there")
async def test_a_child_that_eats_memory_hits_its_limit_and_is_replaced():
    async with serving(server("eat", "m1")) as (record, _, _):
        await record.until(lambda: bool(bad(record, "m1")))
        before = len(good(record, "m1"))
        await record.until(lambda: len(good(record, "m1")) > before)


async def test_a_child_tells_the_time_of_its_parent_and_nothing_slips_through_when_that_changes():
    day_ms = 86_400_000
    provisional_ms = time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000 - day_ms
    offset_ms = [provisional_ms]
    began_ms = now_ms()
    async with serving(server("well", "m1"), clock_offset_ms=lambda: offset_ms[0]) as served:
        record = served[0]
        await record.until(lambda: len(record.deliveries) > 20)
        before = len(record.deliveries)
        offset_ms[0] = None
        await record.until(lambda: len(record.deliveries) > before + 40)

    times_ms = [sample.time_ms for one in record.deliveries for sample in one.samples if one.link]
    assert all(began_ms - day_ms <= one < began_ms for one in times_ms[: before - 1])
    assert all(began_ms <= one <= now_ms() for one in times_ms[before:])


async def test_servers_are_spread_over_no_more_children_than_allowed():
    servers = [server("well", f"m{index}") for index in range(5)]
    async with serving(*servers, processes=2) as (record, _, nursery):
        await record.until(lambda: len({one.machine for one in record.deliveries}) == 5)
        assert sorted(len(child.servers) for child in nursery._children) == [2, 3]


def test_an_order_survives_the_way_to_the_child():
    signal = NodeSignal(
        "a",
        "nsu=urn:x;s=ä",
        "string",
        (2, "X"),
        Kind.INT16,
        0.1,
        -4.0,
        ((1, "自動"),),
        (9.0,),
        0.0,
        None,
        50,
    )
    original = Server("opc.tcp://h:1", (ServerMachine("m", (signal,)),), user="u", timeout_s=1.5)

    assert from_json(json.loads(json.dumps(as_json(original)))) == original
