"""Key figures of machines and sites, by range, production day or shift."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from hub.coordination.directory.directory import Directory, MachineEntry
from hub.coordination.hours.calendars import Calendars
from hub.coordination.shop_floor.buckets import Slice, clip
from hub.coordination.shop_floor.kpis import Inputs, Production, inputs_of, total
from hub.coordination.shop_floor.timelines import Timelines
from hub.historian import Historian, Span
from hub.registry import Registry
from hub.store import Store, jobs

By = Literal["range", "day", "shift"]
RUNS_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch that figures are made for. `label` and `day` are a shift's or a day's."""

    span: Span
    label: str = ""
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What figures of one period are made from."""

    period: Period
    inputs: Inputs


class Figures:
    """Any thread may ask. The historian's `HistorianUnavailableError` comes through."""

    def __init__(
        self,
        *,
        timelines: Timelines,
        historian: Historian,
        calendars: Calendars,
        directory: Directory,
        registry: Registry,
        store: Store,
    ) -> None:
        self._timelines = timelines
        self._historian = historian
        self._calendars = calendars
        self._directory = directory
        self._registry = registry
        self._store = store

    def periods(self, site: str, machine: str, span: Span, by: By) -> list[Period]:
        """Divide a range; days and shifts that reach beyond it are clipped to it."""
        if by == "shift":
            shifts = self._calendars.shifts(site, machine, *span)
            return [Period(_within(s.start_ms, s.end_ms, span), s.label, s.day) for s in shifts]
        if by == "day":
            days = self._calendars.days(site, machine, *span)
            return [Period(_within(d.start_ms, d.end_ms, span), "", d.day) for d in days]
        return [Period(span)]

    def of_machine(self, site: str, machine: str, span: Span, by: By) -> list[Measured]:
        """Give the inputs of every period of a machine that has begun."""
        whole = self._timelines.slices(site, machine, span)
        measured = []
        for period in self.periods(site, machine, span, by):
            found = clip(whole, *period.span)
            if found:
                past = Span(found[0].start_ms, found[-1].end_ms)
                made = self._production(site, machine, past)
                measured.append(Measured(period, inputs_of(found, made)))
        return measured

    def of_site(self, site: str, span: Span) -> tuple[Inputs | None, list[str], list[str]]:
        """Give the sum of a site's machines, and which are in it and which are left out.

        Machines without a schedule are left out: a ratio of sums with them would be of nothing.
        """
        parts: list[Inputs] = []
        counted: list[str] = []
        left_out: list[str] = []
        for entry in self._directory.machines(site):
            found = self.of_machine(site, entry.machine, span, "range")
            if found and found[0].inputs.scheduled:
                parts.append(found[0].inputs)
                counted.append(entry.machine)
            else:
                left_out.append(entry.machine)
        return (total(parts) if parts else None), counted, left_out

    def slices(self, site: str, machine: str, span: Span) -> list[Slice]:
        """Give the slices that every figure of the range is made from."""
        return self._timelines.slices(site, machine, span)

    def _production(self, site: str, machine: str, span: Span) -> Production:
        record = self._registry.machine(site, machine)
        signals = record.signals if record else ()
        good = [s.name for s in signals if s.counts == "good"]
        scrap = [s.name for s in signals if s.counts == "scrap"]
        return Production(
            self._counted(site, machine, good, span),
            self._counted(site, machine, scrap, span),
            self._planned_cycle_s(site, machine, span),
        )

    def _counted(self, site: str, machine: str, signals: Sequence[str], span: Span) -> float | None:
        """Add up counters across their resets; None when there is none."""
        if not signals:
            return None
        counts = [self._historian.counted(site, machine, signal, span) for signal in signals]
        return sum(count or 0.0 for count in counts)

    def _planned_cycle_s(self, site: str, machine: str, span: Span) -> float | None:
        """Give the cycle time planned for all that was made; None when there are several.

        The jobs' that ran, or else what the directory says of the machine.
        """
        with self._store.read() as tx:
            runs = jobs.runs(
                tx, site, machine, from_ms=span.from_ms, to_ms=span.to_ms, limit=RUNS_MAX
            )
        cycles = {
            step.cycle_s for run, job in runs for step in job.steps if step.seq == run.seq
        } or _cycles_of(self._directory.machine(site, machine))
        return next(iter(cycles)) if len(cycles) == 1 else None


def _cycles_of(entry: MachineEntry | None) -> set[float | None]:
    capabilities = entry.capabilities if entry else ()
    return {each.cycle_s for each in capabilities if each.cycle_s}


def _within(start_ms: int, end_ms: int, span: Span) -> Span:
    return Span(max(start_ms, span.from_ms), min(end_ms, span.to_ms))
