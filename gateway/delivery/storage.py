"""What the agent's end asks of the journal that holds its entries."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from gateway.journal import Entry, JournalError, NewEntry

log = logging.getLogger(__name__)


class Storage(Protocol):
    """A journal: entries numbered within an epoch, and small facts beside them."""

    @property
    def epoch(self) -> int:
        """The journal's random 64-bit number."""

    @property
    def first(self) -> int:
        """The oldest offset held."""

    @property
    def next(self) -> int:
        """The offset that the next entry gets."""

    def read(self, first: int, limit: int) -> list[Entry]:
        """Give up to `limit` entries from offset `first` on, settled or not, ascending."""

    def unsettled(self, first: int, limit: int) -> list[Entry]:
        """Give up to `limit` entries from offset `first` on that are not settled, ascending."""

    def settle(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Note that these offsets, both ends included, are acknowledged; may be forgotten again."""

    def facts(self, prefix: str = "") -> dict[str, bytes]:
        """Give the facts whose names begin with `prefix`."""

    def append(self, entries: Sequence[NewEntry], facts: Mapping[str, bytes | None]) -> int:
        """Write durably, in one transaction; a fact of None is deleted."""

    def begin_new_epoch(self, random64: Callable[[], int]) -> None:
        """Move the unsettled entries, renumbered from 1, into a new epoch."""


def save_fact(storage: Storage, name: str, value: bytes | None) -> bool:
    """Write one fact; tell whether it worked. On a full disk delivery goes on without."""
    try:
        storage.append((), {name: value})
    except JournalError as error:
        log.debug("%s is not saved: %s", name, error)
        return False
    return True
