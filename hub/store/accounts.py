"""Who may come in: API keys, people, their sessions, and the secret of the first start.

No row holds anything that lets its reader in: keys, session tokens and codes are random and kept
as SHA-256, passwords as scrypt.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    LargeBinary,
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

NAME_MAX: Final = 200
ID_MAX: Final = 32
SITE_MAX: Final = 128

api_key: Final = Table(
    "api_key",
    metadata,
    Column("id", word(ID_MAX), primary_key=True),
    Column("secret_sha256", LargeBinary(32), nullable=False),
    Column("name", String(NAME_MAX), nullable=False),
    Column("scope", Text, nullable=False),
    Column("created_ms", Count, nullable=False),
    Column("created_by", word(64), nullable=False),
    Column("expires_ms", Count),
    Column("last_used_ms", Count),
    Column("revoked_ms", Count),
)
person: Final = Table(
    "person",
    metadata,
    Column("id", word(ID_MAX), primary_key=True),
    Column("login", word(64), nullable=False, unique=True),
    Column("name", String(NAME_MAX), nullable=False),
    Column("password", String(256), nullable=False),
    Column("scope", Text, nullable=False),
    Column("created_ms", Count, nullable=False),
    Column("version", Count, nullable=False),
    Column("disabled", Boolean, nullable=False),
)
session: Final = Table(
    "session",
    metadata,
    Column("token_sha256", LargeBinary(32), primary_key=True),
    Column("id", word(ID_MAX), nullable=False, unique=True),
    Column("person", word(ID_MAX)),
    Column("name", String(NAME_MAX), nullable=False),
    Column("scope", Text),
    Column("created_ms", Count, nullable=False),
    Column("used_ms", Count, nullable=False),
    Column("expires_ms", Count, nullable=False),
    Index("ix_session_person", "person"),
    Index("ix_session_expires_ms", "expires_ms"),
)
code: Final = Table(
    "one_time_code",
    metadata,
    Column("code_sha256", LargeBinary(32), primary_key=True),
    Column("purpose", word(16), nullable=False),
    Column("site", word(SITE_MAX)),
    Column("detail", Text, nullable=False),
    Column("created_ms", Count, nullable=False),
    Column("created_by", word(64), nullable=False),
    Column("expires_ms", Count, nullable=False),
    Index("ix_one_time_code_expires_ms", "expires_ms"),
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What an account may do, and where. Roles and audiences are words of `hub.access`."""

    roles: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    organisation: str | None = None
    audiences: tuple[str, ...] = ()

    def written(self) -> str:
        """Write it as JSON."""
        told = {
            "roles": sorted(self.roles),
            "sites": sorted(self.sites),
            "organisation": self.organisation,
            "audiences": sorted(self.audiences),
        }
        return json.dumps(told, ensure_ascii=False)

    @classmethod
    def read(cls, text: str) -> "Scope":
        """Read what `written` wrote."""
        told: dict[str, Any] = json.loads(text)
        return cls(
            tuple(told["roles"]),
            tuple(told["sites"]),
            told["organisation"],
            tuple(told["audiences"]),
        )


@dataclass(frozen=True, slots=True)
class Key:
    """An API key. Its secret is known to its holder alone."""

    id: str
    secret_sha256: bytes
    name: str
    scope: Scope
    created_ms: int
    created_by: str
    expires_ms: int | None = None
    last_used_ms: int | None = None
    revoked_ms: int | None = None

    def holds(self, now_ms: int) -> bool:
        """Tell whether it opens anything now."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who logs in. `version` counts the changes."""

    id: str
    login: str
    name: str
    password: str
    scope: Scope
    created_ms: int
    version: int = 1
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A log-in that lasts. A wall screen's has no person, but a scope of its own."""

    token_sha256: bytes
    id: str
    person: str | None
    name: str
    scope: Scope | None
    created_ms: int
    used_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Code:
    """Something short to type in once."""

    code_sha256: bytes
    purpose: str
    site: str | None
    detail: Mapping[str, Any]
    created_ms: int
    created_by: str
    expires_ms: int


# -- keys ------------------------------------------------------------------------------------------


def add_key(tx: Tx, key: Key) -> None:
    """Keep a new key."""
    tx.connection.execute(insert(api_key).values(**_row(key)))


def key(tx: Tx, key_id: str) -> Key | None:
    """Give one key, revoked ones too."""
    row = tx.connection.execute(select(api_key).where(api_key.c.id == key_id)).mappings().first()
    return None if row is None else _key(row)


def keys(tx: Tx, *, limit: int) -> list[Key]:
    """Give every key, newest first."""
    asked = select(api_key).order_by(api_key.c.created_ms.desc(), api_key.c.id).limit(limit)
    return [_key(row) for row in tx.connection.execute(asked).mappings()]


def revoke_key(tx: Tx, key_id: str, now_ms: int) -> bool:
    """End a key for good. False when it had ended, or never was."""
    here = (api_key.c.id == key_id) & api_key.c.revoked_ms.is_(None)
    return bool(
        tx.connection.execute(update(api_key).where(here).values(revoked_ms=now_ms)).rowcount
    )


def keys_used(tx: Tx, used: Mapping[str, int]) -> None:
    """Note when keys were last used."""
    for key_id, used_ms in used.items():
        here = api_key.c.id == key_id
        tx.connection.execute(update(api_key).where(here).values(last_used_ms=used_ms))


# -- people ----------------------------------------------------------------------------------------


def add_person(tx: Tx, told: Person) -> None:
    """Keep a new person.

    Raises:
        sqlalchemy.exc.IntegrityError: the login is taken; ask `person_by_login` first.
    """
    tx.connection.execute(insert(person).values(**_row(told)))


