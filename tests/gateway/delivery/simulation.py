"""Both ends of delivery in one seeded world where everything that can go wrong does.

Time is virtual and every choice comes from the seed, so a run that fails can be run again. The
network loses, duplicates, reorders and delays; brokers restart, links go half open; agents and
hubs crash at any moment and lose what was not committed; hubs come back from a back-up, journals
from a copy; budgets force data out; clocks step. Then the faults end, and within a bounded time
everything must be where it belongs.

`simulate` runs one seed and raises Violation, `run` runs many and reports.
"""

import heapq
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import count

from gateway.delivery import (
    Births,
    HostSession,
    MachineMetrics,
    NodeBirth,
    Outgoing,
    Receiver,
    Sender,
    read_ack,
)
from gateway.journal import Entry, NewEntry
from gateway.sparkplug import (
    DataType,
    Metric,
    decode,
    encode_body,
    names,
    parse_topic,
    read_entry,
    typed,
)

SITE, HOST = "site", "hub"
T0_MS = 1_790_000_000_000
ACTIVE_MS = 60_000
LIVENESS_MS = 400_000
"""After the last fault everything must be settled within this time: some time-outs of 60 s."""
COMMIT_MS = 50
AMPLE = 1_000_000
"""A budget in entries that no run fills."""
HALF_OPEN_MS = 30_000
"""Twice the keepalive: what it takes an MQTT client to notice a dead link."""


class Violation(AssertionError):  # noqa: N818 -- it is no error of the simulation
    """An invariant does not hold; the text tells the seed and the last events."""


@dataclass(frozen=True)
class Plan:
    """What a seed stands for."""

    loss: float
    duplicate: float
    reorder: float
    latency_ms: int
    gated: bool
    agents: int
    rate_per_s: float
    budget: int
    keep_ms: int
    faults: tuple[tuple[int, str], ...]

    @property
    def quiet(self) -> bool:
        """Whether the network keeps every message, once and in order."""
        return not (self.loss or self.duplicate or self.reorder)


FAULTS = (
    "agent-crash",
    "hub-crash",
    "broker-restart",
    "agent-cut",
    "hub-cut",
    "agent-half-open",
    "hub-half-open",
    "hub-restore",
    "journal-rollback",
    "agent-clock",
    "hub-clock",
    "inbox-full",
    "rebirth",
    "machines-change",
    "burst",
)


def plan(seed: int) -> Plan:
    """Draw a plan; one seed in ten has no faults at all, and small budgets are rare."""
    rng = random.Random(seed)
    lossy = rng.random() < 0.6
    faults: list[tuple[int, str]] = []
    if seed % 10:
        kinds = rng.sample(FAULTS, rng.randint(1, len(FAULTS)))
        faults = [
            (rng.randrange(1_000, ACTIVE_MS), rng.choice(kinds)) for _ in range(rng.randint(1, 14))
        ]
    tight = rng.random() < 0.25
    return Plan(
        loss=rng.choice((0.01, 0.05, 0.3)) if lossy else 0.0,
        duplicate=rng.choice((0.0, 0.05, 0.2)) if lossy else 0.0,
        reorder=rng.choice((0.0, 0.05, 0.3)) if lossy else 0.0,
        latency_ms=rng.choice((2, 20, 300)),
        gated=rng.random() < 0.3,
        agents=2 if rng.random() < 0.2 else 1,
        rate_per_s=rng.choice((0.5, 3.0, 8.0)),
        budget=rng.randint(20, 150) if tight else AMPLE,
        keep_ms=rng.choice((5_000, 30_000)) if tight else 10**9,
        faults=tuple(sorted(faults)),
    )


