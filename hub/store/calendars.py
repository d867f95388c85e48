"""The calendars of sites and machines, as their owners wrote them."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Integer, Table, Text, delete, select

from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx

SITE_MAX: Final = 128
MACHINE_MAX: Final = 400
WHO_MAX: Final = 400
OF_SITE: Final = ""
"""Stands where a machine's id would, in the calendar of the site itself."""

_calendar: Final = Table(
    "calendar",
    metadata,
    Column("site", word(SITE_MAX), primary_key=True),
    Column("machine", word(MACHINE_MAX), primary_key=True),
    Column("version", Count, nullable=False),
    Column("calendar", Text, nullable=False),
    Column("changed_ms", Count, nullable=False),
    Column("changed_by", word(WHO_MAX), nullable=False),
)
_head: Final = Table(
    "calendar_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last", Count, nullable=False),
)
"""One row: the last version given to any calendar, so that none is ever given twice."""


@dataclass(frozen=True, slots=True)
class StoredCalendar:
    """One calendar. `text` is its JSON; `machine` is empty for the site's own."""

    site: str
    machine: str
    version: int
    text: str
    changed_ms: int
    changed_by: str


def load(tx: Tx) -> list[StoredCalendar]:
    """Give every calendar."""
    rows = tx.connection.execute(select(_calendar)).mappings()
    return [_read(dict(row)) for row in rows]


def get(tx: Tx, site: str, machine: str) -> StoredCalendar | None:
    """Give one calendar, or None when nobody wrote it."""
    here = (_calendar.c.site == site) & (_calendar.c.machine == machine)
    row = tx.connection.execute(select(_calendar).where(here)).mappings().first()
    return None if row is None else _read(dict(row))


def put(tx: Tx, site: str, machine: str, text: str, *, who: str, now_ms: int) -> StoredCalendar:
    """Write a calendar and give it the next version."""
    version = newest(tx) + 1
    tx.put(_head, {"id": 1}, {"last": version})
    values = {"version": version, "calendar": text, "changed_ms": now_ms, "changed_by": who}
    tx.put(_calendar, {"site": site, "machine": machine}, values)
    return StoredCalendar(site, machine, version, text, now_ms, who)


def remove(tx: Tx, site: str, machine: str) -> bool:
    """Take a calendar away. False when there was none."""
    here = (_calendar.c.site == site) & (_calendar.c.machine == machine)
    return bool(tx.connection.execute(delete(_calendar).where(here)).rowcount)


def newest(tx: Tx) -> int:
    """Give the last version given; 0 before the first calendar."""
    return tx.connection.scalar(select(_head.c.last).where(_head.c.id == 1)) or 0


def _read(row: dict[str, object]) -> StoredCalendar:
    text = row.pop("calendar")
    return StoredCalendar(text=text, **row)  # type: ignore[arg-type]  # the columns say so
