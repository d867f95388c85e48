"""How much may be on its way at once, how fast, and for how long it is waited for."""

import math
import random
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.delivery.intervals import IntervalSet

WINDOW: Final = 64
"""Entries of one lane that may be on their way, unacknowledged."""

RESEND_MS: Final = 2_000
RESEND_MAX_MS: Final = 60_000
JITTER: Final = 0.25
SILENCES_MAX: Final = 3
"""Time-outs without any acknowledgement after which the backlog pauses."""

BACKLOG_FACTOR: Final = 10
BACKLOG_RATE_MIN: Final = 100.0
"""Entries per second that the backlog may take however quiet the live lane is."""
LIVE_MEMORY_MS: Final = 10_000


class Lane(Enum):
    """Live entries go at once; the backlog follows as the hub keeps up."""

    LIVE = "live"
    BACKLOG = "backlog"


def resend_after_ms(attempts: int, rng: random.Random) -> int:
    """Say how long to wait for an acknowledgement after `attempts` in vain."""
    doubled = RESEND_MS << min(attempts, RESEND_MAX_MS.bit_length())
    return int(min(doubled, RESEND_MAX_MS) * rng.uniform(1.0, 1.0 + JITTER))


@dataclass(frozen=True, slots=True)
class _Flight:
    lane: Lane
    deadline: int


class Flights:
    """Entries that were sent and are not settled yet."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._flying: dict[int, _Flight] = {}
        self._attempts: dict[int, int] = {}
        self._counts = dict.fromkeys(Lane, 0)

    def __contains__(self, offset: int) -> bool:
        return offset in self._flying

    def __len__(self) -> int:
        return len(self._flying)

    def room(self, lane: Lane) -> int:
        """Say how many more entries the window of a lane takes."""
        return WINDOW - self._counts[lane]

    def take_off(self, offset: int, lane: Lane, now: int) -> bool:
        """Note that an entry is sent; tell whether again. Each time in vain doubles the wait."""
        attempts = self._attempts.get(offset, 0)
        self._flying[offset] = _Flight(lane, now + resend_after_ms(attempts, self._rng))
        self._attempts[offset] = attempts + 1
        self._counts[lane] += 1
        return attempts > 0

    def lose(self, offset: int) -> None:
        """Forget that an entry was sent, for it was not."""
        if offset in self._flying:
            self._remove(offset)

    def land(self, settled: IntervalSet) -> None:
        """Forget the entries that are settled by now."""
        for offset in [offset for offset in self._flying if offset in settled]:
            self._remove(offset)
        for offset in [offset for offset in self._attempts if offset in settled]:
            del self._attempts[offset]

    def overdue(self, now: int) -> list[int]:
        """Give up waiting for the entries whose time is over, and return them."""
        late = [offset for offset, flight in self._flying.items() if flight.deadline <= now]
        for offset in late:
            self._remove(offset)
        return late

    def ground(self) -> list[int]:
        """Give up waiting for all, and return them."""
        flying = list(self._flying)
        self._flying.clear()
        self._counts = dict.fromkeys(Lane, 0)
        return flying

    def reset(self) -> None:
        """Start anew, as after a reconnect: nothing is on its way, nothing was tried."""
        self.ground()
        self._attempts.clear()

    def next_deadline(self) -> int | None:
        """Say when the first of them is overdue."""
        return min((flight.deadline for flight in self._flying.values()), default=None)

    def _remove(self, offset: int) -> None:
        self._counts[self._flying.pop(offset).lane] -= 1


class Patience:
    """Counts time-outs without any acknowledgement; after three the backlog pauses."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.silences = 0
        self.deadline: int | None = None

    @property
    def paused(self) -> bool:
        """Tell whether the hub has been silent for too long."""
        return self.silences >= SILENCES_MAX

    def heard(self, now: int, *, waiting: bool) -> None:
        """An acknowledgement came; `waiting` for more of them, or not."""
        self.silences = 0
        self.deadline = self._later(now) if waiting else None

    def sent(self, now: int) -> None:
        """Something went out that an acknowledgement must follow."""
        if self.deadline is None:
            self.deadline = self._later(now)

    def is_over(self, now: int) -> bool:
        """Tell, once per time-out, that the wait was in vain."""
        if self.deadline is None or now < self.deadline:
            return False
        self.silences = min(self.silences + 1, SILENCES_MAX + RESEND_MAX_MS.bit_length())
        self.deadline = self._later(now)
        return True

    def pause(self, now: int) -> None:
        """The host said that it is going: do not wait for three time-outs."""
        self.silences = max(self.silences, SILENCES_MAX)
        self.deadline = self._later(now)

    def _later(self, now: int) -> int:
        return now + resend_after_ms(self.silences, self._rng)


class Pace:
    """Limits the backlog to a multiple of the live rate, so that it never crowds it out."""

    def __init__(self) -> None:
        self._live_per_s = 0.0
        self._credit = float(WINDOW)
        self._at = 0

    @property
    def rate_per_s(self) -> float:
        """Entries per second that the backlog may take now."""
        return max(BACKLOG_RATE_MIN, BACKLOG_FACTOR * self._live_per_s)

    def live(self, entries: int) -> None:
        """Note new entries: the measure for the backlog."""
        self._live_per_s += entries * 1000 / LIVE_MEMORY_MS

    def credit(self, now: int) -> int:
        """Say how many entries of the backlog may go now."""
        passed_ms = now - self._at
        self._at = now
        self._credit = min(float(WINDOW), self._credit + passed_ms * self.rate_per_s / 1000)
        self._live_per_s *= math.exp(-passed_ms / LIVE_MEMORY_MS)
        return int(self._credit)

    def spend(self, entries: int) -> None:
        """Take entries of the backlog off the credit."""
        self._credit -= entries

    def next_credit(self) -> int:
        """Say when the next entry of the backlog may go."""
        missing = max(0.0, 1.0 - self._credit)
        return self._at + math.ceil(missing * 1000 / self.rate_per_s)
