"""An edge node's Sparkplug session: its birth, its death and the numbers that bind them.

Specification 3.0, chapters 5 (operational behaviour) and 6.4 (payloads).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.delivery.commands import ACK_METRICS
from gateway.delivery.messages import Births, MachineMetrics, Outgoing
from gateway.journal import Entry
from gateway.sparkplug import (
    DataType,
    Metric,
    Payload,
    data_message,
    encode,
    format_topic,
    names,
)

SEQ_COUNT: Final = 256
BDSEQ_COUNT: Final = 256

ENTRY_METRICS: Final = (
    (names.ENTRY, DataType.UINT64_ARRAY),
    (names.DROPPED, DataType.UINT64_ARRAY),
    (names.DROPPED_CAUSE, DataType.STRING),
)
"""Declared, null, in every birth: they travel by name in any entry, of the node or a machine."""


_PASSING: Final = frozenset({names.QUALITY, names.QUALITY_REASON})
"""Properties that belong to a value, not to its metric."""


@dataclass(frozen=True, slots=True)
class JournalState:
    """What an NBIRTH says of the journal."""

    epoch: int
    first: int
    next: int


class Session:
    """Formats every message of one edge node, counting as Sparkplug demands."""

    def __init__(self, site: str, agent: str, *, version: str, datatypes: bool = False) -> None:
        self._site = site
        self._agent = agent
        self._version = version
        self._datatypes = datatypes
        self._seq = 0
        self.bdseq = 0
        self.announced: dict[str, frozenset[tuple[object, ...]]] = {}
        """Machines born in this session, with what identifies each of their metrics."""

    @property
    def command_topic(self) -> str:
        """The topic on which hosts command this node."""
        return format_topic("NCMD", self._site, self._agent)

    def death(self, now_ms: int) -> Outgoing:
        """Format NDEATH, the will of this session: no seq, and nothing in it but bdSeq."""
        metric = Metric(name=names.BDSEQ, datatype=DataType.INT64, value=self.bdseq)
        payload = encode(Payload(time_ms=now_ms, metrics=[metric]))
        return Outgoing(format_topic("NDEATH", self._site, self._agent), payload, 1, retain=False)

    def birth(self, births: Births, journal: JournalState, now_ms: int) -> list[Outgoing]:
        """Format the full birth sequence: NBIRTH, then a DBIRTH for every machine."""
        self._seq = 0
        self.announced.clear()
        metrics = [
            _metric(names.BDSEQ, DataType.INT64, self.bdseq),
            _metric(names.REBIRTH, DataType.BOOLEAN, value=False),
            _metric(names.PROTOCOL, DataType.UINT32, names.PROTOCOL_NUMBER),
            _metric(names.VERSION, DataType.STRING, self._version),
            _metric(names.EPOCH, DataType.UINT64, journal.epoch),
            _metric(names.FIRST, DataType.UINT64, journal.first),
            _metric(names.NEXT, DataType.UINT64, journal.next),
            *(_metric(name, datatype) for name, datatype in (*ACK_METRICS, *ENTRY_METRICS)),
        ]
        node = self._numbered("NBIRTH", None, metrics, now_ms)
        return [node, *(self._machine_birth(machine, now_ms) for machine in births.machines)]

    def changes(self, births: Births, now_ms: int) -> list[Outgoing]:
        """Format what differs from the last births: DDEATH of what went, DBIRTH of what is new."""
        present = {machine.machine for machine in births.machines}
        gone = [machine for machine in self.announced if machine not in present]
        for machine in gone:
            del self.announced[machine]
        deaths = [self._numbered("DDEATH", machine, [], now_ms) for machine in gone]
        return deaths + [
            self._machine_birth(machine, now_ms)
            for machine in births.machines
            if self.announced.get(machine.machine) != _identity(machine)
        ]

    def data(self, entry: Entry, epoch: int, now_ms: int, *, historical: bool) -> Outgoing:
        """Format one journal entry, so that the hub can acknowledge it."""
        payload = data_message(
            entry.body,
            time_ms=now_ms,
            epoch=epoch,
            offset=entry.offset,
            seq=self._next_seq(),
            historical=historical,
            datatypes=self._datatypes,
        )
        return Outgoing(self._data_topic(entry), payload, 0, retain=False)

    def live_values(self, entry: Entry, now_ms: int) -> Outgoing:
        """Format the values of an entry without its number: for whoever looks on, not for keeps."""
        frame = encode(Payload(time_ms=now_ms, seq=self._next_seq()))
        # Protobuf takes fields in any order, so a body may simply follow.
        return Outgoing(self._data_topic(entry), frame + entry.body, 0, retain=False)

    def _data_topic(self, entry: Entry) -> str:
        kind, device = ("DDATA", entry.key) if entry.key else ("NDATA", None)
        return format_topic(kind, self._site, self._agent, device)

    def _machine_birth(self, machine: MachineMetrics, now_ms: int) -> Outgoing:
        self.announced[machine.machine] = _identity(machine)
        present = {metric.name for metric in machine.metrics}
        declared = [
            _metric(name, datatype) for name, datatype in ENTRY_METRICS if name not in present
        ]
        metrics = [*machine.metrics, *declared]
        return self._numbered("DBIRTH", machine.machine, metrics, now_ms)

    def _numbered(
        self, kind: str, machine: str | None, metrics: Sequence[Metric], now_ms: int
    ) -> Outgoing:
        """Format a message with the next seq; metrics in the order of their times, as they must."""
        timed = [
            metric if metric.time_ms is not None else replace(metric, time_ms=now_ms)
            for metric in metrics
        ]
        ordered = sorted(timed, key=lambda metric: metric.time_ms or 0)
        payload = encode(Payload(time_ms=now_ms, seq=self._next_seq(), metrics=ordered))
        topic = format_topic(kind, self._site, self._agent, machine)
        return Outgoing(topic, payload, 0, retain=False)

    def _next_seq(self) -> int:
        seq = self._seq
        self._seq = (seq + 1) % SEQ_COUNT
        return seq


def _metric(name: str, datatype: DataType, value: str | float | bool | None = None) -> Metric:
    return Metric(name=name, datatype=datatype, value=value)


def _identity(machine: MachineMetrics) -> frozenset[tuple[object, ...]]:
    """What makes a DBIRTH another one: names, aliases, datatypes and properties, not values."""
    return frozenset(
        (
            metric.name,
            metric.alias,
            metric.datatype,
            metric.value if metric.name == names.MACHINE else None,
            *sorted(item for item in metric.properties.items() if item[0] not in _PASSING),
        )
        for metric in machine.metrics
    )
