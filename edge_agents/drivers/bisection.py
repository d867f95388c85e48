"""Finds the one address that a machine refuses, and goes on reading all the others. Pure.

A machine answers a whole request with exception 2 or 3 if it does not know one address of it, or a
gap read along, or if the request is too long for it. A refused block is split, at its widest gap
first, until the culprit stands alone. It is left out then and tried again: soon at first, because
a controller that is starting refuses everything for a while, and every hour in the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from edge_agents.drivers.registers import Block, Limits, RegisterSignal, block_of, halves, plan

FIRST_RETEST_S: Final = 5.0
LAST_RETEST_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a group's blocks."""

    removed: tuple[Block, ...] = ()
    added: tuple[Block, ...] = ()
    """To be read at once, and then with their period."""
    retests: tuple[tuple[Block, float], ...] = ()
    """To be read once, after so many seconds."""
    quarantined: tuple[RegisterSignal, ...] = ()
    released: tuple[RegisterSignal, ...] = ()


NOTHING: Final = Change()


@dataclass(slots=True)
class _Search:
    """One search for a culprit, from the first refusal until every part has been tried."""

    untried: set[Block] = field(default_factory=set)
    gaps: set[int] = field(default_factory=set)
    longest: int = 1
    """Addresses in the longest part that was answered."""
    found: bool = False


@dataclass(slots=True)
class _Quarantine:
    signal: RegisterSignal
    retest: Block
    delay_s: float


class Group:
    """The signals of one machine, table and period, and the blocks that read them now."""

    def __init__(self, signals: Sequence[RegisterSignal], limits: Limits) -> None:
        self._signals = tuple(signals)
        self._limits = limits
        self._avoid: frozenset[int] = frozenset()
        self._search: _Search | None = None
        self._unexplained = False
        self._quarantine: dict[str, _Quarantine] = {}
        self.blocks: tuple[Block, ...] = tuple(plan(signals, limits))

    @property
    def quarantined(self) -> tuple[str, ...]:
        """Names of the signals whose addresses are left out."""
        return tuple(self._quarantine)

    def refused(self, block: Block) -> Change:
        """Take in that the machine does not know some address of `block`."""
        held = self._held(block)
        if held is not None:
            return self._refused_again(held)
        if block not in self.blocks:
            return NOTHING
        self._search = self._search or _Search()
        self._search.untried.discard(block)
        if len(block.signals) == 1:
            return self._isolate(block, self._search)
        return self._split(block, self._search)

    def answered(self, block: Block) -> Change:
        """Take in that the machine knows every address of `block`."""
        held = self._held(block)
        if held is not None:
            return self._release(held)
        if self._search is None or block not in self._search.untried:
            return NOTHING
        self._search.untried.discard(block)
        self._search.longest = max(self._search.longest, block.count)
        return self._settled(self._search)

    def _held(self, block: Block) -> _Quarantine | None:
        held = self._quarantine.get(block.signals[0].name)
        return held if held is not None and held.retest is block else None

    def _split(self, block: Block, search: _Search) -> Change:
        parts = halves(block)
        search.untried.update(parts)
        search.gaps.update(range(parts[0].end, parts[1].address))
        self.blocks = (*(one for one in self.blocks if one is not block), *parts)
        return Change(removed=(block,), added=parts)

    def _isolate(self, block: Block, search: _Search) -> Change:
        signal = block.signals[0]
        search.found = True
        held = _Quarantine(signal, block_of([signal]), FIRST_RETEST_S)
        self._quarantine[signal.name] = held
        self.blocks = tuple(one for one in self.blocks if one is not block)
        after = self._settled(search)
        return Change(
            removed=(block, *after.removed),
            added=after.added,
            retests=((held.retest, held.delay_s),),
            quarantined=(signal,),
        )

    def _settled(self, search: _Search) -> Change:
        """Plan anew around what was found, once every part has been tried."""
        if search.untried:
            return NOTHING
        self._search = None
        if search.found or self._unexplained:
            self._learn(search)
        self._unexplained = not search.found
        return self._replanned()

    def _learn(self, search: _Search) -> None:
        """Bridge no suspicious gap any more; if that explains nothing, ask for less at once.

        Every part alone was answered: either the fault has passed, which is believed once, or it
        was a gap, or the request was too long.
        """
        avoid = self._avoid | search.gaps
        if avoid == self._avoid and not search.found:
            words = -(-search.longest // 16) if self._signals[0].table.of_bits else search.longest
            alone = words >= self._limits.words_max
            self._limits = replace(self._limits, words_max=words, alone=alone)
        self._avoid = frozenset(avoid)

    def _replanned(self) -> Change:
        held = [one.signal for one in self._quarantine.values()]
        bad = {address for one in held for address in range(one.address, one.end)}
        good = [one for one in self._signals if one.name not in self._quarantine]
        before = self.blocks
        self.blocks = tuple(plan(good, self._limits, avoid=self._avoid | bad))
        return Change(removed=before, added=self.blocks)

    def _refused_again(self, held: _Quarantine) -> Change:
        held.delay_s = min(2 * held.delay_s, LAST_RETEST_S)
        return Change(removed=(held.retest,), retests=((held.retest, held.delay_s),))

    def _release(self, held: _Quarantine) -> Change:
        """Read the signal with the others again, and try the rest of the quarantine at once."""
        del self._quarantine[held.signal.name]
        rest = tuple((one.retest, 0.0) for one in self._quarantine.values())
        if self._search is not None:
            again = block_of([held.signal])
            self.blocks = (*self.blocks, again)
            change = Change(removed=(held.retest,), added=(again,))
        else:
            planned = self._replanned()
            change = Change(removed=(held.retest, *planned.removed), added=planned.added)
        return replace(change, retests=rest, released=(held.signal,))
