"""What is not known is not shown as known: silent machines, cut lines, dead agents.

The bounds are those the project promises: an agent lost without a word is offline within 45 s; a
machine that stops answering is unknown within a few polls; neither is ever free meanwhile.
"""

import os
import signal
import time

import pytest

from tests.brokers import wait_until
from tests.system.plant import Plant

pytestmark = pytest.mark.system
AGENT_LOST_S = 45.0
MACHINE_SILENT_S = 8.0
"""Three time-outs of one second open the breaker; the rest is slack for a busy test machine."""


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plant")
    with Plant(folder, sites=3, machines=4, every="500ms", seed=5) as plant:
        wait_until(plant.all_live, "every machine to be live", 40)
        yield plant


def of_site(plant, site):
    return [item for (of, _), item in plant.availability().items() if of == site]


def seconds_until(condition, what, bound_s):
    began = time.monotonic()
    wait_until(condition, what, bound_s)
    return time.monotonic() - began


def protocol_of(plant, protocol):
    return next(
        (site["id"], machine["id"])
        for site in plant.region["sites"]
        for machine in site["machines"]
        if machine["protocol"] == protocol
    )


@pytest.mark.parametrize("fault", ["silent", "closed"])
def test_a_modbus_machine_that_stops_answering_is_unknown_and_not_free(plant, fault):
    site, machine = protocol_of(plant, "modbus")
    plant.order(do="fault", site=site, machine=machine, fault=fault)

    def known():
        item = plant.availability()[site, machine]
        return item["state"] != "unknown" or item["free_now"]

    seconds_until(lambda: not known(), f"{machine} to be unknown", MACHINE_SILENT_S)
    page = plant.get(f"/api/v1/machines/{site}/{machine}")
    step = next(s for s in page["signals"] if s["signal"] == "step")
    assert page["link"] is False
    assert (step["quality"], step["value"]) == ("bad", None)
    neighbours = [i for i in of_site(plant, site) if i["machine"] != machine]
    assert {i["connectivity"] for i in neighbours} == {"online"}

    plant.order(do="clear", site=site, machine=machine)
    wait_until(known, f"{machine} to be known again", 70)
    assert plant.get(f"/api/v1/machines/{site}/{machine}")["link"] is True


def test_an_opcua_server_that_is_gone_takes_its_machines_with_it(plant):
    site, machine = protocol_of(plant, "opcua")
    plant.order(do="fault", site=site, machine=machine, fault="closed")

    def shown():
        return plant.availability()[site, machine]

    wait_until(lambda: shown()["state"] == "unknown", f"{machine} to be unknown", 20)
    assert not shown()["free_now"]

    plant.order(do="clear", site=site, machine=machine)
    wait_until(lambda: shown()["state"] != "unknown", f"{machine} to be known again", 70)


def test_agents_lost_without_a_word_are_offline_within_the_bound_and_never_free(plant):
    """One agent is frozen, another's line swallows everything: nobody gets a FIN."""
    frozen, cut, healthy = list(plant.agents)
    os.killpg(plant.agents[frozen].pid, signal.SIGSTOP)
    plant.proxies[cut].black_hole()
    lost = {}

    def all_offline():
        now = time.monotonic()
        for site in (frozen, cut):
            items = of_site(plant, site)
            if items and all(i["connectivity"] != "online" for i in items):
                lost.setdefault(site, now)
                assert not any(i["free_now"] for i in items)
        return len(lost) == 2

    wait_until(all_offline, "both sites to be offline", AGENT_LOST_S)
    assert {i["connectivity"] for i in of_site(plant, healthy)} == {"online"}

    os.killpg(plant.agents[frozen].pid, signal.SIGCONT)
    plant.proxies[cut].heal()
    plant.proxies[cut].reset()
    wait_until(plant.all_live, "every machine to be live again", 60)


def test_an_agent_that_is_killed_is_offline_at_once(plant):
    site = list(plant.agents)[-1]
    plant.agents[site].kill()

    wait_until(
        lambda: {i["connectivity"] for i in of_site(plant, site)} == {"offline"},
        f"{site} to be offline",
        5,
    )
    assert not any(i["free_now"] for i in of_site(plant, site))

    plant.agents[site].start()
    wait_until(plant.all_live, "every machine to be live again", 20)
