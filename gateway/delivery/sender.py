"""The agent's end: sends what the journal holds until the hub says that it is settled.

An entry leaves only after it was committed, and is given up only when a host acknowledged it. Two
lanes share the link: new entries go at once, what is older follows as acknowledgements make room.

Until the hub answered a birth, entries travel as bare values, without their numbers: a journal
restored from a copy would otherwise send other content under numbers that the hub knows, and the
hub would take it for duplicates. With the answer the agent can tell: offsets that the hub has
settled although this journal holds them and never sent them mean a fork.
"""

import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.delivery.commands import RANGES_MAX, Ack, CommandError, asks_rebirth, read_ack
from gateway.delivery.host import HostWatch
from gateway.delivery.intervals import FIRST_OFFSET, IntervalSet
from gateway.delivery.lanes import Flights, Lane, Pace, Patience, resend_after_ms
from gateway.delivery.lineage import Lineage
from gateway.delivery.messages import Births, Outgoing
from gateway.delivery.session import BDSEQ_COUNT, JournalState, Session
from gateway.delivery.steady import SteadyTime
from gateway.delivery.storage import Storage, save_fact
from gateway.journal import Entry
from gateway.sparkplug import SparkplugError, decode, parse_topic, state_topic
from gateway.sparkplug.topics import NAMESPACE, STATE

log = logging.getLogger(__name__)

REBIRTH_MS: Final = 5_000
"""One rebirth per this time, however often one is asked for."""
GAP_REBIRTH_MS: Final = 60_000
FRESH_MAX: Final = 1_024
"""New entries that may wait for the next poll; what is beyond goes with the backlog."""
READ_MAX: Final = 64

BDSEQ_FACT: Final = "delivery/bdseq"
HOST_FACT: Final = "delivery/host"


@dataclass(frozen=True, slots=True)
class SenderStatus:
    """How delivery stands; offsets are those of ``epoch``.

    ``answered`` says that the host confirmed this session, ``paused`` that it is silent or gone;
    ``settled`` is the mark up to which nothing is missing at the hub.
    """

    connected: bool
    born: bool
    answered: bool
    paused: bool
    host: str | None
    host_online: bool | None
    bdseq: int
    epoch: int
    next: int
    settled: int
    in_flight: int
    resent: int
    forks: int
    refused: int


