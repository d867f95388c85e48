"""The whole agent against real machines (simulated ones), a real broker, and a hub that answers.

Promises: it starts without a broker and loses nothing of what it committed, however it ends; a
mistake in one machine's stanza stops only that machine; a machine that goes silent is told as such
at once; an orderly stop leaves a death and a closed journal.
"""

import http.client
import json
import re
import signal

import pytest

from edge_agents.agent.loading import load
from gateway.settings import SettingsError
from gateway.sparkplug import names
from tests.brokers import wait_until
from tests.edge_agents.tiny_hub import TinyHub

MODBUS, OPCUA = "mc-1", "nl-1"


@pytest.mark.system
def test_values_of_every_machine_arrive_with_births_that_describe_them(site, broker):
    broker.start()
    with TinyHub(broker.url) as hub:
        site.start()
        for machine in (MODBUS, OPCUA):
            wait_until(lambda one=machine: hub.of(one, "step"), f"a value of {machine}", 20)
            wait_until(lambda one=machine: hub.of(one, names.STATE), f"a state of {machine}", 20)
        wait_until(lambda: len(hub.of(MODBUS, "step")) > 3, "some more", 20)

    assert set(hub.of(MODBUS, names.LINK)) == {True}
    description = json.loads(hub.births[MODBUS][names.MACHINE])
    assert description["kind"] == "machining-centre"
    assert description["name"]["ja"]


@pytest.mark.system
def test_an_agent_starts_without_a_broker_and_brings_everything_when_there_is_one(site, broker):
    site.start()
    wait_until(lambda: site.committed()[1] > 20, "entries on disk", 30)
    epoch, end = site.committed()

    broker.start()
    with TinyHub(broker.url) as hub:
        wanted = {(epoch, offset) for offset in range(1, end)}
        wait_until(lambda: wanted <= hub.entries, "all entries from before", 30)


@pytest.mark.system
def test_nothing_committed_is_lost_when_the_agent_is_killed_again_and_again(site, broker):
    broker.start()
    with TinyHub(broker.url) as hub:
        site.start()
        wait_until(lambda: len(hub.entries) > 10, "entries at the hub", 30)
        for _ in range(2):
            broker.kill()
            before = site.committed()[1]
            wait_until(lambda least=before + 8: site.committed()[1] > least, "some more", 30)
            epoch, end = site.committed()
            site.kill()
            site.start()
            broker.start()
            wanted = {(epoch, offset) for offset in range(1, end)}
            wait_until(lambda all_of=wanted: all_of <= hub.entries, "what was committed", 40)

    assert len({epoch for epoch, _ in hub.entries}) == 1
    steps = hub.of(MODBUS, "step")
    assert steps == sorted(steps)


@pytest.mark.system
def test_an_orderly_stop_says_goodbye_and_closes_the_journal(site, broker):
    broker.start()
    with TinyHub(broker.url) as hub:
        site.start()
        wait_until(lambda: hub.of(MODBUS, "step"), "a value", 20)

        code = site.agent.end(signal.SIGTERM)

        wait_until(lambda: "NDEATH" in hub.told, "the death", 5)
    assert code == 0
    assert not (site.folder / "data" / "status-port").exists()
    assert not list((site.folder / "data").glob("*-wal"))


@pytest.mark.system
def test_a_mistake_in_one_machine_stops_only_that_machine(site, broker):
    broker.start()
    broken = next(one for one in site.settings["machines"] if one["id"] == OPCUA)
    broken["signals"]["step"]["unti"] = "mm"
    with TinyHub(broker.url) as hub:
        site.start()
        wait_until(lambda: hub.of(MODBUS, "step"), "a value of the good one", 20)
        status = wait_until(site.status, "the status page")

    assert OPCUA not in hub.births
    (problem,) = status["disabled"]
    assert re.search(
        r"edge\.yaml:\d+:\d+: machines\[1\]\.signals\.step\.unti: unknown key", problem
    )


@pytest.mark.system
def test_a_machine_that_cannot_be_reached_is_told_as_such_at_once(site, broker):
    broker.start()
    machine = next(one for one in site.settings["machines"] if one["id"] == MODBUS)
    machine["modbus"]["tcp"] = "127.0.0.1:1"
    with TinyHub(broker.url) as hub:
        site.start()
        wait_until(lambda: hub.of(MODBUS, names.STATE), "a state", 20)
        wait_until(lambda: hub.of(OPCUA, "step"), "a value of the other one", 20)

    assert hub.of(MODBUS, names.LINK) == [False]
    assert hub.of(MODBUS, names.STATE) == ["unknown"]
    assert set(hub.of(MODBUS, "step")) == {None}


@pytest.mark.system
def test_the_status_page_answers_monitoring_and_nobody_from_elsewhere(site):
    site.start()
    wait_until(lambda: site.ask("/healthz") == "ok\n", "the agent to be healthy")
    hours_left = re.compile(r"^machikoba_agent_outbox_hours_left [\d.]+$", re.MULTILINE)
    wait_until(lambda: hours_left.search(site.ask("/metrics") or ""), "a rate to reckon with", 20)
    metrics = site.ask("/metrics")
    port = int((site.folder / "data" / "status-port").read_text())

    assert "machikoba_agent_outbox_durable 1.0\n" in metrics
    assert re.search(r'machikoba_agent_machine_link\{machine="mc-1"\} [01]\.0\n', metrics)
    for host, path, code in (
        ("attacker.example", "/status.json", 403),
        ("attacker.example:80", "/status.json", 403),
        ("localhost", "/nothing", 404),
    ):
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        link.request("GET", path, headers={"Host": host})
        assert link.getresponse().status == code
        link.close()


BASE = """
site: ota
agent: line-1
broker: {url: mqtt://127.0.0.1}
machines:
  - id: a
    modbus: {tcp: 127.0.0.1}
    signals: {on: {register: coil 1}}
"""


def written(tmp_path, text):
    path = tmp_path / "edge.yaml"
    path.write_text(text)
    return path


def test_two_machines_with_one_id_are_both_left_out(tmp_path):
    twin = "  - id: b\n    modbus: {tcp: h}\n    signals: {on: {register: coil 1}}\n"

    loaded = load(written(tmp_path, BASE + twin + twin), {})

    assert [machine.id for machine in loaded.config.machines] == ["a"]
    assert [problem.cause for problem in loaded.problems] == [
        "the id 'b' is used more than once, so all of these are left out"
    ]


def test_without_any_usable_machine_the_agent_does_not_start(tmp_path):
    with pytest.raises(SettingsError, match="beyond 65535"):
        load(written(tmp_path, BASE.replace("coil 1", "coil 70000")), {})


def test_the_environment_wins_over_the_file_and_holds_the_password(tmp_path):
    environment = {
        "MACHIKOBA_AGENT__BROKER__URL": "mqtts://elsewhere",
        "MACHIKOBA_AGENT_BROKER_PASSWORD": "open sesame",
    }

    loaded = load(written(tmp_path, BASE), environment)

    assert loaded.config.broker.url == "mqtts://elsewhere"
    assert loaded.password == "open sesame"


def test_defaults_and_places_are_settled_when_loaded(tmp_path):
    loaded = load(written(tmp_path, "data: box\ndefaults: {every: 3s}\n" + BASE), {})

    assert loaded.config.data == tmp_path / "box"
    assert loaded.config.machines[0].signals["on"].every_ms == 3_000
