"""Which tables there are, which version they have, and how older ones are brought forward.

A new table needs nothing but its declaration: missing tables are made at every start. Anything
else that changes gets a step in `STEPS`, and the store as the last release left it gets a file
in ``tests/cases/upgrade/``.
"""

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Connection, inspect, select

from hub.store import (
    accounts,
    alarms,
    audit,
    brokers,
    calendars,
    directory,
    events,
    jobs,
    mail,
    manual_states,
    reasons,
    regions,
    reservations,
    sharing,
    webhooks,
)
from hub.store.errors import StoreError, StoreTooNewError
from hub.store.tables import meta, metadata
from hub.store.transaction import Tx

Step = Callable[[Connection], None]
"""Brings the tables from one version to the next, inside the transaction of the start."""

STEPS: Final[Sequence[Step]] = ()
"""The first one leads from version 1 to version 2."""

DOMAINS: Final = (
    accounts,
    alarms,
    audit,
    brokers,
    calendars,
    directory,
    events,
    jobs,
    mail,
    manual_states,
    reasons,
    regions,
    reservations,
    sharing,
    webhooks,
)
"""The modules that declare tables; named here, so that every store has all of them."""

_VERSION: Final = "schema_version"


def bring_forward(tx: Tx, steps: Sequence[Step] = STEPS) -> int:
    """Make what is missing and run the steps that a store of an older version needs.

    Raises:
        StoreTooNewError: the store was written by a newer program.
        StoreError: its version cannot be read.
    """
    newest = 1 + len(steps)
    found = _version(tx.connection)
    if found is not None and found > newest:
        raise StoreTooNewError(
            f"the coordination store has schema version {found} and this program knows "
            f"{newest}. Install the program that wrote it, or restore a back-up made before"
        )
    for step in steps[found - 1 :] if found is not None else ():
        step(tx.connection)
    metadata.create_all(tx.connection)
    if found != newest:
        tx.put(meta, {"key": _VERSION}, {"value": str(newest)})
    return newest


def _version(connection: Connection) -> int | None:
    """Read the version; None for a store without any tables."""
    if not inspect(connection).has_table(meta.name):
        return None
    text = connection.scalar(select(meta.c.value).where(meta.c.key == _VERSION))
    if text is None or not text.isdecimal() or int(text) < 1:
        raise StoreError(
            f"the coordination store says {text!r} where its schema version should be. "
            "Restore a back-up, or choose another place with `store:`"
        )
    return int(text)
