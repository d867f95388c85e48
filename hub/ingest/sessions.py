"""Our own agents as the hub knows them: sessions, epochs, alias tables and who may speak.

What a birth teaches is kept as facts of the inbox, in the same transaction as the entries that
need it; so an entry decodes after any restart, and a rebirth is asked only for what was never seen.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.delivery import NodeBirth
from gateway.sparkplug import DataType, Metric, Payload, names, read_entry
from hub.columns import SeriesIndex
from hub.inbox import BIRTH_FACT
from hub.ingest.aliases import AliasTable, AliasTables
from hub.registry import MachineRecord, SignalRecord, read_description

EPOCHS_MAX: Final = 8
"""Epochs remembered per agent, as many as the receiver remembers marks of."""
AGENTS_MAX: Final = 10_000
METRICS_MAX: Final = 100_000
"""Metrics remembered per agent and epoch."""

_KINDS: Final = {
    DataType.BOOLEAN: "boolean",
    DataType.STRING: "string",
    DataType.TEXT: "string",
    DataType.UUID: "string",
    DataType.FLOAT: "double",
    DataType.DOUBLE: "double",
    DataType.INT64: "int64",
    DataType.UINT64: "int64",
    DataType.DATETIME: "int64",
}
_SCALAR_LAST: Final = DataType.UUID
_NOT_ROWS: Final = frozenset({names.ENTRY, names.MACHINE, names.DROPPED, names.DROPPED_CAUSE})
_SESSION_NAMES: Final = (names.BDSEQ, names.REBIRTH, "Machikoba/Ack/")


@dataclass(frozen=True, slots=True)
class MetricRecord:
    """One metric of a birth, without its value."""

    name: str
    alias: int | None
    datatype: DataType
    unit: str | None = None
    counts: str | None = None
    retired: bool = False


@dataclass(slots=True)
class Epoch:
    """What one epoch of one agent's journal needs to be decoded."""

    rank: int
    table: AliasTable
    births: dict[str, bytes] = field(default_factory=dict)
    """Machine -> its birth as it is kept; "" is the agent's own."""


@dataclass(slots=True)
class Session:
    """One agent. `present` is the epoch of its last birth, None before any."""

    site: str
    agent: str
    epochs: dict[int, Epoch] = field(default_factory=dict)
    present: int | None = None
    rank: int = 0
    """The present epoch's rank among those heard of, from 1."""
    table: AliasTable | None = None
    """The present epoch's."""
    bdseq: int | None = None
    """Of the birth heard since the hub started; None before."""
    newest: int = 0
    """The highest offset heard of the present epoch: what its births' values are worth."""
    refused: set[str] = field(default_factory=set)
    """Machines that another agent speaks for."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a device birth says: the machine, and its metrics with the series they feed."""

    record: MachineRecord
    metrics: list[tuple[int, Metric]]


