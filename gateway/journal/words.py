"""What goes into a journal, what comes out, and how it refuses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


class JournalError(Exception):
    """The journal cannot do this now; nothing of the request was stored."""


class JournalCorrupt(JournalError):  # noqa: N818 - reads as what it says
    """The file is damaged. The next start examines it and sets it aside if need be."""


class JournalTooNew(JournalError):  # noqa: N818 - reads as what it says
    """The file was written by a newer program than this one."""


class JournalFull(JournalError):  # noqa: N818 - reads as what it says
    """The budget is used up by entries that must not be dropped, or the batch is too large."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """What is to be appended.

    `key` says whose it is, `count` how many samples the body holds. An entry without samples
    (count 0) is an announcement, such as that of a drop: when room is made it goes last.
    """

    key: str
    time_ms: int
    body: bytes
    count: int


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry on disk, with its number within the epoch."""

    offset: int
    key: str
    time_ms: int
    body: bytes
    count: int


@dataclass(frozen=True, slots=True)
class Budget:
    """What a journal may use: bytes on disk with everything beside the database, and time.

    Unsettled entries older than `age_max_s` are dropped (under `drop_oldest`); settled ones stay
    for `keep_settled_s` as long as there is room.
    """

    bytes_max: int
    age_max_s: float
    keep_settled_s: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Unsettled data that was forced out: offsets `first` to `last` of this epoch.

    Both are 0 where samples were lost before they had an offset, or in an earlier epoch.
    """

    first: int
    last: int
    entries: int
    samples: int
    cause: str


@dataclass(frozen=True, slots=True)
class JournalStats:
    """How full the journal is.

    `bytes_free` is what may still be appended before unsettled data is dropped or refused;
    `oldest_ms` is the time of the oldest unsettled entry; `cramped` says that the disk is full.
    """

    entries: int
    unsettled: int
    bytes: int
    bytes_max: int
    bytes_free: int
    oldest_ms: int | None
    dropped_samples: int
    dropped: Mapping[str, int]
    cramped: bool


Declare = Callable[[Sequence[Drop]], Sequence[NewEntry]]
"""Puts drops into words: gives the entries that announce them, appended in the same transaction."""
