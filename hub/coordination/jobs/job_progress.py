"""How many parts were made since a job came to a machine, and how fast (pure, but for asking).

Two witnesses are heard. The live counters tell at once, but a hub that was down has missed some.
The historian knows all that was ever sent, a backlog too, but some seconds later. Parts are only
ever added, so whoever has counted more is right.
"""

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.model import Quality
from hub.live import SignalValue

CYCLES: Final = 20
"""Of how many parts the cycle time is the median."""
CYCLES_MIN: Final = 3


def advance(before: float, now: float) -> float:
    """Tell how far a counter went. One that went back was reset, and counts from zero again."""
    return now - before if now >= before else max(now, 0.0)


@dataclass(slots=True)
class Meter:
    """Counts the parts of one run by the machine's counters of one sort."""

    counts: str = "good"
    made: float = 0.0
    _last: dict[str, float] = field(default_factory=dict)
    _cycles: deque[float] = field(default_factory=lambda: deque(maxlen=CYCLES))
    _counted_ms: int | None = None

    def read(self, signals: Mapping[str, SignalValue]) -> None:
        """Take the counters as they are now. Those seen for the first time only set the start."""
        told, newest_ms = 0.0, 0
        for name, signal in signals.items():
            number = _count(signal, self.counts)
            if number is None:
                continue
            before = self._last.get(name)
            self._last[name] = number
            if before is not None and number != before:
                told += advance(before, number)
                newest_ms = max(newest_ms, signal.changed_ms)
        if told > 0:
            self._note_cycle(told, newest_ms)
            self.made += told

    def at_least(self, made: float) -> None:
        """Hear the other witness."""
        self.made = max(self.made, made)

    @property
    def cycle_s(self) -> float | None:
        """Seconds per part, the median of the last ones; None before there are enough."""
        if len(self._cycles) < CYCLES_MIN:
            return None
        return statistics.median(self._cycles)

    def _note_cycle(self, parts: float, time_ms: int) -> None:
        if self._counted_ms is not None and time_ms > self._counted_ms:
            self._cycles.append((time_ms - self._counted_ms) / 1000 / parts)
        self._counted_ms = time_ms


def counters(signals: Mapping[str, SignalValue], counts: str) -> list[str]:
    """Name the signals that count parts of one sort."""
    return [name for name, signal in signals.items() if signal.counts == counts]


def _count(signal: SignalValue, counts: str) -> float | None:
    """Read a counter; a bad value, or one that is no number, says nothing."""
    if signal.counts != counts or signal.quality is Quality.BAD:
        return None
    return float(signal.value) if isinstance(signal.value, int | float) else None
