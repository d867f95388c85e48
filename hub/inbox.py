"""What the hub received and acknowledged: entries, marks, births and dead letters, as one journal.

Everything of one commit is one transaction with fsync, so what was acknowledged, what is settled
and what is needed to decode it can never disagree. The historian writer reads behind a cursor of
(epoch, offset) of this journal; what it has written leaves.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.delivery.mark import MARK_FACT
from gateway.journal import Entry, Journal, JournalStats, NewEntry

DEAD_LETTER_FACT: Final = "dead/"
BIRTH_FACT: Final = "birth/"
_FOREIGN: Final = "~"
_LEVELS: Final = 4
DEAD_LETTERS_MAX: Final = 1000
DEAD_LETTER_BYTES_MAX: Final = 64 * 1024 * 1024


class Source(NamedTuple):
    """Who sent an entry. `machine` is empty for an agent's own signals."""

    site: str
    agent: str
    machine: str
    foreign: bool = False

    @property
    def key(self) -> str:
        """The key of the journal's entries; ids hold no slash."""
        key = f"{self.site}/{self.agent}/{self.machine}"
        return f"{key}/{_FOREIGN}" if self.foreign else key

    @classmethod
    def of_key(cls, key: str) -> "Source":
        """Undo `key`."""
        levels = key.split("/")
        return cls(levels[0], levels[1], levels[2], len(levels) == _LEVELS)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry that was settled although its body could not be read."""

    time_ms: int
    site: str
    agent: str
    epoch: int
    offset: int
    cause: str
    payload: bytes


class Inbox:
    """The hub's journal. One thread stores, any may read, and any may bury."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._burying = threading.Lock()
        saved = journal.facts(DEAD_LETTER_FACT)
        self._dead = {name: len(letter) for name, letter in sorted(saved.items())}
        self._dead_next = 1 + max((int(name.rpartition("/")[2]) for name in saved), default=0)

    @property
    def epoch(self) -> int:
        """The journal's epoch: another one means that this is another file."""
        return self._journal.epoch

    @property
    def first(self) -> int:
        """The oldest offset held."""
        return self._journal.first

    @property
    def next(self) -> int:
        """The offset that the next entry gets."""
        return self._journal.next

    @property
    def batch_bytes_max(self) -> int:
        """How many bytes one `store` may hold."""
        return self._journal.batch_bytes_max

    def store(
        self,
        entries: Sequence[NewEntry],
        facts: Mapping[str, bytes | None],
        dead: Sequence[DeadLetter] = (),
    ) -> int:
        """Commit everything at once, with fsync; return the offset of the first entry.

        Raises JournalFull, and stores nothing, when the budget does not allow it.
        """
        if not dead:
            return self._journal.append(entries, facts)
        with self._burying:
            fresh, forgotten = self._dead_facts(dead)
            first = self._journal.append(entries, {**facts, **fresh, **dict.fromkeys(forgotten)})
            self._dead_next += len(fresh)
            for name in forgotten:
                self._dead.pop(name, None)
            self._dead.update((name, len(letter)) for name, letter in fresh.items())
        return first

    def bury(self, dead: Sequence[DeadLetter]) -> None:
        """Keep letters that turned out dead after they were stored."""
        self.store((), {}, dead)

    def read_after(self, offset: int, limit: int, last: int | None = None) -> list[Entry]:
        """Give the entries behind `offset`, up to `limit` of them and none beyond `last`."""
        entries = self._journal.read(offset + 1, limit)
        return entries if last is None else [e for e in entries if e.offset <= last]

    def written(self, offset: int) -> None:
        """Let go of everything up to `offset`: the historian has it."""
        if offset >= self._journal.first:
            self._journal.settle([(self._journal.first, offset)])

    def marks(self) -> dict[str, bytes]:
        """Give the marks of what is settled, by agent and epoch."""
        return self._journal.facts(MARK_FACT)

    def births(self) -> dict[str, bytes]:
        """Give the births seen, as sessions saved them."""
        return self._journal.facts(BIRTH_FACT)

    def seed(self, marks: Mapping[str, bytes]) -> None:
        """Start a fresh file with the marks that the historian kept beside its rows."""
        if marks:
            self._journal.append((), dict(marks))

    def dead_letters(self) -> list[DeadLetter]:
        """Give the dead letters, oldest first."""
        saved = self._journal.facts(DEAD_LETTER_FACT)
        return [_read_letter(letter) for _, letter in sorted(saved.items())]

    def stats(self) -> JournalStats:
        """Tell how full the journal is."""
        return self._journal.stats()

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()

    def _dead_facts(self, dead: Sequence[DeadLetter]) -> tuple[dict[str, bytes], list[str]]:
        """Name new dead letters, and choose the old ones that give way to them."""
        fresh = {
            f"{DEAD_LETTER_FACT}{self._dead_next + at:012d}": _write_letter(letter)
            for at, letter in enumerate(dead)
        }
        held = {**self._dead, **{name: len(letter) for name, letter in fresh.items()}}
        size = sum(held.values())
        forgotten: list[str] = []
        for name in self._dead:
            if len(held) - len(forgotten) <= DEAD_LETTERS_MAX and size <= DEAD_LETTER_BYTES_MAX:
                break
            forgotten.append(name)
            size -= held[name]
        return fresh, forgotten


def _write_letter(letter: DeadLetter) -> bytes:
    head = {name: getattr(letter, name) for name in letter.__slots__ if name != "payload"}
    return json.dumps(head).encode() + b"\n" + letter.payload


def _read_letter(letter: bytes) -> DeadLetter:
    head, _, payload = letter.partition(b"\n")
    return DeadLetter(**json.loads(head), payload=payload)