def put_person(tx: Tx, told: Person) -> Person:
    """Write a person anew and give it with its next version."""
    fresh = replace(told, version=told.version + 1)
    tx.put(person, {"id": told.id}, {k: v for k, v in _row(fresh).items() if k != "id"})
    return fresh


def person_by_id(tx: Tx, person_id: str) -> Person | None:
    """Give one person."""
    row = tx.connection.execute(select(person).where(person.c.id == person_id)).mappings().first()
    return None if row is None else _person(row)


def person_by_login(tx: Tx, login: str) -> Person | None:
    """Give the person who logs in by this name."""
    row = tx.connection.execute(select(person).where(person.c.login == login)).mappings().first()
    return None if row is None else _person(row)


def people(tx: Tx, *, limit: int) -> list[Person]:
    """Give everybody, by login."""
    asked = select(person).order_by(person.c.login).limit(limit)
    return [_person(row) for row in tx.connection.execute(asked).mappings()]


def remove_person(tx: Tx, person_id: str) -> bool:
    """Forget a person and every session of theirs."""
    end_sessions(tx, person_id)
    return bool(tx.connection.execute(delete(person).where(person.c.id == person_id)).rowcount)


def anybody(tx: Tx) -> bool:
    """Tell whether there is any account at all."""
    found = tx.connection.scalar(select(func.count()).select_from(person))
    return bool(found) or bool(tx.connection.scalar(select(func.count()).select_from(api_key)))


# -- sessions --------------------------------------------------------------------------------------


def add_session(tx: Tx, told: Session) -> None:
    """Keep a new session, and forget those that are over."""
    tx.connection.execute(delete(session).where(session.c.expires_ms <= told.created_ms))
    tx.connection.execute(insert(session).values(**_row(told)))


def session_of(tx: Tx, token_sha256: bytes) -> Session | None:
    """Give the session of a token."""
    asked = select(session).where(session.c.token_sha256 == token_sha256)
    row = tx.connection.execute(asked).mappings().first()
    return None if row is None else _session(row)


def session_by_id(tx: Tx, session_id: str) -> Session | None:
    """Give one session."""
    asked = select(session).where(session.c.id == session_id)
    row = tx.connection.execute(asked).mappings().first()
    return None if row is None else _session(row)


def sessions(tx: Tx, *, limit: int) -> list[Session]:
    """Give every session, newest first."""
    asked = select(session).order_by(session.c.created_ms.desc(), session.c.id).limit(limit)
    return [_session(row) for row in tx.connection.execute(asked).mappings()]


def sessions_used(tx: Tx, used: Mapping[str, int]) -> None:
    """Note when sessions were last used."""
    for session_id, used_ms in used.items():
        here = session.c.id == session_id
        tx.connection.execute(update(session).where(here).values(used_ms=used_ms))


def end_session(tx: Tx, session_id: str) -> bool:
    """End one session. False when there is none."""
    return bool(tx.connection.execute(delete(session).where(session.c.id == session_id)).rowcount)


def end_sessions(tx: Tx, person_id: str) -> int:
    """End every session of a person, and give how many."""
    return tx.connection.execute(delete(session).where(session.c.person == person_id)).rowcount


# -- codes -----------------------------------------------------------------------------------------


def add_code(tx: Tx, told: Code) -> None:
    """Keep a code, and forget those that are over."""
    tx.connection.execute(delete(code).where(code.c.expires_ms <= told.created_ms))
    tx.connection.execute(insert(code).values(**_row(told)))


def count_codes(tx: Tx, purpose: str, now_ms: int) -> int:
    """Tell how many codes of a purpose still hold."""
    here = (code.c.purpose == purpose) & (code.c.expires_ms > now_ms)
    return tx.connection.scalar(select(func.count()).select_from(code).where(here)) or 0


def drop_codes(tx: Tx, purpose: str) -> None:
    """Forget every code of a purpose."""
    tx.connection.execute(delete(code).where(code.c.purpose == purpose))


def holds(tx: Tx, code_sha256: bytes, purpose: str, now_ms: int) -> bool:
    """Tell whether a code would be taken now."""
    here = (code.c.code_sha256 == code_sha256) & (code.c.purpose == purpose)
    expires_ms = tx.connection.scalar(select(code.c.expires_ms).where(here))
    return expires_ms is not None and now_ms < expires_ms


def redeem(tx: Tx, code_sha256: bytes, purpose: str, now_ms: int) -> Code | None:
    """Take a code out: it works once, and not after its time."""
    here = (code.c.code_sha256 == code_sha256) & (code.c.purpose == purpose)
    row = tx.connection.execute(select(code).where(here)).mappings().first()
    if row is None:
        return None
    tx.connection.execute(delete(code).where(here))
    told = Code(**{**row, "detail": json.loads(row["detail"])})
    return told if now_ms < told.expires_ms else None


# -- rows ------------------------------------------------------------------------------------------


def _row(told: Key | Person | Session | Code) -> dict[str, Any]:
    row = {name: getattr(told, name) for name in told.__slots__}
    if isinstance(row.get("scope"), Scope):
        row["scope"] = row["scope"].written()
    if "detail" in row:
        row["detail"] = json.dumps(row["detail"], ensure_ascii=False)
    return row


def _key(row: RowMapping) -> Key:
    return Key(**{**row, "scope": Scope.read(row["scope"])})


def _person(row: RowMapping) -> Person:
    return Person(**{**row, "scope": Scope.read(row["scope"])})


def _session(row: RowMapping) -> Session:
    scope = row["scope"]
    return Session(**{**row, "scope": None if scope is None else Scope.read(scope)})
