"""How an agent comes to the hub: a code typed once, and a login of its own at the broker."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.model import ID_PATTERN
from hub.access.caller import Caller
from hub.access.limits import BackOff
from hub.access.mosquitto import Login, hashed, username_of, write_files
from hub.access.refusals import (
    InvalidError,
    NotKnownError,
    SlowDownError,
    TakenError,
    UnprovenError,
)
from hub.access.tokens import digest, new_code, new_token, read_code
from hub.store import Store, StoreUnavailableError, Tx, accounts, audit, brokers
from hub.store.accounts import Code
from hub.store.brokers import Credential

PURPOSE: Final = "enrolment"
CODES_MAX: Final = 1000
ADDRESS_WAIT_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """Where agents find the broker, and who the hub itself is there."""

    url: str
    ca_pem: str | None = None
    folder: Path = Path("broker")
    """Where the broker's password file and access file are written."""
    host: str = "machikoba"
    """The hub's Sparkplug host id."""
    hub_login: tuple[str, str] | None = None
    """User name and password of the hub."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What an agent needs to begin. The password is told this once."""

    site: str
    agent: str
    username: str
    password: str
    url: str
    ca_pem: str | None


class Enrolments:
    """Makes codes, and logins for those who bring one. Safe to use from any thread."""

    def __init__(
        self, store: Store, *, now_ms: Callable[[], int], broker: BrokerPlace | None
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._broker = broker
        self._by_address = BackOff(longest_s=ADDRESS_WAIT_S, now_ms=now_ms)

    def write_files(self) -> None:
        """Write the broker's files as the store says, for instance after a restore.

        Raises:
            OSError: they cannot be written.
        """
        if self._broker is not None:
            with self._store.read() as tx:
                self._write(tx, self._broker)

    def invite(self, by: Caller, site: str, hours: float) -> tuple[str, int]:
        """Make the code for one agent of a site; give it and when it ends.

        Raises:
            TakenError: this hub was not told where agents find the broker.
            InvalidError: the site's id cannot be part of a broker's topic, or too many codes wait.
        """
        self._place()
        if not ID_PATTERN.fullmatch(site):
            text = "Agents can join sites whose id is 1 to 48 of a-z, 0-9 and - only."
            raise InvalidError("bad-site", text, "site")
        now_ms = self._now_ms()
        code, expires_ms = new_code(), now_ms + round(hours * 3_600_000)
        kept = digest(read_code(code) or "")
        with self._store.write() as tx:
            if accounts.count_codes(tx, PURPOSE, now_ms) >= CODES_MAX:
                raise InvalidError("too-many-codes", "Too many codes wait to be used.")
            accounts.add_code(tx, Code(kept, PURPOSE, site, {}, now_ms, by.id, expires_ms))
            audit.append(
                tx,
                who=by.id,
                action="agent.invited",
                subject=site,
                detail={"expires_ms": expires_ms},
                now_ms=now_ms,
                site=site,
            )
        return code, expires_ms

    def join(self, code: str, agent: str, address: str) -> Joined:
        """Give an agent its login. An agent that joins again gets a new one in its place.

        Raises:
            UnprovenError: the code is wrong, used or over.
            InvalidError: the agent's id is none; the code stays good.
            SlowDownError: too many wrong codes from this address.
            StoreUnavailableError: the broker's files cannot be written; the code stays good.
        """
        place = self._place()
        wait_s = self._by_address.wait_s(address)
        if wait_s > 0:
            raise SlowDownError("too-many-tries", "Too many wrong codes. Wait a little.", wait_s)
        if not ID_PATTERN.fullmatch(agent):
            raise InvalidError("bad-agent", "An agent's id is 1 to 48 of a-z, 0-9, -.", "agent")
        now_ms, password = self._now_ms(), new_token()
        with self._store.write() as tx:
            told = accounts.redeem(tx, digest(read_code(code) or ""), PURPOSE, now_ms)
            if told is not None and told.site is not None:
                site = told.site
                username = username_of(site, agent)
                brokers.put(tx, Credential(username, site, agent, hashed(password), now_ms))
                self._note(tx, f"agent:{agent}", "agent.joined", site, agent)
                # Before the commit: a login that the broker never learns of would be worthless.
                self._write(tx, place)
                return Joined(site, agent, username, password, place.url, place.ca_pem)
        self._by_address.failed(address)
        raise UnprovenError("wrong-code", "The code is wrong, used or over.")

    def agents(self, site: str) -> list[Credential]:
        """Give the agents of a site that have a login."""
        with self._store.read() as tx:
            return [told for told in brokers.all_credentials(tx) if told.site == site]

    def expel(self, by: Caller, site: str, agent: str) -> None:
        """Take an agent's login away.

        Raises:
            NotKnownError: it has none.
        """
        place = self._place()
        with self._store.write() as tx:
            if not brokers.remove(tx, site, agent):
                raise NotKnownError("not-found", "There is no such agent.")
            self._note(tx, by.id, "agent.expelled", site, agent)
            self._write(tx, place)

    def _note(self, tx: Tx, who: str, action: str, site: str, agent: str) -> None:
        subject, now_ms = f"{site}/{agent}", self._now_ms()
        audit.append(
            tx, who=who, action=action, subject=subject, detail={}, now_ms=now_ms, site=site
        )

    def _place(self) -> BrokerPlace:
        if self._broker is None:
            text = "This hub does not know where agents find the broker: set enrolment.broker_url."
            raise TakenError("no-enrolment", text)
        return self._broker

    @staticmethod
    def _write(tx: Tx, place: BrokerPlace) -> None:
        logins = [
            Login(told.username, told.site, told.agent, told.password)
            for told in brokers.all_credentials(tx)
        ]
        hub = place.hub_login
        kept = None if hub is None else (hub[0], hashed(hub[1]))
        try:
            write_files(place.folder, place.host, kept, logins)
        except OSError as error:
            raise StoreUnavailableError(
                f"the broker's files cannot be written ({error.strerror})"
            ) from error
