"""What happened, in order: one row per event, numbered without gaps.

An event is appended in the transaction of the change that it tells, so neither exists without the
other. Writes are serial and visible in the order of their numbers: who has read up to n will never
find a smaller number later.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Index, Integer, Table, Text, delete, func, insert, or_, select

from hub.store.tables import Count, metadata, word
from hub.store.texts import storable
from hub.store.transaction import Tx

TYPE_MAX: Final = 64
SITE_MAX: Final = 128
SUBJECT_MAX: Final = 400
DATA_BYTES_MAX: Final = 64 * 1024

event: Final = Table(
    "event",
    metadata,
    Column("seq", Count, primary_key=True, autoincrement=False),
    Column("type", word(TYPE_MAX), nullable=False),
    Column("time_ms", Count, nullable=False),
    Column("site", word(SITE_MAX), nullable=False),
    Column("machine", word(SUBJECT_MAX)),
    Column("subject", word(SUBJECT_MAX), nullable=False),
    Column("data", Text, nullable=False),
    Index("ix_event_time_ms", "time_ms"),
)
_head: Final = Table(
    "event_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last", Count, nullable=False),
)
"""One row: the last number given. It outlives the rows, so no number is ever given twice."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `seq` is its place among all events of this store.

    `site` is whose matter it is ("" for the hub's own); `subject` is the id of what changed.
    """

    seq: int
    type: str
    time_ms: int
    site: str
    machine: str | None
    subject: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events somebody asks for. A type may be given without what follows its dot."""

    types: Sequence[str] = ()
    site: str | None = None
    machine: str | None = None

    def takes(self, told: Event) -> bool:
        """Tell whether an event is among them."""
        if self.site is not None and told.site != self.site:
            return False
        if self.machine is not None and told.machine != self.machine:
            return False
        family = told.type.partition(".")[0]
        return not self.types or told.type in self.types or family in self.types


def append(
    tx: Tx,
    *,
    type: str,  # noqa: A002 (the word of the contract)
    site: str,
    machine: str | None,
    subject: str,
    data: Mapping[str, Any],
    now_ms: int,
) -> int:
    """Append an event and give its number.

    Raises:
        ValueError: a text is too long, or the data is larger than 64 KiB or no JSON.
    """
    if not 0 < len(type) <= TYPE_MAX or len(site) > SITE_MAX or len(subject) > SUBJECT_MAX:
        raise ValueError(f"an event of type {type[:TYPE_MAX]!r} has a text that is too long")
    written = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if len(written.encode("utf-8", "replace")) > DATA_BYTES_MAX:
        raise ValueError(f"the data of {type} is larger than {DATA_BYTES_MAX} bytes")
    seq = newest(tx) + 1
    tx.put(_head, {"id": 1}, {"last": seq})
    row = {
        "seq": seq,
        "type": type,
        "time_ms": now_ms,
        "site": storable(site),
        "machine": None if machine is None else storable(machine, SUBJECT_MAX),
        "subject": storable(subject),
        "data": storable(written),
    }
    tx.connection.execute(insert(event).values(**row))
    return seq


def newest(tx: Tx) -> int:
    """Give the last number given; 0 before the first event."""
    return tx.connection.scalar(select(_head.c.last).where(_head.c.id == 1)) or 0


def oldest(tx: Tx) -> int:
    """Give the first number that is still there, or the next one when none is."""
    return tx.connection.scalar(select(func.min(event.c.seq))) or newest(tx) + 1


def after(tx: Tx, seq: int, *, limit: int, wanted: Wanted | None = None) -> list[Event]:
    """Give the events that follow number `seq`, in order."""
    asked = select(event).where(event.c.seq > seq).order_by(event.c.seq).limit(limit)
    if wanted is not None:
        if wanted.site is not None:
            asked = asked.where(event.c.site == wanted.site)
        if wanted.machine is not None:
            asked = asked.where(event.c.machine == wanted.machine)
        if wanted.types:
            within = [event.c.type.startswith(f"{t}.", autoescape=True) for t in wanted.types]
            asked = asked.where(or_(event.c.type.in_(wanted.types), *within))
    rows = tx.connection.execute(asked).mappings()
    return [Event(**{**row, "data": json.loads(row["data"])}) for row in rows]


def get(tx: Tx, seq: int) -> Event | None:
    """Give one event, or None when it was forgotten or never was."""
    found = after(tx, seq - 1, limit=1)
    return found[0] if found and found[0].seq == seq else None


def forget(tx: Tx, *, before_ms: int, rows_max: int, at_most: int) -> int:
    """Delete the oldest events: older than `before_ms`, or more than `rows_max`; give how many.

    At most `at_most` go at once, so that a long sleep is not made up for in one transaction. Events
    leave from the oldest on, so what stays has no gaps either.
    """
    first, last = oldest(tx), newest(tx)
    kept = select(func.min(event.c.seq)).where(event.c.time_ms >= before_ms)
    young_from = tx.connection.scalar(kept) or last + 1
    keep_from = min(max(young_from, last - rows_max + 1), first + at_most)
    if keep_from <= first:
        return 0
    return tx.connection.execute(delete(event).where(event.c.seq < keep_from)).rowcount
