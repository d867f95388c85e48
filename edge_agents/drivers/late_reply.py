"""Keeps a late reply from being taken for the answer to the next question. Pure.

Serial frames carry no number: a reply that comes after its time-out looks exactly like the answer
to the next request of the same shape, and wrong values would be taken without any error. Frames
name their unit, so only the unit itself can be misunderstood. Two things prevent it:

* The unit is left in peace for a while, in which most late replies arrive and are thrown away.
* Then it is asked something whose answer cannot be mistaken for any that is still due: another
  table, or another number of bytes. A unit answers in order, so once that answer has come nothing
  older is under way, however slow the unit is.

Modbus TCP numbers its requests and needs none of this.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from edge_agents.drivers.frames import answer_bytes
from edge_agents.drivers.registers import ADDRESSES, BITS_MAX, WORDS_MAX, Block, Table

FORGET_S: Final = 60.0
"""No reply is expected to be later than this."""
SHORTER_FIRST: Final = 2
"""Shorter reads to try before other tables: nearly every unit answers one."""

Shape = tuple[Table, int]
"""What tells one answer from another: the function, and the bytes of data."""


class LateReplyGuard:
    """What one unit may be asked, and when; times are monotonic seconds."""

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._until_s = float("-inf")
        self._due: dict[Shape, float] = {}
        """Answers that may still come, and since when."""

    def wait_s(self, now_s: float) -> float:
        """Return for how long the unit must be left in peace, 0 when it may be asked."""
        return max(0.0, self._until_s - now_s)

    def unanswered(self, block: Block, now_s: float) -> None:
        """Note that the answer to `block` may still be on its way."""
        self._due[_shape(block)] = now_s
        self._until_s = now_s + self._quiet_s

    def question(self, block: Block, now_s: float) -> Block:
        """Return `block` if its answer could be no other's, else another block to ask first."""
        self._due = {one: at_s for one, at_s in self._due.items() if now_s - at_s < FORGET_S}
        if _shape(block) not in self._due:
            return block
        return next((one for one in _others(block) if _shape(one) not in self._due), block)

    def answered(self, block: Block, now_s: float, *, refused: bool) -> None:
        """Take in that `block`, as chosen by `question`, was answered or refused.

        A refusal only tells the function that it refuses, so it may be a late one to another
        question about the same table: then it proves nothing.
        """
        if refused and any(table is block.table for table, _ in self._due):
            self._due[_shape(block)] = now_s
        else:
            self._due.clear()


def _shape(block: Block) -> Shape:
    return block.table, answer_bytes(block)


def _others(block: Block) -> Iterator[Block]:
    """Yield blocks that a unit may answer otherwise than `block`, the likeliest first."""
    shorter = [_asking(block, block.table, count) for count in range(block.count - 1, 0, -1)]
    yield from shorter[:SHORTER_FIRST]
    yield from (_asking(block, table, 1) for table in Table if table is not block.table)
    yield from shorter[SHORTER_FIRST:]
    longest = BITS_MAX if block.table.of_bits else WORDS_MAX
    longest = min(longest, ADDRESSES - block.address)
    yield from (_asking(block, block.table, count) for count in range(block.count + 1, longest + 1))


def _asking(block: Block, table: Table, count: int) -> Block:
    return replace(block, table=table, count=count, signals=())
