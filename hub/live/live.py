"""The state of every machine now, updated column-wise by one thread and read by any.

Ordering: each message brings one key, made by the caller so that a greater key is newer: for our
agents from (rank of the epoch, offset), for foreign nodes from arrival. A row wins over what is
there when its key is not smaller; so a backlog behind newer live data never moves the state back,
and a clock set back does not freeze it. Rows restored from the store have no key: until the first
keyed row comes, the time of the reading decides.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.model import Quality, Reason, State, Value
from gateway.sparkplug import names
from hub.columns import Columns, SeriesIndex, SeriesName
from hub.live.machine import (
    AgentLink,
    Hours,
    Label,
    LiveMachine,
    SignalValue,
    Told,
    no_calendar,
)
from hub.registry import MachineRecord

NOT_LIVE: Final = -1
"""Key of a message that must not touch the live state (foreign history)."""
OFFSET_BITS: Final = 40
NO_LABEL: Final = Label()
_UNKNOWN: Final = -1  # order of a series that never had a value
_RESTORED: Final = 0  # order of a series whose value comes from the store

_ROLES: Final = {
    names.STATE: 1,
    names.STATE_REASON: 2,
    names.STATE_EVIDENCE: 3,
    names.LINK: 4,
    names.READ_AT: 5,
    names.MAX_AGE: 6,
}
_OTHER_RESERVED: Final = 7
_COUNTS: Final = ("good", "scrap")


def order_key(rank: int, offset: int) -> int:
    """Make the key of an entry: `rank` counts the epochs of its agent from 1."""
    return (rank << OFFSET_BITS) | min(offset, (1 << OFFSET_BITS) - 1)


class StoredValue(Protocol):
    """What restoring needs of a stored value."""

    @property
    def site(self) -> str: ...  # noqa: D102 (the names say it)
    @property
    def machine(self) -> str: ...  # noqa: D102
    @property
    def signal(self) -> str: ...  # noqa: D102
    @property
    def time_ms(self) -> int: ...  # noqa: D102
    @property
    def value(self) -> Value: ...  # noqa: D102
    @property
    def quality(self) -> int: ...  # noqa: D102
    @property
    def reason(self) -> int: ...  # noqa: D102


@dataclass(slots=True)
class _Agent:
    """One agent's session; shared by the rows of its machines."""

    site: str
    agent: str
    foreign: bool
    online: bool | None
    since_ms: int
    heard_ms: int | None = None
    version: str | None = None


@dataclass(slots=True)
class _Row:
    """What is kept of a machine beside the values of its signals. Guarded by the lock."""

    index: int
    site: str
    machine: str
    agent: _Agent | None = None
    name: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    maker: str = ""
    model: str = ""
    processes: tuple[str, ...] = ()
    device_online: bool = True
    state: State = State.UNKNOWN
    known_state: State = State.UNKNOWN
    since_ms: int | None = None
    reason: str = ""
    evidence: str = ""
    link: bool | None = None
    read_at_ms: int | None = None
    max_age_ms: int | None = None
    told: Told | None = None
    row_version: int = 0
    series: list[int] = field(default_factory=list)
    counted: dict[str, list[int]] = field(default_factory=dict)

    def shown(self) -> tuple[object, ...]:
        """Give what makes a new row for people; the time of each reading does not."""
        never_read = self.read_at_ms is None
        words = (self.state, self.since_ms, self.reason, self.evidence)
        return (*words, self.link, self.max_age_ms, never_read)


