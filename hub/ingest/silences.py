"""Stretches in which nobody read a machine, put into its history as `unknown`.

An agent that is switched off says nothing, so its last word would stand in the history until it is
back, as if the machine had run on all the while. When it is back, its readings tell for how long
nobody knew: from the end of what the last reading promised to the next one. A link that was cut
leaves no such stretch, for the outbox brings what was read in between.

What was read last is kept beside the rows, in their transaction, but only once a minute for each
machine; what is restored from there may be so much older than the truth.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from gateway.model import State
from hub.columns import StateChange
from hub.historian import StateInterval
from hub.live.machine import AGES_TO_STALE

MARK: Final = "read/"
KEEP_EVERY_MS: Final = 60_000
NO_DATA: Final = "no-data"
SOURCE: Final = "hub"

Key = tuple[str, str]


class Read(NamedTuple):
    """A machine was read at an instant; `max_age_ms` is what its agent promised, if it did."""

    site: str
    machine: str
    time_ms: int
    max_age_ms: int | None


@dataclass(slots=True)
class _Last:
    time_ms: int
    max_age_ms: int | None
    kept_ms: int | None = None
    restored: bool = False


@dataclass(slots=True)
class Found:
    """What one write has to add, and what is known once it is written."""

    states: list[StateChange] = field(default_factory=list)
    marks: dict[str, bytes] = field(default_factory=dict)
    last: dict[Key, _Last] = field(default_factory=dict)


class Silences:
    """Finds them as entries come, in the order of the inbox. Used by the writer's thread."""

    def __init__(self, state_at: Callable[[str, str, int], StateInterval | None]) -> None:
        """`state_at` looks into the history; it is asked after a silence only."""
        self._state_at = state_at
        self._last: dict[Key, _Last] = {}

    def restore(self, marks: Mapping[str, bytes]) -> None:
        """Take over what was kept beside the rows, of machines not heard of since the start."""
        for name, mark in marks.items():
            if name.startswith(MARK):
                site, _, machine = name.removeprefix(MARK).partition("/")
                time_ms, max_age_ms = (int(word) for word in mark.split())
                last = _Last(time_ms, max_age_ms or None, time_ms, restored=True)
                self._last.setdefault((site, machine), last)

    def look(self, reads: Iterable[Read], states: Sequence[StateChange]) -> Found:
        """Look through what will be written at once; `settle` it when it is."""
        found = Found()
        for read in reads:
            key = (read.site, read.machine)
            last = found.last.get(key) or self._last.get(key)
            kept_ms = last.kept_ms if last else None
            if last is not None:
                self._note(read, last, states, found)
            age_ms = read.max_age_ms or (last.max_age_ms if last else None)
            fresh = found.last[key] = _Last(read.time_ms, age_ms, kept_ms)
            if kept_ms is None or not 0 <= read.time_ms - kept_ms < KEEP_EVERY_MS:
                fresh.kept_ms = read.time_ms
                mark = f"{read.time_ms} {age_ms or 0}"
                found.marks[f"{MARK}{read.site}/{read.machine}"] = mark.encode()
        return found

    def settle(self, found: Found) -> None:
        """Remember what has been written."""
        self._last |= found.last

    def _note(self, read: Read, last: _Last, states: Sequence[StateChange], found: Found) -> None:
        """Add what was not known between two readings, if there is such a stretch."""
        age_ms = last.max_age_ms or read.max_age_ms
        if age_ms is None:
            return
        begin_ms = last.time_ms + AGES_TO_STALE * age_ms
        if begin_ms + (KEEP_EVERY_MS if last.restored else 0) >= read.time_ms:
            return
        key = (read.site, read.machine)
        told = [s for s in (*found.states, *states) if (s.site, s.machine) == key]
        before = _newest(told, begin_ms) or self._before(key, begin_ms)
        if before is None or before.state is State.UNKNOWN:
            return
        found.states.append(StateChange(*key, begin_ms, State.UNKNOWN, NO_DATA, "", SOURCE))
        if not any(begin_ms < s.time_ms <= read.time_ms for s in told):
            found.states.append(replace(before, time_ms=read.time_ms, source=SOURCE))

    def _before(self, key: Key, time_ms: int) -> StateChange | None:
        known = self._state_at(*key, time_ms)
        if known is None:
            return None
        return StateChange(*key, time_ms, known.state, known.reason, known.evidence)


def _newest(told: Sequence[StateChange], until_ms: int) -> StateChange | None:
    """Give the last thing said until an instant; of several at once, the last one written."""
    found: StateChange | None = None
    for change in told:
        if change.time_ms <= until_ms and (found is None or change.time_ms >= found.time_ms):
            found = change
    return found