class Sessions:
    """All our agents. Used by the ingest thread alone."""

    def __init__(self, index: SeriesIndex, tables: AliasTables) -> None:
        self._index = index
        self._tables = tables
        self._sessions: dict[tuple[str, str], Session] = {}
        self._unsaved: dict[str, bytes | None] = {}

    def find(self, site: str, agent: str) -> Session | None:
        """Give an agent's session, or None when it was never born."""
        return self._sessions.get((site, agent))

    def table(self, site: str, agent: str, epoch: int) -> AliasTable | None:
        """Give what decodes the entries of an epoch, or None when no birth told."""
        session = self._sessions.get((site, agent))
        known = session.epochs.get(epoch) if session else None
        return known.table if known else None

    def table_of(self, site: str, agent: str, payload: bytes) -> AliasTable | None:
        """Give what decodes an entry by the epoch that it names itself."""
        point = read_entry(payload)
        return self.table(site, agent, point[0]) if point else None

    def node_birth(
        self, site: str, agent: str, birth: NodeBirth, payload: Payload
    ) -> tuple[Session, bool] | None:
        """Begin a session. The flag says that it went back to an epoch left before: twins.

        None when there are too many agents already.
        """
        session = self._sessions.get((site, agent))
        if session is None:
            if len(self._sessions) >= AGENTS_MAX:
                return None
            session = self._sessions[site, agent] = Session(site, agent)
        back = birth.epoch in session.epochs and session.present != birth.epoch
        if session.present != birth.epoch:
            session.newest = 0
        epoch = self._enter(session, birth.epoch)
        session.bdseq = birth.bdseq
        session.newest = max(session.newest, birth.next - 1)
        metrics = [m for m in payload.metrics if not (m.name or "").startswith(_SESSION_NAMES)]
        records = list(_records(metrics))
        self._learn(session, epoch, "", records)
        self._save(session, birth.epoch, "", {"rank": epoch.rank, "metrics": _packed(records)})
        return session, back

    def device_birth(self, session: Session, machine: str, payload: Payload) -> Told:
        """Learn a machine of the present session."""
        epoch = self._present(session)
        records = list(_records(payload.metrics))
        series = self._learn(session, epoch, machine, records)
        texts = {m.name: m.value for m in payload.metrics if isinstance(m.value, str)}
        description = texts.get(names.MACHINE)
        kept = {
            "machine": description,
            "metrics": _packed([*records, *_left(epoch, machine, records)]),
        }
        self._save(session, session.present or 0, machine, kept)
        metrics = [
            (series[metric.name], metric)
            for metric in payload.metrics
            if metric.name in series and not metric.properties.get(names.RETIRED)
        ]
        return Told(_machine(session, machine, description, records), metrics)

    def moved(self, site: str, agent: str, machine: str) -> None:
        """Remember that another agent speaks for a machine now; what it sent stays readable."""
        session = self._sessions.get((site, agent))
        if session is None:
            return
        for number, epoch in session.epochs.items():
            kept = epoch.births.get(machine)
            if kept is not None:
                self._save(session, number, machine, {**json.loads(kept), "moved": True})

    def facts(self) -> dict[str, bytes | None]:
        """Give the births to write in the next transaction; None deletes one."""
        return dict(self._unsaved)

    def saved(self, facts: Mapping[str, bytes | None]) -> None:
        """Take note that these facts are durable."""
        for name in facts:
            self._unsaved.pop(name, None)

    def restore(self, facts: Mapping[str, bytes]) -> Iterator[MachineRecord]:
        """Learn the births kept, oldest epoch first; give the machines as last described."""
        kept = [_read(name, value) for name, value in facts.items()]
        ranks = {(k.site, k.agent, k.epoch): k.told.get("rank", 0) for k in kept if not k.machine}
        kept.sort(key=lambda k: (k.site, k.agent, ranks.get((k.site, k.agent, k.epoch), 0)))
        machines: dict[tuple[str, str], MachineRecord] = {}
        for birth in kept:
            rank = ranks.get((birth.site, birth.agent, birth.epoch), 0)
            record = self._restore(birth, rank, facts)
            if record is not None:
                machines[record.site, record.machine] = record
        yield from machines.values()

    def _restore(
        self, birth: "_Kept", rank: int, facts: Mapping[str, bytes]
    ) -> MachineRecord | None:
        key = (birth.site, birth.agent)
        session = self._sessions.setdefault(key, Session(birth.site, birth.agent))
        epoch = session.epochs.get(birth.epoch)
        if epoch is None:
            epoch = session.epochs[birth.epoch] = Epoch(rank, self._tables.add())
            session.present, session.rank, session.table = birth.epoch, rank, epoch.table
        records = [_unpacked(packed) for packed in birth.told["metrics"]]
        self._learn(session, epoch, birth.machine, records)
        epoch.births[birth.machine] = facts[birth.name]
        if not birth.machine or birth.told.get("moved"):
            return None
        return _machine(session, birth.machine, birth.told.get("machine"), records)

    def _enter(self, session: Session, number: int) -> Epoch:
        """Make an epoch the present one; it outranks every other from now on."""
        epoch = session.epochs.get(number)
        if epoch is None or session.present != number:
            rank = 1 + max((known.rank for known in session.epochs.values()), default=0)
            if epoch is None:
                epoch = Epoch(rank, self._tables.add())
            epoch.rank = rank
            session.epochs[number] = epoch
            session.present, session.rank, session.table = number, rank, epoch.table
            self._forget_oldest(session)
        return epoch

    def _forget_oldest(self, session: Session) -> None:
        while len(session.epochs) > EPOCHS_MAX:
            oldest = min(session.epochs, key=lambda number: session.epochs[number].rank)
            gone = session.epochs.pop(oldest)
            self._tables.forget(gone.table)
            for machine in gone.births:
                self._unsaved[_fact(session, oldest, machine)] = None

    def _present(self, session: Session) -> Epoch:
        if session.present is None:
            raise LookupError("a device birth before any birth of its agent")
        return session.epochs[session.present]

    def _learn(
        self, session: Session, epoch: Epoch, machine: str, records: Iterable[MetricRecord]
    ) -> dict[str | None, int]:
        """Fill the alias table; give the series by name."""
        known: dict[str | None, int] = {}
        for record in records:
            series = None
            if record.datatype <= _SCALAR_LAST and record.name not in _NOT_ROWS:
                series = self._index.id(session.site, machine, record.name)
                known[record.name] = series
                _describe(self._index, series, record)
            if len(epoch.table) >= METRICS_MAX:
                continue
            if record.alias is not None:
                epoch.table.learn(record.alias, series, record.datatype)
            epoch.table.learn_name(machine or None, record.name, series, record.datatype)
        return known

    def _save(self, session: Session, number: int, machine: str, told: Mapping[str, Any]) -> None:
        """Keep a birth, unless it says what the last one said."""
        kept = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        epoch = session.epochs[number]
        if epoch.births.get(machine) != kept:
            epoch.births[machine] = kept
            self._unsaved[_fact(session, number, machine)] = kept


