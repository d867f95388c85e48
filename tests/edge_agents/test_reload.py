"""Settings change while the agent runs, and nobody but the changed machine notices.

Promises: what changed starts anew and is announced anew, all else goes on without a gap and
without a death; a file that cannot be used changes nothing; a machine whose new stanza is wrong
keeps its former one, and the status says why; changes beside the machines start the agent anew
without losing an entry.
"""

import signal
from pathlib import Path

import pytest

from edge_agents.agent.loading import load
from edge_agents.agent.reload import difference, rolled_back
from edge_agents.drivers import conversations
from gateway.sparkplug import names
from tests.brokers import wait_until
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
