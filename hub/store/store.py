"""The store: where coordination keeps its rows, and the one place where transactions begin."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hub.store.engines import WAIT_S, Engines, open_engines
from hub.store.errors import StoreError, StoreUnavailableError
from hub.store.schema import STEPS, Step, bring_forward
from hub.store.transaction import Tx

log = logging.getLogger(__name__)

_OURS: Final = (IntegrityError, ProgrammingError, DataError)
"""Errors that mean a mistake in this program, not a store that is away."""


class Store:
    """Rows in SQLite or PostgreSQL, the same to every caller. Any thread may use it.

    Writes are serial: between the first row that a write transaction reads and its commit nobody
    else writes, in this process or another. So "check, then insert" is correct as it is written.
    """

    def __init__(self, engines: Engines) -> None:
        """Use `Store.open`."""
        self._engines = engines
        self._turn = threading.Lock()
        self._writer: int | None = None
        self._lost = False

    @classmethod
    def open(
        cls,
        url: str,
        *,
        password: str | None = None,
        ca_file: Path | None = None,
        steps: Sequence[Step] = STEPS,
    ) -> "Store":
        """Open the store at ``sqlite:///file`` or ``postgresql://user@host/database``.

        Tables that are missing are made, older ones brought forward.

        Raises:
            StoreTooNewError: a newer program wrote it.
            StoreError: it cannot be reached or used; the message says what to do.
        """
        try:
            engines = open_engines(make_url(url), password, ca_file)
        except (ArgumentError, OSError) as error:
            raise StoreError(f"the coordination store cannot be opened ({error})") from error
        store = cls(engines)
        try:
            with store.write() as tx:
                bring_forward(tx, steps)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def place(self) -> str:
        """Where it is, without secrets."""
        return self._engines.place

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """Open a transaction that may write. It commits at the end, unless an error leaves it.

        Keep it short: no network, no waiting, no second write inside.

        Raises:
            StoreUnavailableError: no turn within five seconds, or the engine is away.
        """
        with self._my_turn(), self._errors_explained():
            with self._engines.writing() as connection:
                tx = Tx(connection)
                yield tx
            tx.committed()

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """Open a transaction that sees one snapshot and cannot write.

        Raises:
            StoreUnavailableError: the engine is away, or every reader is busy.
        """
        with self._errors_explained(), self._engines.reading() as connection:
            yield Tx(connection)

    def close(self) -> None:
        """Let go of the file or the server."""
        self._engines.close()

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        me = threading.get_ident()
        if self._writer == me:
            raise RuntimeError("a write transaction inside another one would wait for itself")
        if not self._turn.acquire(timeout=WAIT_S):
            raise StoreUnavailableError("Too many changes at once; try again.")
        self._writer = me
        try:
            yield
        finally:
            self._writer = None
            self._turn.release()

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except _OURS:
            raise
        except PoolTimeoutError as error:
            raise StoreUnavailableError("Too many questions at once; try again.") from error
        except DBAPIError as error:
            if not self._lost:
                self._lost = True
                log.warning("the coordination store at %s is lost: %s", self.place, error.orig)
            raise StoreUnavailableError(
                f"the coordination store at {self.place} does not answer ({error.orig})"
            ) from error
        except SQLAlchemyError as error:
            raise StoreError(f"the coordination store at {self.place} failed ({error})") from error
        else:
            if self._lost:
                self._lost = False
                log.info("the coordination store answers again")