class World:
    """Virtual time, the event queue, and the record of what happened."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.plan = plan(seed)
        self.orderly = self.plan.quiet and not self.plan.faults
        self.rng = random.Random(seed ^ 0x5EED)
        self.now = 0
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.order = count()
        self.log: deque[str] = deque(maxlen=120)
        self.counts: Counter[str] = Counter()

    def at(self, delay_ms: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + int(delay_ms), next(self.order), action))

    def note(self, text: str) -> None:
        self.log.append(f"{self.now:>7} {text}")

    def check(self, holds: object, claim: str) -> None:
        if not holds:
            story = "\n".join(self.log)
            raise Violation(f"seed {self.seed}: {claim}\n{self.plan}\n{story}")

    def run_until(self, end_ms: int, done: Callable[[], bool] = lambda: False) -> bool:
        while self.events and self.events[0][0] <= end_ms:
            self.now, _, action = heapq.heappop(self.events)
            action()
            if done():
                return True
        self.now = end_ms
        return done()


@dataclass
class Kept:
    """One entry in a model journal."""

    entry: Entry
    settled_at: int | None = None


class ModelJournal:
    """What gateway.journal promises, in memory: commits are durable, settling only with the next.

    `dropped` remembers the contents that the budget forced out, `declared` their samples.
    """

    def __init__(self, world: World, on_settle: Callable[[int, Entry], None]) -> None:
        self._world = world
        self._on_settle = on_settle
        self.epoch = world.rng.getrandbits(64)
        self.next = 1
        self.kept: dict[int, Kept] = {}
        self.saved: dict[str, bytes] = {}
        self.undurable: set[int] = set()
        self.dropped: set[int] = set()
        self.dropped_samples = 0
        self.undeclared_samples = 0

    @property
    def first(self) -> int:
        return next(iter(self.kept), self.next)

    def read(self, first: int, limit: int) -> list[Entry]:
        return self._some(first, limit, lambda _: True)

    def unsettled(self, first: int, limit: int) -> list[Entry]:
        return self._some(first, limit, lambda kept: kept.settled_at is None)

    def _some(self, first: int, limit: int, wanted: Callable[[Kept], bool]) -> list[Entry]:
        found = []
        for offset in range(max(first, self.first), self.next):
            if len(found) == limit:
                break
            kept = self.kept.get(offset)
            if kept is not None and wanted(kept):
                found.append(kept.entry)
        return found

    def settle(self, ranges: Iterable[tuple[int, int]]) -> None:
        for first, last in ranges:
            for offset in range(max(first, self.first), min(last, self.next - 1) + 1):
                kept = self.kept.get(offset)
                if kept is not None and kept.settled_at is None:
                    self._on_settle(self.epoch, kept.entry)
                    kept.settled_at = self._world.now
                    self.undurable.add(offset)

    def facts(self, prefix: str = "") -> dict[str, bytes]:
        return {name: value for name, value in self.saved.items() if name.startswith(prefix)}

    def append(self, entries: Iterable[NewEntry], facts: dict[str, bytes | None]) -> int:
        entries = list(entries)
        for name, value in facts.items():
            if value is None:
                self.saved.pop(name, None)
            else:
                self.saved[name] = value
        self.undurable.clear()
        if entries:
            self._make_room(len(entries))
        first = self.next
        for entry in entries:
            self._put(entry)
        return first

    def _put(self, new: NewEntry) -> None:
        offset, self.next = self.next, self.next + 1
        self.kept[offset] = Kept(Entry(offset, new.key, new.time_ms, new.body, new.count))

    def _make_room(self, coming: int) -> None:
        """Prune what is settled, then drop the oldest samples, then announce the drop."""
        plan, now = self._world.plan, self._world.now
        if plan.budget == AMPLE and not self.undeclared_samples:
            return
        for offset, kept in list(self.kept.items()):
            aged = kept.settled_at is not None and now - kept.settled_at > plan.keep_ms
            crowded = kept.settled_at is not None and len(self.kept) + coming > plan.budget
            if aged or crowded:
                del self.kept[offset]
        runs: list[list[int]] = []
        while len(self.kept) + coming > plan.budget:
            victims = [kept.entry for kept in self.kept.values() if kept.entry.count]
            if not victims:
                break
            victim = victims[0]
            self.dropped.add(content_of(victim.body))
            del self.kept[victim.offset]
            self._world.counts["dropped"] += 1
            if runs and runs[-1][1] + 1 == victim.offset:
                runs[-1][1:] = [victim.offset, runs[-1][2] + victim.count]
            else:
                runs.append([victim.offset, victim.offset, victim.count])
        if self.undeclared_samples:
            runs.append([0, 0, self.undeclared_samples])
            self.undeclared_samples = 0
        for run in runs:
            if run[0]:
                self.dropped_samples += run[2]
            self._put(NewEntry("", T0_MS, announcement(run), 0))

    def begin_new_epoch(self, random64: Callable[[], int]) -> None:
        self.epoch = random64()
        unsettled = [kept for kept in self.kept.values() if kept.settled_at is None]
        self.kept.clear()
        self.undurable.clear()
        self.next = 1
        for kept in unsettled:
            if kept.entry.count == 0:
                self.undeclared_samples += dropped_of(kept.entry.body)[2]
                continue
            old = kept.entry
            self._put(NewEntry(old.key, old.time_ms, old.body, old.count))

    def crash(self) -> None:
        """Lose what was not durable: settling since the last commit."""
        for offset in self.undurable:
            if offset in self.kept:
                self.kept[offset].settled_at = None
        self.undurable.clear()

    def copy(self) -> "JournalCopy":
        kept = {offset: Kept(kept.entry, kept.settled_at) for offset, kept in self.kept.items()}
        return JournalCopy(self.epoch, self.next, kept, self.saved.copy(), self.undeclared_samples)

    def restore(self, copy: "JournalCopy") -> None:
        self.epoch, self.next = copy.epoch, copy.next
        self.kept, self.saved = copy.kept, copy.saved
        self.undeclared_samples = copy.undeclared_samples
        self.undurable.clear()


@dataclass
class JournalCopy:
    """The file of a model journal, as it was at some moment."""

    epoch: int
    next: int
    kept: dict[int, Kept]
    saved: dict[str, bytes]
    undeclared_samples: int


def body_of(content: int, time_ms: int) -> bytes:
    """Write the body of an entry whose one sample has `content` as its value."""
    metric = Metric(alias=128, datatype=DataType.DOUBLE, value=float(content), time_ms=time_ms)
    return encode_body([metric])


def content_of(body: bytes) -> int:
    """Read what `body_of` wrote, also from a whole message."""
    return next(int(metric.value) for metric in decode(body).metrics if metric.alias == 128)


def announcement(run: list[int]) -> bytes:
    values = (
        (names.DROPPED, DataType.UINT64_ARRAY, run),
        (
            names.DROPPED_CAUSE,
            DataType.STRING,
            "budget",
        ),
    )
    return encode_body([Metric(name=n, datatype=d, value=v, time_ms=T0_MS) for n, d, v in values])


def dropped_of(body: bytes) -> list[int] | None:
    """Read [from, to, samples] of an announcement, None of any other entry."""
    metrics = (metric for metric in decode(body).metrics if metric.name == names.DROPPED)
    return next((typed(metric, DataType.UINT64_ARRAY) for metric in metrics), None)


def seq_of(payload: bytes) -> int:
    """Read the seq of an entry from its last bytes: protobuf field 3, one varint."""
    if payload[-2] & 0x80:
        return (payload[-2] & 0x7F) | payload[-1] << 7
    return payload[-1]


class Clock:
    """A wall clock that steps."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.offset_ms = T0_MS

    def now_ms(self) -> int:
        return self._world.now + self.offset_ms

    def step(self) -> None:
        choices = (-3_600_000, -5_000, 5_000, 3_600_000, 365 * 86_400_000)
        self.offset_ms = max(0, self.offset_ms + self._world.rng.choice(choices))


