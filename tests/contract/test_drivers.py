"""What every driver promises, whatever its protocol, against real servers over real sockets.

It delivers values with the instant of their reading; says each loss once, with a reason, at the
moment of loss; comes back by itself; is never ended by a machine; and ends cleanly when cancelled.
"""

import asyncio
import logging
import random
import threading
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from asyncua import Server as UaServer
from asyncua import ua

from edge_agents.drivers.driver import Delivery
from edge_agents.drivers.isolation import IsolatedServer, Nursery
from edge_agents.drivers.line import Line, LineMachine
from edge_agents.drivers.modbus import over_tcp, rtu_over_tcp
from edge_agents.drivers.nodes import NodeSignal, Server, ServerMachine
from edge_agents.drivers.opcua import OpcuaServer
from edge_agents.drivers.registers import Kind, RegisterSignal, Table
from gateway.model import Quality, Reason
from tests.edge_agents.drivers.plc import Plc
from tests.edge_agents.drivers.wire import Cable

DEADLINE_S = 20.0
NAMESPACE = "urn:tests:drivers"


def now_ms():
    return time.time_ns() // 1_000_000


class Record:
    """Everything a driver delivered, and a way to wait for more."""

    def __init__(self):
        self.deliveries: list[Delivery] = []
        self._more = asyncio.Event()

    def __call__(self, delivery):
        self.deliveries.append(delivery)
        self._more.set()

    @property
    def samples(self):
        return [sample for one in self.deliveries for sample in one.samples]

    @property
    def latest(self):
        return {sample.signal: sample for sample in self.samples}

    def good(self):
        return {
            name: sample.value
            for name, sample in self.latest.items()
            if sample.quality is Quality.GOOD
        }

    async def until(self, holds, deadline_s=DEADLINE_S):
        """Wait until `holds` of what was delivered."""
        async with asyncio.timeout(deadline_s):
            while not holds():
                self._more.clear()
                await self._more.wait()


class Plant:
    """A machine with four signals, one of which does not exist, and the cable to it."""

    missing = "ghost"

    def __init__(self, cable, driver, write):
        self.values = {"speed": 1_200, "power": 2.5, "alarm": True}
        self.names = {*self.values, self.missing}
        self.cable = cable
        self.driver = driver
        self.write = write
        """Give ``speed`` another value in the machine."""


@asynccontextmanager
async def modbus_plant(transport_of, *, serial):
    words = {0: 1_200, 10: 0x4020, 11: 0x0000, 20: 0b100}
    signals = (
        RegisterSignal("speed", Table.HOLDING, 0, Kind.UINT16, period_ms=200),
        RegisterSignal("power", Table.HOLDING, 10, Kind.FLOAT32, period_ms=200),
        RegisterSignal("alarm", Table.INPUT, 20, Kind.BOOL, bit=2, period_ms=200),
        RegisterSignal("ghost", Table.HOLDING, 12, Kind.UINT16, period_ms=200),
    )

    async def write(value):
        words[0] = value

    async with Plc(words=words, serial=serial) as plc, Cable(plc.port) as cable:
        line = Line(
            transport_of("127.0.0.1", cable.port),
            [LineMachine("m-1", 1, signals, timeout_s=0.3)],
            now_ms=now_ms,
            rng=random.Random(4),
        )
        yield Plant(cable, line, write)


