"""Take samples as they come, and make them durable in as few commits as possible.

What came while a commit ran is the next commit's batch, so a slow disk makes batches larger, not
the agent slower. Only what is durable is handed on for sending.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from edge_agents.outbox.aliases import ALIAS_FACT, Alias, Aliases, MachineBirth
from edge_agents.outbox.encoding import (
    Batch,
    Chunk,
    announcement,
    birth_metrics,
    chunks,
    retired_metric,
)
from gateway.delivery import Births, MachineMetrics
from gateway.journal import (
    Drop,
    Entry,
    Journal,
    JournalCorrupt,
    JournalError,
    JournalStats,
    NewEntry,
)
from gateway.model import Sample
from gateway.sparkplug import Metric

log = logging.getLogger(__name__)

BUFFERED_MAX: Final = 50_000
"""Samples that may wait for the disk: some 15 MiB, or 50 s at 1,000 samples per second."""
RETRY_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)  # The last one repeats for as long as the disk fails.
RATE_SPAN_S: Final = 600.0
"""The rate behind `hours_left` follows the last ten minutes."""
ROW_BYTES: Final = 64
"""What an entry takes on disk beside its body."""
ANNOUNCEMENTS_MAX: Final = 16
MS_PER_HOUR: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How the outbox does.

    `durable` is false while the disk refuses commits, for the reason `trouble`; `buffered` samples
    then wait in memory. `hours_left` says how long the hub may stay away, at the rate of the last
    minutes, before data must be dropped; None while nothing is known.
    """

    durable: bool
    trouble: str | None
    buffered: int
    hours_left: float | None
    journal: JournalStats


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a group: entries stored under `epoch`, and what still waits, and why."""

    epoch: int
    stored: list[Entry]
    facts: bool
    undone: list[Batch]
    error: JournalError | None


class Outbox:
    """Encode samples as entries and append them to the journal, group by group.

    `record`, `births` and `configure` belong to the event loop, and so does `on_committed`, which
    gets the entries once they are durable. Commits run in one worker thread.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        machines: Sequence[MachineBirth],
        now_ms: Callable[[], int],
        commit_interval_s: float,
        on_committed: Callable[[list[Entry]], None],
        buffered_max: int = BUFFERED_MAX,
        retry_s: Sequence[float] = RETRY_S,
    ) -> None:
        self._journal = journal
        self._now_ms = now_ms
        self._commit_interval_s = commit_interval_s
        self._on_committed = on_committed
        self._buffered_max = buffered_max
        self._retry_s = retry_s
        self._aliases = Aliases(journal.facts(ALIAS_FACT))
        self._machines: dict[str, MachineBirth] = {}
        self._current: dict[str, dict[str, Alias]] = {}
        self._latest: dict[str, dict[str, Sample]] = {}
        self._retired_epoch, self._retired_before = journal.epoch, journal.next
        self._buffer: deque[Batch] = deque()
        self._buffered = 0
        self._lost = 0
        self._filled = asyncio.Event()
        self._running: tuple[Mapping[str, bytes], int, Future[_Outcome]] | None = None
        self._failures = 0
        self._trouble: str | None = None
        self._rate = _Rate(RATE_SPAN_S * 1000)
        self.configure(machines)

    @property
    def durable(self) -> bool:
        """Whether the last commit succeeded; without that nothing new is kept or sent."""
        return self._failures == 0

    def configure(
        self,
        machines: Sequence[MachineBirth],
        forget: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        """Take over the machines of a new configuration; aliases of what is gone retire.

        `forget` names, by machine, the signals whose last values mean nothing any more.
        """
        self._machines = {birth.machine: birth for birth in machines}
        self._current = {
            birth.machine: {
                signal: self._aliases.give(birth.machine, signal, datatype)
                for signal, datatype in birth.datatypes().items()
            }
            for birth in machines
        }
        self._latest = {
            machine: {
                signal: sample
                for signal, sample in self._latest.get(machine, {}).items()
                if signal in signals and signal not in forget.get(machine, ())
            }
            for machine, signals in self._current.items()
        }
        self._retired_epoch = self._journal.epoch
        # What waits was recorded under the old names: an entry per sample at most, and some drops.
        self._retired_before = self._journal.next + self._buffered + ANNOUNCEMENTS_MAX

    def record(self, machine: str, samples: Sequence[Sample]) -> None:
        """Keep these samples for the next commit.

        Raises KeyError for a machine or signal that no birth announces. When the disk cannot keep
        up, the oldest samples in memory are given up and declared as dropped by `buffer`.
        """
        aliases = self._current[machine]
        pairs = tuple((aliases[sample.signal], sample) for sample in samples)
        if not pairs:
            return
        self._latest[machine].update({sample.signal: sample for sample in samples})
        self._buffer.append(Batch(machine, pairs))
        self._buffered += len(pairs)
        self._give_up_oldest()
        self._filled.set()

    def births(self) -> Births:
        """Give every machine's metrics with their latest values, for the births of a session."""
        metrics: dict[str, list[Metric]] = {}
        for machine, birth in self._machines.items():
            said = birth_metrics(birth, self._current[machine], self._latest[machine])
            metrics[machine] = list(said)
        for alias in self._retired():
            metrics.setdefault(alias.machine, []).append(retired_metric(alias))
        return Births([MachineMetrics(machine, said) for machine, said in metrics.items()])

    def status(self) -> OutboxStatus:
        """Tell how the outbox does. Reads the journal, and raises JournalError if it cannot."""
        stats = self._journal.stats()
        bytes_per_ms = self._rate.per_ms(self._now_ms())
        return OutboxStatus(
            durable=self.durable,
            trouble=self._trouble,
            buffered=self._buffered,
            hours_left=stats.bytes_free / bytes_per_ms / MS_PER_HOUR if bytes_per_ms else None,
            journal=stats,
        )

    async def run(self) -> None:
        """Commit what is recorded until cancelled, and then what is left.

        Raises JournalCorrupt when the file turns out to be damaged; the next start sets it aside.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="outbox") as disk:
            try:
                while True:
                    await self._filled.wait()
                    await self._commit(disk)
                    await asyncio.sleep(self._pause_s())
            finally:
                self._leave(disk)

    async def _commit(self, disk: ThreadPoolExecutor) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        commit = self._begin(disk)
        # Waiting for an event can be cancelled without cancelling the commit.
        commit.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
        await ended.wait()
        self._conclude()

    def _leave(self, disk: ThreadPoolExecutor) -> None:
        """End a commit under way, and commit the rest once, without the loop."""
        if self._running:
            self._conclude()
        if self._buffer:
            self._begin(disk)
            self._conclude()
        if self._buffered:
            log.error("%d samples could not be stored before the end", self._buffered)

    def _begin(self, disk: ThreadPoolExecutor) -> "Future[_Outcome]":
        group, facts, lost = list(self._buffer), self._aliases.unstored(), self._lost
        self._buffer.clear()
        self._filled.clear()
        commit = disk.submit(self._store, group, facts, lost)
        self._running = facts, lost, commit
        return commit

    def _conclude(self) -> None:
        """Take note of what became of the commit."""
        if self._running is None:
            return
        (facts, lost, commit), self._running = self._running, None
        outcome = commit.result()
        if outcome.facts:
            self._aliases.stored(facts)
            self._lost -= lost
        self._buffer.extendleft(reversed(outcome.undone))
        self._buffered = sum(len(batch.pairs) for batch in self._buffer)
        self._give_up_oldest()
        if self._buffer:
            self._filled.set()
        self._judge(outcome.error, lost)
        size = sum(len(entry.body) + len(entry.key) + ROW_BYTES for entry in outcome.stored)
        self._rate.add(size, self._now_ms())
        # Under a new epoch they have other numbers by now, and are found as backlog.
        if outcome.stored and outcome.epoch == self._journal.epoch:
            self._on_committed(outcome.stored)

    def _judge(self, error: JournalError | None, lost: int) -> None:
        """Say once that the disk refuses, and once that it stores again."""
        if isinstance(error, JournalCorrupt):
            raise error
        if error is None:
            if self._failures:
                log.warning("samples are stored again; %d were lost meanwhile", lost)
            self._failures, self._trouble = 0, None
            return
        if not self._failures:
            log.error("samples cannot be stored and wait in memory: %s", error)
        self._failures += 1
        self._trouble = str(error)

    def _pause_s(self) -> float:
        if not self._failures:
            return self._commit_interval_s
        return self._retry_s[min(self._failures, len(self._retry_s)) - 1]

    def _give_up_oldest(self) -> None:
        while self._buffered > self._buffered_max:
            oldest = self._buffer.popleft()
            self._buffered -= len(oldest.pairs)
            self._lost += len(oldest.pairs)

    def _retired(self) -> list[Alias]:
        """Give the aliases that only entries not yet settled may still use."""
        if self._retired_epoch != self._journal.epoch:
            self._retired_epoch, self._retired_before = self._journal.epoch, self._journal.next
        current = {alias.number for known in self._current.values() for alias in known.values()}
        retired = [alias for alias in self._aliases.all() if alias.number not in current]
        if not retired or self._settled_before(self._retired_before):
            return []
        return retired

    def _settled_before(self, offset: int) -> bool:
        try:
            oldest = self._journal.unsettled(self._journal.first, 1)
        except JournalError as error:
            # A name too many in a birth does no harm; one too few loses an entry.
            log.debug("cannot tell what is settled: %s", error)
            return False
        return not oldest or oldest[0].offset >= offset

    # In the worker thread

    def _store(self, group: Sequence[Batch], facts: Mapping[str, bytes], lost: int) -> _Outcome:
        """Append a group in as few transactions as the journal takes."""
        epoch, time_ms = self._journal.epoch, self._now_ms()
        waiting = chunks(group, time_ms, self._journal.batch_bytes_max)
        drops = [Drop(0, 0, 0, lost, "buffer")] if lost else []
        stored: list[Entry] = []
        first_time = True
        while waiting or first_time:
            taken = _affordable(waiting, self._journal.batch_bytes_max)
            try:
                stored += self._append(
                    [chunk.entry for chunk in waiting[:taken]],
                    facts if first_time else {},
                    drops if first_time else [],
                )
            except JournalError as error:
                undone = [Batch(chunk.machine, chunk.pairs) for chunk in waiting]
                return _Outcome(epoch, stored, not first_time, undone, error)
            waiting = waiting[taken:]
            first_time = False
        return _Outcome(epoch, stored, facts=True, undone=[], error=None)

    def _append(
        self, entries: Sequence[NewEntry], facts: Mapping[str, bytes], lost: Sequence[Drop]
    ) -> list[Entry]:
        announced: list[NewEntry] = []

        def declare(drops: Sequence[Drop]) -> Sequence[NewEntry]:
            announced[:] = [announcement(drop, self._now_ms()) for drop in drops]
            return announced

        first = self._journal.append(entries, facts, declare=declare, lost=lost)
        return [
            Entry(offset, new.key, new.time_ms, new.body, new.count)
            for offset, new in enumerate([*announced, *entries], start=first - len(announced))
        ]


class _Rate:
    """Bytes per millisecond over the last `span_ms`, older ones counting ever less."""

    def __init__(self, span_ms: float) -> None:
        self._span_ms = span_ms
        self._sum = 0.0
        self._since_ms: int | None = None
        self._at_ms = 0

    def add(self, amount: int, now_ms: int) -> None:
        self._fade(now_ms)
        self._sum += amount

    def per_ms(self, now_ms: int) -> float:
        self._fade(now_ms)
        observed_ms = now_ms - (self._since_ms or now_ms)
        if observed_ms <= 0:
            return 0.0
        return self._sum / self._span_ms / (1 - math.exp(-observed_ms / self._span_ms))

    def _fade(self, now_ms: int) -> None:
        if self._since_ms is None or now_ms < self._at_ms:  # Begun just now, or the clock stepped.
            self._since_ms, self._sum = now_ms, 0.0
        else:
            self._sum *= math.exp(-(now_ms - self._at_ms) / self._span_ms)
        self._at_ms = now_ms


def _affordable(waiting: Sequence[Chunk], bytes_max: int) -> int:
    """Count the first chunks that one append may take."""
    size = 0
    for number, chunk in enumerate(waiting):
        size += len(chunk.entry.body) + len(chunk.entry.key)
        if size > bytes_max:
            return max(number, 1)
    return len(waiting)
