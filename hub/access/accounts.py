"""API keys and people: made, changed and ended by who may, each change in the audit."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from hub.access.caller import Caller
from hub.access.passwords import Passwords, weakness
from hub.access.recognition import Recognition
from hub.access.refusals import (
    ForbiddenError,
    InvalidError,
    NotKnownError,
    StaleError,
    TakenError,
)
from hub.access.scopes import check_may_grant, checked, may_grant
from hub.access.tokens import digest, new_id, new_key
from hub.store import Store, Tx, accounts, audit
from hub.store.accounts import Key, Person, Scope

ACCOUNTS_MAX: Final = 5000
LOGIN: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class Accounts:
    """Looks after keys and people. Safe to use from any thread."""

    def __init__(
        self,
        store: Store,
        *,
        recognition: Recognition,
        passwords: Passwords,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._recognition = recognition
        self._passwords = passwords
        self._now_ms = now_ms

    # -- keys --------------------------------------------------------------------------------------

    def create_key(
        self, by: Caller, name: str, scope: Scope, expires_ms: int | None
    ) -> tuple[Key, str]:
        """Make a key; give it, and its text, which is never to be had again.

        Raises:
            InvalidError, ForbiddenError: the scope cannot be, or is more than the caller has.
        """
        now_ms = self._now_ms()
        given = checked(replace(scope, organisation=scope.organisation or by.organisation))
        check_may_grant(by, given)
        if expires_ms is not None and expires_ms <= now_ms:
            raise InvalidError("in-the-past", "The key would have ended already.", "expires")
        key_id, token = new_key()
        key = Key(key_id, digest(token), name, given, now_ms, by.id, expires_ms)
        with self._store.write() as tx:
            if len(accounts.keys(tx, limit=ACCOUNTS_MAX)) >= ACCOUNTS_MAX:
                raise InvalidError("too-many-keys", f"There are {ACCOUNTS_MAX} keys already.")
            accounts.add_key(tx, key)
            _audit(tx, by, "key.created", f"key:{key_id}", given, now_ms=now_ms)
        return key, token

    def keys(self, by: Caller) -> list[Key]:
        """Give the keys that a caller looks after, newest first."""
        with self._store.read() as tx:
            found = accounts.keys(tx, limit=ACCOUNTS_MAX)
        return [key for key in found if may_grant(by, key.scope)]

    def revoke_key(self, by: Caller, key_id: str) -> None:
        """End a key at once and for good; a second time changes nothing.

        Raises:
            NotKnownError: the caller looks after no such key.
        """
        now_ms = self._now_ms()
        with self._store.write() as tx:
            key = accounts.key(tx, key_id)
            if key is None or not may_grant(by, key.scope):
                raise NotKnownError("not-found", "There is no such key.")
            if accounts.revoke_key(tx, key_id, now_ms):
                _audit(tx, by, "key.revoked", f"key:{key_id}", key.scope, now_ms=now_ms)
                tx.after_commit(self._recognition.forget)

    # -- people ------------------------------------------------------------------------------------

    def create_person(
        self, by: Caller, login: str, name: str, password: str, scope: Scope
    ) -> Person:
        """Let somebody log in.

        Raises:
            InvalidError, ForbiddenError, TakenError: and nothing was made.
        """
        given = checked(replace(scope, organisation=scope.organisation or by.organisation))
        check_may_grant(by, given)
        person = self.new_person(login, name, password, given)
        with self._store.write() as tx:
            self.keep_new(tx, person)
            _audit(tx, by, "user.created", f"person:{person.id}", given, now_ms=person.created_ms)
        return person

    def new_person(self, login: str, name: str, password: str, scope: Scope) -> Person:
        """Make a person, without keeping it yet: hashing takes too long for a transaction."""
        if not LOGIN.fullmatch(login):
            text = "A login has up to 64 of a-z, 0-9 and . _ @ -, a letter or digit first."
            raise InvalidError("bad-login", text, "login")
        self._check(password, login)
        hashed = self._passwords.hash(password)
        return Person(new_id(), login, name or login, hashed, scope, self._now_ms())

    @staticmethod
    def keep_new(tx: Tx, person: Person) -> None:
        """Keep a person within a transaction.

        Raises:
            TakenError: the login is somebody else's.
        """
        if accounts.person_by_login(tx, person.login) is not None:
            raise TakenError("login-taken", f"There is a login {person.login} already.", "login")
        if len(accounts.people(tx, limit=ACCOUNTS_MAX)) >= ACCOUNTS_MAX:
            raise InvalidError("too-many-users", f"There are {ACCOUNTS_MAX} users already.")
        accounts.add_person(tx, person)

    def people(self, by: Caller) -> list[Person]:
        """Give the people that a caller looks after, by login."""
        with self._store.read() as tx:
            found = accounts.people(tx, limit=ACCOUNTS_MAX)
        return [person for person in found if may_grant(by, person.scope)]

    def person(self, by: Caller, person_id: str) -> Person:
        """Give one of them.

        Raises:
            NotKnownError: the caller looks after no such person.
        """
        with self._store.read() as tx:
            return _person(tx, by, person_id)

    def change_person(
        self,
        by: Caller,
        person_id: str,
        version: int | None,
        *,
        name: str,
        scope: Scope,
        disabled: bool,
        password: str | None,
    ) -> Person:
        """Write a person anew. All their sessions end when what they may do changes.

        Raises:
            NotKnownError, StaleError, InvalidError, ForbiddenError: and nothing was changed.
        """
        before = self.person(by, person_id)
        given = checked(replace(scope, organisation=scope.organisation or by.organisation))
        check_may_grant(by, given)
        hashed = before.password
        if password is not None:
            self._check(password, before.login)
            hashed = self._passwords.hash(password)
        now_ms = self._now_ms()
        with self._store.write() as tx:
            held = _person(tx, by, person_id)
            if version is not None and held.version != version:
                raise StaleError("stale", "It has changed since you read it.")
            self._keeps_an_admin(tx, held, given if not disabled else Scope())
            told = replace(held, name=name, scope=given, disabled=disabled, password=hashed)
            fresh = accounts.put_person(tx, told)
            accounts.end_sessions(tx, person_id)
            _audit(tx, by, "user.changed", f"person:{person_id}", given, now_ms=now_ms)
            tx.after_commit(self._recognition.forget)
        return fresh

    def remove_person(self, by: Caller, person_id: str) -> None:
        """Forget a person.

        Raises:
            NotKnownError: the caller looks after no such person.
            ForbiddenError: nobody would be left to run the hub.
        """
        with self._store.write() as tx:
            held = _person(tx, by, person_id)
            self._keeps_an_admin(tx, held, Scope())
            accounts.remove_person(tx, person_id)
            _audit(tx, by, "user.removed", f"person:{person_id}", held.scope, now_ms=self._now_ms())
            tx.after_commit(self._recognition.forget)

    def change_password(self, by: Caller, current: str, password: str) -> None:
        """Let somebody choose a new password. Every session ends, theirs too.

        Raises:
            ForbiddenError: it is not their password now.
            InvalidError: the new one is too weak.
        """
        with self._store.read() as tx:
            person = accounts.person_by_id(tx, by.id.removeprefix("person:"))
        if person is None or not self._passwords.fits(current, person.password):
            raise ForbiddenError("wrong-password", "This is not your password now.", "current")
        self._check(password, person.login)
        hashed = self._passwords.hash(password)
        with self._store.write() as tx:
            held = accounts.person_by_id(tx, person.id)
            if held is None or held.password != person.password:
                raise StaleError("stale", "The password has changed meanwhile.")
            accounts.put_person(tx, replace(held, password=hashed))
            accounts.end_sessions(tx, held.id)
            _audit(tx, by, "user.password", f"person:{held.id}", held.scope, now_ms=self._now_ms())
            tx.after_commit(self._recognition.forget)

    def _check(self, password: str, login: str) -> None:
        why = weakness(password, login)
        if why is not None:
            raise InvalidError("weak-password", why, "password")

    @staticmethod
    def _keeps_an_admin(tx: Tx, held: Person, scope: Scope) -> None:
        """Refuse to leave the hub without anybody who runs it."""
        if "hub-admin" not in held.scope.roles or held.disabled or "hub-admin" in scope.roles:
            return
        others = accounts.people(tx, limit=ACCOUNTS_MAX)
        if not any(
            "hub-admin" in each.scope.roles and not each.disabled and each.id != held.id
            for each in others
        ):
            raise ForbiddenError("last-admin", "Nobody else could run the hub.")


def _person(tx: Tx, by: Caller, person_id: str) -> Person:
    found = accounts.person_by_id(tx, person_id)
    if found is None or not may_grant(by, found.scope):
        raise NotKnownError("not-found", "There is no such user.")
    return found


def _audit(tx: Tx, by: Caller, action: str, subject: str, scope: Scope, *, now_ms: int) -> None:
    detail = {"roles": list(scope.roles), "sites": list(scope.sites)}
    site = scope.sites[0] if len(scope.sites) == 1 else None
    audit.append(
        tx, who=by.id, action=action, subject=subject, detail=detail, now_ms=now_ms, site=site
    )
