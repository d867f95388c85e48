"""What the owners of sites show to whom, and who looked: policies, looks by the hour."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Column, Index, RowMapping, Table, Text, delete, insert, select, update

from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx

SITE_MAX: Final = 128
EVERY_SITE: Final = "*"
"""A look at whatever there is, as who runs the hub does."""

policy: Final = Table(
    "sharing",
    metadata,
    Column("site", word(SITE_MAX), primary_key=True),
    Column("version", Count, nullable=False),
    Column("grants", Text, nullable=False),
    Column("changed_ms", Count, nullable=False),
    Column("changed_by", word(64), nullable=False),
)
look: Final = Table(
    "look",
    metadata,
    Column("hour_ms", Count, primary_key=True, autoincrement=False),
    Column("caller", word(64), primary_key=True),
    Column("site", word(SITE_MAX), primary_key=True),
    Column("groups", word(400), primary_key=True),
    Column("organisation", word(128)),
    Column("name", Text, nullable=False),
    Column("count", Count, nullable=False),
    Column("last_ms", Count, nullable=False),
    Index("ix_look_site_hour_ms", "site", "hour_ms"),
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a site shows one audience: field groups with a level's number, from when, until when."""

    audience: str
    levels: Mapping[str, int] = field(default_factory=dict)
    delay_s: int = 0
    valid_until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """All that a site's owner has said. `version` counts the changes."""

    site: str
    version: int
    terms: tuple[Terms, ...]
    changed_ms: int
    changed_by: str


@dataclass(frozen=True, slots=True)
class Look:
    """That a caller was shown field groups of a site within one hour, and how often."""

    hour_ms: int
    caller: str
    site: str
    groups: tuple[str, ...]
    organisation: str | None
    name: str
    count: int
    last_ms: int


def get(tx: Tx, site: str) -> Policy | None:
    """Give what a site's owner has said; None when nothing yet."""
    row = tx.connection.execute(select(policy).where(policy.c.site == site)).mappings().first()
    return None if row is None else _policy(row)


def all_policies(tx: Tx) -> list[Policy]:
    """Give every policy, by site."""
    rows = tx.connection.execute(select(policy).order_by(policy.c.site)).mappings()
    return [_policy(row) for row in rows]


def put(tx: Tx, told: Policy) -> None:
    """Write a policy as it is."""
    grants = [
        {
            "audience": each.audience,
            "levels": dict(each.levels),
            "delay_s": each.delay_s,
            "valid_until_ms": each.valid_until_ms,
        }
        for each in told.terms
    ]
    values = {
        "version": told.version,
        "grants": json.dumps(grants, ensure_ascii=False),
        "changed_ms": told.changed_ms,
        "changed_by": told.changed_by,
    }
    tx.put(policy, {"site": told.site}, values)


def remove(tx: Tx, site: str) -> bool:
    """Forget a site's policy. False when there was none."""
    return bool(tx.connection.execute(delete(policy).where(policy.c.site == site)).rowcount)


def add_looks(tx: Tx, looks: Iterable[Look]) -> None:
    """Add looks to those of the same hour, caller, site and groups."""
    for told in looks:
        groups = _groups(told.groups)
        here = (
            (look.c.hour_ms == told.hour_ms)
            & (look.c.caller == told.caller)
            & (look.c.site == told.site)
            & (look.c.groups == groups)
        )
        more = (
            update(look).where(here).values(count=look.c.count + told.count, last_ms=told.last_ms)
        )
        if not tx.connection.execute(more).rowcount:
            row = {name: getattr(told, name) for name in told.__slots__} | {"groups": groups}
            tx.connection.execute(insert(look).values(**row))


def looks(
    tx: Tx, site: str, *, from_ms: int, to_ms: int, limit: int, offset: int = 0
) -> list[Look]:
    """Give who looked at a site in [from, to), newest hour first, by caller within the hour."""
    here = look.c.site.in_((site, EVERY_SITE)) & (look.c.hour_ms >= from_ms)
    asked = select(look).where(here & (look.c.hour_ms < to_ms))
    order = (look.c.hour_ms.desc(), look.c.caller, look.c.site, look.c.groups)
    rows = tx.connection.execute(asked.order_by(*order).limit(limit).offset(offset)).mappings()
    return [Look(**{**row, "groups": tuple(row["groups"].split(" "))}) for row in rows]


def forget_looks(tx: Tx, before_ms: int) -> int:
    """Delete looks of hours before an instant, and give how many."""
    return tx.connection.execute(delete(look).where(look.c.hour_ms < before_ms)).rowcount


def _groups(groups: Iterable[str]) -> str:
    return " ".join(sorted(groups))


def _policy(row: RowMapping) -> Policy:
    terms = tuple(Terms(**told) for told in json.loads(row["grants"]))
    told = {name: row[name] for name in ("site", "version", "changed_ms", "changed_by")}
    return Policy(terms=terms, **told)