class UaMachine:
    """An OPC UA server with a loop and a thread of its own, for all the tests of this module."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._call(self._start())

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self):
        self._server = server = UaServer()
        await server.init()
        server.set_endpoint("opc.tcp://127.0.0.1:0/machine")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(NAMESPACE)
        machine = await server.nodes.objects.add_object(index, "M")
        speed = ua.Variant(1_200, ua.VariantType.UInt16)
        self._speed = await machine.add_variable(ua.NodeId("M.speed", index), "speed", speed)
        await machine.add_variable(ua.NodeId("M.power", index), "power", 2.5)
        await machine.add_variable(ua.NodeId("M.alarm", index), "alarm", val=True)
        await server.start()
        self.port = server.bserver.port

    def set_speed(self, value):
        variant = ua.Variant(value, ua.VariantType.UInt16)
        stamped = ua.DataValue(variant, SourceTimestamp=datetime.now(UTC))
        self._call(self._server.write_attribute_value(self._speed.nodeid, stamped))

    def stop(self):
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self):
        await self._server.stop()
        # Sessions of clients that vanished live on in the library until their time-out.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@pytest.fixture(scope="module")
def ua_machine():
    machine = UaMachine()
    yield machine
    machine.stop()


@asynccontextmanager
async def opcua_plant(machine, *, isolated, subscribe=True):
    async def write(value):
        await asyncio.to_thread(machine.set_speed, value)

    await write(1_200)
    async with Cable(machine.port) as cable:
        signals = tuple(
            NodeSignal(name, f"nsu={NAMESPACE};s=M.{name}", datatype, period_ms=200)
            for name, datatype in (
                ("speed", "double"),
                ("power", "double"),
                ("alarm", "boolean"),
                ("ghost", "double"),
            )
        )
        server = Server(
            f"opc.tcp://127.0.0.1:{cable.port}/machine",
            (ServerMachine("m-1", signals),),
            timeout_s=0.5,
            keep_alive_s=0.5,
            subscribe=subscribe,
        )
        rng = random.Random(4)
        if isolated:
            driver = IsolatedServer(server, Nursery(1, rng=rng), now_ms=now_ms)
        else:
            driver = OpcuaServer(server, now_ms=now_ms, rng=rng)
        yield Plant(cable, driver, write)


KINDS = ["modbus", "modbus-rtu", "opcua", "opcua-polled", "opcua-isolated"]


@pytest.fixture(params=KINDS)
async def plant(request):
    kind = request.param
    if kind.startswith("modbus"):
        serial = kind == "modbus-rtu"
        async with modbus_plant(rtu_over_tcp if serial else over_tcp, serial=serial) as built:
            yield built
        return
    machine = request.getfixturevalue("ua_machine")
    isolated, subscribe = kind == "opcua-isolated", kind != "opcua-polled"
    async with opcua_plant(machine, isolated=isolated, subscribe=subscribe) as built:
        yield built


@pytest.fixture
async def record():
    return Record()


@asynccontextmanager
async def running(plant, record):
    task = asyncio.create_task(plant.driver.run(record))
    try:
        yield task
        assert not task.done(), "no driver ever ends by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_values_arrive_with_their_type_and_the_time_of_reading(plant, record):
    began_ms = now_ms()
    async with running(plant, record):
        await record.until(lambda: record.good() == plant.values)

    for sample in record.samples:
        assert began_ms - 60_000 < sample.time_ms <= now_ms()
    assert type(record.latest["alarm"].value) is bool
    assert {one.machine for one in record.deliveries} == {"m-1"}
    assert all(one.link for one in record.deliveries)


async def test_what_the_machine_does_not_know_is_one_bad_signal_and_spoils_no_other(plant, record):
    async with running(plant, record):
        await record.until(lambda: set(record.latest) == plant.names)
        await record.until(lambda: record.good() == plant.values)

    ghosts = [one for one in record.samples if one.signal == plant.missing]
    assert [(one.value, one.quality, one.reason) for one in ghosts] == [
        (None, Quality.BAD, Reason.ADDRESS)
    ]


async def test_a_change_arrives_later_than_the_value_before_it(plant, record):
    async with running(plant, record):
        await record.until(lambda: record.good() == plant.values)
        before = record.latest["speed"]
        # Times count milliseconds: what changes within the same one could not be told apart.
        await record.until(lambda: now_ms() > before.time_ms + 1)
        await plant.write(1_500)
        await record.until(lambda: record.good().get("speed") == 1_500)

    assert record.latest["speed"].time_ms > before.time_ms


async def test_the_link_is_confirmed_while_nothing_changes(plant, record):
    async with running(plant, record):
        await record.until(lambda: record.good() == plant.values)
        seen, at_ms = len(record.deliveries), now_ms()
        await record.until(lambda: record.deliveries[-1].at_ms > at_ms + 800)

    assert all(one.link for one in record.deliveries[seen:])


async def test_a_cut_cable_makes_every_signal_bad_once_and_all_come_back(plant, record):
    async with running(plant, record):
        await record.until(lambda: set(record.latest) == plant.names)
        await record.until(lambda: record.good() == plant.values)
        seen, cut_ms = len(record.samples), now_ms()
        await plant.cable.cut()
        await record.until(lambda: not record.good())
        losses = record.samples[seen:]
        count = len(record.deliveries)
        await record.until(lambda: len(record.deliveries) > count + 1)
        assert losses == [one for one in record.samples[seen:] if one.quality is Quality.BAD]
        await plant.cable.plug()
        await record.until(lambda: record.good() == plant.values)

    bad = [one for one in losses if one.quality is Quality.BAD]
    assert sorted(one.signal for one in bad) == sorted(plant.values)
    assert {one.reason for one in bad} <= {Reason.CONNECTION, Reason.TIMEOUT}
    assert all(cut_ms - 5 <= one.time_ms <= cut_ms + 3_000 for one in bad)
    back = {one.signal: one for one in record.samples[-len(plant.values) :]}
    assert all(one.time_ms > bad[0].time_ms for one in back.values())
    assert any(not one.link for one in record.deliveries)
    assert record.deliveries[-1].link


async def test_a_machine_that_falls_silent_times_out_and_comes_back(plant, record):
    async with running(plant, record):
        await record.until(lambda: record.good() == plant.values)
        seen = len(record.samples)
        plant.cable.still = True
        await record.until(lambda: not record.good())
        bad = [one for one in record.samples[seen:] if one.quality is Quality.BAD]
        plant.cable.still = False
        await record.until(lambda: record.good() == plant.values)

    assert {one.reason for one in bad if one.signal in plant.values} <= {
        Reason.TIMEOUT,
        Reason.CONNECTION,
    }
    assert len({one.signal for one in bad}) == len(bad)


async def test_noise_gives_no_value_and_ends_nothing(plant, record):
    async with running(plant, record):
        await record.until(lambda: record.good() == plant.values)
        plant.cable.noisy = True
        await record.until(lambda: not record.good())
        plant.cable.noisy = False
        await record.until(lambda: record.good() == plant.values)

    good = {(one.signal, one.value) for one in record.samples if one.quality is Quality.GOOD}
    assert good == set(plant.values.items())


async def test_a_machine_that_is_switched_on_later_is_found(plant, record):
    await plant.cable.cut()
    async with running(plant, record):
        await record.until(lambda: set(record.latest) == plant.names)
        assert not record.good()
        await plant.cable.plug()
        await record.until(lambda: record.good() == plant.values)


async def test_loss_and_return_are_logged_once_each(plant, record, caplog, capfd):
    caplog.set_level(logging.INFO)
    async with running(plant, record):
        await record.until(lambda: record.good() == plant.values)
        await plant.cable.cut()
        await record.until(lambda: not record.good())
        count = len(record.deliveries)
        await record.until(lambda: len(record.deliveries) >= count + 2)
        await plant.cable.plug()
        await record.until(lambda: record.good() == plant.values)

    of_children = capfd.readouterr().err.splitlines()
    lines = [one.getMessage() for one in caplog.records] + of_children
    assert len([one for one in lines if "m-1 does not answer" in one]) == 1
    assert len([one for one in lines if "m-1 answers again" in one]) == 1


@pytest.mark.parametrize("state", ["answering", "silent", "cut"])
async def test_cancelling_is_quick_and_leaves_nothing_behind(plant, record, state):
    before = asyncio.all_tasks()
    task = asyncio.create_task(plant.driver.run(record))
    await record.until(lambda: record.good() == plant.values)
    if state == "silent":
        plant.cable.still = True
        await record.until(lambda: not record.good())
    if state == "cut":
        await plant.cable.cut()
        await record.until(lambda: not record.good())

    began_s = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert time.monotonic() - began_s < 3.0
    await plant.cable.cut()
    async with asyncio.timeout(DEADLINE_S):
        while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
            await asyncio.wait(left)


async def test_the_status_tells_what_happened(plant, record):
    async with running(plant, record):
        await record.until(lambda: record.good() == plant.values)
        await plant.cable.cut()
        await record.until(lambda: not record.good())
        await plant.cable.plug()
        await record.until(lambda: record.good() == plant.values)
        count = len(record.deliveries)
        await record.until(
            lambda: len(record.deliveries) > count and plant.driver.status().requests > 0
        )
        status = plant.driver.status()

    assert "127.0.0.1" in status.name
    assert status.connected
    assert status.requests >= 3
    assert [(one.machine, one.link) for one in status.units] == [("m-1", True)]
