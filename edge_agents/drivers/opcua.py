"""OPC UA: subscribe to what a server tells, poll what it does not, and ask whether it is there.

The only door to asyncua. Every connection gets a fresh client, with the namespaces resolved anew:
after a server's restart the same index may mean another namespace. The library's own reconnecting
is not used. Nothing is ever written to a server.

Values carry the time of their source. The first value of a connection may be days old at its
source: it is stamped with the moment it was read, as a Modbus value would be. While our own clock
cannot be trusted, values get its time all the same, less their age by the server's clock: it will
be set right, theirs as well as all others'.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from asyncua import Client, ua
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from edge_agents.drivers.breaker import Backoff
from edge_agents.drivers.driver import Deliver, DriverStatus, obey_cancellation
from edge_agents.drivers.nodes import Server
from edge_agents.drivers.opcua_paths import PREFIX, follow
from edge_agents.drivers.opcua_security import TrustError, secure
from edge_agents.drivers.opcua_structures import Types, UnknownTypeError
from edge_agents.drivers.opcua_values import (
    CODE_MASK,
    REASONS,
    Item,
    age_ms,
    conversion,
    lost_some,
    reach,
    sample_of,
    shape,
    source_ms,
)
from edge_agents.drivers.presence import Presence, listed
from edge_agents.drivers.schedule import Schedule
from gateway.model import Quality, Reason, Sample
from gateway.settings import SettingsError, secret

log = logging.getLogger(__name__)

ThingT = TypeVar("ThingT")

BATCH: Final = 100
"""Nodes in one request: many servers refuse more (MaxNodesPerRead and the like)."""
QUEUE_SIZE: Final = 20
"""Changes that the server keeps per node between two publications."""
PUBLISH_MS_MAX: Final = 200
SUBSCRIPTION_KEEP_ALIVE_S: Final = 10.0
SUBSCRIPTION_SILENT_S: Final = 35.0
SUBSCRIPTION_LIFETIME_S: Final = 60.0
SESSION_MS: Final = 60_000
"""A session left behind must not fill up the few that a controller has."""
RETRY_FIRST_S: Final = 5.0
RETRY_LAST_S: Final = 60.0
"""A node that is made anew is found within this time."""
AUDIT_S: Final = 60.0
"""How often what the server reports is compared with what it has."""
RECONNECT_FIRST_S: Final = 0.5
RECONNECT_LAST_S: Final = 15.0
REFUSED_WAIT_S: Final = 30.0
"""Wrong passwords sent too often lock an account."""
PASSWORD_VARIABLE: Final = "MACHIKOBA_OPCUA_PASSWORD"  # noqa: S105 (the name of one)
RTT_WEIGHT: Final = 0.1
HANG_UP_S: Final = 1.0
MESSAGE_BYTES_MAX: Final = 4 * 1024**2
CHUNKS_MAX: Final = 64
_NODE_FAULTS: Final = frozenset({Reason.ADDRESS, Reason.REFUSED})
"""Reasons why polling a node would fail as well."""


class GoneError(ConnectionError):
    """The server ended the connection, or the subscription fell silent."""


@dataclass(slots=True, eq=False)
class _Job:
    """What is to be done from time to time while a conversation lasts."""

    act: Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Figures:
    """Counters for the status page."""

    requests: int = 0
    timeouts: int = 0
    exceptions: int = 0
    connects: int = 0
    missed: int = 0
    rtt_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Ending:
    """Why a conversation ended, and how long to leave the server alone at least."""

    reason: Reason
    cause: str
    patience_s: float = 0.0
    distrust: str | None = None
    """Why the server is not believed, and what a person can do about it."""


class OpcuaServer:
    """Reads every machine of one OPC UA server; a `Driver`."""

    def __init__(
        self,
        server: Server,
        *,
        now_ms: Callable[[], int],
        rng: random.Random,
        own_time: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = f"opcua {server.url}"
        self._server = server
        self._now_ms = now_ms
        self._own_time = own_time
        self._monotonic = monotonic
        self._sleep = sleep
        self._rng = rng
        self._reconnect = Backoff(rng, first_s=RECONNECT_FIRST_S, longest_s=RECONNECT_LAST_S)
        self._figures = _Figures()
        self._talk: _Conversation | None = None
        self._client: Client | None = None
        self._distrust: str | None = None
        self._presences: list[Presence] = []
        self._items: list[Item] = []
        for machine in server.machines:
            names = tuple(signal.name for signal in machine.signals)
            presence = Presence(
                machine.machine, names, self.name, now_ms=now_ms, monotonic=monotonic
            )
            self._presences.append(presence)
            self._items += [Item(presence, one, conversion(one)) for one in machine.signals]
        # What the library calls errors are losses; we say each of them once.
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)

    async def run(self, deliver: Deliver) -> None:
        """Read and deliver until cancelled."""
        for presence in self._presences:
            presence.begin(deliver)
        while True:
            ending = await self._converse()
            obey_cancellation()
            self._figures.timeouts += ending.reason is Reason.TIMEOUT
            self._call_people(ending.distrust)
            for presence in self._presences:
                presence.lose(ending.reason)
                presence.silent(ending.cause)
            for item in self._items:
                item.seen, item.bad, item.floor_ms = False, True, self._now_ms()
                item.watched = item.told = None
            await self._sleep(max(self._reconnect.next_s(), ending.patience_s))

    def status(self) -> DriverStatus:
        """Tell how the conversation is going."""
        figures, talk = self._figures, self._talk
        retried = talk.unknown if talk else ()
        return DriverStatus(
            name=self.name,
            connected=talk is not None,
            requests=figures.requests,
            timeouts=figures.timeouts,
            exceptions=figures.exceptions,
            reconnects=max(0, figures.connects - 1),
            missed_polls=figures.missed,
            rtt_ms=figures.rtt_s * 1_000,
            utilisation=0.0,
            units=tuple(
                presence.status(
                    breaker_open=talk is None,
                    quarantined=tuple(
                        item.signal.name for item in retried if item.presence is presence
                    ),
                )
                for presence in self._presences
            ),
        )

    def owns(self, thing: object) -> bool:
        """Tell whether `thing` works for this conversation: whose bytes made the process hang?"""
        client = self._client
        parts: list[object] = [self, self._talk, client]
        if client is not None:
            parts += [client.uaclient, client.uaclient.session, client.uaclient.protocol]
        return thing is not None and any(thing is part for part in parts)

    def _call_people(self, distrust: str | None) -> None:
        """Say once what only a person can mend."""
        if distrust is not None and distrust != self._distrust:
            log.error("%s", distrust)
        self._distrust = distrust

    async def _converse(self) -> _Ending:
        """Hold one conversation; return why it ended."""
        client = Client(self._server.url, timeout=self._server.timeout_s, watchdog_intervall=3_600)
        self._client = client
        try:
            await self._open(client)
            self._figures.connects += 1
            self._talk = _Conversation(
                client,
                self._items,
                self._server,
                self._figures,
                now_ms=self._now_ms,
                own_time=self._own_time,
                monotonic=self._monotonic,
            )
            await self._talk.begin()
            for presence in self._presences:
                presence.answers()
            self._reconnect.reset()
            await self._talk.attend(self._rng)
        except Exception as error:
            # The library lets anything escape that a server's bytes can cause.
            log.debug("%s: the conversation ended", self.name, exc_info=True)
            return _trouble(error)
        finally:
            self._talk = None
            await _hang_up(client)
            self._client = None

    async def _open(self, client: Client) -> None:
        """Connect in exactly the way that the configuration demands, or raise."""
        server = self._server
        client.name = client.description = "Machikoba"
        client.application_uri = server.application_uri
        client.session_timeout = SESSION_MS
        client.max_messagesize, client.max_chunkcount = MESSAGE_BYTES_MAX, CHUNKS_MAX
        if server.user is not None:
            client.set_user(server.user)
            file = None if server.password_file is None else Path(server.password_file)
            client.set_password(secret(file, PASSWORD_VARIABLE) or "")
        async with asyncio.timeout(3 * server.timeout_s):
            if server.security != "none":
                await secure(client, server)
            await client.connect()


class _Conversation:
    """One connection, from the first question to its loss."""

    def __init__(
        self,
        client: Client,
        items: Sequence[Item],
        server: Server,
        figures: _Figures,
        *,
        now_ms: Callable[[], int],
        own_time: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._client = client
        self._session = client.uaclient.session
        self._items = items
        self._server = server
        self._figures = figures
        self._now_ms = now_ms
        self._own_time = own_time
        self._monotonic = monotonic
        self._gone = asyncio.Event()
        self._jobs: Schedule[_Job] = Schedule()
        self._handles: dict[int, Item] = {}
        self._types = Types(self._attribute, self._supertype)
        self._asked_types: set[ua.NodeId] = set()
        self._next_handle = count(1)
        self._subscription: int | None = None
        self._vanished: list[Item] = []
        """Nodes of which the server reported that they are gone, or not ours to read."""
        self._published_s = monotonic()
        self.unknown: list[Item] = []
        """Nodes that the server does not know, or does not let us read."""

    async def begin(self) -> None:
        """Find the nodes, and have the server tell their changes where it can."""
        self._client.connection_lost_callback = self._lost
        known = await self._resolve(self._items)
        if self._server.subscribe and await self._subscribe():
            await self._monitor(known)
        else:
            self._poll(known)

    async def attend(self, rng: random.Random) -> NoReturn:
        """Do what is due, until the connection is lost."""
        now_s = self._monotonic()
        self._jobs.set(
            _Job(self._ask_whether_there), due_s=now_s, period_s=self._server.keep_alive_s
        )
        self._jobs.set(_Job(self._audit), due_s=now_s + AUDIT_S, period_s=AUDIT_S)
        retry = Backoff(rng, first_s=RETRY_FIRST_S, longest_s=RETRY_LAST_S)
        retrying = _Job(self._retry_unknown)
        self._jobs.set(retrying, due_s=now_s + retry.next_s(), period_s=RETRY_LAST_S)
        while True:
            job, wait_s = self._jobs.next(self._monotonic())
            if job is None:
                await self._wait(wait_s)
                continue
            await job.act()
            obey_cancellation()
            missed = self._jobs.missed
            self._jobs.done(job, self._monotonic())
            self._figures.missed += self._jobs.missed - missed
            if job is retrying:
                due_s = self._monotonic() + retry.next_s()
                self._jobs.set(retrying, due_s=due_s, period_s=RETRY_LAST_S)

    async def _wait(self, wait_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._gone.wait()
        if self._gone.is_set():
            raise GoneError("the server closed the connection")

    async def _lost(self, _: Exception) -> None:
        self._gone.set()

    # Nodes.

    async def _resolve(self, items: Sequence[Item]) -> list[Item]:
        """Turn namespace URIs into the indices of this connection; return the nodes found."""
        array = ua.NodeId(ua.Int32(ua.ObjectIds.Server_NamespaceArray))
        uris = (await self._read([array]))[0].Value
        namespaces = list(uris.Value) if uris is not None and isinstance(uris.Value, list) else []
        paths = [text for item in items if (text := item.signal.node).startswith(PREFIX)]
        by_path = await follow(self._client, paths) if paths else {}
        for item in items:
            text = item.signal.node
            by_id = None if text.startswith(PREFIX) else _node_id(text, namespaces)
            item.node = by_path.get(text, by_id)
        self._forget([item for item in items if item.node is None], Reason.ADDRESS)
        found = [item for item in items if item.node is not None]
        await self._describe(
            [one for one in found if any(isinstance(step, str) for step in one.signal.path)]
        )
        return found

    async def _describe(self, items: Sequence[Item]) -> None:
        """Learn the structures of which fields are wanted; the common ones are known."""
        for item in items:
            item.layouts = self._types.layouts
            data_type = await self._attribute(item.node, ua.AttributeIds.DataType)
            if not isinstance(data_type, ua.NodeId) or data_type.NamespaceIndex == 0:
                continue
            if data_type in self._asked_types:
                continue
            self._asked_types.add(data_type)
            try:
                await self._types.learn(data_type)
            except UnknownTypeError as error:
                log.warning("%s: %s: %s", self._server.url, item.signal.name, error)

    async def _attribute(self, node: ua.NodeId | None, attribute: ua.AttributeIds) -> object:
        """Read one attribute that is no value; None when there is none."""
        self._figures.requests += 1
        (found,) = await self._session.read_attributes([node or ua.NodeId()], attribute)
        return None if found.Value is None else found.Value.Value

    async def _supertype(self, data_type: ua.NodeId) -> ua.NodeId | None:
        """Find the type that a type is a kind of."""
        wanted = ua.BrowseDescription(
            NodeId=data_type,
            BrowseDirection=ua.BrowseDirection.Inverse,
            ReferenceTypeId=ua.NodeId(ua.Int32(ua.ObjectIds.HasSubtype)),
            IncludeSubtypes=False,
            NodeClassMask=ua.NodeClass.DataType,
            ResultMask=ua.BrowseResultMask.All,
        )
        self._figures.requests += 1
        parameters = ua.BrowseParameters(RequestedMaxReferencesPerNode=1, NodesToBrowse=[wanted])
        (result,) = await self._session.browse(parameters)
        found = result.References or ()
        return found[0].NodeId if found else None

    def _forget(self, items: Sequence[Item], reason: Reason) -> None:
        """Say that these nodes cannot be read, once, and try them again later."""
        for presence, some in _grouped(items, lambda item: item.presence):
            new = presence.lose(reason, [item.signal.name for item in some], link=True)
            self._figures.exceptions += len(some)
            if new:
                word = reason.name.lower()
                log.warning("%s cannot read %s: %s", presence.machine, listed(new), word)
        self.unknown += items

    async def _retry_unknown(self) -> None:
        again, self.unknown = self.unknown, []
        if not again:
            return
        known = await self._resolve(again)
        if self._subscription is None:
            self._poll(known)
        else:
            await self._monitor(known)

    # Being told.

    async def _subscribe(self) -> bool:
        """Ask the server to report changes; tell whether it will."""
        shortest_ms = min(item.signal.period_ms for item in self._items)
        interval_ms = min(shortest_ms, PUBLISH_MS_MAX)
        parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=interval_ms,
            RequestedMaxKeepAliveCount=int(SUBSCRIPTION_KEEP_ALIVE_S * 1_000 / interval_ms),
            RequestedLifetimeCount=int(SUBSCRIPTION_LIFETIME_S * 1_000 / interval_ms),
        )
        self._figures.requests += 1
        try:
            made = await self._session.create_subscription(parameters, self._published)
        except UaStatusCodeError as error:
            log.info("%s reports no changes (%s): it is polled", self._server.url, error)
            return False
        self._subscription = made.SubscriptionId
        self._published_s = self._monotonic()
        return True

    async def _monitor(self, items: Sequence[Item]) -> None:
        """Have these nodes reported; poll those that the server will not report."""
        unreported: list[Item] = []
        for batch in _batches(items):
            try:
                statuses = await self._create(batch)
            except UaStatusCodeError:
                unreported += batch
                continue
            faults: dict[Reason, list[Item]] = {}
            for item, status in zip(batch, statuses, strict=True):
                reason = REASONS.get(status.value, Reason.SOURCE)
                if status.is_good():
                    continue
                item.watched = None
                if reason in _NODE_FAULTS:
                    faults.setdefault(reason, []).append(item)
                else:
                    unreported.append(item)
            for reason, some in faults.items():
                self._forget(some, reason)
        self._poll(unreported)

    async def _create(self, batch: Sequence[Item]) -> list[ua.StatusCode]:
        requests = []
        for item in batch:
            handle = next(self._next_handle)
            self._handles[handle] = item  # the first value may come before the answer
            requests.append(
                ua.MonitoredItemCreateRequest(
                    ItemToMonitor=_value_of(item.node),
                    MonitoringMode=ua.MonitoringMode.Reporting,
                    RequestedParameters=ua.MonitoringParameters(
                        ClientHandle=handle,
                        SamplingInterval=item.signal.period_ms,
                        QueueSize=QUEUE_SIZE,
                        DiscardOldest=True,
                    ),
                )
            )
        parameters = ua.CreateMonitoredItemsParameters(
            SubscriptionId=self._subscription or 0,
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            ItemsToCreate=requests,
        )
        self._figures.requests += 1
        made = await self._session.create_monitored_items(parameters)
        for item, one in zip(batch, made, strict=True):
            item.watched, item.doubtful = one.MonitoredItemId, False
        return [one.StatusCode for one in made]

    def _published(self, result: ua.PublishResult) -> None:
        """Take in what the server reports; without changes it is only a sign of life."""
        self._published_s = self._monotonic()
        at_ms = self._now_ms()
        published = result.NotificationMessage.PublishTime if self._own_time() else None
        told: list[tuple[Item, ua.DataValue]] = []
        for notification in result.NotificationMessage.NotificationData or ():
            if isinstance(notification, ua.DataChangeNotification):
                pairs = (
                    (self._handles.get(one.ClientHandle), one.Value)
                    for one in notification.MonitoredItems
                )
                told += [(item, value) for item, value in pairs if item is not None]
            elif isinstance(notification, ua.StatusChangeNotification):
                self._gone.set()  # the server gave the subscription up
        for presence, some in _grouped(told, lambda pair: pair[0].presence):
            samples = tuple(self._told(item, value, at_ms, published) for item, value in some)
            presence.read(at_ms, samples)

    def _told(
        self, item: Item, value: ua.DataValue, at_ms: int, published: datetime | None
    ) -> Sample:
        self._figures.missed += lost_some(value)
        if published is None:
            time_ms = source_ms(item, value, at_ms)
        else:
            time_ms = at_ms - age_ms(value, published)
        sample = sample_of(item, value, time_ms, at_ms)
        item.seen, item.bad = True, sample.quality is Quality.BAD
        item.told, item.told_s = value, self._monotonic()
        _complain(item, sample, value)
        if item.watched is not None and _is_fault(value):
            self._vanished.append(item)
        return sample

    # Asking.

    def _poll(self, items: Sequence[Item]) -> None:
        """Read these nodes at their own pace."""
        periods: dict[int, list[Item]] = {}
        for item in items:
            periods.setdefault(item.signal.period_ms, []).append(item)
        for period_ms, some in periods.items():
            for batch in _batches(some):
                job = _Job(_reader(self, batch))
                self._jobs.set(job, due_s=self._monotonic(), period_s=period_ms / 1_000)

    async def read_batch(self, items: Sequence[Item]) -> None:
        """Read nodes once. What is bad is said once, until it is good again."""
        began_s = self._monotonic()
        values = await self._read([item.node for item in items])
        at_ms = self._now_ms() - round((self._monotonic() - began_s) * 500)
        pairs = list(zip(items, values, strict=True))
        for presence, some in _grouped(pairs, lambda pair: pair[0].presence):
            samples = [sample_of(item, value, at_ms, at_ms) for item, value in some]
            news = tuple(
                sample
                for (item, _), sample in zip(some, samples, strict=True)
                if sample.quality is not Quality.BAD or not item.bad
            )
            for (item, value), sample in zip(some, samples, strict=True):
                item.bad = sample.quality is Quality.BAD
                _complain(item, sample, value)
            presence.read(at_ms, news)

    async def _ask_whether_there(self) -> None:
        """Ask for the server's state: an answer refreshes the link of all its machines."""
        if self._subscription is not None:
            silent_s = self._monotonic() - self._published_s
            if silent_s > SUBSCRIPTION_SILENT_S:
                raise GoneError("the subscription fell silent")
        vanished = [one for one in dict.fromkeys(self._vanished) if one.watched is not None]
        self._vanished = []
        await self._unwatch(vanished)
        self.unknown += vanished
        began_s = self._monotonic()
        await self._read([ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServerStatus_State))])
        at_ms = self._now_ms() - round((self._monotonic() - began_s) * 500)
        for presence in dict.fromkeys(item.presence for item in self._items):
            presence.read(at_ms, ())

    async def _audit(self) -> None:
        """Compare what the server reported with what it has.

        A server may forget to watch a node that was deleted and made anew, or does not tell that
        one is gone: what is quiet and shows another value, twice, is watched anew.
        """
        watched = [item for item in self._items if item.watched is not None]
        for batch in _batches(watched):
            values = await self._read([item.node for item in batch])
            pairs = list(zip(batch, values, strict=True))
            gone = [(item, _fault(value)) for item, value in pairs if _is_fault(value)]
            dead = [
                item for item, value in pairs if not _is_fault(value) and self._is_dead(item, value)
            ]
            await self._unwatch([*(item for item, _ in gone), *dead])
            for item, reason in gone:
                self._forget([item], reason)
            await self._monitor(dead)

    def _is_dead(self, item: Item, value: ua.DataValue) -> bool:
        """Tell whether nothing was reported for long of a value that is another one by now."""
        quiet_s = self._monotonic() - item.told_s
        quiet = quiet_s > max(AUDIT_S / 2, 2 * item.signal.period_ms / 1_000)
        differs = item.told is None or not _same(item.told, value)
        was_doubtful, item.doubtful = item.doubtful, quiet and differs
        return was_doubtful and item.doubtful

    async def _unwatch(self, items: Sequence[Item]) -> None:
        """Have the server watch these nodes no longer."""
        numbers = [item.watched for item in items if item.watched is not None]
        for item in items:
            item.watched = None
        if not numbers or self._subscription is None:
            return
        parameters = ua.DeleteMonitoredItemsParameters(
            SubscriptionId=self._subscription, MonitoredItemIds=numbers
        )
        self._figures.requests += 1
        await self._session.delete_monitored_items(parameters)

    async def _read(self, nodes: Sequence[ua.NodeId | None]) -> list[ua.DataValue]:
        """Read the values of nodes; one answer per question, or GoneError."""
        parameters = ua.ReadParameters(
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            NodesToRead=[_value_of(node) for node in nodes],
        )
        self._figures.requests += 1
        began_s = self._monotonic()
        values = await self._session.read(parameters)
        elapsed_s = self._monotonic() - began_s
        weight = RTT_WEIGHT if self._figures.rtt_s else 1.0
        self._figures.rtt_s += weight * (elapsed_s - self._figures.rtt_s)
        if len(values) != len(nodes):
            raise GoneError(f"{len(values)} values came where {len(nodes)} were asked for")
        return list(values)


