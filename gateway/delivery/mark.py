"""What the hub knows to be settled of one epoch of one agent's journal."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.delivery.intervals import FIRST_OFFSET, IntervalSet

MARK_FACT: Final = "mark/"
"""Facts are named ``mark/<site>/<agent>/<epoch>``."""

RUNS_MAX: Final = 4_096
"""Runs kept per epoch. An entry that would open one more is left for the agent to send again."""

_FORMAT: Final = 1
_SHIFT_MAX: Final = 63
_MORE: Final = 0x80
"""The bit of a varint's byte that says that another byte follows."""


class MarkError(Exception):
    """A saved mark cannot be read: the file that holds it is not to be trusted."""


@dataclass(slots=True)
class Ledger:
    """Offsets settled, and those among them that were lost without being declared."""

    settled: IntervalSet = field(default_factory=IntervalSet)
    lost: IntervalSet = field(default_factory=IntervalSet)

    def copy(self) -> "Ledger":
        """Return an independent ledger with the same content."""
        return Ledger(self.settled.copy(), self.lost.copy())


class Mark:
    """One epoch's ledger: as judged, and as durable.

    The judgement runs ahead while a transaction is on its way. Versions tell how far: a version is
    durable when the facts saved at that version are.
    """

    __slots__ = (
        "_saving",
        "_saving_version",
        "ack_due",
        "agent",
        "born_ms",
        "durable",
        "durable_version",
        "epoch",
        "judged",
        "site",
        "version",
        "waiting",
    )

    def __init__(self, site: str, agent: str, epoch: int) -> None:
        self.site = site
        self.agent = agent
        self.epoch = epoch
        self.born_ms = 0
        self.judged = Ledger()
        self.durable = Ledger()
        self.version = 0
        self.durable_version = 0
        self.ack_due: int | None = None
        self.waiting = 0
        """Entries that became durable since the last acknowledgement."""
        self._saving = self.durable
        self._saving_version = 0

    @property
    def name(self) -> str:
        """The name of the fact that holds this mark."""
        return f"{MARK_FACT}{self.site}/{self.agent}/{self.epoch}"

    @property
    def changed(self) -> bool:
        """Tell whether the judgement runs ahead of what is durable."""
        return self.version != self.durable_version

    def offer(self, offset: int) -> bool:
        """Settle one offset; True when it was neither settled before nor refused."""
        settled = self.judged.settled
        full = len(settled) >= RUNS_MAX and offset - 1 not in settled and offset + 1 not in settled
        if offset < FIRST_OFFSET or full or not settled.add(offset):
            return False
        self.version += 1
        return True

    def offer_run(self, offsets: list[int]) -> bool:
        """Settle consecutive offsets above all others at once; False when they are not that."""
        if offsets[0] < FIRST_OFFSET or len(self.judged.settled) >= RUNS_MAX:
            return False
        if not self.judged.settled.add_ahead(offsets):
            return False
        self.version += 1
        return True

    def drop(self, first: int, last: int) -> None:
        """Settle a run that the agent declares dropped."""
        if not FIRST_OFFSET <= first <= last or len(self.judged.settled) >= RUNS_MAX:
            return
        fresh = self.judged.settled.add_run(first, last)
        if self.judged.lost.remove_run(first, last) + fresh:
            self.version += 1

    def lose_below(self, first: int) -> list[tuple[int, int]]:
        """Settle as lost whatever is not settled below `first`; return those runs."""
        lost = list(self.judged.settled.gaps(FIRST_OFFSET, first - 1))
        for run in lost:
            self.judged.settled.add_run(*run)
            self.judged.lost.add_run(*run)
        self.version += bool(lost)
        return lost

    def save(self) -> bytes:
        """Return the fact to write now."""
        self._saving = self.judged.copy()
        self._saving_version = self.version
        return encode_mark(self.born_ms, self.judged)

    def saved(self) -> int:
        """Take note that the last fact is durable; return how many offsets it added."""
        added = self._saving.settled.count() - self.durable.settled.count()
        self.durable, self.durable_version = self._saving, self._saving_version
        self.waiting += added
        return added

    def roll_back(self) -> None:
        """Forget what was judged and is not durable."""
        self.judged = self.durable.copy()
        if self.durable_version:
            self.version = self.durable_version

    def load(self, saved: bytes) -> None:
        """Start from a fact saved earlier; raise MarkError when it is garbled."""
        self.born_ms, self.durable = decode_mark(saved)
        self.judged = self.durable.copy()
        self._saving = self.durable
        self.version = self.durable_version = self._saving_version = 1


def encode_mark(born_ms: int, ledger: Ledger) -> bytes:
    """Write a mark as varints: format, time of birth, and the distances between all runs."""
    numbers = [_FORMAT, max(0, born_ms)]
    for offsets in (ledger.settled, ledger.lost):
        numbers.append(len(offsets))
        before = 0
        for first, last in offsets.runs():
            numbers += (first - before, last - first)
            before = last
    return b"".join(map(_varint, numbers))


def decode_mark(saved: bytes) -> tuple[int, Ledger]:
    """Read what `encode_mark` wrote, or raise MarkError."""
    numbers = _numbers(saved)
    try:
        if next(numbers) != _FORMAT:
            raise MarkError("a saved mark has a format that this version does not know")
        born_ms = next(numbers)
        ledger = Ledger(IntervalSet(_runs(numbers)), IntervalSet(_runs(numbers)))
    except StopIteration:
        raise MarkError("a saved mark ends early") from None
    return born_ms, ledger


def _runs(numbers: Iterator[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    before = 0
    for _ in range(next(numbers)):
        first = before + next(numbers)
        before = first + next(numbers)
        runs.append((first, before))
    return runs


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= _MORE:
        out.append(number & 0x7F | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


def _numbers(data: Iterable[int]) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        if byte & _MORE:
            shift += 7
            if shift > _SHIFT_MAX:
                raise MarkError("a saved mark holds a number beyond 64 bits")
            continue
        yield number
        number = shift = 0
