"""Whose turn it is on a line that carries one request at a time. Pure: time is an argument.

Every job has its own fixed grid of due times, so that reading time never drifts into the period.
Among the jobs that are due the one whose deadline (the end of its period) is nearest goes first.
A line that cannot keep up leaves readings out, evenly, and counts them; it never queues them.

A job may be doubted: the one it asks has been silent. It may cost a whole time-out, so the others
that are due go first, unless it has waited for long.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

JobT = TypeVar("JobT", bound=Hashable)

DOUBT_S: Final = 10.0
"""How much longer a doubted job may wait."""


@dataclass(slots=True)
class _Turn:
    due_s: float
    period_s: float
    doubted: bool = False

    @property
    def deadline_s(self) -> float:
        return self.due_s + self.period_s + (DOUBT_S if self.doubted else 0.0)


class Schedule(Generic[JobT]):
    """Due times of the jobs of one line, in seconds of a monotonic clock.

    A line has a few to a few hundred jobs, so the next one is found by looking at all of them.
    """

    def __init__(self) -> None:
        self._turns: dict[JobT, _Turn] = {}
        self.missed = 0
        """Readings left out because the line was busy."""

    def __contains__(self, job: object) -> bool:
        return job in self._turns

    def __iter__(self) -> Iterator[JobT]:
        return iter(tuple(self._turns))

    def set(self, job: JobT, *, due_s: float, period_s: float) -> None:
        """Let `job` be due at `due_s` and then once every period; replaces what was set before."""
        before = self._turns.get(job)
        self._turns[job] = _Turn(due_s, period_s, before is not None and before.doubted)

    def doubt(self, job: JobT, *, doubted: bool) -> None:
        """Let `job` wait behind the others, or no longer."""
        if job in self._turns:
            self._turns[job].doubted = doubted

    def remove(self, job: JobT) -> None:
        """Forget `job`, if it is known."""
        self._turns.pop(job, None)

    def next(self, now_s: float) -> tuple[JobT | None, float]:
        """Return the job whose turn it is, or None and the seconds until one is due.

        Without any job the wait is infinite.
        """
        best: JobT | None = None
        nearest_s = wait_s = float("inf")
        for job, turn in self._turns.items():
            if turn.due_s > now_s:
                wait_s = min(wait_s, turn.due_s - now_s)
            elif turn.deadline_s < nearest_s:
                best, nearest_s = job, turn.deadline_s
        return best, (0.0 if best is not None else wait_s)

    def done(self, job: JobT, now_s: float) -> None:
        """Move `job` to its next due time; those that passed meanwhile become one, and count."""
        turn = self._turns.get(job)
        if turn is None:
            return
        turn.due_s += turn.period_s
        behind = int(max(0.0, now_s - turn.due_s) // turn.period_s)
        turn.due_s += behind * turn.period_s
        self.missed += behind

    def begin_anew(self, now_s: float) -> None:
        """Make everything due that should have been: nothing counts as missed while lost."""
        for turn in self._turns.values():
            turn.due_s = max(turn.due_s, now_s)
