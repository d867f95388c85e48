"""The hub's end: remembers what is settled of every agent, and says so.

An entry is *settled* when it is stored in the inbox, declared dropped, or dead-lettered. The marks
that remember it are facts written in the same transaction as the entries themselves, so the two
cannot disagree; and nothing is acknowledged that is not committed.
"""

import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.delivery.commands import RANGES_MAX, Ack, ack_command, rebirth_command
from gateway.delivery.mark import MARK_FACT, Mark, MarkError
from gateway.delivery.messages import Lost, NodeBirth, Outgoing
from gateway.delivery.steady import SteadyTime

ACK_AFTER_MS: Final = 200
"""Acknowledgements are coalesced for this long …"""
ACK_AFTER_ENTRIES: Final = 32
"""… or until this many entries wait: half a window, so a busy lane never stands still for one."""

REBIRTH_AGAIN_MS: Final = 10_000
"""A node is asked again after this long, doubling while it does not answer."""
REBIRTH_DOUBLINGS_MAX: Final = 5

NODES_MAX: Final = 10_000
EPOCHS_MAX: Final = 8
"""Epochs remembered per agent; a new one is born only when a journal is lost, cloned or forked."""

_Key = tuple[str, str]


@dataclass(slots=True)
class _Node:
    """One agent: its epochs, the one born last at the end, and births not answered yet."""

    marks: OrderedDict[int, Mark] = field(default_factory=OrderedDict)
    answers: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Epoch to bdSeq, and the version of the mark that must be durable before the answer."""


@dataclass(slots=True)
class _Asked:
    """How often a node was asked for a rebirth in vain, and when it may be asked again."""

    times: int
    again_ms: int


class Receiver:
    """Decide what is new, remember what is settled, acknowledge what is committed.

    The caller takes turns: ``birth``, ``offer``, ``dropped`` and ``rejected`` as messages come;
    then the new entries and ``facts()`` in one transaction; then ``committed`` or ``rolled_back``.
    Judgements made between ``facts()`` and ``committed`` belong to the next turn, but
    ``rolled_back`` voids those too. ``poll`` returns the messages due and ``next_wakeup_ms`` says
    when to call it next; all times are readings of the wall clock, which may step.
    """

    def __init__(self, *, host: str, marks: Mapping[str, bytes], rng: random.Random) -> None:
        """Take up where the facts saved earlier left off; raise MarkError if one is garbled."""
        self._host = host
        self._rng = rng
        self._time = SteadyTime()
        self._nodes: dict[_Key, _Node] = {}
        self._changed: dict[str, Mark] = {}
        self._saving: list[Mark] = []
        self._forgotten: set[str] = set()
        self._saving_forgotten: frozenset[str] = frozenset()
        self._due: dict[Mark, None] = {}  # a set would acknowledge in another order each run
        self._asked: OrderedDict[_Key, _Asked] = OrderedDict()
        self._to_ask: set[_Key] = set()
        self._unanswered: set[_Key] = set()
        for mark in sorted(map(_load, marks.items()), key=lambda mark: mark.born_ms):
            node = self._nodes.setdefault((mark.site, mark.agent), _Node())
            node.marks[mark.epoch] = mark

    def knows(self, site: str, agent: str, epoch: int) -> bool:
        """Tell whether entries of this epoch can be judged; if not, a rebirth must be asked."""
        return self._mark(site, agent, epoch) is not None

    def birth(self, site: str, agent: str, birth: NodeBirth, now_ms: int) -> list[Lost]:
        """Take note of an agent's NBIRTH and prepare the answer to it.

        Returns the offsets that the agent no longer holds and that never came: they are settled
        as lost, so that they cannot hold up the mark, and count as undeclared until an entry
        declares them dropped. The answer waits until all that was judged before is durable, else
        a mark that is too low could hide a fork of the agent's journal.
        """
        self._time.at(now_ms)
        key = (site, agent)
        if key not in self._nodes and len(self._nodes) >= NODES_MAX:
            return []
        self._note_born(key)
        node = self._nodes.setdefault(key, _Node())
        mark = node.marks.get(birth.epoch) or self._new_mark(node, key, birth.epoch, now_ms)
        node.marks.move_to_end(birth.epoch)
        # With numbers that are taken the agent will begin a new epoch: its first says nothing.
        forked = mark.judged.settled.highest >= birth.next
        lost = [] if forked or birth.first > birth.next else mark.lose_below(birth.first)
        node.answers[birth.epoch] = (birth.bdseq, mark.version)
        self._unanswered.add(key)
        self._note(mark)
        return [Lost(birth.epoch, first, last) for first, last in lost]

    def offer(self, site: str, agent: str, epoch: int, offsets: Sequence[int]) -> list[bool]:
        """Judge entries: True is new and must be stored, False must not be (again).

        False means a duplicate, or an entry that cannot be accepted now and will come again.
        Entries of an unknown epoch are all refused, and a rebirth is asked.
        """
        mark = self._mark(site, agent, epoch)
        if mark is None:
            self._ask((site, agent))
            return [False] * len(offsets)
        if not offsets:
            return []
        if mark.offer_run(list(offsets)):
            self._note(mark)
            return [True] * len(offsets)
        verdicts = [mark.offer(offset) for offset in offsets]
        self._note(mark)
        if not all(verdicts):
            self._schedule(mark)
        return verdicts

    def dropped(self, site: str, agent: str, epoch: int, first: int, last: int) -> None:
        """Settle offsets (inclusive) that the agent declares dropped."""
        mark = self._mark(site, agent, epoch)
        if mark is not None:
            mark.drop(first, last)
            self._note(mark)

    def rejected(self, site: str, agent: str, epoch: int, offset: int) -> None:
        """Settle one entry that goes to the dead letters in this turn."""
        self.offer(site, agent, epoch, [offset])

    def unknown(self, site: str, agent: str, now_ms: int) -> None:
        """Ask a node, foreign or ours, for a rebirth, unless it was asked a short time ago."""
        self._time.at(now_ms)
        self._ask((site, agent))

    def undeclared(self, site: str, agent: str) -> int:
        """Count the entries of an agent that were lost without any declaration."""
        node = self._nodes.get((site, agent))
        return sum(mark.judged.lost.count() for mark in node.marks.values()) if node else 0

    def facts(self) -> dict[str, bytes | None]:
        """Return the marks to write, in the same transaction as the entries; None deletes one."""
        self._saving = list(self._changed.values())
        self._saving_forgotten = frozenset(self._forgotten)
        written: dict[str, bytes | None] = dict.fromkeys(self._saving_forgotten)
        return written | {mark.name: mark.save() for mark in self._saving}

    def committed(self, now_ms: int) -> None:
        """Take note that the last ``facts()`` are durable: now they may be acknowledged."""
        self._time.at(now_ms)
        for mark in self._saving:
            if mark.saved():
                self._schedule(mark)
            if not mark.changed:
                self._changed.pop(mark.name, None)
        self._forgotten -= self._saving_forgotten
        self._saving, self._saving_forgotten = [], frozenset()

    def rolled_back(self) -> None:
        """Void every judgement that is not durable: nothing of it was stored.

        Births waiting for their answer get it all the same, from what is durable.
        """
        for mark in self._changed.values():
            mark.roll_back()
            node = self._nodes[mark.site, mark.agent]
            if mark.epoch in node.answers:
                node.answers[mark.epoch] = (node.answers[mark.epoch][0], mark.durable_version)
        self._changed = {name: mark for name, mark in self._changed.items() if mark.changed}
        self._saving, self._saving_forgotten = [], frozenset()

    def poll(self, now_ms: int) -> list[Outgoing]:
        """Return the acknowledgements and requests for rebirth that are due."""
        now = self._time.at(now_ms)
        messages = []
        for key, epoch in self._answerable():
            bdseq, _ = self._nodes[key].answers.pop(epoch)
            messages.append(self._acknowledge(self._nodes[key].marks[epoch], now_ms, bdseq))
        self._unanswered = {key for key in self._unanswered if self._nodes[key].answers}
        due = [mark for mark in self._due if (mark.ack_due or 0) <= now]
        messages += [self._acknowledge(mark, now_ms) for mark in due]
        messages += [rebirth_command(site, agent, now_ms) for site, agent in sorted(self._to_ask)]
        self._to_ask.clear()
        return messages

    def next_wakeup_ms(self) -> int | None:
        """Say when ``poll`` has something to do, None for not before something else happens."""
        if self._to_ask or self._answerable():
            return self._time.wall(self._time.now)
        dues = [mark.ack_due or 0 for mark in self._due]
        return self._time.wall(min(dues)) if dues else None

    def _mark(self, site: str, agent: str, epoch: int) -> Mark | None:
        node = self._nodes.get((site, agent))
        return node.marks.get(epoch) if node else None

    def _new_mark(self, node: _Node, key: _Key, epoch: int, now_ms: int) -> Mark:
        """Begin an epoch, and forget the one heard of longest ago when there are too many."""
        mark = node.marks[epoch] = Mark(*key, epoch)
        mark.born_ms = now_ms
        mark.version += 1  # an empty mark is worth saving: it makes the epoch a known one
        self._forgotten.discard(mark.name)
        if len(node.marks) > EPOCHS_MAX:
            oldest, old = node.marks.popitem(last=False)
            node.answers.pop(oldest, None)
            self._due.pop(old, None)
            self._changed.pop(old.name, None)
            self._forgotten.add(old.name)
        return mark

    def _note(self, mark: Mark) -> None:
        if mark.changed:
            self._changed[mark.name] = mark

    def _schedule(self, mark: Mark) -> None:
        """Have this mark acknowledged soon; at once when much waits for it."""
        now = self._time.now
        if mark.waiting >= ACK_AFTER_ENTRIES:
            mark.ack_due = now
        elif mark not in self._due:
            mark.ack_due = now + ACK_AFTER_MS
        self._due[mark] = None

    def _answerable(self) -> list[tuple[_Key, int]]:
        """List the births whose marks are durable to the point needed for an honest answer."""
        return [
            (key, epoch)
            for key in sorted(self._unanswered)
            for epoch, (_, version) in self._nodes[key].answers.items()
            if self._nodes[key].marks[epoch].durable_version >= version
        ]

    def _acknowledge(self, mark: Mark, now_ms: int, session: int | None = None) -> Outgoing:
        self._due.pop(mark, None)
        mark.waiting = 0
        settled = mark.durable.settled
        ranges = tuple(settled.runs_above(settled.mark, RANGES_MAX))
        ack = Ack(self._host, mark.epoch, settled.mark, ranges, session)
        return ack_command(mark.site, mark.agent, ack, now_ms)

    def _note_born(self, key: _Key) -> None:
        """A birth is what was asked for; yet a node born in a loop is not asked in a loop."""
        self._to_ask.discard(key)
        if key in self._asked:
            self._asked[key].times = 0

    def _ask(self, key: _Key) -> None:
        """Ask for a rebirth, one at a time and ever more rarely while no birth comes."""
        now = self._time.now
        asked = self._asked.get(key)
        if asked is not None and now < asked.again_ms:
            return
        times = 0 if asked is None else min(asked.times + 1, REBIRTH_DOUBLINGS_MAX)
        wait_ms = REBIRTH_AGAIN_MS * 2**times * self._rng.uniform(1.0, 1.25)
        self._asked[key] = _Asked(times, now + int(wait_ms))
        self._asked.move_to_end(key)
        if len(self._asked) > NODES_MAX:
            self._asked.popitem(last=False)
        self._to_ask.add(key)


def _load(fact: tuple[str, bytes]) -> Mark:
    name, saved = fact
    match name.removeprefix(MARK_FACT).split("/"):
        case [site, agent, epoch] if name.startswith(MARK_FACT) and epoch.isdecimal():
            mark = Mark(site, agent, int(epoch))
            mark.load(saved)
            return mark
        case _:
            raise MarkError(f"a saved mark has a name that is none: {name!r}")
