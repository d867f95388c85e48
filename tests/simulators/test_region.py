"""A region is written in one file, invented by a seed, and told to agents and hub in their words.

Promises: mistakes are told with file, line, cause and remedy; the same arguments invent the same
region; what is written for agents and hub is accepted by them and leads to the right registers.
"""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agents.config import AgentConfig
from gateway import settings as gateway_settings
from hub.config import HubConfig
from simulators.machine import KINDS, signals_of
from simulators.modbus_server import registers_of
from simulators.opcua_server import node_of
from simulators.region import (
    RegionError,
    Whereabouts,
    agent_yaml,
    generated,
    hub_yaml,
    read,
    to_yaml,
    write_agent_configs,
    write_hub_config,
)
from simulators.region.plan import parse

PLACE = Path("region.yaml")
EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "region.yaml"
GOOD = """\
seed: 7
sites:
  - id: ota
    name: {en: Ota, ja: 大田}
    location: {lat: 35.56, lon: 139.72}
    municipality: "13111"
    machines:
      - {id: mc-1, kind: machining-centre, protocol: modbus}
      - {id: nl-1, kind: nc-lathe, protocol: opcua}
"""
PRESS = "      - {id: pr-1, kind: press, protocol: modbus, line: a"


def problem_of(text):
    with pytest.raises(RegionError) as caught:
        parse(text, PLACE)
    return str(caught.value)


def test_a_small_region_needs_few_words():
    region = parse(GOOD, PLACE)

    assert [machine.id for machine in region.sites[0].machines] == ["mc-1", "nl-1"]
    assert region.sites[0].time_zone == "Asia/Tokyo"
    assert region.sites[0].machines[0].shown_name.ja == "立形マシニングセンタ"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("kind: nc-lathe", "kind: lathe"), "region.yaml:9:20: sites[0].machines[1].kind: is no"),
        (("protocol: opcua", "protocol: mqtt"), "9:36: sites[0].machines[1].protocol"),
        (("id: nl-1", "id: mc-1"), "region.yaml:3:5: sites[0]: the machine id mc-1 is used twice"),
        (("id: nl-1", "id: NL 1"), "sites[0].machines[1].id"),
        (("lat: 35.56, ", ""), "5:5: sites[0].location.lat: is missing. Add `lat:`"),
        (("lat: 35.56", "lat: 95"), "less than or equal to 90"),
        (('"13111"', '"1311"'), "sites[0].municipality"),
        (("seed: 7", "sead: 7"), "region.yaml:1:1: sead: is no key of a region file"),
        (("seed: 7", "time_scale: 0"), "time_scale"),
        (("seed: 7", "step: [tick"), "expected ',' or ']'"),
        (
            ("protocol: modbus}", f"protocol: modbus, line: a}}\n{PRESS}}}"),
            "two machines of line a have the same device_id",
        ),
        (
            ("protocol: modbus}", f"protocol: modbus, line: a, port: 5}}\n{PRESS}, device_id: 2}}"),
            "the machines of line a name different ports",
        ),
        (("protocol: opcua}", "protocol: opcua, line: a}"), "line a has a machine that does not"),
    ],
)
def test_a_mistake_is_told_with_its_place_cause_and_remedy(change, said):
    assert GOOD.replace(*change) != GOOD
    assert said in problem_of(GOOD.replace(*change))


