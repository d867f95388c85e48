"""Whose token this is: read from the store once, then remembered for a short while.

Any change to an account forgets everything remembered, so what is revoked ends at once. Another
program that changes the same store is noticed after ten seconds.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from hub.access.caller import Caller
from hub.access.scopes import caller_of
from hub.access.tokens import TOKEN_MAX, digest, key_id_of, same
from hub.store import Store, Tx, accounts

REMEMBERED_MAX: Final = 10_000
RECHECK_MS: Final = 10_000
SESSION_MS: Final = 7 * 24 * 3_600_000
"""A log-in ends after a week, whatever happens."""
IDLE_MS: Final = 12 * 3_600_000
"""It ends earlier when nobody has used it for half a day. Wall screens are exempt."""


class Credential(NamedTuple):
    """What a request shows: an API key, or the token of a session's cookie."""

    kind: Literal["key", "session"]
    token: str


class _Known(NamedTuple):
    caller: Caller
    account: str
    until_ms: int


class Recognition:
    """Tells callers by their credentials. Safe to use from any thread."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, bytes], _Known] = OrderedDict()
        self._used: dict[tuple[str, str], int] = {}
        self.version = 0
        """Grows with every change to an account: who was let in must be asked again."""

    def known(self, shown: Credential, *, use: bool = True) -> Caller | None:
        """Tell a caller without asking the store; None when the store must be asked."""
        now_ms = self._now_ms()
        place = (shown.kind, digest(shown.token))
        found = self._known.get(place)
        if found is None or now_ms >= found.until_ms:
            return None
        if use:
            self._used[shown.kind, found.account] = now_ms
        return found.caller

    def find(self, shown: Credential, *, use: bool = True) -> Caller | None:
        """Tell a caller from the store; None when the credentials are nobody's, or over."""
        if len(shown.token) > TOKEN_MAX:
            return None
        now_ms, version = self._now_ms(), self.version
        with self._store.read() as tx:
            look_up = _by_key if shown.kind == "key" else self._by_session
            found = look_up(tx, shown.token, now_ms)
        if found is None:
            return None
        with self._lock:
            if use:
                self._used[shown.kind, found.account] = now_ms
            if version == self.version:  # else it may have been revoked meanwhile
                place = (shown.kind, digest(shown.token))
                until_ms = min(found.until_ms, now_ms + RECHECK_MS)
                self._known[place] = found._replace(until_ms=until_ms)
                self._known.move_to_end(place)
                if len(self._known) > REMEMBERED_MAX:
                    self._known.popitem(last=False)
        return found.caller

    def forget(self) -> None:
        """Forget everybody: some account has changed."""
        with self._lock:
            self.version += 1
            self._known.clear()

    def flush(self) -> None:
        """Write down when keys and sessions were last used."""
        with self._lock:
            used, self._used = self._used, {}
        if not used:
            return
        with self._store.write() as tx:
            accounts.keys_used(tx, {name: t for (kind, name), t in used.items() if kind == "key"})
            accounts.sessions_used(
                tx, {name: t for (kind, name), t in used.items() if kind == "session"}
            )

    def _by_session(self, tx: Tx, token: str, now_ms: int) -> _Known | None:
        row = accounts.session_of(tx, digest(token))
        if row is None or now_ms >= row.expires_ms:
            return None
        if row.person is None:
            caller = caller_of(
                f"screen:{row.id}", "screen", row.name, row.scope or accounts.Scope()
            )
            return _Known(caller, row.id, row.expires_ms)
        used_ms = max(row.used_ms, self._used.get(("session", row.id), 0))
        person = accounts.person_by_id(tx, row.person)
        if now_ms >= used_ms + IDLE_MS or person is None or person.disabled:
            return None
        caller = caller_of(f"person:{person.id}", "session", person.login, person.scope)
        return _Known(caller, row.id, row.expires_ms)


def _by_key(tx: Tx, token: str, now_ms: int) -> _Known | None:
    key_id = key_id_of(token)
    row = None if key_id is None else accounts.key(tx, key_id)
    if row is None or not same(digest(token), row.secret_sha256) or not row.holds(now_ms):
        return None
    caller = caller_of(f"key:{row.id}", "key", row.name, row.scope)
    return _Known(caller, row.id, row.expires_ms or now_ms + RECHECK_MS)
