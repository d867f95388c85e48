"""Rows of reservations: what is booked on which machine, and answers given to idempotency keys.

A reservation has steps, one for each machine of a chain, and each step has segments of time. What
may be booked is decided in `hub.coordination`; these functions only keep and find.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    and_,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    update,
)

from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx

ID_LENGTH: Final = 26
KEY_MAX: Final = 255
REFERENCE_MAX: Final = 120
REASON_MAX: Final = 200
CALLER_MAX: Final = 200
SITE_MAX: Final = 128
MACHINE_MAX: Final = 400
"""Other people's machines may have long names."""
PLACEHOLDERS: Final = 500
"""Values in one IN list; SQLite of old allows 999 in all."""


class Status(StrEnum):
    """What has become of a reservation."""

    HELD = "held"
    CONFIRMED = "confirmed"
    RUNNING = "running"
    DONE = "done"
    RELEASED = "released"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


OCCUPYING: Final = (Status.HELD, Status.CONFIRMED, Status.RUNNING)
"""In these it takes capacity, a hold only until it expires."""


@dataclass(frozen=True, slots=True)
class Step:
    """Units of one machine over some segments [start_ms, end_ms): sorted and disjoint."""

    site: str
    machine: str
    units: int
    segments: tuple[tuple[int, int], ...]
    unscheduled: bool = False
    """Whether nobody had told the machine's working hours when it was booked."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """One booking of one machine or of a chain of them, which stands or falls as a whole."""

    id: str
    status: Status
    version: int
    created_ms: int
    changed_ms: int
    created_by: str
    organisation: str | None
    reference: str | None
    hold_expires_ms: int | None
    steps: tuple[Step, ...]
    risk: str | None = None
    """Why it may not take place as booked; None while nothing speaks against it."""
    risk_since_ms: int | None = None
    reason: str | None = None
    """What was said when it was cancelled."""

    @property
    def starts_ms(self) -> int:
        """When its first segment begins."""
        return min(step.segments[0][0] for step in self.steps)

    @property
    def ends_ms(self) -> int:
        """When its last segment ends."""
        return max(step.segments[-1][1] for step in self.steps)

    def occupies(self, now_ms: int) -> bool:
        """Tell whether it takes capacity. A hold that ran out takes none, swept or not."""
        return self.status in OCCUPYING and not self.lapsed(now_ms)

    def lapsed(self, now_ms: int) -> bool:
        """Tell whether it is a hold that ran out."""
        ends_ms = self.hold_expires_ms
        return self.status is Status.HELD and ends_ms is not None and ends_ms <= now_ms

    @property
    def due_ms(self) -> int | None:
        """When the clock has something to do with it next; None when it never has."""
        match self.status:
            case Status.HELD:
                return self.hold_expires_ms
            case Status.CONFIRMED:
                return self.starts_ms
            case Status.RUNNING:
                return self.ends_ms
            case _:
                return None

    def taken(self) -> "list[Taken]":
        """Give what it takes while it occupies, segment by segment."""
        own = (self.id, self.status, self.hold_expires_ms, self.risk)
        return [
            Taken(step.site, step.machine, start_ms, end_ms, step.units, *own)
            for step in self.steps
            for start_ms, end_ms in step.segments
        ]

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        return asdict(self)

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> "Reservation":
        """Undo `as_json`."""
        steps = tuple(
            Step(**{**step, "segments": tuple((s, e) for s, e in step["segments"])})
            for step in told["steps"]
        )
        return cls(**{**told, "status": Status(told["status"]), "steps": steps})


class Taken(NamedTuple):
    """Units that a reservation takes of a machine over one segment."""

    site: str
    machine: str
    start_ms: int
    end_ms: int
    units: int
    reservation: str
    status: Status
    hold_expires_ms: int | None
    risk: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which reservations somebody asks for; None is any. Newest first, older than `before`."""

    site: str | None = None
    machine: str | None = None
    status: Status | None = None
    created_by: str | None = None
    organisation: str | None = None
    """With `created_by`: those of either."""
    seen_by: "SeenBy | None" = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class SeenBy:
    """Who is asking: its own reservations, its organisation's, and those at its own sites."""

    caller: str
    organisation: str | None
    sites: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """What an idempotency key was used for, and what was answered."""

    digest: str
    answer: Mapping[str, Any]