class Broker:
    """Routes messages between clients that are connected; keeps only the retained STATE."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.up = True
        self.clients: dict[str, Client] = {}
        self.retained: dict[str, bytes] = {}

    def publish(self, sender: "Client", message: Outgoing) -> None:
        """Take a message from a client; it arrives, if it does, some time later."""
        if sender.half_open or not sender.connected:
            return
        if message.retain:
            self.retained[message.topic] = message.payload
        for client in self.clients.values():
            if client is not sender or message.retain:
                self._carry(sender, client, message)

    def _carry(self, sender: "Client", client: "Client", message: Outgoing) -> None:
        if not client.wants(message.topic):
            return
        world, plan = self._world, self._world.plan
        sure, generation = message.qos == 1, client.generation
        if not sure and world.rng.random() < plan.loss:
            world.counts["lost"] += 1
            return
        copies = 1 if sure or world.rng.random() >= plan.duplicate else 2
        for _ in range(copies):
            delay = world.rng.uniform(1, 2) * plan.latency_ms
            if not sure and world.rng.random() < plan.reorder:
                delay += world.rng.uniform(0, 20) * plan.latency_ms
            else:
                delay = max(delay, client.arrives_after - world.now)
                client.arrives_after = world.now + delay
            world.at(
                delay, partial(self._arrive, sender, sender.lives, client, generation, message)
            )

    def _arrive(
        self, sender: "Client", lives: int, client: "Client", generation: int, message: Outgoing
    ) -> None:
        if sender.lives == lives:
            client.deliver(generation, message)

    def subscribed(self, client: "Client") -> None:
        for topic, payload in self.retained.items():
            if client.wants(topic):
                self._carry(client, client, Outgoing(topic, payload, 1, retain=True))

    def restart(self) -> None:
        """Kill -9: every connection breaks, retained messages are gone."""
        self._world.note("broker restarts")
        self.retained.clear()
        self.up = False
        for client in self.clients.values():
            client.cut()
        self._world.at(self._world.rng.uniform(10, 5_000), self._back)

    def _back(self) -> None:
        self.up = True


class Client:
    """One program's link to the broker: reconnects by itself, may be half open."""

    def __init__(
        self, world: World, broker: Broker, name: str, wants: Callable[[str], bool]
    ) -> None:
        self._world = world
        self._broker = broker
        self.name = name
        self.wants = wants
        self.generation = 0
        self.lives = 0
        """Counts restores from a copy: they take longer than a network keeps a message."""
        self.connected = False
        self.half_open = False
        self.running = False
        self.arrives_after = 0.0
        self.will: Outgoing | None = None
        self.connecting: Callable[[], Outgoing] = lambda: Outgoing("", b"", 0, retain=False)
        self.on_connected: Callable[[], None] = lambda: None
        self.on_disconnected: Callable[[], None] = lambda: None
        self.on_message: Callable[[str, bytes], None] = lambda _topic, _payload: None
        broker.clients[name] = self

    def start(self) -> None:
        self.running = True
        self._retry(self.generation)

    def stop(self) -> None:
        """The program died: the broker sees the connection break and publishes the will."""
        self.running = False
        self._break(tell=False)

    def cut(self) -> None:
        """The connection breaks, and both ends notice at once."""
        self._break(tell=True)

    def leave(self) -> None:
        """Disconnect in order, so without a will, and connect again."""
        self.will = None
        self._break(tell=True)

    def go_half_open(self) -> None:
        if self.connected and not self.half_open:
            self.half_open = True
            generation = self.generation
            self._world.at(
                self._world.rng.uniform(5_000, HALF_OPEN_MS), lambda: self._notice(generation)
            )

    def publish(self, message: Outgoing) -> None:
        if self.connected:
            self._broker.publish(self, message)

    def deliver(self, generation: int, message: Outgoing) -> None:
        if generation == self.generation and self.connected and not self.half_open:
            self.on_message(message.topic, message.payload)

    def _notice(self, generation: int) -> None:
        if generation == self.generation:
            self.cut()

    def _break(self, *, tell: bool) -> None:
        was, self.connected, self.half_open = self.connected, False, False
        self.generation += 1
        if was and self.will is not None and self._broker.up:
            will = self.will
            if will.retain:
                self._broker.retained[will.topic] = will.payload
            for client in self._broker.clients.values():
                self._broker._carry(self, client, will)
        if tell and was and self.running:
            self.on_disconnected()
        if self.running:
            self._world.at(
                self._world.rng.uniform(20, 1_000), partial(self._retry, self.generation)
            )

    def _retry(self, generation: int) -> None:
        if generation != self.generation or not self.running:
            return
        self.will = self.connecting()
        if not self._broker.up:
            self._world.at(self._world.rng.uniform(100, 1_000), lambda: self._retry(generation))
            return
        self.connected = True
        self.arrives_after = 0.0
        self.on_connected()
        self._broker.subscribed(self)


