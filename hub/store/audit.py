"""Who changed what: rows that are only ever appended, each chained to the one before.

The hash of a row is SHA-256 over the hash before it and the row's canonical JSON (sorted keys, no
spaces, UTF-8), so editing, removing, adding or reordering rows anywhere breaks every later hash.
The head is kept beside the rows: cutting off the newest ones shows, too. Whoever can rewrite the
whole store can rewrite the whole chain; a head written down elsewhere is the answer to that.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Index, Integer, String, Table, Text, insert, select

from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx

TEXT_MAX: Final = 400
ACTION_MAX: Final = 64
DETAIL_BYTES_MAX: Final = 16 * 1024
FIRST_HASH: Final = "0" * 64
"""What the first row is chained to."""
_CHUNK: Final = 1000

entry: Final = Table(
    "audit",
    metadata,
    Column("seq", Count, primary_key=True, autoincrement=False),
    Column("time_ms", Count, nullable=False),
    Column("who", word(TEXT_MAX), nullable=False),
    Column("action", word(ACTION_MAX), nullable=False),
    Column("subject", word(TEXT_MAX), nullable=False),
    Column("site", word(128)),
    Column("detail", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Index("ix_audit_site_seq", "site", "seq"),
)
_head: Final = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Count, nullable=False),
    Column("hash", String(64), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One change: who did what to what. `site` is whose matter it is, None for the hub's own."""

    seq: int
    time_ms: int
    who: str
    action: str
    subject: str
    site: str | None
    detail: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class Break:
    """The first place at which the chain does not hold."""

    seq: int
    why: str


def append(
    tx: Tx,
    *,
    who: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any],
    now_ms: int,
    site: str | None = None,
) -> int:
    """Append a row in the transaction of the change itself, and give its number.

    `who` is the id of the caller; `detail` never holds a secret. Texts are clipped; a detail of
    more than 16 KiB is replaced by its size and hash.
    """
    seq, before = head(tx)
    content: dict[str, Any] = {
        "seq": seq + 1,
        "time_ms": now_ms,
        "who": _storable(who)[:TEXT_MAX],
        "action": _storable(action)[:ACTION_MAX],
        "subject": _storable(subject)[:TEXT_MAX],
        "site": None if site is None else _storable(site)[:128],
        "detail": _bounded(detail),
    }
    found = chained(before, content)
    tx.connection.execute(
        insert(entry).values(**content | {"detail": canonical(content["detail"]), "hash": found})
    )
    tx.put(_head, {"id": 1}, {"seq": seq + 1, "hash": found})
    return seq + 1


def head(tx: Tx) -> tuple[int, str]:
    """Give number and hash of the newest row; 0 and zeros before the first."""
    row = tx.connection.execute(select(_head.c.seq, _head.c.hash)).first()
    return (0, FIRST_HASH) if row is None else (row.seq, row.hash)


def before(
    tx: Tx, seq: int | None, *, limit: int, sites: Collection[str] | None = None
) -> list[Entry]:
    """Give the rows before a number, newest first; of some sites only, if they are given."""
    asked = select(entry).order_by(entry.c.seq.desc()).limit(limit)
    if seq is not None:
        asked = asked.where(entry.c.seq < seq)
    if sites is not None:
        asked = asked.where(entry.c.site.in_(sorted(sites)))
    return [_read(row) for row in tx.connection.execute(asked).mappings()]


def verify(tx: Tx) -> Break | None:
    """Walk the whole chain; None when nothing was edited, removed, added or moved."""
    expected, last = 1, FIRST_HASH
    for row in _all(tx):
        if row["seq"] != expected:
            return Break(expected, f"row {expected} is missing")
        try:
            detail = json.loads(row["detail"])
        except ValueError:
            return Break(expected, "its detail is no JSON any more")
        content = {**row, "detail": detail}
        del content["hash"]
        if canonical(detail) != row["detail"] or chained(last, content) != row["hash"]:
            return Break(expected, "it was edited, or the row before it was")
        expected, last = expected + 1, row["hash"]
    told_seq, told_hash = head(tx)
    if (told_seq, told_hash) != (expected - 1, last):
        return Break(expected, f"the newest rows are missing: there were {told_seq}")
    return None


def chained(before_hash: str, content: Mapping[str, Any]) -> str:
    """Give the hash of a row, from the hash before it and what the row says."""
    return hashlib.sha256(before_hash.encode() + canonical(content).encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """Write JSON in the one way that is hashed."""
    return json.dumps(
        content, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )


def _all(tx: Tx) -> Iterator[dict[str, Any]]:
    """Read every row in order, some at a time."""
    seq = None
    while True:
        asked = select(entry).order_by(entry.c.seq).limit(_CHUNK)
        if seq is not None:
            asked = asked.where(entry.c.seq > seq)
        rows = [dict(row) for row in tx.connection.execute(asked).mappings()]
        yield from rows
        if len(rows) < _CHUNK:
            return
        seq = rows[-1]["seq"]


def _read(row: Any) -> Entry:
    return Entry(**{**row, "detail": json.loads(row["detail"])})


def _bounded(detail: Mapping[str, Any]) -> dict[str, Any]:
    text = _storable(canonical(detail))
    data = text.encode()
    if len(data) > DETAIL_BYTES_MAX:
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    read: dict[str, Any] = json.loads(text)
    return read


def _storable(text: str) -> str:
    """Mend what a database cannot hold: half characters and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd").replace("\\u0000", "?")
