"""Logging in and out: people by password, wall screens by a code, the first admin by a secret."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hub.access.accounts import Accounts
from hub.access.caller import Caller
from hub.access.limits import BackOff
from hub.access.passwords import LENGTH_MAX, Passwords
from hub.access.recognition import SESSION_MS, Recognition
from hub.access.refusals import InvalidError, NotKnownError, SlowDownError, UnprovenError
from hub.access.scopes import caller_of, check_may_grant, checked, may_grant
from hub.access.tokens import digest, new_code, new_id, new_token, read_code
from hub.store import Store, Tx, accounts, audit
from hub.store.accounts import Code, Person, Scope, Session

ACCOUNT_WAIT_S: Final = 60.0
"""The longest wait for one account: who guesses must not lock its owner out for long."""
ADDRESS_WAIT_S: Final = 900.0
PAIRING_MS: Final = 15 * 60_000
SCREEN_DAYS_MAX: Final = 400
DAY_MS: Final = 86_400_000
CODES_MAX: Final = 1000
SESSIONS_MAX: Final = 20_000
FIRST: Final = "first"
PAIRING: Final = "pairing"
_FOREVER_MS: Final = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class LogIn:
    """A new session. `token` belongs into the cookie and nowhere else."""

    caller: Caller
    token: str
    expires_ms: int


class Sessions:
    """Begins and ends sessions. A session always begins with a token that nobody knew before."""

    def __init__(
        self,
        store: Store,
        *,
        accounts_: Accounts,
        recognition: Recognition,
        passwords: Passwords,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._accounts = accounts_
        self._recognition = recognition
        self._passwords = passwords
        self._now_ms = now_ms
        self._by_account = BackOff(longest_s=ACCOUNT_WAIT_S, now_ms=now_ms)
        self._by_address = BackOff(longest_s=ADDRESS_WAIT_S, now_ms=now_ms)

    def log_in(self, login: str, password: str, address: str) -> LogIn:
        """Begin a person's session.

        Raises:
            UnprovenError: login and password do not fit; not told which.
            SlowDownError: too many tries, for this account or from this address.
        """
        login = login.strip().lower()
        self._check_pace(login, address)
        with self._store.read() as tx:
            person = accounts.person_by_login(tx, login)
        usable = person is not None and not person.disabled and len(password) <= LENGTH_MAX
        kept = person.password if person is not None and usable else None
        if not self._passwords.fits(password[:LENGTH_MAX], kept) or person is None:
            self._failed(login, address)
            raise UnprovenError("wrong-login", "Login and password do not fit.")
        self._by_account.succeeded(login)
        with self._store.write() as tx:
            # The hash took its time: what it was checked against must still hold.
            held = accounts.person_by_id(tx, person.id)
            if held is None or held.disabled or held.password != person.password:
                raise UnprovenError("wrong-login", "Login and password do not fit.")
            return self._begin(tx, held)

    def log_out(self, token: str) -> None:
        """End the session of a token, if there is one."""
        with self._store.write() as tx:
            found = accounts.session_of(tx, digest(token))
            if found is not None:
                accounts.end_session(tx, found.id)
                tx.after_commit(self._recognition.forget)

    def log_out_everywhere(self, caller: Caller) -> int:
        """End every session of a person, and give how many there were."""
        person_id = caller.id.removeprefix("person:")
        with self._store.write() as tx:
            ended = accounts.end_sessions(tx, person_id)
            audit.append(
                tx,
                who=caller.id,
                action="session.everywhere-ended",
                subject=caller.id,
                detail={"sessions": ended},
                now_ms=self._now_ms(),
            )
            tx.after_commit(self._recognition.forget)
        return ended

    # -- the first admin -------------------------------------------------------------------------

    def first_secret(self) -> str | None:
        """Make the secret that lets the first admin in; None once there is any account.

        Each start makes a new one and ends the one before: it is shown once and kept nowhere.
        """
        now_ms = self._now_ms()
        secret = new_code(groups=8)
        with self._store.write() as tx:
            if accounts.anybody(tx):
                return None
            accounts.drop_codes(tx, FIRST)
            kept = digest(read_code(secret) or "")
            accounts.add_code(tx, Code(kept, FIRST, None, {}, now_ms, "hub", _FOREVER_MS))
        return secret

    def set_up(self, secret: str, login: str, password: str, address: str) -> LogIn:
        """Make the first admin, who shows the secret of the hub's first start; it works once.

        Raises:
            UnprovenError: the secret is wrong or used.
            InvalidError: login or password will not do; the secret stays good.
            SlowDownError: too many tries from this address.
        """
        self._check_pace(FIRST, address)
        scope = Scope(roles=("hub-admin",))
        kept = digest(read_code(secret) or "")
        with self._store.read() as tx:
            good = accounts.holds(tx, kept, FIRST, self._now_ms())
        if not good:
            self._failed(FIRST, address)
            raise UnprovenError("wrong-secret", "The secret is wrong, or was used already.")
        person = self._accounts.new_person(login, login, password, scope)
        with self._store.write() as tx:
            if accounts.redeem(tx, kept, FIRST, self._now_ms()) is None:
                raise UnprovenError("wrong-secret", "The secret is wrong, or was used already.")
            self._accounts.keep_new(tx, person)
            return self._begin(tx, person)

    # -- wall screens ----------------------------------------------------------------------------

    def new_pairing(self, by: Caller, name: str, scope: Scope, days: int) -> tuple[str, int]:
        """Make the code that turns a browser into a wall screen; give it and when it ends.

        Raises:
            InvalidError, ForbiddenError: the screen would see what cannot be, or too much.
        """
        now_ms = self._now_ms()
        given = checked(Scope((), scope.sites, by.organisation, scope.audiences))
        check_may_grant(by, given)
        code, expires_ms = new_code(), now_ms + PAIRING_MS
        kept = digest(read_code(code) or "")
        detail = {"name": name, "scope": given.written(), "until_ms": now_ms + days * DAY_MS}
        with self._store.write() as tx:
            if accounts.count_codes(tx, PAIRING, now_ms) >= CODES_MAX:
                raise InvalidError("too-many-codes", "Too many codes wait to be used.")
            accounts.add_code(tx, Code(kept, PAIRING, None, detail, now_ms, by.id, expires_ms))
            audit.append(
                tx,
                who=by.id,
                action="screen.invited",
                subject=name,
                detail={"sites": list(given.sites), "days": days},
                now_ms=now_ms,
                site=given.sites[0] if len(given.sites) == 1 else None,
            )
        return code, expires_ms

    def pair(self, code: str, address: str) -> LogIn:
        """Begin a wall screen's session: it looks, and can do nothing else.

        Raises:
            UnprovenError: the code is wrong, used or over.
            SlowDownError: too many tries from this address.
        """
        self._check_pace(None, address)
        now_ms = self._now_ms()
        with self._store.write() as tx:
            told = accounts.redeem(tx, digest(read_code(code) or ""), PAIRING, now_ms)
            if told is not None:
                return self._begin_screen(tx, told, now_ms)
        self._failed(None, address)
        raise UnprovenError("wrong-code", "The code is wrong, used or over.")

    def screens(self, by: Caller) -> list[Session]:
        """Give the wall screens that a caller looks after, by id."""
        now_ms = self._now_ms()
        with self._store.read() as tx:
            found = accounts.sessions(tx, limit=SESSIONS_MAX)
        return sorted(
            (told for told in found if _is_screen_of(by, told, now_ms)), key=lambda told: told.id
        )

    def end_screen(self, by: Caller, screen_id: str) -> None:
        """End a wall screen's session.

        Raises:
            NotKnownError: the caller looks after no such screen.
        """
        now_ms = self._now_ms()
        with self._store.write() as tx:
            found = accounts.session_by_id(tx, screen_id)
            if found is None or not _is_screen_of(by, found, now_ms):
                raise NotKnownError("not-found", "There is no such screen.")
            accounts.end_session(tx, screen_id)
            subject = f"screen:{screen_id}"
            audit.append(
                tx, who=by.id, action="screen.ended", subject=subject, detail={}, now_ms=now_ms
            )
            tx.after_commit(self._recognition.forget)

    # -- inside ----------------------------------------------------------------------------------

    def _begin(self, tx: Tx, person: Person) -> LogIn:
        now_ms, token = self._now_ms(), new_token()
        told = Session(
            token_sha256=digest(token),
            id=new_id(),
            person=person.id,
            name=person.login,
            scope=None,
            created_ms=now_ms,
            used_ms=now_ms,
            expires_ms=now_ms + SESSION_MS,
        )
        accounts.add_session(tx, told)
        caller = caller_of(f"person:{person.id}", "session", person.login, person.scope)
        self._note(tx, caller, "session.begun", now_ms)
        return LogIn(caller, token, told.expires_ms)

    def _begin_screen(self, tx: Tx, code: Code, now_ms: int) -> LogIn:
        token, scope = new_token(), Scope.read(code.detail["scope"])
        told = Session(
            token_sha256=digest(token),
            id=new_id(),
            person=None,
            name=code.detail["name"],
            scope=scope,
            created_ms=now_ms,
            used_ms=now_ms,
            expires_ms=code.detail["until_ms"],
        )
        accounts.add_session(tx, told)
        caller = caller_of(f"screen:{told.id}", "screen", told.name, scope)
        self._note(tx, caller, "screen.paired", now_ms)
        return LogIn(caller, token, told.expires_ms)

    @staticmethod
    def _note(tx: Tx, caller: Caller, action: str, now_ms: int) -> None:
        detail = {"name": caller.name}
        audit.append(
            tx, who=caller.id, action=action, subject=caller.id, detail=detail, now_ms=now_ms
        )

    def _check_pace(self, account: str | None, address: str) -> None:
        wait_s = self._by_address.wait_s(address)
        if account is not None:
            wait_s = max(wait_s, self._by_account.wait_s(account))
        if wait_s > 0:
            text = "Too many wrong tries. Wait a little."
            raise SlowDownError("too-many-tries", text, wait_s)

    def _failed(self, account: str | None, address: str) -> None:
        self._by_address.failed(address)
        if account is not None:
            self._by_account.failed(account)


def _is_screen_of(by: Caller, told: Session, now_ms: int) -> bool:
    return (
        told.person is None
        and now_ms < told.expires_ms
        and told.scope is not None
        and may_grant(by, told.scope)
    )
