"""Tells a counter that rolled over from one that was reset. Pure.

Whoever adds up a counter takes a fall for a reset: it has counted from 0 since. So where a counter
has rolled over, the value that it rolled over at is told first, as one that it passed on its way:
60,000 · 65,536 · 4 is a step of 5,540, while 60,000 · 4 is a reset and a step of 4.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.model import Quality, Sample

log = logging.getLogger(__name__)

PLAUSIBLE_SHARE: Final = 0.5
"""A step of more than this share of the range is no step but a reset."""


class CountingSignal(Protocol):
    """What must be known of a signal, whatever protocol it is read by."""

    @property
    def name(self) -> str: ...  # noqa: D102 (as in the drivers' own signals)

    @property
    def scale(self) -> float: ...  # noqa: D102

    @property
    def offset(self) -> float: ...  # noqa: D102

    @property
    def rolls_over_at(self) -> int | None: ...  # noqa: D102

    @property
    def max_per_s(self) -> float | None: ...  # noqa: D102


@dataclass(slots=True)
class _Counter:
    top: float
    """The value that is shown as `zero` again."""
    zero: float
    max_per_s: float | None
    last: float | None = None
    last_ms: int = 0

    def rolled_over(self, value: float, at_ms: int) -> bool:
        """Tell whether a fall to `value` is explained by a roll-over."""
        if self.last is None:
            return False
        whole = self.top - self.zero
        step = (value - self.last + whole) / whole
        if not 0 <= step < PLAUSIBLE_SHARE:
            return False
        if self.max_per_s is None:
            return True
        most = self.max_per_s * max(0, at_ms - self.last_ms) / 1_000
        return step * abs(whole) <= most + 1


class Counters:
    """The counters of one machine that roll over, and where each stood last."""

    def __init__(self, machine: str, signals: Iterable[CountingSignal]) -> None:
        self._machine = machine
        self._counters = {
            one.name: _Counter(
                one.rolls_over_at * one.scale + one.offset,
                one.offset,
                None if one.max_per_s is None else one.max_per_s * abs(one.scale),
            )
            for one in signals
            if one.rolls_over_at is not None
        }

    def followed(self, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        """Return the samples, with the end that a counter passed before its new beginning."""
        if not self._counters:
            return samples
        told: list[Sample] = []
        for sample in samples:
            counter = self._counters.get(sample.signal)
            if counter is not None and sample.quality is Quality.GOOD:
                told += self._passed(counter, sample)
            told.append(sample)
        return tuple(told)

    def _passed(self, counter: _Counter, sample: Sample) -> list[Sample]:
        value = sample.value
        if not isinstance(value, float | int):
            return []
        last, last_ms = counter.last, counter.last_ms
        rolled = counter.rolled_over(value, sample.time_ms)
        counter.last, counter.last_ms = value, sample.time_ms
        if last is None or (value - last) * (counter.top - counter.zero) >= 0:
            return []
        what = "rolled over" if rolled else "was reset"
        log.info("%s: %s %s, from %g to %g", self._machine, sample.signal, what, last, value)
        if not rolled or sample.time_ms - last_ms < 2:  # noqa: PLR2004 (no instant lies between)
            return []
        top = int(counter.top) if isinstance(value, int) else counter.top
        return [Sample(sample.signal, top, sample.time_ms - 1)]