@dataclass(slots=True)
class _Table:
    """The last value of each series, one array per property, all of the same length."""

    value: NDArray[np.float64]
    time_ms: NDArray[np.int64]
    changed_ms: NDArray[np.int64]
    order: NDArray[np.int64]
    quality: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    has_text: NDArray[np.bool_]
    machine: NDArray[np.int32]
    role: NDArray[np.uint8]
    counted: NDArray[np.bool_]
    scratch: NDArray[np.int64]

    @classmethod
    def sized(cls, length: int) -> "_Table":
        return cls(
            value=np.full(length, np.nan),
            time_ms=np.zeros(length, np.int64),
            changed_ms=np.zeros(length, np.int64),
            order=np.full(length, _UNKNOWN, np.int64),
            quality=np.full(length, int(Quality.BAD), np.uint8),
            reason=np.full(length, int(Reason.UNKNOWN), np.uint8),
            has_text=np.zeros(length, np.bool_),
            machine=np.full(length, -1, np.int32),
            role=np.zeros(length, np.uint8),
            counted=np.zeros(length, np.bool_),
            scratch=np.zeros(length, np.int64),
        )

    def grown(self, length: int) -> "_Table":
        fresh = _Table.sized(length)
        for column in self.__slots__:
            getattr(fresh, column)[: len(self.value)] = getattr(self, column)
        return fresh


