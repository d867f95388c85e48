"""One transaction, as the row functions of every domain get it."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, and_, insert, update

log = logging.getLogger(__name__)


class Tx:
    """A transaction that is open. `connection` is for modules inside `hub.store` only."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._hooks: list[Callable[[], None]] = []

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Have something done once this is committed, and never when it is rolled back.

        Hooks run in the order of the commits, before the next write begins. They are short, and
        they never write themselves.
        """
        self._hooks.append(hook)

    def put(self, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Update the row with this key, or insert it. Writes are serial, so nobody is between."""
        here = and_(*(table.c[name] == value for name, value in key.items()))
        if not self.connection.execute(update(table).where(here).values(**values)).rowcount:
            self.connection.execute(insert(table).values(**key, **values))

    def committed(self) -> None:
        """Run the hooks; called by the store. What is committed stays so whatever a hook does."""
        for hook in self._hooks:
            try:
                hook()
            except Exception:  # a task boundary: the caller must not take the commit for failed
                log.exception("what follows a commit failed")
