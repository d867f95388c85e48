"""From what a driver delivers to what is worth recording, machine by machine. Pure.

A value is recorded when it moved by more than its deadband, when its quality changed, and when the
last one recorded is older than its maximum age and it was really read again. From the same values
the machine's state is judged. Link and time of reading are told at least once per freshness
promise, so that whoever looks later can tell an unchanged value from a dead one.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from edge_agents.config import CYCLE_TIME, MachineConfig, SignalConfig
from gateway.model import Quality, Reason, Sample, Value
from gateway.sparkplug import names
from gateway.states import StateJudge

STALE_AFTER: Final = 3
"""A signal not read for this many of its promises has no value any more."""
INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1
CLOCK_STEP_MS: Final = 5_000
"""Two clocks that disagree by more about a duration: one of them was set meanwhile."""

Datatype = Literal["double", "boolean", "string", "int64"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on two clocks, in milliseconds: UTC says when, steady says how long.

    A clock that is set makes nothing stale and fulfils no hold, because only `steady_ms` is
    ever subtracted.
    """

    utc_ms: int
    steady_ms: int


class Delivery(Protocol):
    """What the sampler asks of a driver's delivery: samples of one machine, read together.

    ``at_ms`` is the instant of acquisition, ``link`` says whether the machine answered.
    """

    @property
    def at_ms(self) -> int: ...  # noqa: D102 (said above)

    @property
    def samples(self) -> Sequence[Sample]: ...  # noqa: D102

    @property
    def link(self) -> bool: ...  # noqa: D102


class _Track:
    """What is known of one signal, and what was last told about it."""

    __slots__ = ("_config", "_datatype", "_deadband", "latest", "read_ms", "sent", "sent_ms")

    def __init__(self, config: SignalConfig) -> None:
        self._config = config
        self._datatype = config.datatype
        counts = config.counter or config.counts is not None
        numeric = self._datatype in {"double", "int64"}
        self._deadband = config.deadband if numeric and not counts else None
        self.latest: Sample | None = None
        self.sent: Sample | None = None
        self.read_ms = 0
        self.sent_ms = 0

    def take(self, sample: Sample, steady_ms: int) -> Sample | None:
        """Take in a sample; return what is worth telling."""
        fitted = _fitted(sample, self._datatype)
        self.latest = fitted
        self.read_ms = steady_ms
        if not self._passes(fitted, steady_ms):
            return None
        self.sent = fitted
        self.sent_ms = steady_ms
        return fitted

    def _passes(self, sample: Sample, steady_ms: int) -> bool:
        sent = self.sent
        if sent is None or sample.quality is not sent.quality or sample.reason is not sent.reason:
            return True
        if steady_ms - self.sent_ms >= self._config.max_age_ms:
            return True
        value, before = sample.value, sent.value
        if value == before:
            return False
        if self._deadband is None or value is None or before is None:
            return True
        if isinstance(value, str) or isinstance(before, str):
            return True
        return self._deadband.lets_through(before, value)

    def limit_ms(self, promise_ms: int) -> int:
        """Give the age at which the value is no longer one."""
        return STALE_AFTER * max(promise_ms, self._config.every_ms)


class _CycleTime:
    """Tells from a counter of good parts how long one part took, at each of its steps.

    Only a step whose predecessor was seen has a time: none is told for the first one, after the
    counter began anew, or across a time in which it could not be read.
    """

    def __init__(self) -> None:
        self._count: float | None = None
        self._edge: Moment | None = None
        self._lost = True

    def take(self, counter: Sample, steady_ms: int) -> Iterator[Sample]:
        """Take in what the counter told; give the cycle time that follows from it."""
        value = counter.value
        if value is None or isinstance(value, str):
            self._count = self._edge = None
            if not self._lost:
                self._lost = True
                yield Sample(CYCLE_TIME, None, counter.time_ms, Quality.BAD, counter.reason)
            return
        before, self._count = self._count, float(value)
        if before is None or value == before:
            return
        edge, self._edge = self._edge, Moment(counter.time_ms, steady_ms)
        if value < before:
            self._edge = None
        elif edge is not None:
            cycle_ms = counter.time_ms - edge.utc_ms
            if cycle_ms > 0 and abs(cycle_ms - (steady_ms - edge.steady_ms)) <= CLOCK_STEP_MS:
                self._lost = False
                cycle_s = cycle_ms / 1_000 / (value - before)
                at = (counter.time_ms, counter.quality, counter.reason)
                yield Sample(CYCLE_TIME, cycle_s, *at)


