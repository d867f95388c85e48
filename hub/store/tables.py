"""The words in which every table of the store is written, the same on SQLite and PostgreSQL.

A domain declares its tables on `metadata` in its own module and is named in `hub.store.schema`.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Count: Final = BigInteger().with_variant(Integer(), "sqlite")
"""64-bit integers: instants (``*_ms``), versions, and keys that number themselves."""


def word(length: int) -> String:
    """Make the type of text that is compared, sorted or used as a key.

    It is compared byte by byte. A PostgreSQL database sorts by the rules of its own language
    otherwise, so pages of a list would overlap or miss rows.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


meta: Final = Table(
    "meta",
    metadata,
    Column("key", word(64), primary_key=True),
    Column("value", String(256), nullable=False),
)
"""What the store says of itself; `schema_version` above all."""