def _complain(item: Item, sample: Sample, value: ua.DataValue) -> None:
    """Say once, by name, what can be no signal and what to do about it."""
    if sample.reason not in {Reason.TYPE, Reason.ADDRESS} or item.complained or value.Value is None:
        return
    item.complained = True
    raw = value.Value.Value
    what = (
        shape(reach(raw, item.signal.path, item.layouts))
        or shape(raw)
        or f"it is a {type(raw).__name__}"
    )
    machine = item.presence.machine
    log.warning("%s cannot take %s for a signal: %s", machine, item.signal.name, what)


def _is_fault(value: ua.DataValue) -> bool:
    return _fault(value) in _NODE_FAULTS


def _fault(value: ua.DataValue) -> Reason:
    code = 0 if value.StatusCode is None else int(value.StatusCode.value)
    return REASONS.get(code & CODE_MASK, Reason.NONE)


def _same(one: ua.DataValue, other: ua.DataValue) -> bool:
    """Compare values and their status; a NaN is the same as a NaN."""
    pairs = [(part.Value and part.Value.Value, part.StatusCode) for part in (one, other)]
    return pairs[0] == pairs[1] or repr(pairs[0]) == repr(pairs[1])


def _reader(talk: _Conversation, batch: Sequence[Item]) -> Callable[[], Awaitable[None]]:
    return lambda: talk.read_batch(batch)


