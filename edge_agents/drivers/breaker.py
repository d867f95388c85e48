"""When to stop asking a unit that does not answer, and when to ask again. Pure.

A dead unit on a shared line costs the others one time-out per question. So after a few unanswered
questions it is left alone, and probed ever more rarely. The jitter keeps the probes of many units
that died together, by one cut cable, from meeting again and again.
"""

import random
from typing import Final

FAILURES_MAX: Final = 3
FIRST_PROBE_S: Final = 2.0
LAST_PROBE_S: Final = 60.0
JITTER: Final = 0.2


class Backoff:
    """Delays that double from the first to the longest, each up to 20 % shorter or longer."""

    def __init__(self, rng: random.Random, *, first_s: float, longest_s: float) -> None:
        self._rng = rng
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Return how long to wait this time."""
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, self._longest_s)
        return delay_s * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def reset(self) -> None:
        """Begin again with the shortest delay."""
        self._next_s = self._first_s


class Breaker:
    """Counts the unanswered questions to one unit of one line; opens at the third in a row."""

    def __init__(self, rng: random.Random) -> None:
        self._failures = 0
        self._backoff = Backoff(rng, first_s=FIRST_PROBE_S, longest_s=LAST_PROBE_S)

    @property
    def open(self) -> bool:
        """Whether the unit is left alone but for a probe from time to time."""
        return self._failures >= FAILURES_MAX

    @property
    def doubted(self) -> bool:
        """Whether the last question was not answered."""
        return self._failures > 0

    def failed(self) -> float | None:
        """Note an unanswered question; return the seconds until the next probe once open."""
        self._failures = min(self._failures + 1, FAILURES_MAX)
        return self._backoff.next_s() if self.open else None

    def answered(self) -> None:
        """Note an answer, whatever it said: the unit is there."""
        self._failures = 0
        self._backoff.reset()