class Agent:
    """One edge agent: records contents, commits them, and runs a Sender on its journal."""

    def __init__(self, world: World, broker: Broker, name: str, hub: "Hub") -> None:
        self._world = world
        self._hub = hub
        self.name = name
        self.clock = Clock(world)
        self.journal = ModelJournal(world, self._may_settle)
        self.contents = count(int(name[-1]) * 1_000_000)
        self.committed: dict[int, str] = {}
        self.optional: set[int] = set()
        self.copies: list[tuple[JournalCopy, set[int]]] = []
        self.rolled_back = False
        self.machines = ["m1", "m2"]
        self.pending: list[tuple[str, int]] = []
        self.sender: Sender | None = None
        self.incarnation = 0
        self.next_seq: int | None = None
        self.born = set[str]()
        self._wake_at: int | None = None
        self.client = Client(world, broker, name, self._wants)
        self.client.connecting = self._connecting
        self.client.on_connected = self._connected
        self.client.on_disconnected = self._disconnected
        self.client.on_message = self._received
        self.start()
        self._record_later()

    def _wants(self, topic: str) -> bool:
        return topic == f"spBv1.0/{SITE}/NCMD/{self.name}" or topic.startswith("spBv1.0/STATE/")

    def start(self) -> None:
        self.incarnation += 1
        self.sender = Sender(
            site=SITE,
            agent=self.name,
            version="1",
            storage=self.journal,
            births=self._births,
            rng=random.Random(self._world.rng.random()),
            host=HOST if self._world.plan.gated else None,
        )
        self._commit_later(self.incarnation)
        self.client.start()

    def crash(self, *, down_ms: float) -> None:
        """Kill -9; the journal keeps what was committed."""
        if self.sender is None:
            return
        self._world.note(f"{self.name} crashes")
        self.sender = None
        self.pending.clear()
        self.client.stop()
        self.journal.crash()
        self._world.at(down_ms, self.start)

    def roll_back(self) -> None:
        """Come back with an old copy of the journal; what was committed since may be lost."""
        if self.sender is None or not self.copies:
            return
        self.crash(down_ms=self._world.rng.uniform(10, 3_000))
        copy, known = self._world.rng.choice(self.copies)
        self.journal.restore(copy)
        self.client.lives += 1
        self.rolled_back = True
        self.optional |= set(self.committed) - known
        self.copies.clear()
        self._world.note(f"{self.name} journal rolled back to next={self.journal.next}")

    def copy_journal(self) -> None:
        """Take a copy, but not while no host has confirmed the journal (see Lineage).

        Restoring such a copy may store twice what was unacknowledged in it: rather that than
        losing it, for nobody can tell then which of its entries were sent.
        """
        if self.sender is not None and "delivery/floor" not in self.journal.saved:
            self.copies.append((self.journal.copy(), set(self.committed)))

    def change_machines(self) -> None:
        if self.sender is None:
            return
        new = f"m{self._world.rng.randint(3, 5)}"
        if new not in self.machines:
            self.machines.append(new)
            self.sender.births_changed(self.clock.now_ms())

    def burst(self) -> None:
        self.pending += [self._content() for _ in range(self._world.rng.randint(50, 400))]

    def _births(self) -> Births:
        metrics = [Metric(name="v", alias=128, datatype=DataType.DOUBLE)]
        return Births([MachineMetrics(machine, metrics) for machine in self.machines])

    def _content(self) -> tuple[str, int]:
        return self._world.rng.choice(self.machines), next(self.contents)

    def _record_later(self) -> None:
        if self._world.now < ACTIVE_MS:
            if self.sender is not None:
                self.pending.append(self._content())
            gap_ms = self._world.rng.expovariate(self._world.plan.rate_per_s) * 1_000
            self._world.at(gap_ms, self._record_later)

    def _commit_later(self, incarnation: int) -> None:
        if incarnation == self.incarnation and self.sender is not None:
            self._commit(incarnation)
            self._world.at(COMMIT_MS, lambda: self._commit_later(incarnation))

    def _commit(self, incarnation: int) -> None:
        """Append what is pending; the sender hears of it a little later, or never."""
        if not self.pending:
            return
        time_ms = self.clock.now_ms()
        entries = [
            NewEntry(machine, time_ms, body_of(content, time_ms), 1)
            for machine, content in self.pending
        ]
        first = self.journal.append(entries, {})
        self.committed.update({content: machine for machine, content in self.pending})
        self.pending.clear()
        stored = [entry for entry in self.journal.read(first, len(entries) * 2) if entry.count]
        self._world.at(
            self._world.rng.choice((0, 0, 1, 40)), lambda: self._appended(incarnation, stored)
        )

    def _appended(self, incarnation: int, entries: list[Entry]) -> None:
        if incarnation == self.incarnation and self.sender is not None:
            self.sender.appended(entries, self.clock.now_ms())
            self._poll()

    def _connecting(self) -> Outgoing:
        self._world.check(self.sender, "a dead agent connects")
        return self.sender.connecting(self.clock.now_ms())

    def _connected(self) -> None:
        self.next_seq = None
        self.born.clear()
        self.sender.connected(self.clock.now_ms())
        self._poll()

    def _disconnected(self) -> None:
        self.sender.disconnected(self.clock.now_ms())
        self._poll()

    def _received(self, topic: str, payload: bytes) -> None:
        self.sender.received(topic, payload, self.clock.now_ms())
        self._poll()

    def _poll(self) -> None:
        if self.sender is None:
            return
        for message in self.sender.poll(self.clock.now_ms()):
            self._check_message(message)
            self.client.publish(message)
        if self.sender.wants_reconnect:
            self.client.leave()
            return
        wakeup_ms = self.sender.next_wakeup_ms()
        if wakeup_ms is None:
            return
        at = self._world.now + max(1, wakeup_ms - self.clock.now_ms())
        if self._wake_at is None or at < self._wake_at or self._wake_at <= self._world.now:
            self._wake_at = at
            self._world.at(at - self._world.now, lambda: self._wake(at))

    def _wake(self, at: int) -> None:
        if self._wake_at == at:
            self._wake_at = None
        self._poll()

    def _check_message(self, message: Outgoing) -> None:
        """Check the rules of the session: births first, one seq for all, nothing retained."""
        world = self._world
        topic = parse_topic(message.topic)
        world.counts[topic.kind] += 1
        point = read_entry(message.payload)
        world.note(f"{self.name} sends {topic.kind} {point or ''}")
        if topic.kind == "NDEATH":
            return
        seq = seq_of(message.payload) if point else decode(message.payload).seq
        if topic.kind == "NBIRTH":
            self.born.clear()
            world.check(seq == 0, "an NBIRTH does not have seq 0")
        else:
            world.check(seq == self.next_seq, f"seq {seq} where {self.next_seq} was due")
        self.next_seq = (seq + 1) % 256
        if topic.kind == "DBIRTH":
            self.born.add(topic.device)
        if topic.kind == "DDATA":
            world.check(topic.device in self.born, "data of a machine that was not born")
        world.check(message.qos == 0 and not message.retain, "a message with QoS or retained")

    def _may_settle(self, epoch: int, entry: Entry) -> None:
        """An entry may be given up only if this very content is safe, or was told to be lost."""
        key = (self.name, epoch, entry.offset)
        if self._hub.was_lost(*key):
            return
        self._world.check(key in self._hub.ever_stored, f"{key} is settled but was never stored")
        self._world.check(
            self._hub.ever_stored[key] == (content_of(entry.body) if entry.count else None),
            f"{key} is settled but the hub stored other content",
        )


