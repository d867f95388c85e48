"""Settings change while the agent runs, and nobody but the changed machine notices.

Promises: what changed starts anew and is announced anew, all else goes on without a gap and
without a death; a file that cannot be used changes nothing; a machine whose new stanza is wrong
keeps its former one where its line still speaks that way, and the status says why; a profile of
one's own counts as settings; a value read before its signal changed is told no more; changes
beside the machines start the agent anew without losing an entry.
"""

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest

from edge_agents.agent import Agent
from edge_agents.agent.loading import load
from edge_agents.agent.reload import Follower, changed_signals, difference, rolled_back
from edge_agents.clock import AgentClock, Evidence
from edge_agents.drivers import conversations
from gateway.sparkplug import names
from tests.brokers import wait_until
from tests.edge_agents.drivers.bus import Bus
from tests.edge_agents.tiny_hub import TinyHub

MODBUS, OPCUA = "mc-1", "nl-1"
TWO = """
site: ota-precision
agent: line-1
broker: {url: mqtt://127.0.0.1}
defaults: {every: 1s}
machines:
  - id: a
    modbus: {tcp: 10.0.0.1}
    signals: {x: {register: input 1, type: uint16}}
  - id: b
    modbus: {tcp: 10.0.0.1, device_id: 2}
    signals: {x: {register: input 1, type: uint16}}
  - id: c
    modbus: {tcp: 10.0.0.2}
    signals: {x: {register: input 1, type: uint16}}
  - id: d
    opcua: {url: "opc.tcp://10.0.0.3:4840", security: none}
    signals: {x: {node: "nsu=u;s=x"}}
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = Path(tmp_path / "edge.yaml")
        path.write_text(text, encoding="utf-8")
        return load(path, {})

    return read


def test_only_what_changed_is_different(read):
    before = read(TWO).config

    assert not difference(before, read(TWO + "# a comment\n").config)
    changed = difference(before, read(TWO.replace("10.0.0.2", "10.0.0.9")).config)
    assert (changed.head, changed.machines) == (False, ("c",))
    changed = difference(before, read(TWO.replace("every: 1s", "every: 2s")).config)
    assert (changed.head, changed.machines) == (False, ("a", "b", "c", "d"))
    assert difference(before, read(TWO.replace("line-1", "line-2")).config).head


def test_lines_share_nothing_and_opcua_servers_share_their_children(read):
    parts = conversations(read(TWO).config)

    assert {name: [one.id for one in part.machines] for name, part in parts.items()} == {
        "opcua": ["d"], "modbus 10.0.0.1:502": ["a", "b"], "modbus 10.0.0.2:502": ["c"],
    }  # fmt: skip


def test_a_broken_stanza_keeps_its_former_self_and_a_removed_one_goes(read):
    running = read(TWO).config
    text = TWO.replace("{tcp: 10.0.0.2}", "{tcp: 10.0.0.2, tpyo: 1}")
    text = text[: text.index("  - id: d")]

    fresh = rolled_back(read(text), running)

    assert sorted(one.id for one in fresh.config.machines) == ["a", "b", "c"]
    assert not difference(running, fresh.config).head
    assert difference(running, fresh.config).machines == ("d",)
    assert "tpyo" in str(fresh.problems[0])


def test_a_signal_that_means_something_else_now_keeps_no_value_of_before(read):
    more = "signals: {x: {register: input 1, type: uint16}, y: {register: coil 2}}"
    text = TWO.replace("signals: {x: {register: input 1, type: uint16}}", more)
    before = read(text).config

    scaled = text.replace("type: uint16}, y", "type: uint16, scale: 0.1}, y", 1)
    assert changed_signals(before, read(scaled).config) == {"a": {"x"}}
    moved = text.replace("device_id: 2", "device_id: 3")
    assert changed_signals(before, read(moved).config) == {"b": {"x", "y"}}
    renamed = text.replace("- id: c", "- id: c\n    name: Press")
    assert changed_signals(before, read(renamed).config) == {"c": set()}
    assert changed_signals(before, read(text.replace("id: c", "id: e")).config) == {}


SERIAL = """
site: ota-precision
agent: line-1
broker: {url: mqtt://127.0.0.1}
machines:
  - {id: a, modbus: {serial: /dev/x, baud: 9600}, signals: {x: {register: coil 1}}}
  - {id: b, modbus: {serial: /dev/x, baud: 9600, device_id: 2}, signals: {x: {register: coil 1}}}
"""


def test_a_machine_at_odds_with_its_line_is_left_out_or_stays_as_it_was(read):
    odd = SERIAL.replace("9600, device_id", "19200, device_id")
    loaded = read(odd)

    assert [one.id for one in loaded.config.machines] == ["a"]
    assert "a and b share the line /dev/x" in str(loaded.problems[0])
    kept = rolled_back(loaded, read(SERIAL).config)
    assert [(one.id, one.modbus.baud) for one in kept.config.machines] == [("a", 9600), ("b", 9600)]


def test_a_former_stanza_does_not_come_back_to_a_line_that_speaks_another_way_now(read):
    fresh = read(SERIAL.replace("9600}", "19200}").replace("b, modbus", "b, tpyo: 1, modbus"))

    kept = rolled_back(fresh, read(SERIAL).config)

    assert [(one.id, one.modbus.baud) for one in kept.config.machines] == [("a", 19_200)]
    assert "tpyo" in str(kept.problems[0])


PROFILE = """
title: {en: Press, ja: プレス}
kind: press
maker: Somebody
model: One
source: the press itself
modbus: {}
signals: {x: {register: input 1, type: uint16}}
"""


async def test_a_profile_of_ones_own_is_followed_like_the_settings(tmp_path):
    path, profile = tmp_path / "edge.yaml", tmp_path / "press.yaml"
    profile.write_text(PROFILE, encoding="utf-8")
    one = "\n  - {id: p, profile: press.yaml, modbus: {tcp: 10.0.0.9}}\n"
    path.write_text(TWO.replace("machines:\n", f"machines:{one}", 1), encoding="utf-8")
    follower = Follower(path, load(path, {}), look_s=0.02)
    applied = asyncio.Queue()
    task = asyncio.create_task(follower.follow(applied.put))

    async def address_after(text):
        profile.write_text(text, encoding="utf-8")
        async with asyncio.timeout(20):
            loaded = await applied.get()
        (machine,) = [one for one in loaded.config.machines if one.id == "p"]
        return machine.signals["x"].source.address, len(loaded.problems)

    try:
        assert await address_after(PROFILE.replace("input 1,", "input 77,")) == (77, 0)
        assert await address_after(PROFILE.replace("input 1,", "inptu 1,")) == (77, 1)
        assert await address_after(PROFILE.replace("input 1,", "input 999,")) == (999, 0)
        assert applied.empty()
    finally:
        task.cancel()


@pytest.mark.parametrize("synchronised", [True, False], ids=["time-known", "time-unknown"])
async def test_a_serial_line_goes_from_hand_to_hand_and_what_waits_for_the_time_goes_on_waiting(
    tmp_path, read, synchronised
):
    """Machine b changes its own line; a shares it and starts anew with it, c stands alone."""
    evidence = Evidence(synchronised, board=True, boot_id="b", up_ms=20_000)
    clock = AgentClock(
        wall_ms=lambda: 1_700_000_000_000, steady_ms=lambda: time.monotonic_ns() // 1_000_000,
        evidence=lambda: evidence, last=None,
    )  # fmt: skip
    stop = asyncio.Event()
    async with Bus(3) as bus, Bus(3) as other:
        text = SERIAL.replace("/dev/x", bus.path) + (
            f"  - {{id: c, modbus: {{serial: {other.path}, baud: 9600}}, signals:"
            " {x: {register: coil 1, max_age: 1s}}}\n"
        )
        text = text.replace("site:", f"data: {tmp_path / 'data'}\nsite:", 1)
        text = text.replace("mqtt://127.0.0.1", "mqtt://127.0.0.1:1")
        agent = Agent(read(text), clock=clock, rng=random.Random(1))
        running = asyncio.create_task(agent.run(stop))
        try:
            await linked(agent, {"a", "b", "c"})
            waiting = agent.status().clock.waiting
            assert (waiting > 0) is not synchronised
            await agent.reload(read(text.replace("device_id: 2", "device_id: 3")))
            clock_now = agent.status().clock
            assert (clock_now.waiting > 0) is not synchronised, "what c read waits on"
            assert (clock_now.untimed > 0) is not synchronised, "what b read does not"
            await linked(agent, {"a", "b", "c"})
            assert bus.asked[3] > 0
        finally:
            stop.set()
            await running


async def linked(agent, machines):
    async with asyncio.timeout(20):
        while {  # noqa: ASYNC110 (nothing tells of it)
            unit.machine for line in agent.status().lines for unit in line.units if unit.link
        } != machines:
            await asyncio.sleep(0.01)


@pytest.mark.system
def test_a_changed_machine_starts_anew_and_the_other_goes_on(site, broker):
    broker.start()
    with TinyHub(broker.url) as hub:
        site.start()
        for machine in (MODBUS, OPCUA):
            wait_until(lambda one=machine: hub.of(one, "step"), f"a value of {machine}", 20)
        seen = len(hub.told)
        machine = next(one for one in site.settings["machines"] if one["id"] == OPCUA)
        machine["name"] = {"en": "Renamed"}
        machine["signals"]["again"] = dict(machine["signals"]["step"])
        site.write()
        site.agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: hub.of(OPCUA, "again"), "a value of the new signal", 20)
        fresh = hub.told[seen:]
        steps = hub.of(MODBUS, "step")

    assert "Renamed" in hub.births[OPCUA][names.MACHINE]
    assert fresh.count("DBIRTH") == 1
    assert "NBIRTH" not in fresh
    assert "DDEATH" not in fresh
    assert steps == sorted(steps)
    assert set(hub.of(MODBUS, names.LINK)) == {True}


def said(site):
    return " ".join(one for one in site.status()["disabled"] if "unti" not in one)


@pytest.mark.system
def test_a_mistake_changes_nothing_and_is_told(site, broker):
    broker.start()
    with TinyHub(broker.url) as hub:
        site.start()
        wait_until(lambda: hub.of(OPCUA, "step"), "a value", 20)
        births = hub.told.count("NBIRTH")
        machine = next(one for one in site.settings["machines"] if one["id"] == OPCUA)
        machine["signals"]["step"]["unti"] = "mm"
        site.write()  # found without a signal: the file is watched
        wait_until(lambda: site.status()["disabled"], "the problem in the status", 15)
        before = len(hub.of(OPCUA, "step"))
        wait_until(lambda: len(hub.of(OPCUA, "step")) > before, "the former stanza to go on", 10)
        site.path.write_text("site: [", encoding="utf-8")
        site.agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "edge.yaml:" in said(site), "the unusable file in the status", 15)
        before = len(hub.of(MODBUS, "step"))
        wait_until(lambda: len(hub.of(MODBUS, "step")) > before + 2, "all to go on", 10)

    assert hub.told.count("NBIRTH") == births


@pytest.mark.system
def test_other_changes_start_the_agent_anew_and_lose_nothing(site, broker):
    broker.start()
    with TinyHub(broker.url) as hub:
        site.start()
        wait_until(lambda: hub.of(MODBUS, "step"), "a value", 20)
        births = hub.told.count("NBIRTH")
        site.settings["outbox"] = {"commit_interval": "100ms"}
        site.write()
        site.agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: hub.told.count("NBIRTH") > births, "a new session", 20)
        epoch, end = site.committed()
        wanted = {(epoch, offset) for offset in range(1, end)}
        wait_until(lambda: wanted <= hub.entries, "all entries", 20)

    steps = hub.of(MODBUS, "step")
    assert steps == sorted(steps)
