"""Everything between the broker and the historian, put together: two threads and one link."""

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from gateway.delivery import HostSession, Outgoing, Receiver
from gateway.delivery.mark import MARK_FACT
from gateway.journal import Budget, Journal
from gateway.mqtt import MqttLink, Tls
from gateway.sparkplug import Limits
from hub import config
from hub.columns import SeriesIndex
from hub.historian.historian import Historian, HistorianUnavailableError
from hub.inbox import DeadLetter, Inbox
from hub.ingest.aliases import AliasTables
from hub.ingest.foreign import ForeignNodes
from hub.ingest.intake import Intake
from hub.ingest.publish import StatusTopics
from hub.ingest.quarantine import Quarantine, Quarantined
from hub.ingest.receive import Ingest
from hub.ingest.replay import Replay
from hub.ingest.sessions import Sessions
from hub.ingest.write import Handover, Writer
from hub.live import Alarms, Counters, Live
from hub.registry import Registry

log = logging.getLogger(__name__)

NEVER_S: Final = 1e12
STATUS_EVERY_S: Final = 1.0
RESTORED_ENTRIES: Final = 4_000
STOP_S: Final = 10.0
NAMESPACE: Final = "spBv1.0"
_MIB: Final = 1024 * 1024


def open_inbox(
    folder: Path,
    limits: config.Limits,
    *,
    now_ms: Callable[[], int],
    random64: Callable[[], int],
) -> Inbox:
    """Open the inbox below `folder`; a corrupt one is set aside and a new epoch begins."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal.open(
        folder / "inbox.journal",
        budget=Budget(limits.inbox_mib * _MIB, NEVER_S, limits.inbox_keep_s),
        when_full="refuse",
        now_ms=now_ms,
        random64=random64,
    )
    if journal.set_aside is not None:
        log.error("the inbox was corrupt and is set aside as %s", journal.set_aside)
    return Inbox(journal)


class Link(Protocol):
    """What is asked of the connection to the broker."""

    @property
    def connected(self) -> bool:
        """Tell whether messages can be published now."""

    def start(self) -> None:
        """Begin to connect."""

    def publish(self, message: Outgoing) -> bool:
        """Hand a message over; False when it cannot go out now."""

    def stop(self, last: Sequence[Outgoing] = ()) -> None:
        """Publish the last messages and disconnect in order."""


@dataclass(frozen=True, slots=True)
class State:
    """What ingest fills and others read."""

    index: SeriesIndex
    registry: Registry
    live: Live
    alarms: Alarms
    counters: Counters


class Pipeline:
    """From the broker to the inbox, live state and historian. `start` and `stop` are its life."""

    def __init__(
        self,
        settings: config.HubConfig,
        *,
        state: State,
        inbox: Inbox,
        historian: Historian,
        password: str | None,
        now_ms: Callable[[], int],
        rng: random.Random,
        link: Callable[..., Link] = MqttLink,
    ) -> None:
        self._state = state
        self._inbox = inbox
        self._historian = historian
        self._now_ms = now_ms
        self._host = HostSession(settings.host)
        self._link = self._make_link(link, settings, password)
        limits = settings.limits
        wire_limits = Limits(payload_bytes=limits.payload_kib * 1024)
        self._intake = Intake(
            state.counters,
            messages_max=limits.queue_messages,
            bytes_max=limits.queue_mib * _MIB,
        )
        self._quarantine = Quarantine(state.counters, messages_max=limits.quarantine_messages)
        tables, lock = AliasTables(), threading.Lock()
        self._sessions = Sessions(state.index, tables)
        self._seed()
        replay = Replay(state.index, tables, self._sessions, lock, wire_limits)
        self._restore(replay)
        handover = Handover()
        handover.last = inbox.next - 1
        self._writer = Writer(
            inbox=inbox,
            historian=historian,
            replay=replay,
            handover=handover,
            alarms=state.alarms,
            counters=state.counters,
            now_ms=now_ms,
        )
        self._ingest = Ingest(
            intake=self._intake,
            inbox=inbox,
            receiver=Receiver(host=settings.host, marks=inbox.marks(), rng=rng),
            host=self._host,
            index=state.index,
            tables=tables,
            sessions=self._sessions,
            foreign=ForeignNodes(reorder_ms=int(limits.reorder_s * 1000)),
            registry=state.registry,
            live=state.live,
            alarms=state.alarms,
            counters=state.counters,
            quarantine=self._quarantine,
            publish=self._link.publish,
            handed_over=handover.put,
            now_ms=now_ms,
            limits=wire_limits,
            lock=lock,
        )
        self._status = StatusTopics(state.live, self._link.publish)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._ingest.run, name="ingest", daemon=True),
            threading.Thread(target=self._writer.run, name="historian-writer", daemon=True),
            threading.Thread(target=self._tell, name="status-topics", daemon=True),
        ]

    @property
    def connected(self) -> bool:
        """Whether the hub is connected to the broker now."""
        return self._link.connected

    def start(self) -> None:
        """Start the threads and connect; a broker that is not there is waited for."""
        for thread in self._threads:
            thread.start()
        self._link.start()

    def stop(self) -> None:
        """Leave the broker in order, store what is in hand, and write it out."""
        self._stopping.set()
        self._link.stop(last=[self._host.death(self._now_ms())])
        self._ingest.stop()
        self._threads[0].join(STOP_S)
        self._writer.stop()
        for thread in self._threads:
            thread.join(STOP_S)

    def publish(self, message: Outgoing) -> bool:
        """Hand a message to the broker; False when it cannot go out now."""
        return self._link.publish(message)

    def quarantined(self, limit: int = 100) -> list[Quarantined]:
        """Give the newest messages that could not be understood."""
        return self._quarantine.list(limit)

    def dead_letters(self) -> list[DeadLetter]:
        """Give the entries that were settled although they could not be read."""
        return self._inbox.dead_letters()

    def _make_link(
        self, link: Callable[..., Link], settings: config.HubConfig, password: str | None
    ) -> Link:
        broker = settings.broker
        return link(
            url=broker.url,
            client_id=f"machikoba-hub-{settings.host}",
            username=broker.username,
            password=password,
            tls=Tls(ca_file=broker.ca_file),
            will=lambda: self._host.connecting(self._now_ms()),
            subscriptions=subscriptions(self._host.topic),
            on_connected=self._on_connected,
            on_disconnected=self._on_disconnected,
            on_message=self._on_message,
        )

    def _on_message(self, topic: str, payload: bytes) -> None:
        self._intake.put(topic, payload)

    def _on_connected(self) -> None:
        self._link.publish(self._host.birth())
        self._state.live.broker_connected(connected=True)
        self._state.alarms.clear("broker-lost", "broker")
        self._status.forget()

    def _on_disconnected(self) -> None:
        self._state.live.broker_connected(connected=False)
        if not self._stopping.is_set():
            self._state.alarms.raise_("broker-lost", "broker", "no connection to the broker")

    def _seed(self) -> None:
        """Give a fresh inbox the marks of what the historian already has."""
        if self._inbox.marks() or self._inbox.next > self._inbox.first:
            return
        try:
            marks = self._historian.marks().items()
            self._inbox.seed({n: mark for n, mark in marks if n.startswith(MARK_FACT)})
        except HistorianUnavailableError as error:
            text = "a fresh inbox, and the historian cannot tell what it has: start it first"
            raise RuntimeError(text) from error

    def _restore(self, replay: Replay) -> None:
        """Bring back what was known: births, the newest values, and what was not yet written."""
        now_ms = self._now_ms()
        records = list(self._sessions.restore(self._inbox.births()))
        for record in records:
            self._state.registry.adopt(record.site, record.machine, record.agent)
            self._state.registry.record(record)
            self._state.live.describe(record, online=None, now_ms=now_ms)
        for site, agent in {(record.site, record.agent) for record in records}:
            self._state.registry.agent_gone(site, agent, now_ms)
        cursor = None
        try:
            self._state.live.restore(self._historian.latest(), now_ms)
            cursor = self._historian.cursor()
        except HistorianUnavailableError as error:
            log.warning("live state starts without the historian's values: %s", error)
        after = cursor.offset if cursor and cursor.epoch == self._inbox.epoch else 0
        after = max(after, self._inbox.first - 1, self._inbox.next - 1 - RESTORED_ENTRIES)
        entries = self._inbox.read_after(after, RESTORED_ENTRIES)
        if entries:
            columns, order = replay.live(entries)
            self._state.live.apply(columns, order, now_ms)

    def _tell(self) -> None:
        """Mirror the live state to plain topics until stopped."""
        while not self._stopping.wait(STATUS_EVERY_S):
            try:
                if self._link.connected:
                    self._status.tell(self._now_ms())
                self._note_inbox()
            except Exception:  # the boundary of this thread
                log.exception("telling the status met something unexpected and goes on")

    def _note_inbox(self) -> None:
        stats = self._inbox.stats()
        self._state.counters.inbox_entries = stats.entries
        self._state.counters.inbox_bytes = stats.bytes


def subscriptions(state_topic: str) -> Sequence[tuple[str, int]]:
    """Give what the host listens to: every node, every device, and its own STATE.

    Commands are left out: only hosts send them, and this one would hear each acknowledgement.
    """
    node = [(f"{NAMESPACE}/+/{kind}/+", 0) for kind in ("NBIRTH", "NDATA")]
    device = [(f"{NAMESPACE}/+/{kind}/+/+", 0) for kind in ("DBIRTH", "DDATA", "DDEATH")]
    return (*node, (f"{NAMESPACE}/+/NDEATH/+", 1), *device, (state_topic, 1))