def _grouped(
    things: Iterable[ThingT], presence_of: Callable[[ThingT], Presence]
) -> list[tuple[Presence, list[ThingT]]]:
    """Sort by machine, each one's in their order."""
    groups: dict[int, tuple[Presence, list[ThingT]]] = {}
    for thing in things:
        presence = presence_of(thing)
        groups.setdefault(id(presence), (presence, []))[1].append(thing)
    return list(groups.values())


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _value_of(node: ua.NodeId | None) -> ua.ReadValueId:
    return ua.ReadValueId(NodeId=node or ua.NodeId(), AttributeId=ua.AttributeIds.Value)


def _node_id(text: str, namespaces: Sequence[str]) -> ua.NodeId | None:
    """Find a node id in the namespaces of a connection; None when the namespace is not there."""
    index = ""
    if text.startswith("nsu="):
        uri, _, text = text.removeprefix("nsu=").partition(";")
        if uri not in namespaces:
            return None
        index = f"ns={namespaces.index(uri)};"
    try:
        return ua.NodeId.from_string(index + text)
    except UaError:
        return None


def _trouble(error: Exception) -> _Ending:
    """Say why a conversation ended."""
    if isinstance(error, TrustError):  # nothing secret was shown to the server: no need to wait
        return _Ending(Reason.REFUSED, "it is not trusted", distrust=str(error))
    reason, cause = _reason_of(error)
    return _Ending(reason, cause, REFUSED_WAIT_S if reason is Reason.REFUSED else 0.0)


def _reason_of(error: Exception) -> tuple[Reason, str]:
    """Put an error into our words and into one line for the log."""
    cause = f"{type(error).__name__}: {error}".strip(": ").splitlines()[0][:200]
    if isinstance(error, TimeoutError):
        return Reason.TIMEOUT, "timeout"
    if isinstance(error, UaStatusCodeError):
        return REASONS.get(error.code, Reason.SOURCE), cause
    if isinstance(error, FileNotFoundError | PermissionError | SettingsError):
        return Reason.REFUSED, cause
    if isinstance(error, OSError):
        return Reason.CONNECTION, cause
    if isinstance(error, UaError):
        return Reason.REFUSED, cause
    return Reason.GARBLED, cause


async def _hang_up(client: Client) -> None:
    """End a connection politely if that is quick, and in any case."""
    publishing = client.uaclient.session._publish_task  # noqa: SLF001 (it survives a dead socket)
    try:
        with contextlib.suppress(TimeoutError, OSError, UaError):
            async with asyncio.timeout(HANG_UP_S):
                await client.disconnect()
    finally:
        client.disconnect_socket()
        if publishing is not None:
            publishing.cancel()
