"""What people said machines without any sensor are doing: rows that are only ever appended."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Index, String, Table, func, insert, select

from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx

_said: Final = Table(
    "manual_state",
    metadata,
    Column("id", Count, primary_key=True),
    Column("site", word(128), nullable=False),
    Column("machine", word(400), nullable=False),
    Column("start_ms", Count, nullable=False),
    Column("until_ms", Count, nullable=False),
    Column("state", word(16), nullable=False),
    Column("reason", String(48), nullable=False),
    Column("said_ms", Count, nullable=False),
    Column("said_by", word(400), nullable=False),
    Index("ix_manual_state_place", "site", "machine", "start_ms"),
)


@dataclass(frozen=True, slots=True)
class ManualState:
    """A machine was in a state from `start_ms`, which is believed until `until_ms`."""

    site: str
    machine: str
    start_ms: int
    until_ms: int
    state: str
    reason: str
    said_ms: int
    said_by: str


def add(tx: Tx, told: ManualState) -> None:
    """Append what somebody said."""
    values = {name: getattr(told, name) for name in told.__slots__}
    tx.connection.execute(insert(_said).values(**values))


def within(tx: Tx, site: str, machine: str, from_ms: int, to_ms: int) -> list[ManualState]:
    """Give what was said that may hold within [from_ms, to_ms), in the order it was said."""
    query = (
        select(_said)
        .where(_said.c.site == site, _said.c.machine == machine)
        .where(_said.c.start_ms < to_ms, _said.c.until_ms > from_ms)
        .order_by(_said.c.id)
    )
    return [_read(dict(row)) for row in tx.connection.execute(query).mappings()]


def latest(tx: Tx) -> list[ManualState]:
    """Give the last thing said of every machine."""
    last = select(func.max(_said.c.id)).group_by(_said.c.site, _said.c.machine)
    query = select(_said).where(_said.c.id.in_(last))
    return [_read(dict(row)) for row in tx.connection.execute(query).mappings()]


def _read(row: dict[str, object]) -> ManualState:
    del row["id"]
    return ManualState(**row)  # type: ignore[arg-type]  # the columns say so