@dataclass(frozen=True, slots=True)
class _Kept:
    """A birth as it was kept in the inbox."""

    name: str
    site: str
    agent: str
    epoch: int
    machine: str
    told: dict[str, Any]


def read_node_birth(payload: Payload) -> NodeBirth | None:
    """Read what makes an NBIRTH one of ours; None for a foreign node's."""
    told = {metric.name: metric.value for metric in payload.metrics}
    wanted = (names.PROTOCOL, names.EPOCH, names.FIRST, names.NEXT, names.BDSEQ)
    protocol, epoch, first, following, bdseq = (_whole(told.get(name)) for name in wanted)
    if protocol is None or epoch is None or first is None or following is None:
        return None
    return NodeBirth(bdseq or 0, protocol, epoch, first, following)


def read_bdseq(payload: Payload) -> int | None:
    """Read the session's number from a birth or a death."""
    return next((_whole(m.value) for m in payload.metrics if m.name == names.BDSEQ), None)


def kind_of(datatype: DataType) -> str:
    """Name the kind of values; integers up to 32 bits are exact as a double, larger may not be."""
    return _KINDS.get(datatype, "integer")


def describe_series(index: SeriesIndex, series: int, metric: Metric) -> None:
    """Tell the index what a birth says of a series."""
    for record in _records([metric]):
        _describe(index, series, record)


def _describe(index: SeriesIndex, series: int, record: MetricRecord) -> None:
    kind = kind_of(record.datatype)
    index.describe(series, unit=record.unit, kind=kind, counts=record.counts)


def _records(metrics: Iterable[Metric]) -> Iterator[MetricRecord]:
    for metric in metrics:
        if metric.name is None or metric.datatype is None:
            continue
        yield MetricRecord(
            metric.name,
            metric.alias,
            metric.datatype,
            _text(metric.properties.get(names.UNIT)),
            _text(metric.properties.get(names.COUNTS)),
            bool(metric.properties.get(names.RETIRED)),
        )


def _machine(
    session: Session, machine: str, description: str | None, records: Iterable[MetricRecord]
) -> MachineRecord:
    signals = tuple(
        SignalRecord(r.name, kind_of(r.datatype), r.unit, r.counts)
        for r in records
        if not r.retired and not r.name.startswith(names.RESERVED) and r.datatype <= _SCALAR_LAST
    )
    told = read_description(description)
    return MachineRecord(session.site, machine, session.agent, signals=signals, **told)


def _left(epoch: Epoch, machine: str, records: Iterable[MetricRecord]) -> list[MetricRecord]:
    """Give what earlier births told and this one no longer does: stored entries may need it."""
    kept = epoch.births.get(machine)
    if kept is None:
        return []
    told = {(record.alias, record.name) for record in records}
    earlier = (_unpacked(packed) for packed in json.loads(kept)["metrics"])
    return [replace(r, retired=True) for r in earlier if (r.alias, r.name) not in told]


def _packed(records: Iterable[MetricRecord]) -> list[list[Any]]:
    return [[r.name, r.alias, int(r.datatype), r.unit, r.counts, r.retired] for r in records]


def _unpacked(packed: list[Any]) -> MetricRecord:
    name, alias, datatype, unit, counts, retired = packed
    return MetricRecord(name, alias, DataType(datatype), unit, counts, retired)


def _fact(session: Session, epoch: int, machine: str) -> str:
    return f"{BIRTH_FACT}{session.site}/{session.agent}/{epoch}/{machine}"


def _read(name: str, value: bytes) -> _Kept:
    site, agent, epoch, machine = name.removeprefix(BIRTH_FACT).split("/")
    return _Kept(name, site, agent, int(epoch), machine, json.loads(value))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