class Sampler:
    """One machine's memory between two deliveries.

    `take` and `tick` return the samples to record, in order. Call `tick` some times per second:
    holds end and values go stale although nothing arrives.
    """

    def __init__(self, machine: MachineConfig) -> None:
        self._tracks = {name: _Track(config) for name, config in machine.signals.items()}
        # A subscription is silent while nothing changes, so there the link vouches for all values.
        self._link_vouches = machine.opcua is not None
        self._promise_ms = machine.promise_ms
        self._quickest_ms = min(config.every_ms for config in machine.signals.values())
        rules = machine.rules()
        self._asked = frozenset().union(*(rule.signals for rule in rules))
        self._cycle_counter = machine.cycle_counter
        self._cycle = _CycleTime()
        self._judge = StateJudge(rules)
        self._report: object = None
        self._link: bool | None = None
        self._read_at_ms: int | None = None
        self._link_told_ms = 0
        self._vouched_ms = 0
        self._scan_ms: int | None = None

    def take(self, delivery: Delivery, now: Moment) -> list[Sample]:
        """Take in what a driver read, or that it could not."""
        told: list[Sample] = []
        relevant = False
        for sample in delivery.samples:
            track = self._tracks.get(sample.signal)
            if track is None:
                continue
            passed = track.take(sample, now.steady_ms)
            if passed is not None:
                told.append(passed)
                if sample.signal == self._cycle_counter:
                    told += self._cycle.take(passed, now.steady_ms)
            relevant = relevant or sample.signal in self._asked
        told += self._take_link(delivery, now)
        if relevant or self._report is None:
            told += self._judged(now)
        return told

    def tick(self, now: Moment) -> list[Sample]:
        """Take in that time has passed."""
        told: list[Sample] = []
        if self._link is None:
            told += self._tell_link(link=False, now=now)
        elif now.steady_ms - self._link_told_ms >= self._promise_ms:
            told += self._tell_link(link=self._link, now=now)
        gone = list(self._gone_stale(now))
        told += gone
        for sample in gone:
            if sample.signal == self._cycle_counter:
                told += self._cycle.take(sample, now.steady_ms)
        deadline_ms = self._judge.deadline_ms
        due = deadline_ms is not None and now.steady_ms >= deadline_ms
        if gone or due or self._report is None:
            told += self._judged(now)
        return told

    def _take_link(self, delivery: Delivery, now: Moment) -> list[Sample]:
        if delivery.link:
            self._read_at_ms = delivery.at_ms
            self._vouched_ms = now.steady_ms
        # The next delivery may be one reading away, and that could be too late.
        late_ms = now.steady_ms - self._link_told_ms + self._quickest_ms
        if delivery.link is self._link and late_ms < self._promise_ms:
            return []
        return list(self._tell_link(link=delivery.link, now=now))

    def _tell_link(self, *, link: bool, now: Moment) -> Iterator[Sample]:
        self._link = link
        self._link_told_ms = now.steady_ms
        # The promise goes along each time: a hub that starts anew has only entries to go by.
        yield Sample(names.MAX_AGE, self._promise_ms, now.utc_ms)
        yield Sample(names.LINK, link, now.utc_ms)
        if self._read_at_ms is not None:
            yield Sample(names.READ_AT, self._read_at_ms, now.utc_ms)

    def _gone_stale(self, now: Moment) -> Iterator[Sample]:
        """Withdraw values that nobody confirmed for too long; usually there is nothing to scan."""
        if self._scan_ms is not None and now.steady_ms < self._scan_ms:
            return
        next_ms = now.steady_ms + STALE_AFTER * self._promise_ms
        for name, track in self._tracks.items():
            if track.latest is None or track.latest.quality is Quality.BAD:
                continue
            read_ms = max(track.read_ms, self._vouched_ms) if self._link_vouches else track.read_ms
            due_ms = read_ms + track.limit_ms(self._promise_ms)
            if now.steady_ms < due_ms:
                next_ms = min(next_ms, due_ms)
                continue
            stale = Sample(name, None, now.utc_ms, Quality.BAD, Reason.STALE)
            track.latest = track.sent = stale
            track.sent_ms = now.steady_ms
            yield stale
        self._scan_ms = next_ms

    def _judged(self, now: Moment) -> list[Sample]:
        report = self._judge.step(self._inputs(self._asked), now.steady_ms)
        if report is self._report:
            return []
        self._report = report
        return [
            Sample(names.STATE, report.state.value, now.utc_ms),
            Sample(names.STATE_REASON, report.reason, now.utc_ms),
            Sample(names.STATE_EVIDENCE, report.evidence, now.utc_ms),
        ]

    def _inputs(self, wanted: Iterable[str]) -> dict[str, Sample]:
        latest = ((name, self._tracks[name].latest) for name in wanted)
        return {name: sample for name, sample in latest if sample is not None}


def _fitted(sample: Sample, datatype: Datatype) -> Sample:
    """Give the value the type that was announced for its signal, or say that it cannot have it."""
    value = sample.value
    if value is None:
        return sample if sample.quality is Quality.BAD else _refused(sample, Reason.UNKNOWN)
    if isinstance(value, float) and not math.isfinite(value):
        return _refused(sample, Reason.NOT_FINITE)
    fitted = _as_type(value, datatype)
    if fitted is value:
        return sample
    return _refused(sample, Reason.TYPE) if fitted is None else _with(sample, fitted)


def _as_type(value: Value, datatype: Datatype) -> Value:
    """Return the value in the type announced, or None when that would change what it says."""
    match datatype:
        case "double":
            if type(value) is float:
                return value
            return float(value) if isinstance(value, int) and abs(value) <= UINT64_MAX else None
        case "boolean":
            return bool(value) if value in (0, 1) else None
        case "string":
            return value if isinstance(value, str) else None
        case "int64":
            return value if type(value) is int and -INT64_MAX <= value <= INT64_MAX else None


def _with(sample: Sample, value: Value) -> Sample:
    return Sample(sample.signal, value, sample.time_ms, sample.quality, sample.reason)


def _refused(sample: Sample, reason: Reason) -> Sample:
    return Sample(sample.signal, None, sample.time_ms, Quality.BAD, reason)
