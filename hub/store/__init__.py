"""Where coordination keeps its rows: the only door to SQLAlchemy.

`Store` opens transactions; each domain has one module here with its tables and row functions,
which take the transaction and plain values and give plain values.
"""

from hub.store.errors import StoreError, StoreTooNewError, StoreUnavailableError
from hub.store.store import Store
from hub.store.transaction import Tx

__all__ = ["Store", "StoreError", "StoreTooNewError", "StoreUnavailableError", "Tx"]
