"""The ingest thread: messages in, one commit per batch, and only then acknowledgements.

Batching is natural: whatever came while the last commit ran is the next batch. Births, deaths and
STATE are handled in order with the data around them; everything that one batch changes is one
transaction of the inbox. Live state follows even when the inbox is full; acknowledgements do not.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.delivery import HostSession, Outgoing, Receiver
from gateway.journal import JournalError, JournalFull, NewEntry
from gateway.sparkplug import (
    Limits,
    Metric,
    Payload,
    SparkplugError,
    Topic,
    decode,
    encode,
    names,
    parse_topic,
)
from hub.columns import Columns, SeriesIndex, StateChange
from hub.inbox import DeadLetter, Inbox, Source
from hub.ingest.aliases import AliasTables
from hub.ingest.decode import Decoded, Fault, decode_messages
from hub.ingest.foreign import ForeignNodes, Turn
from hub.ingest.intake import Intake, Received
from hub.ingest.quarantine import Quarantine
from hub.ingest.replay import ForeignTables, Stored, mark_name, read_dropped
from hub.ingest.rows import Message
from hub.ingest.sessions import Session, Sessions, Told, kind_of, read_bdseq, read_node_birth
from hub.ingest.silences import Read
from hub.ingest.states import StateRows
from hub.live import Alarms, Counters, Live
from hub.live.live import NOT_LIVE, OFFSET_BITS, order_key
from hub.registry import MachineRecord, Registry, SignalRecord

log = logging.getLogger(__name__)

BATCH_MESSAGES: Final = 4_000
BATCH_BYTES: Final = 4 * 1024 * 1024
IDLE_S: Final = 0.2
ROUTES_MAX: Final = 200_000
RETRY_FULL_S: Final = 0.5
PROTOCOL_NEWEST: Final = 1
ROOM_SHARE: Final = 20
"""The inbox is no longer full when one part in so many of it is free."""
OFFSET_MAX: Final = 1 << OFFSET_BITS
"""At a thousand entries per second a journal takes 35 years to get there."""
_STATE_PREFIX: Final = "spBv1.0/STATE/"


@dataclass(slots=True)
class Route:
    """Where messages of one topic go; looked up once per message, made once per topic."""

    topic: Topic
    source: Source
    key: str
    is_data: bool
    session: Session | None = None


@dataclass(slots=True)
class Batch:
    """What one transaction will hold."""

    now_ms: int
    entries: list[NewEntry] = field(default_factory=list)
    columns: list[Columns] = field(default_factory=list)
    states: list[StateChange] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    settled: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    dead: list[DeadLetter] = field(default_factory=list)
    judged: bool = False
    """Whether anything was judged that a commit must make durable."""


class Ingest:
    """All that happens to a message between the MQTT client and the inbox.

    `step` belongs to the ingest thread; `lock` guards alias tables and sessions against whoever
    decodes entries again at the same time.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        inbox: Inbox,
        receiver: Receiver,
        host: HostSession,
        index: SeriesIndex,
        tables: AliasTables,
        sessions: Sessions,
        foreign: ForeignNodes,
        registry: Registry,
        live: Live,
        alarms: Alarms,
        counters: Counters,
        quarantine: Quarantine,
        publish: Callable[[Outgoing], object],
        handed_over: Callable[[Stored], None],
        now_ms: Callable[[], int],
        limits: Limits,
        lock: threading.Lock,
    ) -> None:
        self._intake = intake
        self._inbox = inbox
        self._receiver = receiver
        self._host = host
        self._tables = tables
        self._index = index
        self._sessions = sessions
        self._foreign = foreign
        self._foreign_tables = ForeignTables(index, tables)
        self._registry = registry
        self._live = live
        self._alarms = alarms
        self._counters = counters
        self._quarantine = quarantine
        self._publish = publish
        self._hand_over = handed_over
        self._now_ms = now_ms
        self._limits = limits
        self._lock = lock
        self._states = StateRows(index)
        self._routes: dict[str, Route | None] = {}
        self._arrivals = 0
        self._full = False
        self._batch_bytes = min(BATCH_BYTES, inbox.batch_bytes_max // 2)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Take, store and acknowledge until stopped."""
        while not self._stopping.is_set():
            messages = self._intake.take(BATCH_MESSAGES, self._batch_bytes, self._patience_s())
            try:
                self.step(messages)
            except Exception:  # the boundary of this thread: garbage must never end it
                log.exception("ingest met something unexpected and goes on")
                self._receiver.rolled_back()
                self._counters.rejected["unexpected"] += 1

    def stop(self) -> None:
        """Ask `run` to end after the batch in hand."""
        self._stopping.set()
        self._intake.wake()

    def step(self, messages: Sequence[Received]) -> None:
        """Handle messages, commit what they change, and publish what is due."""
        batch = Batch(self._now_ms())
        with self._lock:
            self._take(messages, batch)
            self._take_turn(self._foreign.poll(batch.now_ms), batch)
        self._commit(batch)
        for outgoing in self._receiver.poll(self._now_ms()):
            self._publish(outgoing)

    # -- sorting ---------------------------------------------------------------------------

    def _take(self, messages: Sequence[Received], batch: Batch) -> None:
        """Give runs of data to the column decoder, and everything else, in order, its own way."""
        data: list[tuple[Route, bytes]] = []
        routes = self._routes
        for topic, payload in messages:
            route = routes[topic] if topic in routes else self._find_route(topic)
            if route is not None and route.is_data and route.session is not None:
                data.append((route, payload))
                continue
            if data:
                self._take_data(data, batch)
                data = []
            self._take_other(route, topic, payload, batch)
        if data:
            self._take_data(data, batch)

    def _find_route(self, text: str) -> Route | None:
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
        route: Route | None = None
        try:
            topic = parse_topic(text)
        except SparkplugError:
            pass
        else:
            source = Source(topic.group, topic.node, topic.device or "")
            session = self._sessions.find(topic.group, topic.node)
            is_data = topic.kind in ("NDATA", "DDATA")
            route = Route(topic, source, source.key, is_data, session)
        self._routes[text] = route
        return route

    def _take_other(self, route: Route | None, topic: str, payload: bytes, batch: Batch) -> None:
        """Handle a birth, a death, a STATE, or data of a node that is not known as ours."""
        if route is None or route.topic.kind == "STATE":
            self._take_state(topic, payload, batch)
            return
        if route.is_data:
            route.session = self._sessions.find(route.source.site, route.source.agent)
            if route.session is not None:
                self._take_data([(route, payload)], batch)
                return
        try:
            read = decode(payload, self._limits)
        except SparkplugError as error:
            self._refuse(topic, payload, "undecodable", str(error), batch)
            return
        match route.topic.kind:
            case "NBIRTH":
                self._node_birth(route, read, batch)
            case "DBIRTH" if self._sessions.find(*route.source[:2]) is not None:
                self._device_birth(route, read, batch)
            case "NDEATH":
                self._node_death(route, read, batch)
            case "DDEATH" if self._sessions.find(*route.source[:2]) is not None:
                self._device_death(route)
            case "DBIRTH" | "DDEATH" | "NDATA" | "DDATA":
                self._take_foreign(route.topic, read, batch)

    def _take_state(self, topic: str, payload: bytes, batch: Batch) -> None:
        answer = self._host.received(topic, payload)
        if answer is not None:
            self._publish(answer)
        elif not topic.startswith(_STATE_PREFIX):
            self._refuse(topic, payload, "topic", "not a Sparkplug B topic", batch)

    def _refuse(self, topic: str, payload: bytes, kind: str, cause: str, batch: Batch) -> None:
        self._quarantine.put(topic, payload, kind=kind, cause=cause, now_ms=batch.now_ms)

    # -- our own agents --------------------------------------------------------------------

    def _node_birth(self, route: Route, payload: Payload, batch: Batch) -> None:
        site, agent = route.source.site, route.source.agent
        birth = read_node_birth(payload)
        if birth is None:
            self._take_foreign(route.topic, payload, batch)
            return
        begun = self._sessions.node_birth(site, agent, birth, payload)
        if begun is None or birth.protocol > PROTOCOL_NEWEST:
            cause = f"agents of protocol {birth.protocol} cannot be served here"
            self._alarms.raise_("protocol", f"{site}/{agent}", cause)
            return
        self._counters.births += 1
        session, back = begun
        if back:
            text = f"{site}/{agent} alternates between journals: two agents share one id"
            self._alarms.raise_("twin-agent", f"{site}/{agent}", text)
        for lost in self._receiver.birth(site, agent, birth, batch.now_ms):
            self._counters.dropped["undeclared-entries"] += lost.last - lost.first + 1
        batch.judged = True
        session.refused.clear()
        self._registry.agent_back(site, agent)
        versions = (m.value for m in payload.metrics if m.name == names.VERSION)
        version = next((v for v in versions if isinstance(v, str)), "")
        self._live.born(site, agent, batch.now_ms, foreign=False, version=version[:64])
        self._alarms.clear("agent-offline", f"{site}/{agent}")

    def _device_birth(self, route: Route, payload: Payload, batch: Batch) -> None:
        site, agent, machine, _ = route.source
        session = self._sessions.find(site, agent)
        if session is None or session.bdseq is None:
            self._receiver.unknown(site, agent, batch.now_ms)  # its NBIRTH passed before our time
            return
        if not self._owns(session, machine, batch.now_ms):
            return
        session.refused.discard(machine)
        told = self._sessions.device_birth(session, machine, payload)
        self._counters.births += 1
        self._registry.record(told.record)
        self._live.describe(told.record, online=True, now_ms=batch.now_ms)
        self._live.device(site, machine, online=True)
        self._live.recount([series for series, _ in told.metrics])
        self._show_birth(session, told, payload, batch)

    def _owns(self, session: Session, machine: str, now_ms: int) -> bool:
        """Let an agent speak for a machine, or refuse it while another one does."""
        site, agent = session.site, session.agent
        before = self._registry.owner(site, machine)
        if self._registry.claim(site, machine, agent, now_ms):
            if before not in (None, agent):
                self._sessions.moved(site, before or "", machine)
                log.warning("%s/%s now belongs to agent %s, before to %s", site, machine, agent,
                            before)  # fmt: skip
            self._alarms.clear("duplicate-machine", f"{site}/{machine}")
            return True
        session.refused.add(machine)
        text = f"agent {agent} announces {site}/{machine}, which agent {before} speaks for"
        if self._alarms.raise_("duplicate-machine", f"{site}/{machine}", text):
            log.warning("%s", text)
        return False

    def _show_birth(self, session: Session, told: Told, payload: Payload, batch: Batch) -> None:
        """Let the values of a birth into the live state. They are state, not history."""
        known = [m for _, m in told.metrics if m.value is not None or names.QUALITY in m.properties]
        if not known or session.table is None:
            return
        body = encode(Payload(payload.time_ms or batch.now_ms, None, known))
        message = Message(body, session.table, told.record.machine, batch.now_ms)
        decoded = decode_messages([message], self._tables, self._limits)
        key = order_key(session.rank, session.newest)
        self._live.apply(decoded.columns, np.array([key], np.int64), batch.now_ms)

    def _node_death(self, route: Route, payload: Payload, batch: Batch) -> None:
        site, agent = route.source.site, route.source.agent
        bdseq = read_bdseq(payload)
        session = self._sessions.find(site, agent)
        if session is None:
            late = not self._foreign.died(site, agent, bdseq)
        else:
            late = None not in (session.bdseq, bdseq) and session.bdseq != bdseq
        if late:
            return  # the will of an earlier connection, overtaken by the next birth
        self._counters.deaths += 1
        self._registry.agent_gone(site, agent, batch.now_ms)
        self._live.died(site, agent, batch.now_ms)
        self._alarms.raise_("agent-offline", f"{site}/{agent}", f"agent {site}/{agent} left")

    def _device_death(self, route: Route) -> None:
        site, agent, machine, _ = route.source
        if self._registry.owner(site, machine) == agent:
            self._counters.deaths += 1
            self._live.device(site, machine, online=False)

    def _take_data(self, data: list[tuple[Route, bytes]], batch: Batch) -> None:
        """Decode a run of entries as if all were of the present epochs, and correct the rest."""
        data = [item for item in data if not self._is_refused(item[0], batch)]
        messages, routes = [], []
        for route, payload in data:
            session = route.session
            if session is None or session.table is None:
                continue
            messages.append(Message(payload, session.table, route.topic.device, batch.now_ms))
            routes.append(route)
        if messages:
            self._take_messages(routes, messages, [], batch)

    def _is_refused(self, route: Route, batch: Batch) -> bool:
        """Tell whether another agent speaks for this machine. Its entries stay unsettled."""
        session, machine = route.session, route.source.machine
        if session is None or not session.refused or machine not in session.refused:
            return False
        if self._owns(session, machine, batch.now_ms):
            session.refused.discard(machine)
            self._receiver.unknown(session.site, session.agent, batch.now_ms)
        return True

    def _take_messages(
        self,
        routes: list[Route],
        messages: list[Message],
        epochs: list[int],
        batch: Batch,
    ) -> None:
        """Judge messages; `epochs` are those of the tables given, the present ones if empty."""
        decoded = decode_messages(messages, self._tables, self._limits)
        present = epochs or [r.session.present or 0 for r in routes if r.session]
        found = decoded.headers.epoch
        other = (found != np.array(present, np.uint64)) & (found != 0)
        keep = ~other
        if other.any() and not epochs:
            self._take_others(routes, messages, decoded, np.nonzero(other)[0].tolist(), batch)
        impossible = decoded.headers.offset >= OFFSET_MAX
        offsets = np.where(impossible, 0, decoded.headers.offset).astype(np.int64)
        faulty = self._take_refused(routes, messages, decoded, other, batch)
        keep[faulty] = False
        for at in np.nonzero(keep & impossible)[0].tolist():
            keep[at] = False
            cause = "an offset that no journal can reach"
            self._refuse(_topic(routes[at]), messages[at].payload, "offset", cause, batch)
        bare = keep & (offsets == 0)
        keep &= ~bare
        ranks = self._judge(routes, present, offsets, keep, batch)
        self._store(routes, messages, decoded, keep, batch)
        order = np.where(keep, (ranks << OFFSET_BITS) + offsets, NOT_LIVE)
        for at in np.nonzero(bare)[0].tolist():
            order[at] = self._bare_key(routes[at].session, batch)
        self._live.apply(decoded.columns, order, batch.now_ms)

    def _bare_key(self, session: Session | None, batch: Batch) -> int:
        """Rank values without an entry: shown, and not kept, since they come again with one.

        Agents send them until their birth is answered.
        """
        if session is None:
            return NOT_LIVE
        self._heard(session, batch.now_ms)
        return order_key(session.rank, session.newest)

    def _take_others(
        self,
        routes: list[Route],
        messages: list[Message],
        decoded: Decoded,
        places: list[int],
        batch: Batch,
    ) -> None:
        """Decode entries of earlier epochs with the tables of their own births."""
        routes_again, messages_again, epochs = [], [], []
        for at in places:
            source, epoch = routes[at].source, int(decoded.headers.epoch[at])
            table = self._sessions.table(source.site, source.agent, epoch)
            if table is None or not self._receiver.knows(source.site, source.agent, epoch):
                self._counters.unknown += 1
                self._receiver.unknown(source.site, source.agent, batch.now_ms)
                continue
            routes_again.append(routes[at])
            messages_again.append(messages[at]._replace(table=table))
            epochs.append(epoch)
        if messages_again:
            self._take_messages(routes_again, messages_again, epochs, batch)

    def _take_refused(
        self,
        routes: list[Route],
        messages: list[Message],
        decoded: Decoded,
        other: NDArray[np.bool_],
        batch: Batch,
    ) -> list[int]:
        """Dead-letter what can never be read, and ask about what a birth would explain."""
        for refusal in decoded.refused:
            at = refusal.message
            if other[at]:
                continue
            source, payload = routes[at].source, messages[at].payload
            epoch, offset = int(decoded.headers.epoch[at]), int(decoded.headers.offset[at])
            if refusal.fault is Fault.UNKNOWN_METRIC:
                self._counters.unknown += 1
                self._receiver.unknown(source.site, source.agent, batch.now_ms)
                continue
            self._refuse(_topic(routes[at]), payload, "undecodable", refusal.cause, batch)
            if (
                0 < offset < OFFSET_MAX
                and self._receiver.offer(source.site, source.agent, epoch, [offset])[0]
            ):
                batch.judged = True
                self._counters.dead_letters += 1
                batch.dead.append(
                    DeadLetter(
                        batch.now_ms,
                        source.site,
                        source.agent,
                        epoch,
                        offset,
                        refusal.cause,
                        payload,
                    )
                )
        return [refusal.message for refusal in decoded.refused]

    def _judge(
        self,
        routes: list[Route],
        epochs: list[int],
        offsets: NDArray[np.int64],
        keep: NDArray[np.bool_],
        batch: Batch,
    ) -> NDArray[np.int64]:
        """Ask the receiver which entries are new; clears `keep` of the others.

        Returns the rank of each message's epoch.
        """
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for at in np.nonzero(keep)[0].tolist():
            groups[id(routes[at].session), epochs[at]].append(at)
        ranks = np.zeros(len(routes), np.int64)
        for (_, epoch), places in groups.items():
            session = routes[places[0]].session
            if session is None:
                continue
            of_group = offsets[places]
            verdicts = self._receiver.offer(session.site, session.agent, epoch, of_group.tolist())
            batch.judged = True
            keep[places] = verdicts
            self._counters.duplicates += len(verdicts) - sum(verdicts)
            ranks[places] = session.epochs[epoch].rank
            if epoch == session.present:
                session.newest = max(session.newest, int(of_group.max()))
            self._heard(session, batch.now_ms)
        return ranks

    def _heard(self, session: Session, now_ms: int) -> None:
        """Note that an agent lives. After a restart, ask it once to say everything again.

        Its entries decode without, but links, promises and values that did not change since would
        stay as old as the store.
        """
        if self._live.heard(session.site, session.agent, now_ms):
            self._receiver.unknown(session.site, session.agent, now_ms)

    def _store(
        self,
        routes: list[Route],
        messages: list[Message],
        decoded: Decoded,
        keep: NDArray[np.bool_],
        batch: Batch,
    ) -> None:
        """Put new entries into the batch, with their rows."""
        columns = decoded.columns
        if not keep.all():
            columns = columns.rows(keep[columns.message])
        counts = np.bincount(columns.message, minlength=len(routes)).tolist()
        places = np.nonzero(keep)[0].tolist()
        now_ms = batch.now_ms
        batch.entries += [
            NewEntry(routes[at].key, now_ms, messages[at].payload, counts[at]) for at in places
        ]
        epochs, offsets = decoded.headers.epoch.tolist(), decoded.headers.offset.tolist()
        by_agent: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
        for at in places:
            source = routes[at].source
            by_agent[source.site, source.agent, epochs[at]].append(offsets[at])
            if not counts[at]:
                self._take_dropped(source, epochs[at], messages[at].payload, batch)
        for (site, agent, epoch), of_agent in by_agent.items():
            batch.settled[mark_name(Source(site, agent, ""), epoch)] += of_agent
        self._add_rows(columns, batch)

    def _take_dropped(self, source: Source, epoch: int, payload: bytes, batch: Batch) -> None:
        """Count what an agent declares to have lost, and let it not hold up the mark."""
        for dropped in read_dropped(decode(payload, self._limits)):
            self._counters.dropped[dropped.cause] += dropped.samples
            self._receiver.dropped(source.site, source.agent, epoch, dropped.first, dropped.last)
            text = f"{dropped.samples} samples were lost at {source.agent}: {dropped.cause}"
            self._alarms.raise_("samples-dropped", f"{source.site}/{source.agent}", text)
            batch.judged = True

    def _add_rows(self, columns: Columns, batch: Batch) -> None:
        if len(columns):
            lasting, states, reads = self._states.split(columns)
            batch.columns.append(lasting)
            batch.states += states
            batch.reads += reads
            self._counters.samples += len(columns)

    # -- foreign nodes ---------------------------------------------------------------------

    def _take_foreign(self, topic: Topic, payload: Payload, batch: Batch) -> None:
        self._take_turn(self._foreign.receive(topic, payload, batch.now_ms), batch)

    def _take_turn(self, turn: Turn, batch: Batch) -> None:
        self._counters.sequence_gaps += turn.missed
        for site, node in turn.ask:
            self._counters.rebirths_asked += 1
            self._receiver.unknown(site, node, batch.now_ms)
        for topic, payload in turn.ready:
            self._take_foreign_message(topic, payload, batch)

    def _take_foreign_message(self, topic: Topic, payload: Payload, batch: Batch) -> None:
        machine = topic.node if topic.device is None else f"{topic.node}.{topic.device}"
        source = Source(topic.group, topic.node, machine, foreign=True)
        if topic.kind == "NBIRTH":
            self._counters.births += 1
            self._live.born(topic.group, topic.node, batch.now_ms, foreign=True)
            self._alarms.clear("agent-offline", f"{topic.group}/{topic.node}")
        if topic.kind == "DDEATH":
            self._counters.deaths += 1
            self._live.device(source.site, machine, online=False)
            return
        metrics, unknown = self._foreign.resolve(topic, payload, batch.now_ms)
        if unknown:
            self._counters.unknown += unknown
            self._receiver.unknown(topic.group, topic.node, batch.now_ms)
        if topic.kind in ("NBIRTH", "DBIRTH") and (metrics or topic.device):
            self._describe_foreign(source, metrics, batch)
        if metrics:
            self._store_foreign(source, topic, metrics, batch)

    def _describe_foreign(self, source: Source, metrics: Sequence[Metric], batch: Batch) -> None:
        signals = tuple(
            SignalRecord(metric.name, kind_of(metric.datatype), _unit(metric))
            for metric in metrics
            if metric.name is not None and metric.datatype is not None
        )
        name = {"en": source.machine, "ja": source.machine}
        record = MachineRecord(
            source.site, source.machine, source.agent, foreign=True, name=name, signals=signals
        )
        self._registry.record(record)
        self._live.describe(record, online=True, now_ms=batch.now_ms)
        self._live.device(source.site, source.machine, online=True)

    def _store_foreign(
        self, source: Source, topic: Topic, metrics: list[Metric], batch: Batch
    ) -> None:
        """Keep values with names and datatypes, so that no session is needed to read them."""
        try:
            body = encode(Payload(batch.now_ms, None, metrics))
            message = self._foreign_tables.message(source, body, batch.now_ms)
        except SparkplugError as error:
            self._refuse("/".join(source[:3]), b"", "foreign", str(error), batch)
            return
        decoded = decode_messages([message], self._tables, self._limits)
        for refusal in decoded.refused:
            self._refuse("/".join(source[:3]), body, "foreign", refusal.cause, batch)
            return
        self._arrivals += 1
        batch.entries.append(NewEntry(source.key, batch.now_ms, body, len(decoded.columns)))
        self._add_rows(decoded.columns, batch)
        self._live.heard(topic.group, topic.node, batch.now_ms)
        present = decoded.columns.rows(~decoded.historical)
        self._live.apply(present, np.array([self._arrivals], np.int64), batch.now_ms)

    # -- storing ---------------------------------------------------------------------------

    def _commit(self, batch: Batch) -> None:
        """Make the batch durable, then let it be acknowledged and handed over."""
        births = self._sessions.facts()
        if not (batch.entries or batch.dead or births or batch.judged):
            return
        facts = {**births, **self._receiver.facts()}
        try:
            first = self._inbox.store(batch.entries, facts, batch.dead)
        except JournalError as error:
            self._cannot_store(batch, error)
            return
        self._sessions.saved(births)
        now_ms = self._now_ms()
        self._receiver.committed(now_ms)
        self._note_room()
        self._counters.commits += 1
        self._counters.ingest_lag_ms = now_ms - batch.now_ms
        if batch.entries:
            last = first + len(batch.entries) - 1
            columns = Columns.joined(batch.columns)
            self._hand_over(
                Stored(
                    first,
                    last,
                    batch.now_ms,
                    columns,
                    batch.states,
                    dict(batch.settled),
                    batch.reads,
                )
            )

    def _cannot_store(self, batch: Batch, error: Exception) -> None:
        """Keep live, acknowledge nothing: the agents keep what could not be stored."""
        self._receiver.rolled_back()
        self._counters.refused_full += len(batch.entries)
        self._full = True
        code = "inbox-full" if isinstance(error, JournalFull) else "inbox-failing"
        if self._alarms.raise_(code, "inbox", str(error)):
            log.error("the inbox takes nothing more, the agents keep what comes: %s", error)
        self._stopping.wait(RETRY_FULL_S)

    def _note_room(self) -> None:
        """Take the alarm back once there is room again, not for each small batch that fits."""
        if self._full:
            stats = self._inbox.stats()
            if stats.bytes_free * ROOM_SHARE >= stats.bytes_max:
                self._full = False
                self._alarms.clear("inbox-full", "inbox")
                self._alarms.clear("inbox-failing", "inbox")

    def _patience_s(self) -> float:
        """How long to wait for messages before something else is due."""
        now_ms = self._now_ms()
        dues = [self._receiver.next_wakeup_ms(), self._foreign.next_wakeup_ms()]
        soonest = min((due for due in dues if due is not None), default=now_ms + 1000)
        return min(max(soonest - now_ms, 0) / 1000, IDLE_S)


def _topic(route: Route) -> str:
    topic = route.topic
    levels = ["spBv1.0", topic.group, topic.kind, topic.node, topic.device]
    return "/".join(level for level in levels if level)


def _unit(metric: Metric) -> str | None:
    unit = metric.properties.get(names.UNIT)
    return unit if isinstance(unit, str) else None
