"""Two OPC UA servers that hang and eat: the other machines go on, and memory stays in its budget.

Promises, with 25 Modbus and 25 OPC UA machines: no Modbus machine notices; the OPC UA machines
that shared a child come back by themselves, and then stay; the whole tree of processes stays below
200 MiB (proportional set size) all the while.
"""

import contextlib
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import yaml

from tests.brokers import Mosquitto, wait_until
from tests.edge_agents.conftest import MACHIKOBA, Program
from tests.edge_agents.tiny_hub import TinyHub

pytestmark = pytest.mark.system
HERE = Path(__file__).parent
PSS_MIB_MAX = 200
MODBUS_GAP_MS_MAX = 3_000
"""Polls come every second; the rest is slack for a busy test machine."""


@pytest.fixture(scope="module")
def factory(tmp_path_factory):
    """Fifty simulated machines, and the settings of an agent that reads them and two villains."""
    folder = tmp_path_factory.mktemp("factory")
    region, ready = folder / "region.yaml", folder / "ready.json"
    region.write_bytes(said("sim", "region", "--sites", "1", "--machines", "50"))
    simulator = Program(folder / "sim.log", "sim", "run", region, "--ready-file", ready)
    wait_until(lambda: ready.exists() and ready.read_text(), "the machines to be ready", 60)
    broker = Mosquitto(folder)
    broker.start()
    said("sim", "configs", region, "--ready", ready, "--broker", broker.url, "--out", folder)
    (written,) = folder.glob("agent-*.yaml")
    settings = yaml.safe_load(written.read_text())
    settings |= {"data": "data", "opcua_processes": 2}
    settings["machines"] += [villain("hang"), villain("eat")]
    (folder / "edge.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
    yield folder, settings, broker
    simulator.end()
    broker.kill()


def said(*words):
    done = subprocess.run([*MACHIKOBA, *map(str, words)], check=True, capture_output=True)
    return done.stdout


def villain(what):
    opcua = {"url": f"opc.tcp://{what}:1", "security": "none"}
    return {"id": f"villain-{what}", "opcua": opcua, "signals": {"a": {"node": "i=1"}}}


def pss_mib(process):
    kib = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(OSError):  # a child may end while it is looked at
            for line in Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines():
                kib += int(line.split()[1]) if line.startswith("Pss:") else 0
    return kib / 1024


def of(settings, protocol):
    return [
        one["id"]
        for one in settings["machines"]
        if protocol in one and not one["id"].startswith("villain")
    ]


def steps(hub, machine):
    with hub._lock:
        return sorted(hub.values.get((machine, "step"), ()))


def test_two_servers_that_do_harm_cost_the_others_little_and_memory_nothing(factory):
    folder, settings, broker = factory
    modbus, opcua = of(settings, "modbus"), of(settings, "opcua")
    assert len(modbus) >= 20
    assert len(opcua) >= 20
    log_file = folder / "agent.log"
    with TinyHub(broker.url) as hub, log_file.open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, str(HERE / "agent_with_villains.py"), str(folder / "edge.yaml")],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        tree, heaviest = psutil.Process(agent.pid), 0.0
        try:

            def harm_done():
                nonlocal heaviest
                heaviest = max(heaviest, pss_mib(tree))
                text = log_file.read_text()
                return "hang:1 hung it" in text and "eat:1 hung it" in text

            wait_until(lambda: all(steps(hub, one) for one in modbus + opcua), "all machines", 30)
            wait_until(harm_done, "both villains to be found out", 30)
            since_ms = time.time_ns() // 1_000_000

            def all_go_on():
                nonlocal heaviest
                heaviest = max(heaviest, pss_mib(tree))
                return all(
                    sum(at > since_ms for at, value in steps(hub, one) if value is not None) >= 4
                    for one in modbus + opcua
                )

            wait_until(all_go_on, "every honest machine to go on", 20)
        finally:
            agent.terminate()
            assert agent.wait(15) == 0

    assert heaviest <= PSS_MIB_MAX
    for machine in modbus:
        times = [at for at, value in steps(hub, machine) if value is not None]
        gaps = [after - before for before, after in pairwise(times)]
        assert max(gaps) <= MODBUS_GAP_MS_MAX, machine