@dataclass
class Durable:
    """What the hub's inbox holds: rows, marks, tables of births, and drops counted."""

    rows: dict[tuple[str, int, int], int | None] = field(default_factory=dict)
    contents: Counter[int] = field(default_factory=Counter)
    facts: dict[str, bytes] = field(default_factory=dict)
    tables: set[tuple[str, int, str]] = field(default_factory=set)
    lost: set[tuple[str, int, int, int]] = field(default_factory=set)
    dropped_samples: Counter[str] = field(default_factory=Counter)

    def copy(self) -> "Durable":
        """Return an independent state with the same content."""
        return Durable(*(getattr(self, part.name).copy() for part in fields(self)))


@dataclass
class Turn:
    """What one transaction of the hub will hold."""

    rows: list[tuple[tuple[str, int, int], int | None]] = field(default_factory=list)
    tables: set[tuple[str, int, str]] = field(default_factory=set)
    lost: set[tuple[str, int, int, int]] = field(default_factory=set)
    dropped_samples: Counter[str] = field(default_factory=Counter)


class Hub:
    """The hub's ingest: takes messages in turns, commits, and acknowledges with a Receiver."""

    def __init__(self, world: World, broker: Broker) -> None:
        self._world = world
        self.clock = Clock(world)
        self.durable = Durable()
        self.ever_stored: dict[tuple[str, int, int], int | None] = {}
        self.ever_lost: set[tuple[str, int, int, int]] = set()
        self.backups: list[Durable] = []
        self.restored = False
        self.full = False
        self.receiver: Receiver | None = None
        self.incarnation = 0
        self.last_live: dict[tuple[str, str], int] = defaultdict(int)
        self._queue: list[tuple[str, bytes]] = []
        self._busy = False
        self._wake_at: int | None = None
        self._epochs: dict[str, int] = {}
        self._checked: dict[tuple[str, int], int] = {}
        self.client = Client(world, broker, HOST, self._wants)
        self.client.connecting = self._connecting
        self.client.on_connected = self._connected
        self.client.on_message = self._received
        self.start()

    def _wants(self, topic: str) -> bool:
        if topic.startswith("spBv1.0/STATE/"):
            return topic.endswith(f"/{HOST}")
        return "/NCMD/" not in topic

    def start(self) -> None:
        self.incarnation += 1
        self.receiver = Receiver(
            host=HOST,
            marks=self.durable.facts,
            rng=random.Random(self._world.rng.random()),
        )
        self._session = HostSession(HOST)
        self._queue, self._busy = [], False
        self._epochs = {}
        self.client.start()

    def crash(self) -> None:
        if self.receiver is None:
            return
        self._world.note("hub crashes")
        self.receiver = None
        self.client.stop()
        self._world.at(self._world.rng.uniform(10, 8_000), self.start)

    def restore(self) -> None:
        """Come back from a back-up: rows, marks and tables of an earlier moment."""
        if self.receiver is None or not self.backups:
            return
        self.crash()
        self._world.note("hub is restored from a back-up")
        self.durable = self._world.rng.choice(self.backups).copy()
        self._checked.clear()
        self.restored = True

    def back_up(self) -> None:
        self.backups.append(self.durable.copy())

    def fill_or_free(self) -> None:
        self.full = not self.full

    def ask_rebirth(self, agent: str) -> None:
        if self.receiver is not None:
            self.receiver.unknown(SITE, agent, self.clock.now_ms())
            self._poll()

    def was_lost(self, agent: str, epoch: int, offset: int) -> bool:
        return any(
            name == agent and of == epoch and first <= offset <= last
            for name, of, first, last in self.ever_lost
        )

    def _connecting(self) -> Outgoing:
        return self._session.connecting(self.clock.now_ms())

    def _connected(self) -> None:
        self.client.publish(self._session.birth())

    def _received(self, topic: str, payload: bytes) -> None:
        answer = self._session.received(topic, payload)
        if answer is not None:
            self.client.publish(answer)
        if not topic.startswith("spBv1.0/STATE/"):
            self._queue.append((topic, payload))
            self._begin_turn()

    def _begin_turn(self) -> None:
        """Judge all that came, then commit; meanwhile more comes."""
        if self._busy or self.receiver is None or not self._queue:
            self._poll()
            return
        self._busy = True
        turn, queue = Turn(), self._queue
        self._queue = []
        for topic, payload in queue:
            self._judge(turn, topic, payload)
        facts = self.receiver.facts()
        incarnation = self.incarnation
        delay = self._world.rng.choice((5, 10, 100))
        self._world.at(delay, lambda: self._end_turn(incarnation, turn, facts))
        self._poll()

    def _end_turn(self, incarnation: int, turn: Turn, facts: dict[str, bytes | None]) -> None:
        if incarnation != self.incarnation or self.receiver is None:
            return  # it crashed before the commit: nothing of this turn exists
        self._busy = False
        if self.full and (turn.rows or facts):
            self.receiver.rolled_back()
        else:
            self._commit(turn, facts)
            self.receiver.committed(self.clock.now_ms())
        self._begin_turn()

    def _commit(self, turn: Turn, facts: dict[str, bytes | None]) -> None:
        durable = self.durable
        for key, content in turn.rows:
            self._world.check(key not in durable.rows, f"{key} is stored twice")
            durable.rows[key] = content
            if content is not None:
                durable.contents[content] += 1
                self._world.check(durable.contents[content] == 1, f"content {content} stored twice")
        self.ever_stored.update(turn.rows)
        durable.lost |= turn.lost
        self.ever_lost |= turn.lost
        durable.tables |= turn.tables
        durable.dropped_samples += turn.dropped_samples
        for name, value in facts.items():
            if value is None:
                durable.facts.pop(name, None)
            else:
                durable.facts[name] = value

    def _judge(self, turn: Turn, text: str, payload: bytes) -> None:
        topic, now_ms = parse_topic(text), self.clock.now_ms()
        if topic.kind == "NBIRTH":
            self._judge_birth(turn, topic.node, payload, now_ms)
        elif topic.kind == "DBIRTH":
            if topic.node in self._epochs:
                turn.tables.add((topic.node, self._epochs[topic.node], topic.device))
            else:
                self.receiver.unknown(SITE, topic.node, now_ms)
        elif topic.kind in ("NDATA", "DDATA"):
            self._judge_data(turn, topic.node, topic.device, payload, now_ms)

    def _judge_birth(self, turn: Turn, agent: str, payload: bytes, now_ms: int) -> None:
        metrics = {metric.name: metric.value for metric in decode(payload).metrics}
        birth = NodeBirth(
            bdseq=metrics[names.BDSEQ],
            protocol=metrics[names.PROTOCOL],
            epoch=metrics[names.EPOCH],
            first=metrics[names.FIRST],
            next=metrics[names.NEXT],
        )
        self._epochs[agent] = birth.epoch
        for lost in self.receiver.birth(SITE, agent, birth, now_ms):
            self._world.note(f"hub settles {lost} as lost")
            turn.lost.add((agent, lost.epoch, lost.first, lost.last))

    def _judge_data(
        self, turn: Turn, agent: str, machine: str | None, payload: bytes, now_ms: int
    ) -> None:
        point = read_entry(payload)
        if point is None:
            if agent not in self._epochs:
                self.receiver.unknown(SITE, agent, now_ms)
            return
        epoch, offset = point
        tables = self.durable.tables | turn.tables
        known = machine is None or (agent, epoch, machine) in tables
        if not known or not self.receiver.knows(SITE, agent, epoch):
            self.receiver.unknown(SITE, agent, now_ms)
            return
        if not self.receiver.offer(SITE, agent, epoch, [offset])[0]:
            self._world.counts["duplicates refused"] += 1
            return
        dropped = dropped_of(payload) if machine is None else None
        value = None if dropped else decode(payload).metrics[0]
        turn.rows.append(((agent, epoch, offset), None if value is None else int(value.value)))
        if dropped:
            first, last, samples = dropped
            self.receiver.dropped(SITE, agent, epoch, first, last)
            turn.dropped_samples[agent] += samples
            if first:
                turn.lost.add((agent, epoch, first, last))
        elif not value.historical:
            self._check_order(agent, machine, offset)

    def _check_order(self, agent: str, machine: str, offset: int) -> None:
        """On a network that keeps order, a machine's live entries come in theirs."""
        if self._world.orderly:
            self._world.check(
                offset > self.last_live[agent, machine], f"live entry {offset} out of order"
            )
        self.last_live[agent, machine] = offset

    def _poll(self) -> None:
        if self.receiver is None:
            return
        for message in self.receiver.poll(self.clock.now_ms()):
            self._check_ack(message)
            self.client.publish(message)
        wakeup_ms = self.receiver.next_wakeup_ms()
        if wakeup_ms is None:
            return
        at = self._world.now + max(1, wakeup_ms - self.clock.now_ms())
        if self._wake_at is None or at < self._wake_at or self._wake_at <= self._world.now:
            self._wake_at = at
            self._world.at(at - self._world.now, lambda: self._wake(at))

    def _wake(self, at: int) -> None:
        if self._wake_at == at:
            self._wake_at = None
        self._poll()

    def _check_ack(self, message: Outgoing) -> None:
        """Nothing is acknowledged that is not durable."""
        ack = read_ack(decode(message.payload))
        agent = parse_topic(message.topic).node
        self._world.note(f"hub sends {ack or 'rebirth request'} to {agent}")
        self._world.counts["rebirth requests" if ack is None else "acks"] += 1
        if ack is None:
            return
        checked = self._checked.get((agent, ack.epoch), 0)
        self._checked[agent, ack.epoch] = max(checked, ack.offset)
        for first, last in ((checked + 1, ack.offset), *ack.ranges):
            for offset in range(first, last + 1):
                key = (agent, ack.epoch, offset)
                safe = key in self.durable.rows or any(
                    lost[:2] == key[:2] and lost[2] <= offset <= lost[3]
                    for lost in self.durable.lost
                )
                self._world.check(safe, f"{key} is acknowledged but not durable")


