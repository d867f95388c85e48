"""Every sample an agent committed is in the historian exactly once, whatever happens between.

A seeded network loses, repeats and reorders messages both ways; hub and agent are abandoned at
any moment and come back over their files; the historian is written at odd times. At the end the
network heals and the ledger is compared row by row.
"""

import random

import pytest

from tests.hub.ingest.scenes import Agent, Clock, Hub

SIGNALS = {"mc-1": {"count": float}, "mc-2": {"count": float, "job": str}}


class Network:
    """Loses one in five, repeats one in five, and shuffles what is on its way."""

    def __init__(self, rng):
        self.rng = rng
        self.healed = False

    def carry(self, messages):
        if self.healed:
            return messages
        carried = []
        for message in messages:
            fate = self.rng.random()
            carried += [message] * (0 if fate < 0.2 else 2 if fate < 0.4 else 1)
        if self.rng.random() < 0.3:
            self.rng.shuffle(carried)
        return carried


class World:
    def __init__(self, folder, seed):
        self.folder = folder
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.network = Network(self.rng)
        self.recorded = {("mc-1", "count"): [], ("mc-2", "count"): [], ("mc-2", "job"): []}
        self.hub = Hub(folder, now_ms=self.clock)
        self.agent = self._agent()
        self.agent.connect()

    def _agent(self):
        return Agent(self.folder, signals=SIGNALS, now_ms=self.clock, seed=self.rng.getrandbits(32))

    def turn(self):
        """One exchange of messages, with whatever mishap the dice want."""
        sent = self.network.carry(self.agent.poll())
        self.agent.take(self.network.carry(self.hub.step(sent)))
        self.clock.now_ms += self.rng.choice((20, 300, 2500))

    def record(self):
        machine, signal = self.rng.choice(list(self.recorded))
        value = float(len(self.recorded[machine, signal]))
        value = f"job {value}" if signal == "job" else value
        self.agent.record(machine, (signal, value))
        self.recorded[machine, signal].append((self.clock.now_ms, value))
        self.clock.now_ms += 1

    def mishap(self):
        fate = self.rng.random()
        if fate < 0.04:
            self.hub.abandon()
            self.hub = Hub(self.folder, now_ms=self.clock, seed=self.rng.getrandbits(32))
        elif fate < 0.08:
            self.agent.journal.close()
            self.agent = self._agent()
            self.agent.connect()
        elif fate < 0.12:
            self.agent.sender.disconnected(self.clock.now_ms)
            self.agent.connect()
        elif fate < 0.3:
            self.hub.write()

    def settle(self):
        self.network.healed = True
        last = self.agent.journal.next - 1
        for _ in range(400):
            self.turn()
            if self.agent.sender.status().settled == last:
                return
        pytest.fail(f"not settled: {self.agent.sender.status()}")


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost_and_nothing_is_there_twice(tmp_path, seed):
    world = World(tmp_path, seed)
    for _ in range(120):
        for _ in range(world.rng.randrange(4)):
            world.record()
        world.turn()
        world.mishap()
    world.settle()
    world.hub.write()

    for (machine, signal), rows in world.recorded.items():
        assert world.hub.stored(machine, signal) == rows, (machine, signal)
        live = world.hub.values(machine)
        assert live[signal] == rows[-1][1]
    assert world.hub.counters.rejected == {}
    world.hub.abandon()
    world.agent.journal.close()


def test_a_fresh_inbox_starts_from_the_marks_beside_the_rows(tmp_path):
    world = World(tmp_path, seed=5)
    world.network.healed = True
    for _ in range(20):
        world.record()
        world.turn()
    world.settle()
    world.hub.write()
    world.hub.abandon()
    for file in tmp_path.glob("inbox.journal*"):
        file.unlink()

    world.hub = Hub(tmp_path, now_ms=world.clock, seed=99)
    world.agent.sender.disconnected(world.clock.now_ms)
    world.agent.connect()
    world.record()
    world.settle()
    world.hub.write()

    for (machine, signal), rows in world.recorded.items():
        assert world.hub.stored(machine, signal) == rows
    assert world.agent.sender.status().forks == 0
    world.hub.abandon()
    world.agent.journal.close()
