"""What is booked on every machine, in memory: a hundred bookings are read in microseconds."""

import threading
from collections.abc import Iterable
from typing import NamedTuple

from hub.store.reservations import OCCUPYING, Reservation, Status, Taken

Key = tuple[str, str]


class Busy(NamedTuple):
    """Units of a machine that are booked over [start_ms, end_ms); nobody is named."""

    start_ms: int
    end_ms: int
    units: int
    status: Status


class Occupancy:
    """Follows the committed rows. Any thread reads; lists are replaced, never changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[Key, tuple[Taken, ...]] = {}
        self.version = -1
        """Of the rows, as last taken over; the same in every process of a hub."""

    def load(self, version: int, taken: Iterable[Taken]) -> bool:
        """Take over everything, unless what is known is newer; tell which."""
        grouped: dict[Key, list[Taken]] = {}
        for each in taken:
            grouped.setdefault((each.site, each.machine), []).append(each)
        with self._lock:
            if version < self.version:
                return False
            self._taken = {key: tuple(found) for key, found in grouped.items()}
            self.version = version
            return True

    def follow(self, before: int, after: int, changed: Iterable[Reservation]) -> None:
        """Take over reservations as a commit has left them, which led from one version on.

        When another process changed something in between, this one reads everything again soon.
        """
        with self._lock:
            if self.version != before:
                return
            for reservation in changed:
                self._put(reservation)
            self.version = after

    def _put(self, reservation: Reservation) -> None:
        fresh: dict[Key, list[Taken]] = {(s.site, s.machine): [] for s in reservation.steps}
        if reservation.status in OCCUPYING:
            for each in reservation.taken():
                fresh[each.site, each.machine].append(each)
        for key, own in fresh.items():
            others = [t for t in self._taken.get(key, ()) if t.reservation != reservation.id]
            self._taken[key] = tuple(sorted(others + own, key=_start))
            if not self._taken[key]:
                del self._taken[key]

    def machines(self) -> list[Key]:
        """Give the machines on which anything is booked."""
        with self._lock:
            return list(self._taken)

    def taken(self, site: str, machine: str) -> tuple[Taken, ...]:
        """Give what is booked of a machine: the very same object until that changes."""
        return self._taken.get((site, machine), ())

    def busy(self, site: str, machine: str, from_ms: int, to_ms: int, now_ms: int) -> list[Busy]:
        """Give what is booked of a machine and touches [from_ms, to_ms), by its start.

        A hold that ran out is left out at its very instant, before anybody has swept it.
        """
        found: list[Busy] = []
        for each in self._taken.get((site, machine), ()):
            if each.start_ms >= to_ms:
                break
            lapsed = each.status is Status.HELD and (each.hold_expires_ms or 0) <= now_ms
            if each.end_ms > from_ms and not lapsed:
                found.append(Busy(each.start_ms, each.end_ms, each.units, each.status))
        return found


def _start(taken: Taken) -> int:
    return taken.start_ms