def simulate(seed: int) -> World:
    """Run one seed to its end; raise Violation when an invariant does not hold."""
    world = World(seed)
    broker = Broker(world)
    hub = Hub(world, broker)
    agents = [Agent(world, broker, f"a{n + 1}", hub) for n in range(world.plan.agents)]
    kinds = {kind for _, kind in world.plan.faults}
    for at_ms in range(2_000, ACTIVE_MS, 6_000):
        if "hub-restore" in kinds:
            world.at(at_ms, hub.back_up)
        if "journal-rollback" in kinds:
            for agent in agents:
                world.at(at_ms, agent.copy_journal)
    for at_ms, kind in world.plan.faults:
        world.at(at_ms, lambda kind=kind: inflict(world, kind, broker, hub, agents))
    world.run_until(ACTIVE_MS)
    calm(world, hub, agents)
    settled = world.run_until(
        world.now + LIVENESS_MS, lambda: all(is_settled(hub, agent) for agent in agents)
    )
    for agent in agents:
        world.check(
            settled,
            f"{agent.name} is not settled {LIVENESS_MS / 1000} s after the last fault: "
            f"{agent.sender and agent.sender.status()}, {agent.journal.unsettled(0, 5)}",
        )
        check_ledger(world, hub, agent)
    return world


def inflict(world: World, kind: str, broker: Broker, hub: Hub, agents: list[Agent]) -> None:
    """Do what a fault is named for, to a victim drawn from the seed."""
    agent = world.rng.choice(agents)
    world.note(f"fault: {kind}")
    world.counts[kind] += 1
    deeds: dict[str, Callable[[], object]] = {
        "agent-crash": lambda: agent.crash(down_ms=world.rng.uniform(10, 10_000)),
        "hub-crash": hub.crash,
        "broker-restart": broker.restart,
        "agent-cut": agent.client.cut,
        "hub-cut": hub.client.cut,
        "agent-half-open": agent.client.go_half_open,
        "hub-half-open": hub.client.go_half_open,
        "hub-restore": hub.restore,
        "journal-rollback": agent.roll_back,
        "agent-clock": agent.clock.step,
        "hub-clock": hub.clock.step,
        "inbox-full": hub.fill_or_free,
        "rebirth": lambda: hub.ask_rebirth(agent.name),
        "machines-change": agent.change_machines,
        "burst": agent.burst,
    }
    deeds[kind]()


