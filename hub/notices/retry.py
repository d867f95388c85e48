"""What becomes of a notice that could not be delivered (pure).

A receiver that is away is waited for, three days long; what it answers decides about one notice
only. So a receiver that was down for a night gets everything in order, and one notice that it
cannot digest does not keep the others back for ever.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

FIRST_S: Final = 1.0
LONGEST_S: Final = 15 * 60.0
REFUSALS_MAX: Final = 5
"""Tries of a notice that the receiver answers with 4xx: it means this notice."""
FAILURES_MAX: Final = 25
"""Tries of a notice that the receiver answers with 5xx: it may mean this notice, some 4 h long."""
KEPT_MS: Final = 72 * 3600 * 1000
"""How long after it happened a notice is tried at most."""
_EXPONENT_MAX: Final = 16
_AGAIN_LATER: Final = frozenset({408, 425, 429})
_GONE: Final = 410


class Fate(StrEnum):
    """What to do next with the notice at the head of a queue."""

    DELIVERED = "delivered"
    AGAIN = "again"
    DEAD = "dead"
    """Set it aside where people find it, and go on with the next one."""
    STOP = "stop"
    """The receiver wants nothing more: pause the webhook until a person resumes it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one try ended: with `status`, or without an answer (None)."""

    status: int | None
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A fate, and for `AGAIN` when."""

    fate: Fate
    wait_s: float = 0.0


def judge(attempt: Attempt, *, tries: int, age_ms: int, jitter: float) -> Verdict:
    """Decide after a try; `tries` counts this one, `jitter` is random in [0, 1)."""
    status = attempt.status
    if status is not None and 200 <= status < 300:  # noqa: PLR2004 (success, RFC 9110, 15.3)
        return Verdict(Fate.DELIVERED)
    if status == _GONE:
        return Verdict(Fate.STOP)
    if age_ms >= KEPT_MS or tries >= _tries_max(status):
        return Verdict(Fate.DEAD)
    wait_s = back_off_s(tries, jitter)
    return Verdict(Fate.AGAIN, max(wait_s, min(attempt.retry_after_s or 0.0, KEPT_MS / 1000)))


def back_off_s(tries: int, jitter: float) -> float:
    """Give the pause after the n-th failure: doubling, bounded, with a random upper half."""
    full = min(FIRST_S * 2.0 ** min(tries - 1, _EXPONENT_MAX), LONGEST_S)
    return full * (0.5 + 0.5 * jitter)


def _tries_max(status: int | None) -> float:
    if status is None or status in _AGAIN_LATER:
        return float("inf")
    # A redirect is not followed, so it is a refusal like 4xx.
    return REFUSALS_MAX if status < 500 else FAILURES_MAX  # noqa: PLR2004 (server errors)
