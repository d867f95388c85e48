"""A durable queue in one file: what was appended survives `kill -9` and power loss.

Agents keep their outbox in one, the hub its inbox. Entries are numbered 1, 2, 3 … within an epoch,
committed with fsync together with small facts, and leave only when they were settled, or, where
the owner allows it, when the budget forces the oldest out, which is counted and declared.
"""

from gateway.journal.journal import Journal
from gateway.journal.storage import Connect, connect_sqlite
from gateway.journal.words import (
    Budget,
    Declare,
    Drop,
    Entry,
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalStats,
    JournalTooNew,
    NewEntry,
)

__all__ = [
    "Budget",
    "Connect",
    "Declare",
    "Drop",
    "Entry",
    "Journal",
    "JournalCorrupt",
    "JournalError",
    "JournalFull",
    "JournalStats",
    "JournalTooNew",
    "NewEntry",
    "connect_sqlite",
]
