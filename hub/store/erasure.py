"""Deleting and re-naming across every domain, by what the tables say themselves.

A row belongs to a site or a machine when its columns ``site`` and ``machine`` say so. Two tables
are exceptions: the audit log is a chain that must not be broken, and events keep their number but
not what they told.
"""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import ColumnElement, Select, Table, and_, delete, func, or_, select, update

from hub.store.tables import metadata
from hub.store.transaction import Tx

KEPT: Final = frozenset({"audit"})
"""Its rows say that something was done, and by whom."""
BLANKED: Final = "event"
"""Rows whose numbers must have no gaps."""
BY_SUBJECT: Final = frozenset({"alarm", "mail_told"})
"""Rows of which only the subject says whose they are."""
OLD_IDS: Final = "machine_alias"
CHILDREN: Final = (("reservation", "id", "reservation_step"), ("job", "id", "job_step"))
"""Rows that mean nothing once the last of these children is gone."""


def erase(tx: Tx, site: str, machine: str | None) -> int:
    """Delete every row of a site, or of one machine of it; give how many went."""
    gone = 0
    for table, here in _mine(site, machine):
        gone += tx.connection.execute(delete(table).where(here)).rowcount
    events = metadata.tables[BLANKED]
    here = _is(events, site, machine)
    gone += _drop_by_event(tx, select(events.c.seq).where(here))
    gone += _drop_by_subject(tx, site, machine)
    blank = {"subject": "", "data": "{}", "machine": None}
    tx.connection.execute(update(events).where(here).values(**blank))
    _forget_old_ids(tx, site, machine)
    for parent, key, child in CHILDREN:  # of domains that this store has
        if parent in metadata.tables:
            gone += _drop_childless(tx, parent, key, child)
    return gone


def rename(tx: Tx, key: tuple[str, str], to: tuple[str, str]) -> None:
    """Let every row of a machine be another id's."""
    for table, here in _mine(*key):
        values = {"site": to[0], "machine": to[1]}
        tx.connection.execute(update(table).where(here).values(**values))


def mentions(tx: Tx, key: tuple[str, str]) -> bool:
    """Tell whether any row belongs to a machine id."""
    return any(
        tx.connection.scalar(select(func.count()).select_from(table).where(here))
        for table, here in _mine(*key)
    )


def _mine(site: str, machine: str | None) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    """Give the tables with rows of a site or machine, children before what they refer to."""
    for table in reversed(metadata.sorted_tables):
        if table.name in KEPT or table.name in {BLANKED, OLD_IDS} or "site" not in table.c:
            continue
        if machine is None or "machine" in table.c:
            yield table, _is(table, site, machine)


def _is(table: Table, site: str, machine: str | None) -> ColumnElement[bool]:
    here: ColumnElement[bool] = table.c.site == site
    return here if machine is None else and_(here, table.c.machine == machine)


def _forget_old_ids(tx: Tx, site: str, machine: str | None) -> None:
    old = metadata.tables[OLD_IDS]
    led: ColumnElement[bool] = old.c.to_site == site
    if machine is not None:
        led = and_(led, old.c.to_machine == machine)
    tx.connection.execute(delete(old).where(led))
    tx.connection.execute(delete(old).where(_is(old, site, machine)))


def _drop_by_event(tx: Tx, told: Select[tuple[int]]) -> int:
    """Delete messages that could not be delivered and tell of these events."""
    letters = metadata.tables.get("webhook_dead_letter")
    if letters is None:
        return 0
    return tx.connection.execute(delete(letters).where(letters.c.seq.in_(told))).rowcount


def _drop_by_subject(tx: Tx, site: str, machine: str | None) -> int:
    """Delete what alarms said: their subjects are ``site``, ``site/machine`` or ``site/agent``."""
    gone = 0
    for name in BY_SUBJECT & set(metadata.tables):
        table = metadata.tables[name]
        here = table.c.subject == (site if machine is None else f"{site}/{machine}")
        if machine is None:
            here = or_(here, table.c.subject.startswith(f"{site}/", autoescape=True))
        gone += tx.connection.execute(delete(table).where(here)).rowcount
    return gone


def _drop_childless(tx: Tx, parent: str, key: str, child: str) -> int:
    parents, children = metadata.tables[parent], metadata.tables[child]
    reference = next(c for c in children.c if c.references(parents.c[key]))
    orphan = parents.c[key].not_in(select(reference))
    return tx.connection.execute(delete(parents).where(orphan)).rowcount