class Live:
    """The live state. One thread calls what changes it, any thread what reads it.

    The lock is held for the scatter of a batch (some 0.1 ms for ten thousand rows) and for
    building the row of a machine, never for decoding, sorting or comparing.
    """

    def __init__(self, index: SeriesIndex) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._table = _Table.sized(1024)
        self._adopted = 0
        self._texts: dict[int, str] = {}
        self._rows: list[_Row] = []
        self._ids: dict[tuple[str, str], int] = {}
        self._agents: dict[tuple[str, str], _Agent] = {}
        self._versions = np.zeros(256, np.int64)
        self._cache: list[LiveMachine | None] = []
        self._reachable = False
        self._hours: Callable[[str, str, int], Hours] | None = None
        self._hidden: frozenset[tuple[str, str]] = frozenset()
        self._labels: Mapping[tuple[str, str], Label] = {}
        self.hidden_births = 0
        """Births of machines that are not shown: retired ones, or under a former id."""
        self.version = 0
        """Grows with every change."""

    # -- what readers ask ------------------------------------------------------------------

    def machines(self) -> list[LiveMachine]:
        """Give every machine, in the order in which they were first heard of."""
        with self._lock:
            return [self._snapshot(row) for row in self._rows if self._is_shown(row)]

    def machine(self, site: str, machine: str) -> LiveMachine | None:
        """Give one machine, or None when nobody ever spoke of it."""
        with self._lock:
            index = self._ids.get((site, machine))
            if index is None or (site, machine) in self._hidden:
                return None
            return self._snapshot(self._rows[index])

    def changed_since(self, version: int) -> list[LiveMachine]:
        """Give the machines with a change after `version`, as they are now."""
        with self._lock:
            indexes = np.nonzero(self._versions[: len(self._rows)] > version)[0]
            changed = [self._rows[index] for index in indexes.tolist()]
            return [self._snapshot(row) for row in changed if self._is_shown(row)]

    @property
    def hidden(self) -> frozenset[tuple[str, str]]:
        """The machines that are not shown: what is heard of them is kept up all the same."""
        return self._hidden

    def hide(self, machines: frozenset[tuple[str, str]]) -> None:
        """Show these machines no more, and all others again."""
        with self._lock:
            if machines != self._hidden:
                self._hidden = machines
                self._touch_all()

    def agents(self) -> list[AgentLink]:
        """Give the session of every agent and foreign node heard of."""
        with self._lock:
            return [
                AgentLink(a.site, a.agent, a.foreign, a.online, a.since_ms, a.heard_ms, a.version)
                for a in self._agents.values()
            ]

    def signals(self, site: str, machine: str) -> dict[str, SignalValue]:
        """Give the last value of each signal of a machine, reserved names left out."""
        with self._lock:
            index = self._ids.get((site, machine))
            if index is None or (site, machine) in self._hidden:
                return {}
            return self._signals(self._rows[index])

    def label(self, labels: Mapping[tuple[str, str], Label]) -> None:
        """Show these machines as people wrote of them, those without any sensor too."""
        with self._lock:
            before, self._labels = self._labels, labels
            for key in {*before, *labels}:
                if before.get(key) != labels.get(key):
                    self._touch(self._row(*key))

    # -- what ingest says ------------------------------------------------------------------

    def apply(self, columns: Columns, order: NDArray[np.int64], now_ms: int) -> None:
        """Let a batch of samples in; `order` holds the key of each message, `now_ms` is arrival.

        A reading cannot have happened after it arrived: an agent's clock that runs ahead does not
        prolong what it promised.
        """
        self._adopt_series()
        rows, key = self._winners(columns, order)
        if not len(rows):
            return
        series = columns.series[rows]
        table = self._table
        value = columns.value[rows]
        is_text = np.zeros(len(rows), np.bool_)
        texts = _texts_of(rows, columns.text)
        is_text[list(texts)] = True
        changed = self._changed(series, value, columns.quality[rows], is_text, texts)
        touched = np.unique(table.machine[series])
        touched = touched[touched >= 0]
        special = np.nonzero((table.role[series] != 0) | table.counted[series])[0]
        with self._lock:
            self.version += 1
            table.value[series] = value
            table.time_ms[series] = columns.time_ms[rows]
            table.changed_ms[series[changed]] = columns.time_ms[rows[changed]]
            table.order[series] = key
            table.quality[series] = columns.quality[rows]
            table.reason[series] = columns.reason[rows]
            table.has_text[series] = is_text
            self._texts.update((int(series[at]), text) for at, text in texts.items())
            self._versions[touched] = self.version
            fresh = frozenset(series[special][changed[special]].tolist())
            self._play_roles(series[special], fresh, now_ms)

    def born(self, site: str, agent: str, now_ms: int, *, foreign: bool, version: str = "") -> None:
        """An agent announced itself."""
        with self._lock:
            known = self._agent(site, agent, now_ms, foreign=foreign)
            known.foreign, known.version, known.heard_ms = foreign, version or None, now_ms
            if known.online is not True:
                known.online, known.since_ms = True, now_ms
                self._touch_machines_of(known)

    def heard(self, site: str, agent: str, now_ms: int) -> bool:
        """Data of an agent arrived. One restored from the store is online from here on.

        True in that one case: its machines' present values are known by a birth only.
        """
        with self._lock:
            known = self._agents.get((site, agent))
            if known is None:
                return False
            known.heard_ms = now_ms
            restored = known.online is None
            if restored:
                known.online, known.since_ms = True, now_ms
                self._touch_machines_of(known)
            return restored

    def died(self, site: str, agent: str, now_ms: int) -> None:
        """An agent left, or its will says so. Its machines are offline at the hub's clock."""
        with self._lock:
            known = self._agents.get((site, agent))
            if known is not None and known.online is not False:
                known.online, known.since_ms = False, now_ms
                self._touch_machines_of(known)

    def device(self, site: str, machine: str, *, online: bool) -> None:
        """A machine was announced, or announced dead, by its agent."""
        with self._lock:
            row = self._row(site, machine)
            if row.device_online is not online:
                row.device_online = online
                self._touch(row)

    def describe(self, record: MachineRecord, *, online: bool | None, now_ms: int) -> None:
        """Take over what a birth says of a machine, and who speaks for it.

        `online` None is for births known from before this start: the agent may be gone.
        """
        with self._lock:
            row = self._row(record.site, record.machine)
            agent = self._agent(record.site, record.agent, now_ms, foreign=record.foreign)
            if online is not None:
                agent.online = online
                self.hidden_births += not self._is_shown(row)
            row.agent, row.name, row.kind = agent, record.name, record.kind
            row.maker, row.model, row.processes = record.maker, record.model, record.processes
            self._touch(row)

    # -- what people and calendars say ------------------------------------------------------

    def keep_hours(self, hours: Callable[[str, str, int], Hours]) -> None:
        """Ask `hours` from now on what the calendar of a machine makes of an instant."""
        with self._lock:
            self._hours = hours
            self._touch_all()

    def hours_changed(self, site: str, machine: str | None) -> None:
        """Show the machines of a site, or one of them, anew: their calendar was changed."""
        with self._lock:
            for row in self._rows:
                if row.site == site and machine in {None, row.machine}:
                    self._touch(row)

    def tell(self, site: str, machine: str, told: Told | None, entry: MachineRecord) -> None:
        """Show what a person says of a machine, or nothing any more. An agent is believed more."""
        with self._lock:
            row = self._row(site, machine)
            row.told = told
            if row.agent is None:
                row.name, row.kind, row.processes = entry.name, entry.kind, entry.processes
                row.maker, row.model = entry.maker, entry.model
            self._touch(row)

    def recount(self, series: Iterable[int]) -> None:
        """Look again at which of these series count parts; births may have changed it."""
        self._adopt_series()
        with self._lock:
            for each in series:
                self._set_counted(each, self._index.name(each).counts)

    def broker_connected(self, *, connected: bool) -> None:
        """The hub's own connection came or went. Foreign machines cannot be heard without it."""
        with self._lock:
            if self._reachable is not connected:
                self._reachable = connected
                self._touch_all()

    def restore(self, stored: Sequence[StoredValue], now_ms: int) -> None:
        """Start from the newest values stored; everything is stale until it is heard from."""
        for item in stored:
            self._index.id(item.site, item.machine, item.signal)
        self._adopt_series()
        with self._lock:
            restored = [series for item in stored if (series := self._restore_one(item)) >= 0]
            self._play_roles(np.array(restored, np.int32), frozenset(restored), now_ms)
            self._touch_all()

    # -- inside ----------------------------------------------------------------------------

    def _winners(
        self, columns: Columns, order: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the rows that become the last value of their series, and their keys."""
        key = order[columns.message]
        there = self._table.order[columns.series]
        won = (key >= there) & (key > _RESTORED)
        won &= (there != _RESTORED) | (columns.time_ms >= self._table.time_ms[columns.series])
        rows = np.nonzero(won)[0]
        key = key[rows]
        if len(key) and bool((key[1:] < key[:-1]).any()):
            sorting = np.argsort(key, kind="stable")
            rows, key = rows[sorting], key[sorting]
        # Of several rows of one series the last assignment stays, so it finds the newest.
        series = columns.series[rows]
        places = np.arange(len(rows), dtype=np.int64)
        self._table.scratch[series] = places
        newest = self._table.scratch[series] == places
        return rows[newest], key[newest]

    def _changed(
        self,
        series: NDArray[np.int32],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
        is_text: NDArray[np.bool_],
        texts: Mapping[int, str],
    ) -> NDArray[np.bool_]:
        """Tell which rows bring another value than the one there, or the first."""
        table = self._table
        old = table.value[series]
        changed: NDArray[np.bool_] = (value != old) & ~(np.isnan(value) & np.isnan(old))
        bad = int(Quality.BAD)
        changed |= (quality == bad) != (table.quality[series] == bad)
        changed |= table.order[series] == _UNKNOWN
        changed |= is_text != table.has_text[series]
        for at, text in texts.items():
            changed[at] |= self._texts.get(int(series[at])) != text
        return changed

    def _play_roles(self, series: NDArray[np.int32], changed: frozenset[int], now_ms: int) -> None:
        """Carry reserved and counting signals over into the rows of their machines."""
        table = self._table
        for each in sorted(series.tolist(), key=lambda s: int(table.role[s])):
            machine = int(table.machine[each])
            if machine < 0:
                continue
            row = self._rows[machine]
            if self._play(row, each, now_ms) or (table.counted[each] and each in changed):
                row.row_version = self.version

    def _play(self, row: _Row, series: int, now_ms: int) -> bool:
        """Take over one reserved signal. True when people would see another row."""
        table = self._table
        good = int(table.quality[series]) != Quality.BAD
        number = float(table.value[series])
        text = self._texts.get(series, "") if table.has_text[series] and good else ""
        whole = int(number) if good and np.isfinite(number) else None
        before = row.shown()
        match int(table.role[series]):
            case 1:
                state = _state(text)
                if state is not row.state or row.since_ms is None:
                    row.since_ms = int(table.time_ms[series])
                row.state = state
                if state is not State.UNKNOWN:
                    row.known_state = state
            case 2:
                row.reason = text
            case 3:
                row.evidence = text
            case 4:
                row.link = None if whole is None else bool(whole)
            case 5 if whole is not None:
                row.read_at_ms = min(whole, now_ms)
            case 6 if whole is not None:
                row.max_age_ms = whole
            case _:
                return False
        return before != row.shown()

    def _restore_one(self, item: StoredValue) -> int:
        table = self._table
        series = self._index.id(item.site, item.machine, item.signal)
        if table.order[series] != _UNKNOWN:
            return -1
        is_text = isinstance(item.value, str)
        table.value[series] = np.nan if is_text or item.value is None else float(item.value)
        if isinstance(item.value, str):
            self._texts[series] = item.value
        table.has_text[series] = is_text
        table.time_ms[series] = table.changed_ms[series] = item.time_ms
        table.order[series] = _RESTORED
        table.quality[series] = item.quality
        table.reason[series] = item.reason
        machine = int(table.machine[series])
        if machine >= 0:
            row = self._rows[machine]
            row.read_at_ms = max(row.read_at_ms or 0, item.time_ms)
        return series

    def _adopt_series(self) -> None:
        """Make room for series that the index gained, and find their machines."""
        known = len(self._index)
        if known == self._adopted:
            return
        with self._lock:
            if known > len(self._table.value):
                self._table = self._table.grown(max(known, 2 * len(self._table.value)))
            for series in range(self._adopted, known):
                self._adopt_one(series, self._index.name(series))
            self._adopted = known

    def _adopt_one(self, series: int, name: SeriesName) -> None:
        if not name.machine:
            return  # a signal of an agent itself
        row = self._row(name.site, name.machine)
        row.series.append(series)
        table = self._table
        table.machine[series] = row.index
        if name.signal.startswith(names.RESERVED):
            table.role[series] = _ROLES.get(name.signal, _OTHER_RESERVED)
        self._set_counted(series, name.counts)

    def _set_counted(self, series: int, counts: str | None) -> None:
        machine = int(self._table.machine[series])
        if machine < 0:
            return
        row = self._rows[machine]
        for what in _COUNTS:
            counted = row.counted.setdefault(what, [])
            if counts == what and series not in counted:
                counted.append(series)
            elif counts != what and series in counted:
                counted.remove(series)
        self._table.counted[series] = counts in _COUNTS

    def _row(self, site: str, machine: str) -> _Row:
        index = self._ids.get((site, machine))
        if index is not None:
            return self._rows[index]
        index = len(self._rows)
        if index == len(self._versions):
            self._versions = np.concatenate([self._versions, np.zeros(index, np.int64)])
        row = _Row(index, site, machine)
        self._rows.append(row)
        self._cache.append(None)
        self._ids[site, machine] = index
        self._touch(row)
        return row

    def _agent(self, site: str, agent: str, now_ms: int, *, foreign: bool) -> _Agent:
        known = self._agents.get((site, agent))
        if known is None:
            known = self._agents[site, agent] = _Agent(site, agent, foreign, None, now_ms)
        return known

    def _touch(self, row: _Row) -> None:
        self.version += 1
        self._versions[row.index] = row.row_version = self.version

    def _touch_machines_of(self, agent: _Agent) -> None:
        for row in self._rows:
            if row.agent is agent:
                self._touch(row)

    def _is_shown(self, row: _Row) -> bool:
        return not self._hidden or (row.site, row.machine) not in self._hidden

    def _touch_all(self) -> None:
        self.version += 1
        self._versions[: len(self._rows)] = self.version
        for row in self._rows:
            row.row_version = self.version

    def _snapshot(self, row: _Row) -> LiveMachine:
        version = int(self._versions[row.index])
        cached = self._cache[row.index]
        if cached is not None and cached.version == version:
            return cached
        agent = row.agent
        told = row.told if agent is None else None
        label = self._labels.get((row.site, row.machine), NO_LABEL)
        fresh = LiveMachine(
            index=row.index,
            site=row.site,
            machine=row.machine,
            version=version,
            row_version=row.row_version,
            agent=agent.agent if agent else "",
            foreign=agent.foreign if agent else False,
            name=row.name if label.name is None else label.name,
            kind=label.kind or row.kind,
            maker=label.maker or row.maker,
            model=label.model or row.model,
            processes=row.processes if label.processes is None else label.processes,
            agent_online=agent.online if agent else None,
            device_online=row.device_online,
            reachable=self._reachable,
            state=told.state if told else row.state,
            known_state=told.state if told else row.known_state,
            since_ms=told.since_ms if told else row.since_ms,
            reason=told.reason if told else row.reason,
            evidence=row.evidence,
            link=True if told else row.link,
            read_at_ms=told.said_ms if told else self._read_at_of(row),
            max_age_ms=row.max_age_ms,
            parts_good=self._count(row, "good"),
            parts_scrap=self._count(row, "scrap"),
            told=told,
            hours=self._hours_of(row.site, row.machine),
            read_signals=self._reader(row.site, row.machine),
        )
        self._cache[row.index] = fresh
        return fresh

    def _hours_of(self, site: str, machine: str) -> Callable[[int], Hours]:
        hours = self._hours
        if hours is None:
            return no_calendar
        return lambda time_ms: hours(site, machine, time_ms)

    def _reader(self, site: str, machine: str) -> Callable[[], dict[str, SignalValue]]:
        return lambda: self.signals(site, machine)

    def _read_at_of(self, row: _Row) -> int | None:
        """When the machine was last read; a foreign one when anything of it was."""
        if row.agent is None or not row.agent.foreign or not row.series:
            return row.read_at_ms
        newest = int(self._table.time_ms[row.series].max())
        return newest or row.read_at_ms

    def _count(self, row: _Row, what: str) -> float | None:
        table = self._table
        counted = [s for s in row.counted.get(what, ()) if table.quality[s] != Quality.BAD]
        return float(table.value[counted].sum()) if counted else None

    def _signals(self, row: _Row) -> dict[str, SignalValue]:
        return {value.signal: value for value in self._values(row)}

    def _values(self, row: _Row) -> Iterator[SignalValue]:
        table = self._table
        for series in row.series:
            if table.order[series] == _UNKNOWN or table.role[series]:
                continue
            name = self._index.name(series)
            yield SignalValue(
                signal=name.signal,
                value=self._value(series, name.kind),
                time_ms=int(table.time_ms[series]),
                changed_ms=int(table.changed_ms[series]),
                quality=Quality(int(table.quality[series])),
                reason=_reason(int(table.reason[series])),
                unit=name.unit,
                kind=name.kind,
                counts=name.counts,
            )

    def _value(self, series: int, kind: str) -> Value:
        if self._table.has_text[series]:
            text = self._texts[series]
            return int(text) if kind == "int64" and text.lstrip("-").isdecimal() else text
        number = float(self._table.value[series])
        if not np.isfinite(number):
            return None
        if kind == "boolean":
            return bool(number)
        return int(number) if kind in {"integer", "int64"} else number


def _texts_of(rows: NDArray[np.int64], text: Mapping[int, str]) -> dict[int, str]:
    """Give the texts of `rows`, by place in `rows`."""
    if not text:
        return {}
    wanted = np.fromiter(text, np.int64, len(text))
    places = np.nonzero(np.isin(rows, wanted))[0]
    return {
        place: text[row] for place, row in zip(places.tolist(), rows[places].tolist(), strict=True)
    }


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        return State.UNKNOWN


def _reason(number: int) -> Reason:
    try:
        return Reason(number)
    except ValueError:
        return Reason.UNKNOWN
