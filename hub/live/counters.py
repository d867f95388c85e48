"""How the hub itself is doing, in numbers that only grow unless they say otherwise."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Plain numbers, each written by one thread only; readers may see them a moment late."""

    messages: int = 0
    """MQTT messages taken from the queue."""
    bytes: int = 0
    samples: int = 0
    """Samples stored in the inbox."""
    duplicates: int = 0
    """Entries that were already settled; acknowledged again, not stored again."""
    overflowed: int = 0
    """Messages that found the queue full; our own agents send them again."""
    refused_full: int = 0
    """Entries not taken because the inbox was full or could not be written."""
    unknown: int = 0
    """Entries of an unknown epoch or alias; not settled, a rebirth was asked."""
    dead_letters: int = 0
    """Entries settled although their body could not be read; kept raw."""
    births: int = 0
    deaths: int = 0
    rebirths_asked: int = 0
    sequence_gaps: int = 0
    """Messages of foreign nodes known to be missing."""
    commits: int = 0
    inbox_entries: int = 0
    """Entries in the inbox now."""
    inbox_bytes: int = 0
    """Size of the inbox now."""
    backlog_entries: int = 0
    """Entries in the inbox and not yet in the historian, now."""
    backlog_ms: int = 0
    """Age of the oldest entry not yet in the historian, now."""
    historian_samples: int = 0
    historian_writes: int = 0
    historian_failures: int = 0
    ingest_lag_ms: int = 0
    """From arrival to stored, of the last batch."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Messages that could not be understood, by cause."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Samples that agents declared lost, by cause."""
