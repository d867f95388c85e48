"""What people said of stops: reasons of a site's own, and the labels given to intervals."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Index, String, Table, delete, insert, or_, select

from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx

SITE_MAX: Final = 128
MACHINE_MAX: Final = 400
CODE_MAX: Final = 48
TEXT_MAX: Final = 80
NOTE_MAX: Final = 400
WHO_MAX: Final = 400
OPEN_MS: Final = 7 * 86_400_000
"""A label that was given while a state lasted holds for at most so long."""

_reason: Final = Table(
    "reason",
    metadata,
    Column("site", word(SITE_MAX), primary_key=True),
    Column("code", word(CODE_MAX), primary_key=True),
    Column("group", word(CODE_MAX), nullable=False),
    Column("ja", String(TEXT_MAX), nullable=False),
    Column("en", String(TEXT_MAX), nullable=False),
    Column("bucket", word(16), nullable=False),
)
_label: Final = Table(
    "state_label",
    metadata,
    Column("id", Count, primary_key=True),
    Column("site", word(SITE_MAX), nullable=False),
    Column("machine", word(MACHINE_MAX), nullable=False),
    Column("start_ms", Count, nullable=False),
    Column("end_ms", Count),
    Column("reason", word(CODE_MAX)),
    Column("note", String(NOTE_MAX), nullable=False),
    Column("before", String(200), nullable=False),
    Column("said_ms", Count, nullable=False),
    Column("said_by", word(WHO_MAX), nullable=False),
    Index("ix_state_label_place", "site", "machine", "start_ms"),
)


@dataclass(frozen=True, slots=True)
class SiteReason:
    """A reason that a site added to the catalogue, or words differently."""

    site: str
    code: str
    group: str
    ja: str
    en: str
    bucket: str


@dataclass(frozen=True, slots=True)
class Label:
    """Somebody said why a machine was in a state from `start_ms` on.

    `end_ms` None: to the end of that state. `reason` None takes earlier labels back. `before` is
    the reason that stood there. Later labels win over earlier ones, and none is ever deleted.
    """

    site: str
    machine: str
    start_ms: int
    end_ms: int | None
    reason: str | None
    note: str
    before: str
    said_ms: int
    said_by: str


def reasons(tx: Tx, site: str) -> list[SiteReason]:
    """Give the reasons that a site added, by code."""
    query = select(_reason).where(_reason.c.site == site).order_by(_reason.c.code)
    return [SiteReason(**row) for row in tx.connection.execute(query).mappings()]


def put_reason(tx: Tx, told: SiteReason) -> None:
    """Write a reason of a site."""
    values = {"group": told.group, "ja": told.ja, "en": told.en, "bucket": told.bucket}
    tx.put(_reason, {"site": told.site, "code": told.code}, values)


def remove_reason(tx: Tx, site: str, code: str) -> bool:
    """Take a site's reason away; labels keep its code. False when there was none."""
    here = (_reason.c.site == site) & (_reason.c.code == code)
    return bool(tx.connection.execute(delete(_reason).where(here)).rowcount)


def add_label(tx: Tx, told: Label) -> None:
    """Append a label."""
    values = {name: getattr(told, name) for name in told.__slots__}
    tx.connection.execute(insert(_label).values(**values))


def labels(tx: Tx, site: str, machine: str, from_ms: int, to_ms: int) -> list[Label]:
    """Give the labels that may touch [from_ms, to_ms), in the order in which they were given.

    One without an end lasts as long as the state that it is about; it is looked for as far back
    as `OPEN_MS`.
    """
    still_open = _label.c.end_ms.is_(None) & (_label.c.start_ms > from_ms - OPEN_MS)
    query = (
        select(_label)
        .where(_label.c.site == site, _label.c.machine == machine, _label.c.start_ms < to_ms)
        .where(or_(still_open, _label.c.end_ms > from_ms))
        .order_by(_label.c.id)
    )
    rows = tx.connection.execute(query).mappings()
    return [Label(**{k: v for k, v in row.items() if k != "id"}) for row in rows]
