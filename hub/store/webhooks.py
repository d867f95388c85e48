"""Webhooks: whom to tell, how far each one was told, and what could not be delivered."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver, and its place in the log of events.

    It belongs to `sites` and is told what they may see; none means the hub's own, told everything.
    Its secret is not here: `generation` and the key of fingerprint `key` make it.
    """

    id: str
    url: str
    sites: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    """Which events; without, all."""
    description: str = ""
    key: str = ""
    generation: int = 1
    paused: str | None = None
    """Why nothing is sent, or None while it is."""
    version: int = 1
    created_ms: int = 0
    cursor: int = 0
    """The number of the last event that is done with."""
    tries: int = 0
    """Failed tries of the next one."""
    next_ms: int = 0
    """Not before this instant is it tried again."""
    delivered: int = 0
    missed: int = 0
    """Events that were forgotten before they could be delivered."""
    failing_since_ms: int | None = None
    last_ms: int | None = None
    last_status: int | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A notice that was set aside. `again` while somebody wants it sent once more."""

    id: int
    webhook: str
    seq: int
    type: str
    message: str
    time_ms: int
    body: str
    tries: int
    status: int | None
    error: str | None
    dead_ms: int
    again: bool = False


ERROR_MAX: Final = 400

webhook: Final = Table(
    "webhook",
    metadata,
    Column("id", word(32), primary_key=True),
    Column("url", String(2000), nullable=False),
    Column("sites", Text, nullable=False),
    Column("types", Text, nullable=False),
    Column("description", String(200), nullable=False),
    Column("key", word(32), nullable=False),
    Column("generation", Count, nullable=False),
    Column("paused", String(200)),
    Column("version", Count, nullable=False),
    Column("created_ms", Count, nullable=False),
    Column("cursor", Count, nullable=False),
    Column("tries", Count, nullable=False),
    Column("next_ms", Count, nullable=False),
    Column("delivered", Count, nullable=False),
    Column("missed", Count, nullable=False),
    Column("failing_since_ms", Count),
    Column("last_ms", Count),
    Column("last_status", Integer),
    Column("last_error", String(ERROR_MAX)),
)
dead: Final = Table(
    "webhook_dead_letter",
    metadata,
    Column("id", Count, primary_key=True),
    Column("webhook", word(32), ForeignKey("webhook.id", ondelete="CASCADE"), nullable=False),
    Column("seq", Count, nullable=False),
    Column("type", word(64), nullable=False),
    Column("message", word(64), nullable=False),
    Column("time_ms", Count, nullable=False),
    Column("body", Text, nullable=False),
    Column("tries", Count, nullable=False),
    Column("status", Integer),
    Column("error", String(ERROR_MAX)),
    Column("dead_ms", Count, nullable=False),
    Column("again", Integer, nullable=False),
    Index("ix_webhook_dead_letter_of", "webhook", "id"),
)

_LISTS: Final = ("sites", "types")
_FACTS: Final = ("url", "sites", "types", "description", "key", "generation", "paused", "version")
PROGRESS: Final = (
    "cursor",
    "tries",
    "next_ms",
    "delivered",
    "missed",
    "failing_since_ms",
    "last_ms",
    "last_status",
    "last_error",
)
"""What the sender writes; people write the rest, so neither undoes the other."""


def add(tx: Tx, new: Webhook) -> None:
    """Add a webhook."""
    names = [field.name for field in fields(Webhook)]
    tx.connection.execute(insert(webhook).values(**_row(new, names)))


def replace_facts(tx: Tx, changed: Webhook) -> None:
    """Write what people decide about a webhook."""
    row = _row(changed, _FACTS)
    tx.connection.execute(update(webhook).where(webhook.c.id == changed.id).values(**row))


def note_progress(tx: Tx, of: Webhook, **more: Any) -> None:
    """Write how far a webhook was told; `more` are further columns, such as `paused`."""
    row = _row(of, PROGRESS) | more
    tx.connection.execute(update(webhook).where(webhook.c.id == of.id).values(**row))


def try_now(tx: Tx, id_: str) -> None:
    """Let a webhook that waits after a failure be tried at once."""
    tx.connection.execute(update(webhook).where(webhook.c.id == id_).values(next_ms=0))


def remove(tx: Tx, id_: str) -> None:
    """Remove a webhook with its dead letters."""
    tx.connection.execute(delete(webhook).where(webhook.c.id == id_))


def get(tx: Tx, id_: str) -> Webhook | None:
    """Give one webhook, or None."""
    row = tx.connection.execute(select(webhook).where(webhook.c.id == id_)).mappings().first()
    return None if row is None else _webhook(row)


def every(tx: Tx) -> list[Webhook]:
    """Give all webhooks, oldest first."""
    asked = select(webhook).order_by(webhook.c.created_ms, webhook.c.id)
    return [_webhook(row) for row in tx.connection.execute(asked).mappings()]


def bury(tx: Tx, letter: DeadLetter, *, letters_max: int) -> int:
    """Set a notice aside and give how many older ones had to make room for it."""
    row = {field.name: getattr(letter, field.name) for field in fields(DeadLetter)}
    del row["id"]
    tx.connection.execute(insert(dead).values(**row | {"again": int(letter.again)}))
    there = tx.connection.scalars(
        select(dead.c.id)
        .where(dead.c.webhook == letter.webhook)
        .order_by(dead.c.id.desc())
        .offset(letters_max)
    ).all()
    if there:
        tx.connection.execute(delete(dead).where(dead.c.id.in_(there)))
    return len(there)


def letters(tx: Tx, id_: str, *, after: int = 0, limit: int = 500) -> list[DeadLetter]:
    """Give dead letters of a webhook, oldest first."""
    asked = (
        select(dead)
        .where(dead.c.webhook == id_, dead.c.id > after)
        .order_by(dead.c.id)
        .limit(limit)
    )
    return [_letter(row) for row in tx.connection.execute(asked).mappings()]


def count_letters(tx: Tx) -> dict[str, int]:
    """Tell how many dead letters each webhook has."""
    asked = select(dead.c.webhook, func.count()).group_by(dead.c.webhook)
    return {row[0]: row[1] for row in tx.connection.execute(asked)}


def wanted_again(tx: Tx) -> list[DeadLetter]:
    """Give the oldest dead letter of each webhook that somebody wants sent once more."""
    first = select(func.min(dead.c.id)).where(dead.c.again == 1).group_by(dead.c.webhook)
    rows = tx.connection.execute(select(dead).where(dead.c.id.in_(first))).mappings()
    return [_letter(row) for row in rows]


def want_again(tx: Tx, id_: str, letter_ids: Collection[int] | None) -> int:
    """Have dead letters sent once more, all of them without ids; give how many."""
    asked = update(dead).where(dead.c.webhook == id_).values(again=1)
    if letter_ids is not None:
        asked = asked.where(dead.c.id.in_(sorted(letter_ids)))
    return tx.connection.execute(asked).rowcount


def lay_back(tx: Tx, letter_id: int, *, status: int | None, error: str | None) -> None:
    """Note that a dead letter failed again; it waits for a person again."""
    row = {"again": 0, "tries": dead.c.tries + 1, "status": status, "error": error}
    tx.connection.execute(update(dead).where(dead.c.id == letter_id).values(**row))


def discard(tx: Tx, id_: str, letter_ids: Collection[int] | None) -> int:
    """Delete dead letters, all of a webhook without ids; give how many."""
    asked = delete(dead).where(dead.c.webhook == id_)
    if letter_ids is not None:
        asked = asked.where(dead.c.id.in_(sorted(letter_ids)))
    return tx.connection.execute(asked).rowcount


def _row(of: Webhook, names: Sequence[str]) -> dict[str, Any]:
    return {
        name: json.dumps(getattr(of, name)) if name in _LISTS else getattr(of, name)
        for name in names
    }


def _webhook(row: RowMapping) -> Webhook:
    return Webhook(**dict(row) | {name: tuple(json.loads(row[name])) for name in _LISTS})


def _letter(row: RowMapping) -> DeadLetter:
    return DeadLetter(**dict(row) | {"again": bool(row["again"])})
