"""One end of delivery at a time, on a real journal, with everything it says decoded."""

import random

from gateway.delivery import (
    Ack,
    Births,
    HostSession,
    MachineMetrics,
    Sender,
    ack_command,
    rebirth_command,
)
from gateway.journal import Budget, Entry, Journal, NewEntry
from gateway.sparkplug import DataType, Metric, decode, encode_body, parse_topic, state_topic

SITE, AGENT, HOST = "ota", "line-1", "hub"
T0_MS = 1_790_000_000_000


class AgentEnd:
    """A Sender on a journal, driven by hand; times are milliseconds since the beginning."""

    def __init__(self, folder, *, machines=("m1", "m2"), **options):
        self.folder = folder
        self.machines = list(machines)
        self.options = options
        self.now = 0
        self.published = []
        self.open()

    def open(self):
        self.journal = Journal.open(
            self.folder / "outbox.db",
            budget=Budget(bytes_max=16_000_000, age_max_s=10**6, keep_settled_s=10**6),
            when_full="drop_oldest",
            now_ms=lambda: T0_MS + self.now,
            random64=lambda: random.getrandbits(64),
        )
        self.sender = Sender(
            site=SITE,
            agent=AGENT,
            version="1.2.3",
            storage=self.journal,
            births=self.births,
            rng=random.Random(1),
            **self.options,
        )

    def restart(self):
        """End in order, and begin anew on the same journal."""
        self.journal.close()
        self.open()

    def births(self):
        return Births(
            [
                MachineMetrics(
                    machine,
                    [
                        Metric(name="speed", alias=127 + n, datatype=DataType.DOUBLE, value=1.5),
                        Metric(name="count", alias=227 + n, datatype=DataType.INT64),
                    ],
                )
                for n, machine in ((int(machine[1:]), machine) for machine in self.machines)
            ]
        )

    def connect(self, *, answered=False):
        """Connect; return the will. With `answered` the host acknowledges nothing yet."""
        will = self.sender.connecting(T0_MS + self.now)
        self.sender.connected(T0_MS + self.now)
        self.poll()
        if answered:
            self.answer()
        return will

    def answer(self, offset=0, ranges=(), **changes):
        session = self.sender.status().bdseq
        return self.ack(offset, ranges, **{"session": session, **changes})

    def ack(self, offset, ranges=(), session=None, epoch=None, host=HOST):
        epoch = self.journal.epoch if epoch is None else epoch
        command = ack_command(SITE, AGENT, Ack(host, epoch, offset, tuple(ranges), session), 1)
        return self.receive(command)

    def rebirth(self):
        return self.receive(rebirth_command(SITE, AGENT, 1))

    def state(self, *, online, time_ms, host=HOST):
        session = HostSession(host)
        session.connecting(time_ms)
        message = session.birth() if online else session.death(time_ms)
        assert message.topic == state_topic(host)
        return self.receive(message)

    def receive(self, message):
        self.sender.received(message.topic, message.payload, T0_MS + self.now)
        return self.poll()

    def record(self, count=1, machine="m1"):
        """Commit entries and tell the sender; return what it says."""
        body = encode_body(
            [Metric(alias=128, datatype=DataType.DOUBLE, value=2.0, time_ms=T0_MS + self.now)]
        )
        new = [NewEntry(machine, T0_MS + self.now, body, 1)] * count
        first = self.journal.append(new, {})
        entries = [Entry(first + n, e.key, e.time_ms, e.body, e.count) for n, e in enumerate(new)]
        self.sender.appended(entries, T0_MS + self.now)
        return self.poll()

    def advance(self, ms):
        """Let time pass, polling whenever the sender wants to be; return all that it says."""
        end, said = self.now + ms, []
        while (due := self.sender.next_wakeup_ms()) is not None and due - T0_MS <= end:
            self.now = max(self.now + 1, due - T0_MS)
            said += self.poll()
        self.now = end
        return said + self.poll()

    def poll(self):
        said = self.sender.poll(T0_MS + self.now)
        self.published += said
        return said


def kinds(messages):
    return [parse_topic(message.topic).kind for message in messages]


def payload(message):
    return decode(message.payload)


def metrics(message):
    return {metric.name: metric for metric in payload(message).metrics}