reservation: Final = Table(
    "reservation",
    metadata,
    Column("id", word(ID_LENGTH), primary_key=True),
    Column("status", word(16), nullable=False),
    Column("version", Count, nullable=False),
    Column("created_ms", Count, nullable=False),
    Column("changed_ms", Count, nullable=False),
    Column("created_by", word(CALLER_MAX), nullable=False),
    Column("organisation", word(CALLER_MAX)),
    Column("reference", String(REFERENCE_MAX)),
    Column("hold_expires_ms", Count),
    Column("starts_ms", Count, nullable=False),
    Column("ends_ms", Count, nullable=False),
    Column("due_ms", Count),
    Column("risk", word(32)),
    Column("risk_since_ms", Count),
    Column("reason", String(REASON_MAX)),
    CheckConstraint("status <> 'held' OR hold_expires_ms IS NOT NULL", name="hold_ends"),
    Index("ix_reservation_status", "status", "created_by"),
    Index("ix_reservation_created_by", "created_by", "id"),
    Index("ix_reservation_changed_ms", "changed_ms"),
    Index("ix_reservation_due_ms", "due_ms"),
)
_step: Final = Table(
    "reservation_step",
    metadata,
    Column(
        "reservation",
        word(ID_LENGTH),
        ForeignKey(reservation.c.id, ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("site", word(SITE_MAX), nullable=False),
    Column("machine", word(MACHINE_MAX), nullable=False),
    Column("units", Integer, nullable=False),
    Column("unscheduled", Boolean, nullable=False),
    Index("ix_reservation_step_site", "site", "machine", "reservation"),
)
_segment: Final = Table(
    "reservation_segment",
    metadata,
    Column(
        "reservation",
        word(ID_LENGTH),
        ForeignKey(reservation.c.id, ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("start_ms", Count, primary_key=True, autoincrement=False),
    Column("end_ms", Count, nullable=False),
    Column("units", Integer, nullable=False),
    Column("site", word(SITE_MAX), nullable=False),
    Column("machine", word(MACHINE_MAX), nullable=False),
    CheckConstraint("start_ms < end_ms", name="forward"),
    CheckConstraint("units > 0", name="some"),
    Index("ix_reservation_segment_end_ms", "site", "machine", "end_ms"),
)
_answered: Final = Table(
    "idempotency_key",
    metadata,
    Column("caller", word(CALLER_MAX), primary_key=True),
    Column("key", word(KEY_MAX), primary_key=True),
    Column("digest", word(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_ms", Count, nullable=False),
    Index("ix_idempotency_key_created_ms", "created_ms"),
)
_head: Final = Table(
    "reservation_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Count, nullable=False),
)
"""One row: grows with every change of any reservation, whichever process makes it."""


def add(tx: Tx, new: Reservation) -> None:
    """Insert a reservation with its steps and segments."""
    row = {name: getattr(new, name) for name in _OWN} | {
        "status": new.status.value,
        "starts_ms": new.starts_ms,
        "ends_ms": new.ends_ms,
        "due_ms": new.due_ms,
    }
    tx.connection.execute(insert(reservation).values(**row))
    steps = [
        {
            "reservation": new.id,
            "place": place,
            "site": step.site,
            "machine": step.machine,
            "units": step.units,
            "unscheduled": step.unscheduled,
        }
        for place, step in enumerate(new.steps)
    ]
    tx.connection.execute(insert(_step), steps)
    segments = [
        {
            "reservation": new.id,
            "place": place,
            "start_ms": start_ms,
            "end_ms": end_ms,
            "units": step.units,
            "site": step.site,
            "machine": step.machine,
        }
        for place, step in enumerate(new.steps)
        for start_ms, end_ms in step.segments
    ]
    tx.connection.execute(insert(_segment), segments)
    _touch(tx)


def change(tx: Tx, old: Reservation, now_ms: int, **fields: Any) -> Reservation:
    """Change fields of a reservation as it was read in this transaction; its version grows."""
    new = replace(old, **fields, version=old.version + 1, changed_ms=now_ms)
    own = {"version": new.version, "changed_ms": now_ms, "due_ms": new.due_ms}
    values = {**fields, **own, "status": new.status.value}
    here = reservation.c.id == old.id
    tx.connection.execute(update(reservation).where(here).values(**values))
    _touch(tx)
    return new


def get(tx: Tx, id_: str) -> Reservation | None:
    """Give one reservation."""
    found = _read(tx, [id_])
    return found[0] if found else None


def find(tx: Tx, wanted: Wanted, limit: int) -> list[Reservation]:
    """Give reservations, the newest first."""
    asked = select(reservation.c.id).order_by(reservation.c.id.desc()).limit(limit)
    if wanted.status is not None:
        asked = asked.where(reservation.c.status == wanted.status.value)
    if wanted.before is not None:
        asked = asked.where(reservation.c.id < wanted.before)
    if wanted.created_by is not None:
        asked = asked.where(_by(wanted.created_by, wanted.organisation))
    told = ((_step.c.site, wanted.site), (_step.c.machine, wanted.machine))
    named = [column == value for column, value in told if value is not None]
    if wanted.seen_by is None:
        shown = _has_step(*named) if named else None
    else:
        # Who owns a site finds by that site only: by another one it would learn where else it goes.
        who = wanted.seen_by
        at_home = _has_step(*named, _step.c.site.in_(sorted(who.sites))) if who.sites else false()
        own = _by(who.caller, who.organisation)
        shown = or_(and_(own, _has_step(*named)) if named else own, at_home)
    if shown is not None:
        asked = asked.where(shown)
    return _read(tx, tx.connection.scalars(asked).all())


def due(tx: Tx, now_ms: int, limit: int) -> list[Reservation]:
    """Give what the clock has something to do with: holds that ran out, begun and ended ones."""
    asked = select(reservation.c.id).where(reservation.c.due_ms <= now_ms)
    asked = asked.order_by(reservation.c.due_ms).limit(limit)
    return _read(tx, tx.connection.scalars(asked).all())


def next_due_ms(tx: Tx) -> int | None:
    """Tell when the clock will next have something to do."""
    found: int | None = tx.connection.scalar(select(func.min(reservation.c.due_ms)))
    return found


def open_holds(tx: Tx, caller: str) -> int:
    """Count the holds that a caller has open."""
    mine = (reservation.c.created_by == caller) & (reservation.c.status == Status.HELD.value)
    return tx.connection.scalar(select(func.count()).select_from(reservation).where(mine)) or 0


def taken(
    tx: Tx,
    now_ms: int,
    machine: tuple[str, str] | None = None,
    span: tuple[int, int] | None = None,
) -> list[Taken]:
    """Give every segment that takes capacity now, by its start.

    With `machine` only those of one machine, with `span` only those that touch [start, end).
    """
    runs_on = or_(reservation.c.status != Status.HELD.value, reservation.c.hold_expires_ms > now_ms)
    asked = (
        select(
            _segment.c.site,
            _segment.c.machine,
            _segment.c.start_ms,
            _segment.c.end_ms,
            _segment.c.units,
            reservation.c.id,
            reservation.c.status,
            reservation.c.hold_expires_ms,
            reservation.c.risk,
        )
        .join(reservation, reservation.c.id == _segment.c.reservation)
        .where(reservation.c.status.in_([status.value for status in OCCUPYING]), runs_on)
        .order_by(_segment.c.start_ms)
    )
    if machine is not None:
        asked = asked.where(_segment.c.site == machine[0], _segment.c.machine == machine[1])
    if span is not None:
        asked = asked.where(_segment.c.end_ms > span[0], _segment.c.start_ms < span[1])
    rows = tx.connection.execute(asked)
    return [Taken(*row[:6], Status(row[6]), *row[7:]) for row in rows]


def version(tx: Tx) -> int:
    """Give the number that grows with every change of any reservation."""
    return tx.connection.scalar(select(_head.c.version).where(_head.c.id == 1)) or 0


def forget(tx: Tx, *, before_ms: int, at_most: int) -> int:
    """Delete reservations that were over before an instant; give how many."""
    over = reservation.c.status.not_in([status.value for status in OCCUPYING])
    old = (
        select(reservation.c.id)
        .where(over, reservation.c.changed_ms < before_ms)
        .order_by(reservation.c.changed_ms)
        .limit(at_most)
    )
    ids = tx.connection.scalars(old).all()
    for some in _portions(ids):
        tx.connection.execute(delete(reservation).where(reservation.c.id.in_(some)))
    return len(ids)


# -- idempotency keys --------------------------------------------------------------------------


def answered(tx: Tx, caller: str, key: str, since_ms: int) -> Answered | None:
    """Give what a caller's key was answered, unless that is older than `since_ms`."""
    here = and_(_answered.c.caller == caller, _answered.c.key == key)
    asked = select(_answered.c.digest, _answered.c.answer)
    row = tx.connection.execute(asked.where(here, _answered.c.created_ms > since_ms)).first()
    return None if row is None else Answered(row.digest, json.loads(row.answer))


def answer(tx: Tx, caller: str, key: str, told: Answered, now_ms: int) -> None:
    """Remember what a key was answered."""
    text = json.dumps(told.answer, ensure_ascii=False, separators=(",", ":"))
    values = {"digest": told.digest, "answer": text, "created_ms": now_ms}
    tx.put(_answered, {"caller": caller, "key": key}, values)


def keys_of(tx: Tx, caller: str, since_ms: int) -> int:
    """Count the keys that a caller has used since an instant."""
    mine = and_(_answered.c.caller == caller, _answered.c.created_ms > since_ms)
    return tx.connection.scalar(select(func.count()).select_from(_answered).where(mine)) or 0


def forget_keys(tx: Tx, *, before_ms: int, at_most: int) -> int:
    """Delete keys used before an instant; give how many."""
    old = (
        select(_answered.c.caller, _answered.c.key)
        .where(_answered.c.created_ms <= before_ms)
        .limit(at_most)
    )
    rows = tx.connection.execute(old).all()
    for caller, key in rows:
        here = and_(_answered.c.caller == caller, _answered.c.key == key)
        tx.connection.execute(delete(_answered).where(here))
    return len(rows)


# -- inside ------------------------------------------------------------------------------------

_OWN: Final = (
    "id", "version", "created_ms", "changed_ms", "created_by", "organisation", "reference",
    "hold_expires_ms", "risk", "risk_since_ms", "reason",
)  # fmt: skip


def _touch(tx: Tx) -> None:
    tx.put(_head, {"id": 1}, {"version": version(tx) + 1})


def _by(caller: str, organisation: str | None) -> Any:
    mine = reservation.c.created_by == caller
    return mine if organisation is None else or_(mine, reservation.c.organisation == organisation)


def _has_step(*conditions: Any) -> Any:
    return exists().where(_step.c.reservation == reservation.c.id, *conditions)


def _read(tx: Tx, ids: Sequence[str]) -> list[Reservation]:
    """Read reservations whole, in the order of `ids`."""
    found: dict[str, Reservation] = {}
    for some in _portions(ids):
        steps = _steps(tx, some)
        rows = tx.connection.execute(select(reservation).where(reservation.c.id.in_(some)))
        for row in rows.mappings():
            if row["id"] not in steps:
                continue  # its machines were erased this very moment
            own = {name: row[name] for name in _OWN}
            status = Status(row["status"])
            found[row["id"]] = Reservation(**own, status=status, steps=tuple(steps[row["id"]]))
    return [found[each] for each in ids if each in found]


def _steps(tx: Tx, ids: Sequence[str]) -> dict[str, list[Step]]:
    asked = (
        select(_step, _segment.c.start_ms, _segment.c.end_ms)
        .join(
            _segment,
            and_(_segment.c.reservation == _step.c.reservation, _segment.c.place == _step.c.place),
        )
        .where(_step.c.reservation.in_(ids))
        .order_by(_step.c.reservation, _step.c.place, _segment.c.start_ms)
    )
    steps: dict[str, dict[int, Step]] = {}
    for row in tx.connection.execute(asked):
        own = steps.setdefault(row.reservation, {})
        known = own.get(row.place)
        segment = (row.start_ms, row.end_ms)
        own[row.place] = (
            _first(row) if known is None else replace(known, segments=(*known.segments, segment))
        )
    return {id_: list(own.values()) for id_, own in steps.items()}


def _first(row: Row[Any]) -> Step:
    segments = ((row.start_ms, row.end_ms),)
    return Step(row.site, row.machine, row.units, segments, bool(row.unscheduled))


def _portions(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[at : at + PLACEHOLDERS] for at in range(0, len(ids), PLACEHOLDERS))
