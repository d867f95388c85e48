"""A journal agrees with a list and a dictionary, whatever is done to it in whatever order."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.journal import Budget, Journal, JournalFull, NewEntry

KEEP_SETTLED_S = 1_000
AGE_MAX_S = 100_000


class JournalMachine(RuleBasedStateMachine):
    """Do to a journal and to a plain model the same things."""

    when_full = "drop_oldest"

    def __init__(self):
        super().__init__()
        shared = Path("/dev/shm")  # noqa: S108 - only its speed is wanted; the directory is private
        self.directory = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
        self.now_ms = 1_800_000_000_000
        self.epochs = 0
        self.bodies = {}
        self.settled = set()
        self.said = set()
        self.facts = {}
        self.next = 1
        self.samples = 0
        self.journal = self.opened()
        self.epoch = self.journal.epoch

    def opened(self):
        return Journal.open(
            self.directory / "journal",
            budget=Budget(1024 * 1024, AGE_MAX_S, KEEP_SETTLED_S),
            when_full=self.when_full,
            now_ms=lambda: self.now_ms,
            random64=self.random64,
        )

    def random64(self):
        self.epochs += 1
        return self.epochs

    def teardown(self):
        self.journal.close()
        shutil.rmtree(self.directory)

    def announce(self, drops):
        self.said = set()
        for drop in drops:
            self.said |= set(range(drop.first, drop.last + 1))
        self.announced = len(drops)
        return [NewEntry("", self.now_ms, b"drop", 0) for _ in drops]

    @rule(
        sizes=st.lists(st.sampled_from([10, 900, 9_000, 13_000]), max_size=4),
        facts=st.dictionaries(st.sampled_from("abc"), st.none() | st.binary(max_size=9)),
    )
    def append(self, sizes, facts):
        new = [
            NewEntry("mc-100", self.now_ms, b"%d " % n + bytes(size), 2)
            for n, size in enumerate(sizes)
        ]
        self.announced = 0
        try:
            first = self.journal.append(new, facts, declare=self.announce)
        except JournalFull:
            assert self.when_full == "refuse"
            event("refuses")
            return
        assert first == self.next + self.announced
        if self.announced:
            unsettled = self.bodies.keys() - self.settled
            lost = {offset for offset in self.said if self.bodies.get(offset)}
            assert lost <= unsettled
            event("drops")
            for offset in lost:
                del self.bodies[offset]
        for offset in range(self.next, first):
            self.bodies[offset] = b"drop"
        self.bodies |= {offset: entry.body for offset, entry in enumerate(new, start=first)}
        self.next = first + len(new)
        self.facts |= facts

    @rule(times=st.integers(1, 8))
    def append_much(self, times):
        for _ in range(times):
            self.append(sizes=[13_000] * 4, facts={})

    @rule(data=st.data())
    @precondition(lambda self: self.next > 1)
    def settle(self, data):
        first = data.draw(st.integers(1, self.next))
        last = data.draw(st.integers(first, min(first + 30, self.next + 5)))
        self.journal.settle([(first, last)])
        self.settled |= {o for o in range(first, last + 1) if o < self.next}

    @rule(seconds=st.integers(0, 2 * KEEP_SETTLED_S))
    def time_passes(self, seconds):
        self.now_ms += seconds * 1000

    @rule()
    def reopen(self):
        self.journal.close()
        self.journal = self.opened()

    @rule()
    def turn_epoch(self):
        kept = [
            body
            for offset, body in sorted(self.bodies.items())
            if offset not in self.settled and body != b"drop"
        ]
        self.journal.begin_new_epoch(self.random64)
        assert self.journal.epoch != self.epoch
        self.epoch = self.journal.epoch
        self.bodies = dict(enumerate(kept, start=1))
        self.settled = set()
        self.next = len(kept) + 1

    @invariant()
    def agrees(self):
        unsettled = {o: b for o, b in self.bodies.items() if o not in self.settled}
        told = self.journal.unsettled(1, 10_000, 1 << 30)
        assert {e.offset: e.body for e in told} == unsettled
        held = self.journal.read(1, 10_000, 1 << 30)
        assert [e.offset for e in held] == sorted({e.offset for e in held})
        assert all(self.bodies[e.offset] == e.body for e in held)
        assert (self.journal.epoch, self.journal.next) == (self.epoch, self.next)
        assert self.journal.first == (held[0].offset if held else self.next)
        stats = self.journal.stats()
        assert (stats.entries, stats.unsettled) == (len(held), len(unsettled))
        assert self.journal.facts() == {k: v for k, v in self.facts.items() if v is not None}

    @invariant()
    def stays_in_its_budget(self):
        files = self.directory.iterdir()
        assert sum(file.stat().st_size for file in files) <= 1024 * 1024


class RefusingMachine(JournalMachine):
    """The same for a journal that refuses rather than drops."""

    when_full = "refuse"


TestDropping = JournalMachine.TestCase
TestDropping.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestRefusing = RefusingMachine.TestCase
TestRefusing.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
