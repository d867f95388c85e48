"""The way out: carries between the delivery protocol and the broker, and decides nothing itself.

The link calls from its own thread; whatever it says is handed to the event loop in order, so the
protocol is only ever touched there.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError as Abandoned
from concurrent.futures import TimeoutError as TooLate
from typing import Final, TypeVar

from gateway.delivery import Outgoing, Sender
from gateway.journal import Entry, JournalCorrupt, JournalError
from gateway.mqtt import MqttLink, Tls

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

IDLE_S: Final = 1.0
"""Longest sleep: what nobody announced is found within this time."""
WILL_TIMEOUT_S: Final = 5.0


class Uplink:
    """Runs one `Sender` over one link. Everything but the constructor belongs to one event loop."""

    def __init__(
        self,
        sender: Sender,
        *,
        url: str,
        client_id: str,
        now_ms: Callable[[], int],
        username: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        self._sender = sender
        self._now_ms = now_ms
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awake = asyncio.Event()
        self._unreadable = False
        self._damage: JournalCorrupt | None = None
        self._link = MqttLink(
            url=url,
            client_id=client_id,
            username=username,
            password=password,
            tls=tls,
            will=self._will,
            subscriptions=sender.subscriptions(),
            on_connected=lambda: self._tell(sender.connected),
            on_disconnected=lambda: self._tell(sender.disconnected),
            on_message=lambda topic, payload: self._tell(
                lambda now_ms: sender.received(topic, payload, now_ms)
            ),
            on_published=lambda token: self._tell(lambda now_ms: sender.published(token, now_ms)),
        )

    def appended(self, entries: Sequence[Entry]) -> None:
        """Send entries that were just committed."""
        self._sender.appended(entries, self._now_ms())
        self._awake.set()

    def births_changed(self) -> None:
        """Announce the machines again: something of them is new."""
        self._sender.births_changed(self._now_ms())
        self._awake.set()

    async def run(self) -> None:
        """Connect and carry until cancelled; then say good-bye and disconnect.

        Raises JournalCorrupt when the outbox turns out to be damaged.
        """
        self._loop = asyncio.get_running_loop()
        self._link.start()
        try:
            while True:
                self._awake.clear()
                if self._damage is not None:
                    raise self._damage
                self._carry()
                await self._sleep()
        finally:
            last = self._sender.leaving(self._now_ms())
            await asyncio.to_thread(self._link.stop, last)

    def _carry(self) -> None:
        """Publish what is due; what the link refuses is told, and comes again."""
        for message in self._guarded(self._sender.poll) or ():
            if not self._link.publish(message) and message.token is not None:
                self._sender.unpublished(message.token, self._now_ms())
        if self._sender.wants_reconnect:
            self._link.reconnect()

    def _guarded(self, ask: Callable[[int], Answer]) -> Answer | None:
        """Ask the protocol; a journal that cannot be read just now is asked again later.

        A damaged one raises JournalCorrupt: the next start sets it aside.
        """
        try:
            answer = ask(self._now_ms())
        except JournalCorrupt:
            raise
        except JournalError as error:
            if not self._unreadable:
                log.warning("the outbox cannot be read, trying again: %s", error)
            self._unreadable = True
            return None
        if self._unreadable:
            log.info("the outbox can be read again")
            self._unreadable = False
        return answer

    async def _sleep(self) -> None:
        """Wait until something happens or the protocol has something to do."""
        due_ms = self._sender.next_wakeup_ms()
        pause_s = IDLE_S if due_ms is None else (due_ms - self._now_ms()) / 1000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(pause_s, 0.0), IDLE_S)):
                await self._awake.wait()

    # -- in the link's thread ----------------------------------------------------------------

    def _tell(self, what: Callable[[int], None]) -> None:
        """Have the event loop tell the protocol what happened, in the order of the calls."""
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # closed between the question and the call
                self._loop.call_soon_threadsafe(self._told, what)

    def _told(self, what: Callable[[int], None]) -> None:
        try:
            self._guarded(what)
        except JournalCorrupt as error:
            self._damage = error  # raised by `run`, where somebody listens
        self._awake.set()

    def _will(self) -> Outgoing:
        """Ask the protocol for the will of the next connection."""
        if self._loop is None:
            raise RuntimeError("the uplink is not running")
        asked = asyncio.run_coroutine_threadsafe(self._connecting(), self._loop)
        try:
            return asked.result(WILL_TIMEOUT_S)
        except (TooLate, Abandoned) as error:
            raise ConnectionAbortedError("the agent is stopping or overloaded") from error

    async def _connecting(self) -> Outgoing:
        return self._sender.connecting(self._now_ms())
