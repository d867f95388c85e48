"""Machines behind a real OPC UA server: values, types, times, and every fault on the wire.

Promises: an ordinary client finds every signal below its machine, by namespace URI; every step is
notified once, in order; faults of a machine stay with it, faults of the link take the server.
"""

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from asyncua import Client, ua

from simulators.faults import Fault, FaultKind
from simulators.machine import KINDS, Machine, Phase, signals_of
from simulators.opcua_server import OpcuaSite, namespace_of, node_of
from tests.simulators.conftest import until

TICK_MS = 50
SLUGS = {"rw-1": "welding-robot", "nl-1": "nc-lathe"}


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)


@asynccontextmanager
async def running(clock):
    machines = {
        name: Machine(KINDS[slug], seed=3, start_ms=clock(), step_interval_ms=None)
        for name, slug in SLUGS.items()
    }
    site = OpcuaSite("suwa", machines, clock=clock, rng=random.Random(1), tick_ms=TICK_MS)
    await site.start()
    try:
        yield site
    finally:
        await site.stop()


@asynccontextmanager
async def connected(site):
    client = Client(site.address("rw-1")["url"], timeout=2)
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


async def node(client, machine, signal):
    index = await client.get_namespace_index(namespace_of("suwa"))
    return client.get_node(ua.NodeId(f"{machine}.{signal}", index))


class Notified:
    """Collects what a subscription tells."""

    def __init__(self):
        self.values = []

    def datachange_notification(self, _node, _value, data):
        self.values.append(data.monitored_item.Value)

    def status_change_notification(self, status):
        pass

    @property
    def steps(self):
        return [value.Value.Value for value in self.values]


async def subscribe(client, machine, signal):
    told = Notified()
    subscription = await client.create_subscription(20, told)
    await subscription.subscribe_data_change(await node(client, machine, signal), queuesize=1000)
    return told


async def test_an_ordinary_client_reads_what_the_machines_are(clock):
    async with running(clock) as site, connected(site) as client:
        alarms = await subscribe(client, "rw-1", "alarm")
        clock.now_ms += 3_600_000
        site.machines["rw-1"].force(Phase.DOWN, clock(), for_ms=1_000_000)
        await until(lambda: alarms.values and alarms.values[-1].Value.Value)
        for machine, slug in SLUGS.items():
            shown = dict(site.machines[machine].values())
            for signal in signals_of(KINDS[slug]):
                value = await (await node(client, machine, signal.name)).read_data_value()
                assert value.StatusCode.is_good()
                if signal.name != "step":  # it goes on counting while we read
                    assert value.Value.Value == shown[signal.name]


async def test_source_times_are_the_instants_of_writing(clock):
    async with running(clock) as site, connected(site) as client:
        told = await subscribe(client, "rw-1", "alarm")
        await until(lambda: told.values)
        began_ms = clock.now_ms
        clock.now_ms += 3_600_000
        site.machines["rw-1"].force(Phase.DOWN, clock(), for_ms=1_000_000)
        await until(lambda: len(told.values) == 2)

    times = [value.SourceTimestamp.replace(tzinfo=UTC) for value in told.values]
    assert times == [datetime.fromtimestamp(ms / 1000, UTC) for ms in (began_ms, clock.now_ms)]


async def test_signals_have_the_types_of_their_natures(clock):
    types = {
        "alarm": ua.VariantType.Boolean,
        "program": ua.VariantType.String,
        "power": ua.VariantType.Double,
        "energy": ua.VariantType.Double,
        "step": ua.VariantType.UInt32,
        "parts_good": ua.VariantType.UInt16,
    }
    async with running(clock) as site, connected(site) as client:
        for name, kind in types.items():
            value = await (await node(client, "nl-1", name)).read_data_value()
            assert value.Value.VariantType is kind, name


async def test_machines_are_found_by_browsing(clock):
    async with running(clock) as site, connected(site) as client:
        names = [
            (await child.read_browse_name()).Name
            for child in await client.nodes.objects.get_children()
        ]
        index = await client.get_namespace_index(namespace_of("suwa"))
        robot = client.get_node(ua.NodeId("rw-1", index))
        signals = [(await child.read_browse_name()).Name for child in await robot.get_children()]

    assert set(SLUGS) <= set(names)
    assert signals == [signal.name for signal in signals_of(KINDS["welding-robot"])]
    assert node_of("suwa", "rw-1", "step") == f"nsu={namespace_of('suwa')};s=rw-1.step"


async def test_every_step_is_notified_once_and_in_order(clock):
    async with running(clock) as site, connected(site) as client:
        told = await subscribe(client, "rw-1", "step")
        await until(lambda: len(told.steps) >= 20)
        true = site.truth("rw-1")["steps"]

    first = told.steps[0]
    assert told.steps == list(range(first, first + len(told.steps)))
    assert true - 5 <= told.steps[-1] <= true + 1


