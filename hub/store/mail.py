"""What each recipient of mail has been told."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Table, delete, select

from hub.store.tables import Count, metadata, word
from hub.store.texts import storable
from hub.store.transaction import Tx

ADDRESS_MAX: Final = 320
CODE_MAX: Final = 64
SUBJECT_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class Place:
    """How far a recipient is in the log of events: with urgent ones, and with the others."""

    urgent_seq: int
    other_seq: int
    sent_ms: int | None = None


place: Final = Table(
    "mail_place",
    metadata,
    Column("address", word(ADDRESS_MAX), primary_key=True),
    Column("urgent_seq", Count, nullable=False),
    Column("other_seq", Count, nullable=False),
    Column("sent_ms", Count),
)
told: Final = Table(
    "mail_told",
    metadata,
    Column("address", word(ADDRESS_MAX), primary_key=True),
    Column("code", word(CODE_MAX), primary_key=True),
    Column("subject", word(SUBJECT_MAX), primary_key=True),
    Column("told_ms", Count, nullable=False),
)
"""When a recipient was last told of a trouble, under whichever alarm it was."""


def get_place(tx: Tx, address: str) -> Place | None:
    """Give how far a recipient is, or None for a new one."""
    asked = select(place).where(place.c.address == address)
    row = tx.connection.execute(asked).mappings().first()
    return None if row is None else Place(row["urgent_seq"], row["other_seq"], row["sent_ms"])


def put_place(tx: Tx, address: str, now: Place) -> None:
    """Write how far a recipient is."""
    row = {"urgent_seq": now.urgent_seq, "other_seq": now.other_seq, "sent_ms": now.sent_ms}
    tx.put(place, {"address": address}, row)


def told_ms(tx: Tx, address: str) -> dict[tuple[str, str], int]:
    """Give when a recipient was told of what, by (code, subject)."""
    rows = tx.connection.execute(select(told).where(told.c.address == address)).mappings()
    return {(row["code"], row["subject"]): row["told_ms"] for row in rows}


def put_told(tx: Tx, address: str, keys: Collection[tuple[str, str]], now_ms: int) -> None:
    """Note that a recipient was told of these troubles; each is named by `trouble`."""
    for code, subject in keys:
        tx.put(told, {"address": address, "code": code, "subject": subject}, {"told_ms": now_ms})


def trouble(code: str, subject: str) -> tuple[str, str]:
    """Name a trouble as it is stored here."""
    return storable(code, CODE_MAX), storable(subject, SUBJECT_MAX)


def forget_told(tx: Tx, before_ms: int) -> None:
    """Forget what was told long ago."""
    tx.connection.execute(delete(told).where(told.c.told_ms < before_ms))