class Sender:
    """One edge node's delivery, without any input or output of its own.

    The caller reports what happens (``connecting``, ``connected``, ``received``, ``appended``,
    ``births_changed``, ``disconnected``) and publishes, in order, what ``poll`` returns; times are
    readings of the wall clock, which may step. ``acknowledged=False`` is for a foreign host: an
    entry is then settled when its publish completed, which promises nothing about its storage.
    Create it before anything is appended to the journal. ``on_host_time`` hears the time of each
    acknowledgement, for whom no better clock is at hand.
    """

    def __init__(
        self,
        *,
        site: str,
        agent: str,
        version: str,
        storage: Storage,
        births: Callable[[], Births],
        rng: random.Random,
        host: str | None = None,
        acknowledged: bool = True,
        datatypes: bool = False,
        on_host_time: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._storage = storage
        self._births = births
        self._rng = rng
        self._acknowledged = acknowledged
        self._on_host_time = on_host_time
        self._session = Session(site, agent, version=version, datatypes=datatypes)
        self._time = SteadyTime()
        self._primary = host
        self._watch = HostWatch()
        self._lineage = Lineage(storage)
        self._flights = Flights(rng)
        self._patience = Patience(rng)
        self._pace = Pace()

        self._connected = False
        self._born = False
        self._answered = False
        self._leaving: Outgoing | None = None
        self.wants_reconnect = False
        """The primary host is gone: publish what ``poll`` returns, disconnect and start over."""
        self._births_stale = False
        self._birth_at: int | None = None
        self._birth_tries = 0
        self._rebirth_allowed_at = 0
        self._gap_birth_at: int | None = None
        self._gap_birth_allowed_at = 0

        self._fresh: deque[Entry] = deque()
        self._settled = IntervalSet()
        self._head = storage.next
        self._cursor = FIRST_OFFSET
        self._probe = False
        self._resent = 0
        self._forks = 0
        self._refused = 0

        facts = storage.facts("delivery/")
        self._session.bdseq = int(facts.get(BDSEQ_FACT, b"-1")) % BDSEQ_COUNT
        self._host = host or facts.get(HOST_FACT, b"").decode() or None

    # What happens -------------------------------------------------------------------------

    def subscriptions(self) -> list[tuple[str, int]]:
        """Return the topics to subscribe, with their QoS, before anything is published."""
        hosts = state_topic(self._primary) if self._primary else f"{NAMESPACE}/{STATE}/+"
        return [(self._session.command_topic, 1), (hosts, 1)]

    def connecting(self, now_ms: int) -> Outgoing:
        """Begin a session with the next bdSeq; return the will for the CONNECT."""
        self._time.at(now_ms)
        self._session.bdseq = (self._session.bdseq + 1) % BDSEQ_COUNT
        return self._session.death(now_ms)

    def connected(self, now_ms: int) -> None:
        """The broker accepted the CONNECT and the subscriptions."""
        now = self._time.at(now_ms)
        save_fact(self._storage, BDSEQ_FACT, str(self._session.bdseq).encode())
        self._connected, self._born = True, False
        self._answered = not self._acknowledged
        self.wants_reconnect = False
        self._watch.reset()
        self._restart_lanes()
        self._birth_at = now if self._primary is None else None
        self._birth_tries = 0
        self._rebirth_allowed_at = now
        self._gap_birth_at = None

    def disconnected(self, now_ms: int) -> None:
        """The connection is lost or closed."""
        self._time.at(now_ms)
        self._connected = self._born = self.wants_reconnect = False
        self._answered = False
        self._leaving = None
        self._restart_lanes()

    def received(self, topic: str, payload: bytes, now_ms: int) -> None:
        """Obey a message on one of the subscriptions; count what cannot be obeyed."""
        now = self._time.at(now_ms)
        if not self._connected:
            return
        if topic == self._session.command_topic:
            self._commanded(payload, now)
            return
        try:
            parsed = parse_topic(topic)
        except SparkplugError:
            return
        if parsed.kind == STATE:
            self._host_told(parsed.node, payload, now, now_ms)

    def appended(self, entries: Sequence[Entry], now_ms: int) -> None:
        """Take note of entries just committed to the journal, in the order of their offsets."""
        self._time.at(now_ms)
        for entry in entries:
            if not self._head <= entry.offset < self._storage.next:
                continue  # committed before a fork renumbered it: the backlog has it
            if entry.offset > self._head:
                self._look_again(self._head)
            self._head = entry.offset + 1
            self._pace.live(1)
            if self._born and len(self._fresh) < FRESH_MAX:
                self._fresh.append(entry)
            else:
                self._look_again(entry.offset)

    def births_changed(self, now_ms: int) -> None:
        """Machines, signals or aliases differ from the last births: announce them before data."""
        self._time.at(now_ms)
        self._births_stale = True

    def published(self, token: int, now_ms: int) -> None:
        """The publish of a message with this token completed (only towards a foreign host)."""
        self._time.at(now_ms)
        self._settled.add(token)
        self._storage.settle([(token, token)])
        self._flights.land(self._settled)

    def unpublished(self, token: int, now_ms: int) -> None:
        """The message with this token was refused by the link: it will come again."""
        self._time.at(now_ms)
        self._flights.lose(token)
        self._look_again(token)

    def leaving(self, now_ms: int) -> list[Outgoing]:
        """Return what to publish before an orderly DISCONNECT."""
        self._time.at(now_ms)
        deaths = [self._session.death(now_ms)] if self._born else []
        self._born = False
        return deaths

    # What follows -------------------------------------------------------------------------

    def poll(self, now_ms: int) -> list[Outgoing]:
        """Return the messages to publish now, in this order."""
        now = self._time.at(now_ms)
        if self._leaving is not None:
            death, self._leaving = self._leaving, None
            return [death]
        if not self._connected or self.wants_reconnect:
            return []
        self._mind_the_gap(now)
        messages: list[Outgoing] = []
        if self._birth_at is not None and self._birth_at <= now:
            messages += self._give_birth(now, now_ms)
        if not self._born:
            return messages
        if self._births_stale or any(self._is_unannounced(entry) for entry in self._fresh):
            messages += self._session.changes(self._births(), now_ms)
            self._births_stale = False
        self._lose_patience(now)
        messages += self._send_fresh(now, now_ms)
        return messages + self._send_backlog(now, now_ms)

    def next_wakeup_ms(self) -> int | None:
        """Say when ``poll`` has something to do, None for not before something else happens."""
        if self._leaving is not None:
            return self._time.wall(self._time.now)
        if not self._connected or self.wants_reconnect:
            return None
        times = [self._birth_at]
        if self._born:
            times += [self._flights.next_deadline(), self._patience.deadline, self._gap_birth_at]
            if self._births_stale or self._fresh:
                times.append(self._time.now)
            if self._backlog_may_go() and self._flights.room(Lane.BACKLOG) > 0:
                times.append(self._pace.next_credit())
        return min((self._time.wall(at) for at in times if at is not None), default=None)

    def status(self) -> SenderStatus:
        """Tell how delivery stands."""
        return SenderStatus(
            connected=self._connected,
            born=self._born,
            answered=self._answered,
            paused=self._patience.paused,
            host=self._host,
            host_online=self._watch.online,
            bdseq=self._session.bdseq,
            epoch=self._storage.epoch,
            next=self._storage.next,
            settled=self._settled.mark,
            in_flight=len(self._flights),
            resent=self._resent,
            forks=self._forks,
            refused=self._refused,
        )

    # Births -------------------------------------------------------------------------------

    def _give_birth(self, now: int, now_ms: int) -> list[Outgoing]:
        """Announce everything, and do so again later if no host answers."""
        if self._born:
            self._rebirth_allowed_at = now + REBIRTH_MS
        self._born = True
        self._births_stale = False
        self._birth_at = None
        if not self._answered:
            self._birth_at = now + resend_after_ms(self._birth_tries, self._rng)
            self._birth_tries += 1
        journal = JournalState(self._storage.epoch, self._storage.first, self._storage.next)
        return self._session.birth(self._births(), journal, now_ms)

    def _want_birth(self, now: int) -> None:
        at = max(now, self._rebirth_allowed_at)
        self._birth_at = at if self._birth_at is None else min(self._birth_at, at)

    def _hub_misses_what_is_gone(self) -> bool:
        return self._settled.mark < self._storage.first - 1

    def _mind_the_gap(self, now: int) -> None:
        """Tell a hub that waits for entries no longer held so: a birth names the first one held.

        Usually the entry that declares a drop gets there first, so this waits its turn.
        """
        if not self._answered or self._gap_birth_at is None or now < self._gap_birth_at:
            return
        self._gap_birth_at = None
        if self._hub_misses_what_is_gone():
            self._gap_birth_allowed_at = now + GAP_REBIRTH_MS
            self._want_birth(now)

    def _is_unannounced(self, entry: Entry) -> bool:
        return bool(entry.key) and entry.key not in self._session.announced

    def _host_told(self, host: str, payload: bytes, now: int, now_ms: int) -> None:
        """Follow the STATE of the host that counts; any host counts as long as none is known."""
        if self._host not in (None, host) or not self._watch.heard(payload):
            return
        if self._watch.online:
            if self._primary is not None and not self._born:
                self._birth_at = now
            elif not self._answered:
                self._birth_tries = 0
                self._want_birth(now)
            if self._patience.paused:
                self._patience.heard(now, waiting=False)
            return
        if self._host is None:
            return
        self._patience.pause(now)
        self._ground()
        if self._primary is not None and self._born:
            self._leaving = self._session.death(now_ms)
            self._born = False
            self.wants_reconnect = True

    # Acknowledgements ---------------------------------------------------------------------

    def _commanded(self, payload: bytes, now: int) -> None:
        try:
            command = decode(payload)
            ack = read_ack(command)
        except (SparkplugError, CommandError) as error:
            self._refuse(str(error))
            return
        if asks_rebirth(command) and self._born:
            self._want_birth(now)
        if ack is not None and self._acknowledged:
            self._acknowledge(ack, now)
            if self._host == ack.host and command.time_ms is not None:
                self._on_host_time(command.time_ms)

    def _acknowledge(self, ack: Ack, now: int) -> None:
        """Obey the rules of the wire contract, in order: host, session, epoch, then offsets."""
        if self._host not in (None, ack.host):
            self._refuse(f"host {ack.host!r} is not ours ({self._host!r})")
            return
        if not self._born or ack.epoch != self._storage.epoch:
            return
        if ack.session != self._session.bdseq and (ack.session is not None or not self._answered):
            return
        self._pin(ack.host)
        claimed = IntervalSet([(FIRST_OFFSET, ack.offset), *ack.ranges])
        if self._lineage.is_forked(claimed):
            self._fork(claimed, now)
            return
        self._lineage.confirm()
        if not self._answered:
            self._answered = True
            self._birth_at, self._birth_tries = None, 0
        self._watch.online = True
        self._settle(claimed, anew=ack.session is not None or self._hub_knows_less(ack, claimed))
        self._patience.heard(now, waiting=len(self._flights) > 0)
        if self._hub_misses_what_is_gone() and self._gap_birth_at is None:
            self._gap_birth_at = max(now + REBIRTH_MS, self._gap_birth_allowed_at)

    def _hub_knows_less(self, ack: Ack, claimed: IntervalSet) -> bool:
        """Tell whether the hub has forgotten what it had settled, as one restored from a back-up.

        A list of ranges that is full says nothing of what lies above it.
        """
        horizon = claimed.highest if len(ack.ranges) == RANGES_MAX else self._settled.highest
        return any(
            True
            for first, last in self._settled.runs()
            for _ in claimed.gaps(first, min(last, horizon))
        )

    def _settle(self, claimed: IntervalSet, *, anew: bool) -> None:
        """Take over what the hub has settled; `anew` when it may know less than it did."""
        fresh = [gap for run in claimed.runs() for gap in self._settled.gaps(*run)]
        self._storage.settle(fresh)
        if anew:
            self._settled = claimed
            self._look_again(FIRST_OFFSET)
        else:
            for run in fresh:
                self._settled.add_run(*run)
        self._flights.land(self._settled)

    def _fork(self, claimed: IntervalSet, now: int) -> None:
        """This journal is a copy whose numbers are taken: go on under new ones."""
        self._storage.settle(self._lineage.common(claimed))
        self._storage.begin_new_epoch(lambda: self._rng.getrandbits(64))
        self._lineage.begin_anew()
        self._settled = IntervalSet()
        self._head = self._storage.next
        self._answered = False
        self._restart_lanes()
        self._forks += 1
        self._birth_at, self._birth_tries = now, 0
        log.error(
            "journal-fork: the hub has entries that this outbox never sent, so it was restored "
            "from a copy or is used twice; what it holds is sent under the new epoch %d",
            self._storage.epoch,
        )

    def _pin(self, host: str) -> None:
        if self._host is None:
            self._host = host
            save_fact(self._storage, HOST_FACT, host.encode())
            log.info("entries are acknowledged by host %r from now on, and by no other", host)

    def _refuse(self, cause: str) -> None:
        if not self._refused:
            log.warning("refused a command: %s; more are only counted", cause)
        self._refused += 1

    # Lanes --------------------------------------------------------------------------------

    def _send_fresh(self, now: int, now_ms: int) -> list[Outgoing]:
        """Send new entries: with their numbers once a host answered, else as bare values.

        While the host is silent they still go, for others look on and the host may be back; they
        are not waited for then.
        """
        messages: list[Outgoing] = []
        while self._fresh:
            entry = self._fresh.popleft()
            if not self._answered:
                self._look_again(entry.offset)
                if entry.key:
                    messages.append(self._session.live_values(entry, now_ms))
            elif self._patience.paused:
                self._look_again(entry.offset)
                messages.append(self._send(entry, None, now, now_ms))
            elif self._flights.room(Lane.LIVE) > 0:
                messages.append(self._send(entry, Lane.LIVE, now, now_ms))
            else:
                self._look_again(entry.offset)
        return messages

    def _send_backlog(self, now: int, now_ms: int) -> list[Outgoing]:
        """Send what is older, as the windows and the pace allow; one probe while paused."""
        credit = self._pace.credit(now)
        if self._patience.paused:
            probes = self._pick(1) if self._probe and self._answered else []
            self._probe = False
            for entry in probes:
                self._look_again(entry.offset)
            return [self._send(entry, None, now, now_ms, again=True) for entry in probes]
        if not self._backlog_may_go():
            return []
        entries = self._pick(min(credit, self._flights.room(Lane.BACKLOG)))
        self._pace.spend(len(entries))
        return [self._send(entry, Lane.BACKLOG, now, now_ms, again=True) for entry in entries]

    def _backlog_may_go(self) -> bool:
        return self._answered and not self._patience.paused and self._cursor < self._head

    def _send(
        self, entry: Entry, lane: Lane | None, now: int, now_ms: int, *, again: bool = False
    ) -> Outgoing:
        """Format one entry; `again` marks values that are no longer the latest."""
        self._lineage.sent(entry.offset)
        if lane is not None:
            self._resent += self._flights.take_off(entry.offset, lane, now)
        if self._acknowledged:
            self._patience.sent(now)
        message = self._session.data(entry, self._storage.epoch, now_ms, historical=again)
        return message if self._acknowledged else replace(message, token=entry.offset)

    def _pick(self, limit: int) -> list[Entry]:
        """Return the lowest entries, up to `limit`, that are neither settled nor on their way."""
        picked: list[Entry] = []
        start = max(self._cursor, self._storage.first)
        for first, last in self._settled.gaps(start, self._head - 1):
            for entry in self._held(first, last):
                if len(picked) == limit:
                    self._cursor = entry.offset
                    return picked
                if entry.offset not in self._flights:
                    picked.append(entry)
        self._cursor = self._head
        return picked

    def _held(self, first: int, last: int) -> Iterator[Entry]:
        """Yield the entries of a run of offsets that the journal still holds."""
        read = self._storage.read if self._acknowledged else self._storage.unsettled
        while first <= last:
            entries = read(first, min(READ_MAX, last - first + 1))
            for entry in entries:
                if entry.offset > last:
                    return
                yield entry
            if not entries:
                return
            first = entries[-1].offset + 1

    def _look_again(self, offset: int) -> None:
        """Have the backlog consider everything from `offset` on."""
        self._cursor = min(self._cursor, offset)

    def _lose_patience(self, now: int) -> None:
        """Give up waiting for what is overdue; after three silences, for everything."""
        if not self._acknowledged:
            return
        for offset in self._flights.overdue(now):
            self._look_again(offset)
        if self._patience.is_over(now) and self._patience.paused:
            self._ground()
            self._probe = True

    def _ground(self) -> None:
        for offset in self._flights.ground():
            self._look_again(offset)

    def _restart_lanes(self) -> None:
        self._flights.reset()
        self._patience = Patience(self._rng)
        self._fresh.clear()
        self._cursor = FIRST_OFFSET
        self._probe = False
