"""Tells whether a journal is the one that the hub knows, or a copy that went its own way."""

from typing import Final

from gateway.delivery.intervals import FIRST_OFFSET, IntervalSet
from gateway.delivery.storage import Storage, save_fact

FLOOR_FACT: Final = "delivery/floor"
"""``<epoch>:<offset>``: entries from here on were written before a host confirmed the journal."""


class Lineage:
    """Watches for offsets that a host has settled although this journal never sent them.

    Below the floor, the offset that came next when the journal was opened, everything is common
    history: a copy of a file has the same content up to the point where it was copied. From the
    floor on only what this process sent can have been settled. The floor is kept as a fact until
    a host confirms it, so that a restart without any contact does not raise it.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._sent = IntervalSet()
        epoch, _, offset = storage.facts(FLOOR_FACT).get(FLOOR_FACT, b"").partition(b":")
        self._kept = epoch == str(storage.epoch).encode()
        self._floor = int(offset) if self._kept else storage.next
        if not self._kept:
            floor = f"{storage.epoch}:{self._floor}".encode()
            self._kept = save_fact(storage, FLOOR_FACT, floor)

    def sent(self, offset: int) -> None:
        """Note that an entry goes out with its number."""
        if offset >= self._floor:
            self._sent.add(offset)

    def confirm(self) -> None:
        """A host's answer fits: from now on the floor need not outlive this process."""
        if self._kept:
            self._kept = not save_fact(self._storage, FLOOR_FACT, None)

    def is_forked(self, claimed: IntervalSet) -> bool:
        """Tell whether a host claims what this journal cannot have sent.

        Offsets that are no longer held do not count: they were dropped and declared.
        """
        for first, last in claimed.runs():
            for unsent_first, unsent_last in self._sent.gaps(max(first, self._floor), last):
                if unsent_last >= self._storage.next:
                    return True
                held = self._storage.unsettled(unsent_first, 1)
                if held and held[0].offset <= unsent_last:
                    return True
        return False

    def common(self, claimed: IntervalSet) -> list[tuple[int, int]]:
        """Return what a host claims of the common history: settled, fork or not."""
        return [
            (first, min(last, self._floor - 1))
            for first, last in claimed.runs()
            if first < self._floor
        ]

    def begin_anew(self) -> None:
        """The journal has a new epoch: nothing of it was ever sent."""
        self._sent = IntervalSet()
        self._floor = FIRST_OFFSET