def calm(world: World, hub: Hub, agents: list[Agent]) -> None:
    """End all faults; each machine says one more word, as a heartbeat would."""
    world.note("calm")
    hub.full = False
    world.plan = Plan(**{**world.plan.__dict__, "loss": 0.0, "duplicate": 0.0, "reorder": 0.0})
    for agent in agents:
        world.at(20_000, lambda agent=agent: agent.pending.append(agent._content()))


def is_settled(hub: Hub, agent: Agent) -> bool:
    """Tell whether nothing is left to do, at either end."""
    if agent.sender is None or hub.receiver is None or agent.pending:
        return False
    status = agent.sender.status()
    # A restored hub may wait for ever for a single entry in the midst of those that are kept:
    # its mark stays there, and nothing else depends on it.
    needed = agent.journal.first if hub.restored else agent.journal.next
    complete = status.settled >= needed - 1
    late = hub._world.now > ACTIVE_MS + 25_000
    return late and status.answered and complete and not agent.journal.unsettled(0, 1)


def check_ledger(world: World, hub: Hub, agent: Agent) -> None:
    """Every committed content is stored once, or was declared dropped; the counts agree."""
    stored = hub.durable.contents
    for content in agent.committed:
        excused = content in agent.optional or content in agent.journal.dropped
        if hub.restored and (world.plan.budget < AMPLE or agent.rolled_back):
            excused = True  # what was settled is not kept without room, nor in a new epoch
        world.check(stored[content] == 1 or excused, f"content {content} is stored nowhere")
    if not agent.rolled_back and not hub.restored:
        world.check(
            hub.durable.dropped_samples[agent.name] == agent.journal.dropped_samples,
            f"the hub counts {hub.durable.dropped_samples[agent.name]} dropped samples, "
            f"the agent {agent.journal.dropped_samples}",
        )
    births = world.counts["NBIRTH"]
    world.check(births < 40 + 4 * len(world.plan.faults), f"{births} births are a storm")


@dataclass
class Report:
    """What many seeds came to."""

    seeds: int
    seconds: float
    failures: dict[int, str]
    counts: Counter[str]


def run(seeds: int, start: int = 0, *, stop_at_first: bool = False) -> Report:
    """Simulate `seeds` seeds from `start` on; failures are listed by seed, not raised."""
    began, failures, counts = time.perf_counter(), {}, Counter()
    for seed in range(start, start + seeds):
        try:
            counts += simulate(seed).counts
        except Violation as violation:
            failures[seed] = str(violation)
            if stop_at_first:
                break
    return Report(seeds, time.perf_counter() - began, failures, counts)
