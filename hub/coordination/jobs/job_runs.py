"""What is on the machines now, with meters that count its parts."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from hub.coordination.jobs.job_progress import Meter, counters
from hub.coordination.jobs.job_rules import remaining
from hub.historian import Historian, HistorianUnavailableError
from hub.historian.historian import Span
from hub.live import Live, LiveMachine
from hub.store import Store
from hub.store import jobs as rows
from hub.store.jobs import Job, Run, Step

REFRESH_MS: Final = 5_000
"""How old may be what is remembered of open runs; another process may have changed them."""
HISTORY_EVERY_MS: Final = 60_000
HISTORY_FIRST_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class RunningJob:
    """What is on a machine now. `cycle_s` is observed, `planned_cycle_s` what was said before."""

    job: str
    """Its number, as people call it."""
    job_id: str
    step: int
    part: str
    quantity: int
    done: float
    remaining: int
    started_ms: int
    cycle_s: float | None
    planned_cycle_s: float | None = None
    due_ms: int | None = None


@dataclass(slots=True)
class _Open:
    """A run that is not over, with its meters."""

    run: Run
    job: Job
    step: Step
    good: Meter = field(default_factory=Meter)
    scrap: Meter = field(default_factory=lambda: Meter("scrap"))
    seen_version: int = -1
    history_due_ms: int = 0


class Runs:
    """The runs that are not over. Safe to use from any thread."""

    def __init__(
        self, store: Store, *, live: Live, historian: Historian, now_ms: Callable[[], int]
    ) -> None:
        self._store = store
        self._live = live
        self._historian = historian
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._metering = threading.Lock()
        self._open: dict[tuple[str, str], _Open] = {}
        self._queued: set[tuple[str, str]] = set()
        self._read_ms: int | None = None
        self.version = 0
        """Grows with every change to any job, after its commit."""

    def running(self, site: str, machine: str) -> RunningJob | None:
        """Give what is on a machine now."""
        with self._lock:
            self._refresh()
            there = self._open.get((site, machine))
            return None if there is None else _running(there)

    def queued(self, site: str, machine: str) -> bool:
        """Tell whether a released job waits for a machine."""
        with self._lock:
            self._refresh()
            return (site, machine) in self._queued

    def turn(self) -> None:
        """Read the counters of the machines on which jobs are."""
        for each in self._there():
            self._read(each)

    def begin(self, job_id: str) -> None:
        """Read the counters of a job that has just come to a machine: from here they count."""
        for each in self._there():
            if each.run.job_id == job_id and each.seen_version < 0:
                self._read(each)

    def count_now(self, job_id: str) -> None:
        """Hear both witnesses at once about one job: it is about to leave its machine."""
        for each in self._there():
            if each.run.job_id == job_id:
                each.history_due_ms = 0
                self._read(each)

    def _there(self) -> list[_Open]:
        with self._lock:
            self._refresh()
            return list(self._open.values())

    def _read(self, each: _Open) -> None:
        machine = self._live.machine(each.run.site, each.run.machine)
        if machine is None:
            return
        with self._metering:
            if machine.row_version != each.seen_version:
                each.seen_version = machine.row_version
                signals = machine.signals
                each.good.read(signals)
                each.scrap.read(signals)
            now_ms = self._now_ms()
            if now_ms >= each.history_due_ms:
                first = each.history_due_ms == 0
                each.history_due_ms = now_ms + (HISTORY_FIRST_MS if first else HISTORY_EVERY_MS)
                self._ask_history(each, machine, now_ms)

    def _ask_history(self, each: _Open, machine: LiveMachine, now_ms: int) -> None:
        """Count again from the beginning of the run: what came late, and what this hub missed."""
        for meter in (each.good, each.scrap):
            meter.at_least(self._counted(each.run, machine, meter.counts, now_ms))

    def _counted(self, run: Run, machine: LiveMachine, counts: str, now_ms: int) -> float:
        span = Span(run.start_ms, max(now_ms, run.start_ms) + 1)
        total = 0.0
        for name in counters(machine.signals, counts):
            try:
                total += self._historian.counted(run.site, run.machine, name, span) or 0.0
            except HistorianUnavailableError:
                return 0.0  # The live counters go on alone; it is asked again later.
        return total

    def made(self, run: Run) -> tuple[float, float]:
        """Tell what the meters of a run say, good and scrap."""
        there = self._open.get((run.site, run.machine))
        if there is None or there.run.id != run.id:
            return 0.0, 0.0
        return there.good.made, there.scrap.made

    def changed(self) -> None:
        """Forget what was read; called after the commit of every change to a job."""
        self.version += 1
        self._read_ms = None

    def _refresh(self) -> None:
        """Read again what is on the machines; meters of runs that go on are kept."""
        now_ms = self._now_ms()
        if self._read_ms is not None and 0 <= now_ms - self._read_ms < REFRESH_MS:
            return
        self._read_ms = now_ms
        with self._store.read() as tx:
            runs = rows.open_runs(tx)
            jobs = {id_: rows.get(tx, id_) for id_ in {run.job_id for run in runs}}
            queued = rows.waiting(tx)
        kept = {each.run.id: each for each in self._open.values()}
        before = (set(kept), self._queued)
        self._queued = queued
        if before != ({run.id for run in runs}, queued):
            self.version += 1  # Another process may have changed it.
        self._open = {}
        for run in runs:
            job = jobs[run.job_id]
            step = next((s for s in job.steps if s.seq == run.seq), None) if job else None
            if job is None or step is None:
                continue
            each = kept.get(run.id) or _Open(run, job, step)
            each.job, each.step = job, step
            self._open[run.site, run.machine] = each


def _running(there: _Open) -> RunningJob:
    job, step = there.job, there.step
    return RunningJob(
        job=job.number,
        job_id=job.id,
        step=step.seq,
        part=job.part,
        quantity=job.quantity,
        done=step.good + there.good.made,
        remaining=remaining(job, step, there.good.made),
        started_ms=there.run.start_ms,
        cycle_s=there.good.cycle_s,
        planned_cycle_s=step.cycle_s,
        due_ms=job.due_ms,
    )
