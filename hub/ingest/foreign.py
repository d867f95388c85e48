"""Sparkplug nodes that are not ours: their order, their aliases, their values.

They have no journal, so a message lost is lost; Sparkplug's sequence number tells that it
happened, and a rebirth brings at least the present values (specification 3.0, section 6.4.29:
operational behaviour of message ordering).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.sparkplug import DataType, Metric, Payload, SparkplugError, Topic, typed
from gateway.sparkplug.names import BDSEQ

SEQ_MODULUS: Final = 256
HELD_MAX: Final = 128
"""Messages held back for an earlier one; beyond them the gap is given up."""
NODES_MAX: Final = 10_000
ALIASES_MAX: Final = 100_000
NODE_CONTROL: Final = ("Node Control/", "Device Control/")

Message = tuple[Topic, Payload]


@dataclass(slots=True)
class _Node:
    expected: int = 0
    born: bool = False
    bdseq: int | None = None
    held: dict[int, Message] = field(default_factory=dict)
    gap_since_ms: int | None = None
    names: dict[int, tuple[str | None, str, DataType]] = field(default_factory=dict)
    types: dict[tuple[str | None, str], DataType] = field(default_factory=dict)


@dataclass(slots=True)
class Turn:
    """What became of messages: those ready, in order, and the nodes to ask for a rebirth."""

    ready: list[Message] = field(default_factory=list)
    ask: list[tuple[str, str]] = field(default_factory=list)
    missed: int = 0
    """Messages now known to be lost."""


class ForeignNodes:
    """Puts the messages of foreign nodes into order, or finds that one is missing."""

    def __init__(self, *, reorder_ms: int) -> None:
        self._reorder_ms = reorder_ms
        self._nodes: dict[tuple[str, str], _Node] = {}

    def receive(self, topic: Topic, payload: Payload, now_ms: int) -> Turn:
        """Take one birth, data or device death message."""
        key = (topic.group, topic.node)
        node = self._nodes.get(key)
        if topic.kind == "NBIRTH":
            return self._born(key, topic, payload)
        if node is None or not node.born:
            return Turn(ask=[key])
        if payload.seq is None:
            return Turn(ready=[(topic, payload)])  # some stacks number nothing but births
        ahead = (payload.seq - node.expected) % SEQ_MODULUS
        if ahead >= SEQ_MODULUS - HELD_MAX:
            return Turn()  # behind: a repetition, or late after its gap was given up
        node.held[payload.seq] = (topic, payload)
        turn = Turn(ready=list(_drain(node)))
        if not node.held:
            node.gap_since_ms = None
        elif len(node.held) > HELD_MAX // 2:
            _give_up(key, node, turn)
        elif node.gap_since_ms is None or turn.ready:
            node.gap_since_ms = now_ms
        return turn

    def died(self, site: str, node: str, bdseq: int | None) -> bool:
        """Take an NDEATH. False when it is the late will of an earlier session.

        Many stacks send a will whose number is not that of the birth, or none; so only a number
        that was there before and differs by exactly one the other way is taken for late.
        """
        known = self._nodes.get((site, node))
        if known is None or not known.born:
            return True
        if None not in (bdseq, known.bdseq) and (bdseq or 0) + 1 == known.bdseq:
            return False
        known.born = False
        known.held.clear()
        known.gap_since_ms = None
        return True

    def poll(self, now_ms: int) -> Turn:
        """Give up gaps that stayed open for too long."""
        turn = Turn()
        for key, node in self._nodes.items():
            if node.gap_since_ms is not None and now_ms - node.gap_since_ms >= self._reorder_ms:
                _give_up(key, node, turn)
        return turn

    def next_wakeup_ms(self) -> int | None:
        """Say when `poll` has something to do; None for never."""
        gaps = [n.gap_since_ms for n in self._nodes.values() if n.gap_since_ms is not None]
        return min(gaps) + self._reorder_ms if gaps else None

    def resolve(self, topic: Topic, payload: Payload, now_ms: int) -> tuple[list[Metric], int]:
        """Give the metrics with name, datatype and time, and the number that stay unknown.

        Births teach names, aliases and datatypes; data messages are read with them.
        """
        node = self._nodes.setdefault((topic.group, topic.node), _Node())
        birth = topic.kind.endswith("BIRTH")
        unknown = 0
        metrics: list[Metric] = []
        for metric in payload.metrics:
            if birth:
                _learn(node, topic.device, metric)
            named = _named(node, topic.device, metric)
            if named is None:
                unknown += 1
            elif not _is_control(named.name or ""):
                named.time_ms = metric.time_ms or payload.time_ms or now_ms
                metrics.append(named)
        return metrics, unknown

    def _born(self, key: tuple[str, str], topic: Topic, payload: Payload) -> Turn:
        if key not in self._nodes and len(self._nodes) >= NODES_MAX:
            return Turn()
        seq = payload.seq or 0  # "is 0" says one assertion, "0 to 255" another: accept any
        bdseq = next((m.value for m in payload.metrics if m.name == BDSEQ), None)
        number = bdseq if isinstance(bdseq, int) else None
        self._nodes[key] = _Node(expected=(seq + 1) % SEQ_MODULUS, born=True, bdseq=number)
        return Turn(ready=[(topic, payload)])


def _drain(node: _Node) -> Iterator[Message]:
    while node.expected in node.held:
        yield node.held.pop(node.expected)
        node.expected = (node.expected + 1) % SEQ_MODULUS


def _give_up(key: tuple[str, str], node: _Node, turn: Turn) -> None:
    """Go on behind the gap, and ask for a rebirth."""
    while node.held:
        distance = min((seq - node.expected) % SEQ_MODULUS for seq in node.held)
        turn.missed += distance
        node.expected = (node.expected + distance) % SEQ_MODULUS
        turn.ready.extend(_drain(node))
    node.gap_since_ms = None
    turn.ask.append(key)


def _learn(node: _Node, device: str | None, metric: Metric) -> None:
    if metric.name is None or metric.datatype is None or len(node.types) >= ALIASES_MAX:
        return
    node.types[device, metric.name] = metric.datatype
    if metric.alias is not None:
        node.names[metric.alias] = (device, metric.name, metric.datatype)


def _named(node: _Node, device: str | None, metric: Metric) -> Metric | None:
    """Give the metric with the name and datatype of its birth, or None when it had none."""
    name, datatype = metric.name, metric.datatype
    if name is None and metric.alias is not None:
        known = node.names.get(metric.alias)
        if known is None or known[0] != device:
            return None
        name, datatype = known[1], datatype or known[2]
    if name is None:
        return None
    datatype = datatype or node.types.get((device, name))
    if datatype is None:
        return None
    try:
        value = typed(metric, datatype)
    except SparkplugError:
        return None
    return Metric(
        name=name,
        datatype=datatype,
        value=value,
        historical=metric.historical,
        properties=metric.properties,
    )


def _is_control(name: str) -> bool:
    return name == BDSEQ or name.startswith(NODE_CONTROL)
