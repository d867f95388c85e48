"""A whole agent on a computer that wakes up in the past: nothing is told before the time is known.

Promises: readings wait and are counted; when time servers answer, each gets the instant of its
reading, whatever the protocol; a clock set later is told as an event, and no time is rewritten.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.sparkplug import names
from tests.brokers import wait_until
from tests.edge_agents.tiny_hub import TinyHub, now_ms

PROGRAM = Path(__file__).parent / "agent_with_a_wrong_clock.py"
MODBUS, OPCUA = "mc-1", "nl-1"
DAY_MS = 86_400_000
SOURCE_MS = 1_500


@pytest.fixture
def clock(tmp_path):
    file = tmp_path / "clock.json"

    def set_clock(wrong_ms, *, synchronised):
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps({"wrong_ms": wrong_ms, "synchronised": synchronised}))
        fresh.replace(file)

    set_clock(-DAY_MS, synchronised=False)
    return set_clock


@pytest.mark.system
def test_what_was_read_before_the_time_was_known_gets_its_own_time(site, broker, clock, tmp_path):
    broker.start()
    site.write()
    began_ms = now_ms()
    with TinyHub(broker.url) as hub, (tmp_path / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(site.path), str(tmp_path / "clock.json")],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait_until(lambda: MODBUS in hub.births and OPCUA in hub.births, "the births", 20)
            first = wait_until(site.status, "the status page")["clock"]
            waiting = wait_until(lambda: more_waiting(site, first), "readings that wait", 20)
            assert waiting["standing"] == "waiting"
            assert hub.entries == set()

            synchronised_ms = now_ms()
            clock(0, synchronised=True)
            for machine in (MODBUS, OPCUA):
                wait_until(lambda one=machine: len(hub.of(one, "step")) > 8, "values", 20)
            assert site.status()["clock"]["standing"] == "sure"
            times = {one: times_of(hub, one) for one in (MODBUS, OPCUA)}
            for one, told in times.items():
                # An OPC UA value bears its source's time: it changed up to a second before.
                assert min(told) >= began_ms - (SOURCE_MS if one == OPCUA else 0)
                assert max(told) <= now_ms() + 50
                assert sum(one < synchronised_ms for one in told) >= 1

            clock(3_600_000, synchronised=True)
            wait_until(lambda: len(hub.of(MODBUS, names.CLOCK)) > 1, "the step to be told", 20)
            (said,) = [one for one in hub.of(MODBUS, names.CLOCK) if one.startswith("stepped")]
            assert float(said.split()[-2]) == pytest.approx(3_600, abs=0.5)
            assert times_of(hub, MODBUS)[: len(times[MODBUS])] == times[MODBUS]
        finally:
            agent.terminate()
            assert agent.wait(10) == 0


def more_waiting(site, first):
    status = site.status()
    connected = all(line["connected"] for line in status["lines"])
    clock = status["clock"]
    return clock if connected and clock["waiting"] > first["waiting"] + 60 else None


def times_of(hub, machine):
    return [time_ms for time_ms, value in hub.values[machine, "step"] if value is not None]
