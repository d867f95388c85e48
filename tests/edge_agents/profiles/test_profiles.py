"""Every profile reads a device of its kind rightly.

Promises: each profile is complete and has a dump; the agent that is given nothing but the address
reads from that dump exactly the values and the state recorded beside it, over a real socket; what
a person writes beside `profile:` wins.
"""

import random
import time

import pytest

from edge_agents.agent.loading import load, strict
from edge_agents.drivers import read_once
from edge_agents.profiles import profiles, read_profile
from gateway.model import Quality
from gateway.states import StateJudge
from tests.edge_agents.profiles.dumps import dump, modbus_device, opcua_device

SLUGS = sorted(profiles())
HEAD = """
site: ota-precision
agent: line-1
broker: {url: mqtt://127.0.0.1}
machines:
  - id: device
    profile: %s
"""


def configured(folder, slug, port, more=""):
    way = f"    modbus: {{tcp: 127.0.0.1:{port}}}\n"
    if read_profile(profiles()[slug]).protocol == "opcua":
        way = f"    opcua: {{url: opc.tcp://127.0.0.1:{port}/, security: none}}\n"
    path = folder / "edge.yaml"
    path.write_text(HEAD % slug + way + more, encoding="utf-8")
    return strict(path, {})


async def reading(config):
    return await read_once(
        config,
        "device",
        now_ms=lambda: time.time_ns() // 1_000_000,
        rng=random.Random(1),
        timeout_s=20.0,
    )


def test_there_are_profiles_for_what_small_factories_have():
    kinds = [read_profile(path).kind for path in profiles().values()]

    assert len(kinds) >= 10
    assert {"energy-meter", "inverter", "plc", "machine-tool", "robot", "signal-tower"} <= {*kinds}
    makers = {read_profile(path).maker for path in profiles().values()}
    assert len(makers) >= 8


@pytest.mark.parametrize("slug", SLUGS)
async def test_a_device_is_read_with_nothing_but_its_address(slug, tmp_path):
    told = dump(slug)
    device = (
        modbus_device(told["registers"]) if "registers" in told else opcua_device(told["nodes"])
    )
    async with device as port:
        config = configured(tmp_path, slug, port)
        samples = await reading(config)

    values = {sample.signal: sample.value for sample in samples}
    assert values == {
        name: pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
        for name, value in told["values"].items()
    }
    lacking = {name for name, value in told["values"].items() if value is None}
    assert {one.signal for one in samples if one.quality is not Quality.GOOD} == lacking
    assert state(config, samples) == told.get("state", "unknown")


def state(config, samples):
    """Judge as the agent does, once every hold has passed."""
    judge = StateJudge([rule.rule() for rule in config.machines[0].state])
    inputs = {sample.signal: sample for sample in samples}
    begin_ms = max(sample.time_ms for sample in samples)
    judge.step(inputs, begin_ms)
    return judge.step(inputs, begin_ms + 60_000).state.value


@pytest.mark.parametrize("slug", SLUGS)
def test_a_profile_names_its_source_and_speaks_both_languages(slug):
    profile = read_profile(profiles()[slug])

    assert profile.slug == slug
    assert len(profile.source) > 20
    assert profile.title.ja != profile.title.en
    assert (profile.modbus is None) != (profile.opcua is None)


def test_what_a_person_writes_wins_key_by_key(tmp_path):
    more = (
        "    name: {en: Meter}\n    maker: Ours\n    signals:\n      power_w: {every: 7s}\n"
        "      voltage_l1: null\n      own: {register: input 100, type: float32}\n"
    )
    machine = configured(tmp_path, "eastron-sdm630", 502, more).machines[0]

    assert machine.maker == "Ours"
    assert machine.model == "SDM630-Modbus"
    assert machine.signals["power_w"].every_ms == 7_000
    assert machine.signals["power_w"].unit == "W"
    assert "voltage_l1" not in machine.signals
    assert machine.signals["own"].source.address == 100
    assert machine.modbus.max_read == 80


def test_a_profile_of_ones_own_is_named_by_its_path(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        profiles()["eastron-sdm120"].read_text(encoding="utf-8"), encoding="utf-8"
    )
    path = tmp_path / "edge.yaml"
    path.write_text(HEAD % "./mine.yaml" + "    modbus: {tcp: 127.0.0.1}\n", encoding="utf-8")

    assert "power_w" in strict(path, {}).machines[0].signals


def test_an_unknown_profile_stops_only_its_own_machine(tmp_path):
    path = tmp_path / "edge.yaml"
    path.write_text(
        HEAD % "no-such-thing"
        + "    modbus: {tcp: 127.0.0.1}\n"
        + "  - id: other\n    profile: abb-b23\n    modbus: {tcp: 127.0.0.2}\n",
        encoding="utf-8",
    )

    loaded = load(path, {})

    assert [machine.id for machine in loaded.config.machines] == ["other"]
    assert [problem.cause for problem in loaded.problems] == ["there is no profile 'no-such-thing'"]
