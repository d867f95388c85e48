"""Tells who calls, what it may see, and whether it asks too often. One per hub."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from hub.access.accounts import Accounts
from hub.access.caller import ANONYMOUS, LOCAL, Caller
from hub.access.enrolment import BrokerPlace, Enrolments
from hub.access.limits import BackOff, Buckets
from hub.access.looks import Looks
from hub.access.passwords import Passwords
from hub.access.recognition import Recognition
from hub.access.sessions import Sessions
from hub.access.sharing import Sharing
from hub.access.view import EVERYTHING, View
from hub.store import Store, StoreError

log = logging.getLogger(__name__)

FLUSH_S: Final = 5.0
CALLER_PER_S: Final = 100.0
ADDRESS_PER_S: Final = 200.0
BURST_S: Final = 4.0
"""How many seconds' worth of requests may come at once."""
GUESSES_FREE: Final = 50
"""Wrong credentials that an address may show before it must wait: a forgotten key asks for long."""
GUESS_WAIT_S: Final = 60.0
GUESSES_PER_S: Final = 0.2
GUESSES_AT_ONCE: Final = 10.0


class Access:
    """Open: everybody is this box itself. Required: nobody is anybody unproven."""

    def __init__(
        self,
        store: Store,
        *,
        now_ms: Callable[[], int],
        is_open: bool = False,
        public_view: bool = False,
        passwords: Passwords | None = None,
        broker: BrokerPlace | None = None,
        caller_per_s: float = CALLER_PER_S,
        address_per_s: float = ADDRESS_PER_S,
        guesses_per_s: float = GUESSES_PER_S,
    ) -> None:
        self.is_open = is_open
        self.public_view = public_view
        """Whether callers without credentials see what sites share with the public."""
        hashing = passwords or Passwords()
        self.recognition = Recognition(store, now_ms=now_ms)
        self.accounts = Accounts(
            store, recognition=self.recognition, passwords=hashing, now_ms=now_ms
        )
        self.sessions = Sessions(
            store,
            accounts_=self.accounts,
            recognition=self.recognition,
            passwords=hashing,
            now_ms=now_ms,
        )
        self.enrolments = Enrolments(store, now_ms=now_ms, broker=broker)
        self.sharing = Sharing(store, now_ms=now_ms)
        self.looks = Looks(store, now_ms=now_ms)
        self.by_caller = Buckets(
            rate_per_s=caller_per_s, burst=caller_per_s * BURST_S, now_ms=now_ms
        )
        self.by_address = Buckets(
            rate_per_s=address_per_s, burst=address_per_s * BURST_S, now_ms=now_ms
        )
        self.strict = Buckets(
            rate_per_s=guesses_per_s,
            burst=max(GUESSES_AT_ONCE, guesses_per_s),
            now_ms=now_ms,
        )
        """For routes where somebody could guess a secret."""
        self._guesses = BackOff(longest_s=GUESS_WAIT_S, now_ms=now_ms, free=GUESSES_FREE)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def anonymous(self) -> Caller:
        """Tell who a caller without credentials is."""
        return LOCAL if self.is_open else ANONYMOUS

    def view(self, caller: Caller) -> View:
        """Tell what a caller may see now."""
        return EVERYTHING if self.is_open else self.sharing.view(caller)

    def guesses_wait_s(self, address: str) -> float:
        """Tell how long an address must wait that showed too many wrong credentials."""
        return self._guesses.wait_s(address)

    def guessed(self, address: str) -> None:
        """Count credentials that were nobody's."""
        self._guesses.failed(address)

    @property
    def version(self) -> int:
        """Grows when anybody may see or do something else than before."""
        return self.sharing.version + self.recognition.version

    def start(self) -> None:
        """Begin to write down, every few seconds, who looked and which keys were used."""
        self._thread = threading.Thread(target=self._keep_flushing, name="access", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write down what is left, and end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._flush()

    def _keep_flushing(self) -> None:
        while not self._stopping.wait(FLUSH_S):
            self._flush()

    def _flush(self) -> None:
        try:
            self.looks.flush()
            self.recognition.flush()
        except StoreError:
            log.warning("who looked could not be written down", exc_info=True)
