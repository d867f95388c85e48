"""What time it is, and how far that can be believed. Pure: clocks and evidence come from outside.

A small computer without a battery begins with the time at which it stopped, and learns the right
one minutes later, or never where there is no internet. As long as the evidence is against the
clock, time here is only *provisional*: it advances evenly, and `AgentClock.poll` says by how much
it was wrong once that is known. Whoever holds readings until then moves them by that much.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PLAUSIBLE_MS: Final = 1_767_225_600_000
"""2026-01-01: this program did not exist before."""
STEP_MS: Final = 500
"""What changes by more between two looks was set; what changes by less is steered."""
BACK_MS: Final = 2_000
"""How far behind the last known time a clock may begin without being suspect."""
STOPPED_MS: Final = 15 * 60_000
"""A clock that begins so soon after the last known time may just have stood still meanwhile."""
HUB_AFTER_MS: Final = 60_000
"""How long to wait for a better time than the hub's."""
HUB_AGREES_MS: Final = 2_000
"""A clock that agrees so well with the hub's is right."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the system says of its clock."""

    synchronised: bool | None = None
    """Whether the kernel says that time servers steer it; None where it cannot be asked."""
    hardware: bool = False
    """Whether the system took its time from a clock with a battery when it started."""
    board: bool = False
    """Whether this is a small board, of the kind that has no such clock."""
    boot_id: str = ""
    up_ms: int = 0
    """How long ago the system started."""


@dataclass(frozen=True, slots=True)
class LastKnown:
    """A time known to have been right, and the start of the system in which it was."""

    time_ms: int
    boot_id: str


class Standing(StrEnum):
    """How far the time can be believed."""

    SURE = "sure"
    HUB = "hub"
    """It is the hub's, late by the way it took: quality uncertain."""
    WAITING = "waiting"
    """Nobody knows; readings wait."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the clock: `by_ms` is what the times told before lack to the times now."""

    word: str
    by_ms: int
    waited: bool
    """Whether time was provisional until now: what waits is to be moved, what is told never."""


def suspicion(wall_ms: int, evidence: Evidence, last: LastKnown | None) -> str | None:
    """Say what speaks against a clock, None when nothing does."""
    if evidence.synchronised:
        return None
    if wall_ms < PLAUSIBLE_MS:
        return "it shows a year before this program was written"
    if last is not None and wall_ms < last.time_ms - BACK_MS:
        return "it is behind a time that has been"
    if evidence.hardware:
        return None
    return _since_the_start(wall_ms - evidence.up_ms, evidence, last)


def _since_the_start(started_ms: int, evidence: Evidence, last: LastKnown | None) -> str | None:
    """Judge the time at which the system started, where no battery vouches for it."""
    if last is not None and evidence.boot_id == last.boot_id:
        return None
    if last is not None and started_ms < last.time_ms + STOPPED_MS:
        return "it went on where it had stopped"
    return "this computer has no clock that runs while it is off" if evidence.board else None


class AgentClock:
    """The agent's only source of time; `poll` some times per second and obey what it says."""

    def __init__(
        self,
        *,
        wall_ms: Callable[[], int],
        steady_ms: Callable[[], int],
        evidence: Callable[[], Evidence],
        last: LastKnown | None,
    ) -> None:
        self._wall_ms = wall_ms
        self._steady_ms = steady_ms
        self._evidence = evidence
        began = evidence()
        self.boot_id = began.boot_id
        self._began_ms = steady_ms()
        self._seen_ms = self._wall_offset_ms()
        self._offset_ms: int | None = None
        self._hub_ms: int | None = None
        self.standing = Standing.SURE
        self.steps = 0
        self.doubt = suspicion(wall_ms(), began, last)
        """Why readings wait, or waited at the start."""
        if self.doubt is not None:
            self.standing = Standing.WAITING
            known_ms = last.time_ms if last else 0
            self._offset_ms = max(known_ms, wall_ms(), PLAUSIBLE_MS) - self._began_ms

    @property
    def offset_ms(self) -> int | None:
        """What makes UTC of the steady clock; None when the system's own clock is right."""
        return self._offset_ms

    def now_ms(self) -> int:
        """Return the time in milliseconds UTC, provisional while `standing` is waiting."""
        if self._offset_ms is None:
            return self._wall_ms()
        return self._steady_ms() + self._offset_ms

    def steady_ms(self) -> int:
        """Return milliseconds that only ever advance, from an arbitrary beginning."""
        return self._steady_ms()

    def hub_said(self, time_ms: int) -> None:
        """Take in the time of a message of the hub; the quickest message tells it best."""
        offset_ms = time_ms - self._steady_ms()
        if time_ms >= PLAUSIBLE_MS and (self._hub_ms is None or offset_ms > self._hub_ms):
            self._hub_ms = offset_ms

    def poll(self) -> Change | None:
        """Look whether the time has become known, or was set."""
        offset_ms = self._wall_offset_ms()
        moved_ms, self._seen_ms = offset_ms - self._seen_ms, offset_ms
        if self.standing is Standing.SURE:
            return self._stepped(moved_ms) if abs(moved_ms) > STEP_MS else None
        if self._evidence().synchronised:
            return self._settle(Standing.SURE, None, "synchronised")
        if abs(moved_ms) > STEP_MS and self._wall_ms() >= PLAUSIBLE_MS:
            return self._settle(Standing.SURE, None, "set")
        patient = self._steady_ms() - self._began_ms < HUB_AFTER_MS
        if self.standing is Standing.HUB or self._hub_ms is None or patient:
            return None
        if abs(offset_ms - self._hub_ms) <= HUB_AGREES_MS:
            return self._settle(Standing.SURE, None, "confirmed by the hub")
        return self._settle(Standing.HUB, self._hub_ms, "told by the hub")

    def _stepped(self, moved_ms: int) -> Change:
        self.steps += 1
        return Change("stepped", moved_ms, waited=False)

    def _settle(self, standing: Standing, offset_ms: int | None, word: str) -> Change:
        before_ms = self.now_ms()
        waited = self.standing is Standing.WAITING
        self.standing, self._offset_ms = standing, offset_ms
        return Change(word, self.now_ms() - before_ms, waited)

    def _wall_offset_ms(self) -> int:
        return self._wall_ms() - self._steady_ms()
