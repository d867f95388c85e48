"""Kill and cut at random, keep a ledger: `make chaos ARGS="--faults 200 --seed 7"`.

Everything is real: processes, broker, disk, kill -9. With `--simulate SEEDS` the delivery protocol
runs instead, over a simulated network and crashing journals. With `--bookings N` clients contend
for the same machine hours while hubs are killed.
"""

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import duckdb

from tests.brokers import wait_until
from tests.gateway.delivery import simulation
from tests.system import bookings
from tests.system.ledger import settle_up, stored_steps
from tests.system.plant import Plant

RECOVERY_S = 5.0
"""Live state must be right again this long after a fault ends."""
CALM_S = 3.0
"""Between two faults: time for the next one to hit a running plant."""
RESULT = Path("build/chaos.json")
BOOKINGS = Path("build/chaos-bookings.json")


class Chaos:
    """Does harm to a plant, one fault after the other, and measures how it recovers."""

    def __init__(self, plant, seed):
        self._plant = plant
        self._rng = random.Random(seed)
        self.kinds = Counter()
        self.recoveries = {}

    KINDS = (
        "broker-kill",
        "hub-kill",
        "agent-kill",
        "agent-link-cut",
        "agent-half-open",
        "hub-link-cut",
        "link-reset",
        "all-kill",
    )

    def run(self, faults):
        order = [self.KINDS[i % len(self.KINDS)] for i in range(faults)]
        self._rng.shuffle(order)
        for kind in order:
            getattr(self, f"_{kind.replace('-', '_')}")()
            self.kinds[kind] += 1
            self._recover(kind)
            pause(CALM_S * self._rng.random())

    def _recover(self, kind):
        """Wait until every machine is live again with readings made after the fault."""
        began = time.monotonic()
        after = time.time()
        try:
            wait_until(lambda: self._fresh(after), f"all machines live after {kind}", 30.0)
        except AssertionError as error:
            error.add_note(f"not live: {self._stale(after)}\n{self._plant.hub.log()[-3000:]}")
            raise
        took = time.monotonic() - began
        self.recoveries[kind] = max(took, self.recoveries.get(kind, 0.0))

    def _fresh(self, after):
        return not self._stale(after)

    def _stale(self, after):
        """Name the machines that are not live with a reading made after an instant."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(after + 1))
        stale = []
        for site, machine in self._plant.machines:
            page = self._plant.get(f"/api/v1/machines/{site}/{machine}") or {"signals": []}
            read = {signal["signal"]: signal["time"] for signal in page["signals"]}
            if page.get("connectivity") != "online" or read.get("step", "") < moment:
                stale.append((site, machine, page.get("connectivity"), read.get("step")))
        return stale

    def _broker_kill(self):
        self._plant.broker.kill()
        pause(self._rng.uniform(0.1, 2.0))
        self._plant.broker.start()

    def _hub_kill(self):
        self._plant.hub.kill()
        pause(self._rng.uniform(0.0, 1.5))
        self._plant.start_hub()

    def _agent_kill(self):
        agent = self._rng.choice(list(self._plant.agents.values()))
        agent.kill()
        agent.start()

    def _all_kill(self):
        self._plant.hub.kill()
        self._plant.broker.kill()
        for agent in self._plant.agents.values():
            agent.kill()
        self._plant.broker.start()
        for agent in self._plant.agents.values():
            agent.start()
        self._plant.start_hub()

    def _agent_link_cut(self):
        self._cut(self._rng.choice(list(self._plant.agents)))

    def _hub_link_cut(self):
        self._cut("hub")

    def _cut(self, name):
        proxy = self._plant.proxies[name]
        proxy.cut()
        pause(self._rng.uniform(0.5, 3.0))
        proxy.heal()

    def _agent_half_open(self):
        proxy = self._plant.proxies[self._rng.choice(list(self._plant.agents))]
        proxy.black_hole()
        pause(self._rng.uniform(1.0, 4.0))
        proxy.heal()
        proxy.reset()

    def _link_reset(self):
        for proxy in self._plant.proxies.values():
            proxy.reset()


def pause(seconds):
    """Let time pass: what is waited for here is the harm itself."""
    time.sleep(seconds)


def metric(plant, name):
    """Add up a metric of the hub over its labels; None when the hub does not answer."""
    with contextlib.suppress(OSError):
        url = f"http://127.0.0.1:{plant.port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in found)
    return None


def drained(plant):
    """Tell whether the hub has nothing left to write."""
    return metric(plant, "machikoba_hub_backlog_entries") == 0


def run(faults, seed, *, sites=2, machines=10, every="50ms", folder=None):
    """Run a plant through `faults` faults and settle up; return the report."""
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=folder) as place:
        began = time.monotonic()
        with Plant(place, sites=sites, machines=machines, every=every, seed=seed) as plant:
            wait_until(plant.all_live, "every machine to be live at first", 40)
            first = plant.steps()
            chaos = Chaos(plant, seed)
            chaos.run(faults)
            last = plant.steps()
            seconds = time.monotonic() - began
            counted = settle(plant)
            rows = stored_steps(Path(place) / "configs" / "hub")
            samples = count_samples(Path(place) / "configs" / "hub")
            ledger = settle_up(plant, first, last, rows)
        return report(ledger, chaos, seed=seed, seconds=seconds, samples=samples, counted=counted)


def settle(plant):
    """Let everything in flight arrive, then stop agents and hub in order.

    Returns the samples that the hub counted as dropped.
    """
    for agent in plant.agents.values():
        assert agent.stop() is not None
        agent.start()
    wait_until(plant.all_live, "every machine to be live at the end", 30)
    pause(3.0)
    wait_until(lambda: drained(plant), "the hub to have written everything", 60)
    for agent in plant.agents.values():
        agent.stop()
    pause(1.0)
    wait_until(lambda: drained(plant), "the hub to have written the rest", 60)
    counted = int(metric(plant, "machikoba_hub_dropped_total") or 0)
    assert plant.hub.stop() == 0
    return counted


def count_samples(folder):
    """Count every raw row, to state the rate."""
    with duckdb.connect(str(folder / "history.duckdb"), read_only=True) as connection:
        return connection.execute("SELECT count(*) FROM sample").fetchone()[0]


def report(ledger, chaos, *, seed, seconds, samples, counted):
    """Write the fields of the report."""
    return {
        "seed": seed,
        "duration_s": round(seconds, 1),
        "rate_per_s": round(samples / seconds, 1),
        "faults": chaos.kinds.total(),
        "kinds": dict(sorted(chaos.kinds.items())),
        "expected": ledger.expected,
        "committed": ledger.committed,
        "uncommitted": ledger.uncommitted,
        "lost": ledger.lost,
        "duplicates": ledger.duplicates,
        "declared_drops": ledger.declared_drops,
        "hub_counted_drops": counted,
        "order_violations": ledger.order_violations,
        "foreign_rows": ledger.foreign_rows,
        "recovery_s_max": {kind: round(s, 2) for kind, s in sorted(chaos.recoveries.items())},
        "examples": [str(example) for example in ledger.examples[:5]],
    }


def simulate(seeds, start):
    """Run the protocol over a simulated network; return the exit code."""
    found = simulation.run(seeds, start)
    told = {
        "seeds": seeds,
        "start": start,
        "seconds": round(found.seconds, 1),
        "failures": found.failures,
        "counts": dict(found.counts),
    }
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    return 1 if found.failures else 0


def book(operations, seed, store):
    """Let clients contend for machine hours; return the exit code."""
    kills = max(2, operations // 5000)
    with tempfile.TemporaryDirectory(prefix="bookings-") as place:
        told = bookings.run(operations, store=store, seed=seed, kills=kills, folder=place)
    BOOKINGS.parent.mkdir(exist_ok=True)
    BOOKINGS.write_text(json.dumps(told, indent=2) + "\n")
    sys.stdout.write(BOOKINGS.read_text())
    return 0 if bookings.clean(told) else 1


def main():
    parser = argparse.ArgumentParser(prog="make chaos ARGS=…", description=__doc__)
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2)))
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--machines", type=int, default=10)
    parser.add_argument(
        "--simulate", type=int, metavar="SEEDS", help="simulate the delivery protocol instead"
    )
    parser.add_argument(
        "--bookings", type=int, metavar="OPERATIONS", help="book the same hours at once instead"
    )
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    words = parser.parse_args()
    if words.bookings:
        return book(words.bookings, words.seed, words.store)
    if words.simulate:
        return simulate(words.simulate, words.seed)
    result = run(words.faults, words.seed, sites=words.sites, machines=words.machines)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(RESULT.read_text())
    bad = result["lost"] or result["duplicates"] or result["order_violations"]
    return 1 if bad or result["committed"] < 0.9 * result["expected"] else 0


if __name__ == "__main__":
    sys.exit(main())
