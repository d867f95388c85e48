"""Alarms that outlive the hub: what is on, what was, and who took note."""

from dataclasses import dataclass, fields
from typing import Final

from sqlalchemy import Boolean, Column, Index, String, Table, delete, select

from hub.store.tables import Count, metadata, word
from hub.store.texts import storable
from hub.store.transaction import Tx


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """One alarm. `id` is made of what identifies it, so writing it twice changes nothing."""

    id: str
    code: str
    subject: str
    text: str
    since_ms: int
    last_ms: int
    count: int = 1
    until_ms: int | None = None
    acknowledged_by: str | None = None
    acknowledged_ms: int | None = None
    note: str | None = None
    told: bool = True
    """Whether an event has told of it; short troubles of some codes are nobody's news."""


alarm: Final = Table(
    "alarm",
    metadata,
    Column("id", word(32), primary_key=True),
    Column("code", word(64), nullable=False),
    Column("subject", word(400), nullable=False),
    Column("text", String(1000), nullable=False),
    Column("since_ms", Count, nullable=False),
    Column("last_ms", Count, nullable=False),
    Column("count", Count, nullable=False),
    Column("until_ms", Count),
    Column("acknowledged_by", word(400)),
    Column("acknowledged_ms", Count),
    Column("note", String(1000)),
    Column("told", Boolean, nullable=False),
    Index("ix_alarm_until_ms", "until_ms"),
)


def put(tx: Tx, row: AlarmRow) -> None:
    """Write an alarm as it is now."""
    told = {field.name: _fit(field.name, getattr(row, field.name)) for field in fields(AlarmRow)}
    tx.put(alarm, {"id": told.pop("id")}, told)


def recent(tx: Tx, limit: int) -> list[AlarmRow]:
    """Give what is on, and the newest of what is over, oldest first."""
    asked = (
        select(alarm)
        .order_by(alarm.c.until_ms.is_(None).desc(), alarm.c.since_ms.desc(), alarm.c.id)
        .limit(limit)
    )
    found = [AlarmRow(**row) for row in tx.connection.execute(asked).mappings()]
    return sorted(found, key=lambda row: (row.since_ms, row.id))


def forget(tx: Tx, before_ms: int) -> int:
    """Delete alarms that were over before an instant; give how many."""
    return tx.connection.execute(delete(alarm).where(alarm.c.until_ms < before_ms)).rowcount


def _fit(name: str, value: object) -> object:
    """Mend what a database cannot hold, and clip what is too long."""
    if not isinstance(value, str):
        return value
    return storable(value, getattr(alarm.c[name].type, "length", None))
