"""What was last told of each prefecture, and who was counted in it."""

from typing import Final

from sqlalchemy import Column, Table, Text, select

from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx

_publication: Final = Table(
    "region_publication",
    metadata,
    Column("prefecture", word(8), primary_key=True),
    Column("day_ms", Count, nullable=False),
    Column("body", Text, nullable=False),
)


def load(tx: Tx) -> dict[str, tuple[int, str]]:
    """Give the day and the text of each prefecture's publication."""
    rows = tx.connection.execute(select(_publication))
    return {row.prefecture: (row.day_ms, row.body) for row in rows}


def put(tx: Tx, prefecture: str, day_ms: int, body: str) -> None:
    """Replace a prefecture's publication."""
    tx.put(_publication, {"prefecture": prefecture}, {"day_ms": day_ms, "body": body})