def test_two_sites_with_one_id_are_a_mistake():
    doubled = GOOD + GOOD.split("sites:\n")[1]

    assert "the site id ota is used twice" in problem_of(doubled)


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b", "[" * 5000])
def test_what_is_no_region_is_refused_with_words(text):
    assert problem_of(text).startswith("region.yaml")


def test_a_missing_file_is_told_with_the_remedy(tmp_path):
    with pytest.raises(RegionError, match=r"none\.yaml: cannot be read.*machikoba sim region"):
        read(tmp_path / "none.yaml")


def test_the_example_region_is_the_one_of_the_demo():
    assert read(EXAMPLE) == generated(sites=4, machines=4, seed=7, time_scale=12.0)


@given(sites=st.integers(1, 30), machines=st.integers(1, 12), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_an_invented_region_is_repeatable_half_and_half_and_survives_its_file(
    sites, machines, seed
):
    region = generated(sites=sites, machines=machines, seed=seed)
    protocols = [one.protocol for site in region.sites for one in site.machines]

    assert region == generated(sites=sites, machines=machines, seed=seed)
    assert len(region.sites) == sites
    assert protocols.count("opcua") == sites * (machines // 2)
    assert parse(to_yaml(region), PLACE) == region


# -- what agents and hub are told ----------------------------------------------------------


def somewhere(region):
    """Pretend that every machine listens somewhere."""
    addresses = {}
    for site in region.sites:
        for number, machine in enumerate(site.machines):
            if machine.protocol == "modbus":
                way = {"host": "127.0.0.1", "port": 5000 + number, "device_id": 1}
            else:
                way = {"url": f"opc.tcp://127.0.0.1:4840/{site.id}"}
            addresses[(site.id, machine.id)] = way
    return Whereabouts(1, addresses)


def accepted(text, model):
    document = gateway_settings.parse(text, Path("written.yaml"))
    return gateway_settings.validate(document, model)


@pytest.fixture(scope="module")
def everything():
    """Every kind of machine over both protocols."""
    return generated(sites=8, machines=8, seed=1)


def agents(region):
    found = somewhere(region)
    for site in region.sites:
        text = agent_yaml(site, found, broker_url="mqtt://127.0.0.1:1883", data=Path("/data"))
        yield site, accepted(text, AgentConfig)


def test_agents_accept_what_is_written_for_them(everything):
    assert {one.kind for site in everything.sites for one in site.machines} == set(KINDS)
    for site, config in agents(everything):
        assert (config.site, len(config.machines)) == (site.id, len(site.machines))
        for plan, machine in zip(site.machines, config.machines, strict=True):
            assert machine.name.ja == plan.shown_name.ja
            assert machine.processes == plan.what.processes
            assert list(machine.signals) == [one.name for one in signals_of(plan.what)]


def test_agents_are_led_to_the_registers_that_the_machines_fill(everything):
    for site, config in agents(everything):
        for plan, machine in zip(site.machines, config.machines, strict=True):
            if plan.protocol == "opcua":
                for name, signal in machine.signals.items():
                    assert signal.node == node_of(site.id, plan.id, name)
                continue
            for register in registers_of(plan.what):
                signal = machine.signals[register.signal.name]
                assert str(signal.source) == f"{register.table} {register.address}"
                assert (signal.type, signal.words) == (register.type, register.count)
                assert signal.scale == register.scale
                assert signal.word_order == register.word_order


def test_agents_are_told_which_counter_counts_what_and_how_states_are_judged(everything):
    for _, config in agents(everything):
        for machine in config.machines:
            counts = {name: one.counts for name, one in machine.signals.items() if one.counts}
            assert counts == {"parts_good": "good", "parts_scrap": "scrap"}
            assert machine.signals["step"].counter
            assert machine.signals["step"].deadband.absolute == 0
            rules = [rule.state or rule.otherwise for rule in machine.state]
            assert rules == ["down", "setup", "running", "waiting", "idle"]
            assert machine.state[2].hold_ms == 1000


@pytest.mark.parametrize("time_scale", [1.0, 12.0])
def test_changing_a_part_does_not_interrupt_running(everything, time_scale):
    site = everything.sites[0]
    text = agent_yaml(
        site,
        somewhere(everything),
        broker_url="mqtt://127.0.0.1:1883",
        data=Path("/data"),
        time_scale=time_scale,
    )
    for machine in accepted(text, AgentConfig).machines:
        kind = KINDS[machine.kind]
        change_ms = 1000 * kind.cycle_s * kind.load_share / time_scale
        assert change_ms < machine.state[2].release_ms < 1.2 * change_ms + 5000


def test_the_hub_accepts_what_is_written_for_it(everything):
    text = hub_yaml(
        everything, broker_url="mqtt://127.0.0.1:1883", data=Path("/data"), listen="127.0.0.1:8080"
    )
    config = accepted(text, HubConfig)

    assert sorted(config.sites) == sorted(site.id for site in everything.sites)
    assert config.sites["ota-precision"].name.ja == "大田精密"
    assert config.sites["ota-precision"].municipality == "13111"
    assert {rule.kind for rule in config.sites["ota-precision"].calendar.rules} == {"work"}
    assert config.listen.port == 8080


def test_all_settings_are_written_side_by_side(everything, tmp_path):
    broker_url, out = "mqtt://127.0.0.1:1883", tmp_path / "new"
    hub = write_hub_config(everything, broker_url=broker_url, listen="127.0.0.1:0", out=out)
    agents = write_agent_configs(everything, somewhere(everything), broker_url=broker_url, out=out)
    paths = [hub, *agents]

    assert [path.name for path in paths] == [
        "hub.yaml",
        *(f"agent-{site.id}.yaml" for site in everything.sites),
    ]
    assert sorted(out.iterdir()) == sorted(paths)


def test_at_any_hour_some_sites_work_and_the_hub_knows_their_hours():
    region = generated(sites=4, machines=1)
    text = hub_yaml(region, broker_url="mqtt://127.0.0.1:1883", data=Path("data"))
    told = accepted(text, HubConfig)
    calendars = [told.sites[site.id].calendar for site in region.sites]
    minutes = [
        sum(rule.duration_min for rule in calendar.rules if len(rule.weekdays) == 7)
        for calendar in calendars
    ]
    assert minutes == [24 * 60, 0, 0, 24 * 60]
    assert [calendar.holidays for calendar in calendars] == [None, "JP", "JP", None]