async def test_nothing_is_written_that_did_not_change(clock):
    async with running(clock) as site, connected(site) as client:
        began_ms = clock.now_ms
        steps = await subscribe(client, "rw-1", "step")
        clock.now_ms += 1
        await until(lambda: len(steps.steps) >= 5)
        program = await (await node(client, "rw-1", "program")).read_data_value()

    assert steps.values[-1].SourceTimestamp > steps.values[0].SourceTimestamp
    assert program.SourceTimestamp.replace(tzinfo=UTC) == datetime.fromtimestamp(
        began_ms / 1000, UTC
    )


async def test_a_bad_status_stays_with_its_machine_and_goes_when_cleared(clock):
    async with running(clock) as site, connected(site) as client:
        robot, lathe = (
            await subscribe(client, "rw-1", "power"),
            await subscribe(client, "nl-1", "power"),
        )
        code = int(ua.StatusCodes.BadCommunicationError)
        assert await site.apply("rw-1", Fault(FaultKind.EXCEPTION, code=code)) == ["rw-1"]
        await until(lambda: len(robot.values) == 2)
        assert robot.values[-1].StatusCode.value == code
        await site.clear("rw-1")
        await until(lambda: len(robot.values) == 3)

    assert robot.values[-1].StatusCode.is_good()
    assert [value.StatusCode.is_good() for value in lathe.values] == [True]


async def test_a_frozen_machine_stops_counting_and_its_neighbour_goes_on(clock):
    async with running(clock) as site, connected(site) as client:
        robot, lathe = (
            await subscribe(client, "rw-1", "step"),
            await subscribe(client, "nl-1", "step"),
        )
        await site.apply("rw-1", Fault(FaultKind.FROZEN))
        frozen_at = site.truth("rw-1")["steps"]
        seen = len(lathe.steps)
        await until(lambda: len(lathe.steps) >= seen + 10)
        assert robot.steps[-1] == frozen_at == site.truth("rw-1")["steps"]

        await site.clear("rw-1")
        await until(lambda: robot.steps[-1] > frozen_at)

    assert robot.steps[-1] - robot.steps[0] == len(robot.steps) - 1


async def test_a_silent_server_hangs_and_tells_everything_afterwards(clock):
    async with running(clock) as site, connected(site) as client:
        told = await subscribe(client, "rw-1", "step")
        await until(lambda: told.steps)
        assert await site.apply("rw-1", Fault(FaultKind.SILENT)) == list(SLUGS)
        begun = site.truth("rw-1")["steps"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await (await node(client, "nl-1", "step")).read_value()
        await site.clear("rw-1")
        await until(lambda: told.steps[-1] > begun + 6)

    assert told.steps == list(range(told.steps[0], told.steps[0] + len(told.steps)))


async def test_a_slow_server_answers_late(clock):
    async with running(clock) as site, connected(site) as client:
        step = await node(client, "rw-1", "step")
        await site.apply("rw-1", Fault(FaultKind.SLOW, ms=200))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await step.read_value()

    assert loop.time() - began_s >= 0.2


async def test_a_restart_drops_sessions_and_ends_on_the_same_port(clock):
    async with running(clock) as site:
        url = site.address("rw-1")["url"]
        old = Client(url, timeout=2)
        await old.connect()
        told = await subscribe(old, "rw-1", "step")
        await until(lambda: told.steps)
        fault = Fault(FaultKind.RESTART, for_ms=100, reset_counters=True)
        assert await site.apply("rw-1", fault) == list(SLUGS)
        with pytest.raises(OSError, match=r"."):
            await asyncio.open_connection("127.0.0.1", site.address("rw-1")["port"])
        assert site.truth("rw-1")["fault"] == "restart"
        clock.now_ms += 101
        await asyncio.wait_for(_reachable(site.address("rw-1")["port"]), 5)
        async with connected(site) as fresh:
            assert site.address("rw-1")["url"] == url
            assert await (await node(fresh, "rw-1", "step")).read_value() >= told.steps[-1]
            assert site._server.iserver.subscription_service.subscriptions == {}
        with pytest.raises((ConnectionError, TimeoutError, ua.UaError)):
            await old.nodes.server_state.read_value()
        await old.disconnect()


async def _reachable(port):
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


async def test_a_closed_server_refuses_until_cleared(clock):
    async with running(clock) as site:
        await site.apply("nl-1", Fault(FaultKind.CLOSED))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", site.address("nl-1")["port"])

        await site.clear("nl-1")
        async with connected(site) as client:
            assert (await (await node(client, "nl-1", "step")).read_value()) > 0
