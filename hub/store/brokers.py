"""Which agents may speak to the broker: their names there, and their passwords' hashes."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, String, Table, delete, select

from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx

credential: Final = Table(
    "broker_credential",
    metadata,
    Column("username", word(128), primary_key=True),
    Column("site", word(128), nullable=False),
    Column("agent", word(64), nullable=False),
    Column("password", String(256), nullable=False),
    Column("created_ms", Count, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Credential:
    """An agent's login at the broker; `password` is the line of mosquitto's password file."""

    username: str
    site: str
    agent: str
    password: str
    created_ms: int


def put(tx: Tx, told: Credential) -> None:
    """Give an agent its login; a second enrolment replaces the first."""
    values = {name: getattr(told, name) for name in told.__slots__ if name != "username"}
    tx.put(credential, {"username": told.username}, values)


def all_credentials(tx: Tx) -> list[Credential]:
    """Give every login, by name."""
    rows = tx.connection.execute(select(credential).order_by(credential.c.username)).mappings()
    return [Credential(**row) for row in rows]


def remove(tx: Tx, site: str, agent: str) -> bool:
    """Take an agent's login away. False when it has none."""
    here = (credential.c.site == site) & (credential.c.agent == agent)
    return bool(tx.connection.execute(delete(credential).where(here)).rowcount)
