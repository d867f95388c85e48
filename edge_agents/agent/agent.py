"""The composition root: builds the parts, runs them in one TaskGroup, stops them in order."""

import asyncio
import logging
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from edge_agents.agent.births import announced
from edge_agents.agent.loading import Loaded
from edge_agents.agent.notify import ServiceNotice
from edge_agents.agent.page import PORT_FILE, Answer, StatusPage
from edge_agents.agent.reload import Follower, changed_signals, difference
from edge_agents.agent.status import MEDIA_METRICS, AgentStatus, ClockStatus
from edge_agents.clock import AgentClock, Change, LastKnown, Standing
from edge_agents.config import AgentConfig, MachineConfig
from edge_agents.drivers import (
    OPCUA_COMMAND,
    SPREAD_S,
    Delivery,
    Driver,
    conversations,
    open_drivers,
)
from edge_agents.outbox import Outbox, OutboxStatus, Waiting, uncertain
from edge_agents.sampler import Moment, Sampler
from edge_agents.system_clock import evidence, keep_last_known, read_last_known
from edge_agents.uplink import Uplink
from gateway.delivery import Sender
from gateway.journal import Budget, Entry, Journal, JournalCorrupt, JournalError
from gateway.model import Sample
from gateway.mqtt import Tls
from gateway.sparkplug import names

log = logging.getLogger(__name__)

JOURNAL_FILE: Final = "outbox.db"
TICK_S: Final = 0.25
FIRST_TICK_S: Final = 1.0
"""Machines that answer do so within this time; only the others are told as unknown at the start."""
DRIVER_RESTART_S: Final = 5.0
MS_PER_S: Final = 1_000
CANCEL_AGAIN_S: Final = 1.0
KEEP_TIME_MS: Final = 300_000
"""How often a time that is right is kept on disk, for a start with a clock that is not."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """Drivers at work, and the machines that they were opened for."""

    machines: tuple[MachineConfig, ...]
    drivers: list[Driver]
    tasks: list[asyncio.Task[None]]


class Agent:
    """Everything that one agent consists of; opening the journal is all that the constructor does.

    Raises JournalError where the data directory cannot be used.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        clock: AgentClock,
        rng: random.Random,
        opcua_command: Sequence[str] = OPCUA_COMMAND,
    ) -> None:
        now_ms = clock.now_ms
        config = loaded.config
        self._config = config
        self._problems = loaded.problems
        self._clock = clock
        self._waiting = Waiting()
        self._kept_ms: int | None = None
        self._now_ms = now_ms
        self._started_ms = now_ms()
        self._version = version("machikoba")
        self._notice = ServiceNotice()
        self._journal = _open_journal(config, now_ms)
        self._outbox = Outbox(
            self._journal,
            machines=[announced(machine) for machine in config.machines],
            now_ms=now_ms,
            commit_interval_s=config.outbox.commit_interval_ms / MS_PER_S,
            on_committed=self._committed,
        )
        self._sender = Sender(
            site=config.site,
            agent=config.agent,
            version=self._version,
            storage=self._journal,
            births=self._outbox.births,
            rng=rng,
            host=config.host,
            acknowledged=config.ack == "hub",
            on_host_time=clock.hub_said,
        )
        self._uplink = _make_uplink(config, self._sender, loaded.password, now_ms)
        self._samplers = {machine.id: Sampler(machine) for machine in config.machines}
        self._rng = rng
        self._opcua_command = opcua_command
        self._reading: dict[str, _Reading] = {}
        self._parts: asyncio.TaskGroup | None = None
        self._page = StatusPage(
            {
                "/healthz": self._health,
                "/metrics": self._metrics,
                "/status.json": self._status_json,
            },
            port=config.http.port if config.http else 0,
            port_file=config.data / PORT_FILE,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then end in order: no more readings, the rest on disk, death.

        Raises an ExceptionGroup when a part that cannot be replaced has failed.
        """
        try:
            if self._clock.standing is Standing.WAITING:
                log.warning("the clock is not to be trusted: %s; readings wait", self._clock.doubt)
            async with asyncio.TaskGroup() as parts:
                outbox = parts.create_task(self._outbox.run())
                uplink = parts.create_task(self._uplink.run())
                self._begin(conversations(self._config), parts)
                watching = [parts.create_task(self._tick()), parts.create_task(self._page.run())]
                self._parts = parts
                self._notice.ready()
                await stop.wait()
                self._notice.stopping()
                self._parts = None
                readers = [task for one in self._reading.values() for task in one.tasks]
                await _end([*readers, *watching])
                self._record_untimed()
                await _end([outbox])
                await _end([uplink])
        finally:
            self._journal.close()

    async def reload(self, loaded: Loaded) -> None:
        """Take over settings that differ in machines only; the lines of all others go on.

        Nothing that was recorded is lost: entries of machines that went are still sent, under the
        names that they were recorded by.
        """
        self._notice.reloading()
        wanted = conversations(loaded.config)
        await self._end_readings(wanted)
        changed = difference(self._config, loaded.config).machines
        for machine, samples in self._waiting.give_up(changed):
            self._outbox.record(machine, samples)  # by the names that it was read under
        self._samplers = {
            machine.id: Sampler(machine) if machine.id in changed else self._samplers[machine.id]
            for machine in loaded.config.machines
        }
        forget = changed_signals(self._config, loaded.config)
        self._config, self._problems = loaded.config, loaded.problems
        births = [announced(machine) for machine in loaded.config.machines]
        self._outbox.configure(births, forget)
        if self._parts is not None:
            fresh = {name: one for name, one in wanted.items() if name not in self._reading}
            self._begin(fresh, self._parts)
        self._uplink.births_changed()
        self._notice.ready()

    async def _end_readings(self, wanted: Mapping[str, AgentConfig]) -> None:
        """End what reads for other machines than those wanted."""
        over = [
            name
            for name, one in self._reading.items()
            if name not in wanted or wanted[name].machines != one.machines
        ]
        await _end(task for name in over for task in self._reading[name].tasks)
        for name in over:
            del self._reading[name]

    def _begin(self, wanted: Mapping[str, AgentConfig], parts: asyncio.TaskGroup) -> None:
        """Start reading; lines begin apart, so that their first values do not come in one jolt."""
        for index, (name, part) in enumerate(wanted.items()):
            drivers = open_drivers(
                part,
                now_ms=self._now_ms,
                rng=self._rng,
                opcua_command=self._opcua_command,
                clock_offset_ms=lambda: self._clock.offset_ms,
                phase_s=SPREAD_S * index / len(wanted),
            )
            tasks = [parts.create_task(self._drive(driver)) for driver in drivers]
            self._reading[name] = _Reading(part.machines, drivers, tasks)

    def status(self) -> AgentStatus:
        """Look at the whole agent."""
        return AgentStatus(
            site=self._config.site,
            agent=self._config.agent,
            version=self._version,
            machines=len(self._samplers),
            started_ms=self._started_ms,
            time_ms=self._now_ms(),
            disabled=self._problems,
            outbox=self._outbox_status(),
            clock=ClockStatus(
                self._clock.standing.value,
                self._waiting.samples,
                self._waiting.untimed,
                self._clock.steps,
            ),
            session=self._sender.status(),
            lines=[driver.status() for one in self._reading.values() for driver in one.drivers],
        )

    def _outbox_status(self) -> OutboxStatus | JournalError:
        try:
            return self._outbox.status()
        except JournalError as error:
            return error

    def _now(self) -> Moment:
        return Moment(self._now_ms(), self._clock.steady_ms())

    def _deliver(self, delivery: Delivery) -> None:
        told = self._samplers[delivery.machine].take(delivery, self._now())
        if told:
            self._keep(delivery.machine, told)

    def _keep(self, machine: str, told: list[Sample]) -> None:
        """Hand samples to the outbox; while nobody knows the time, have them wait for it."""
        match self._clock.standing:
            case Standing.SURE:
                self._outbox.record(machine, told)
            case Standing.HUB:
                self._outbox.record(machine, uncertain(told))
            case Standing.WAITING:
                for owner, samples in self._waiting.add(machine, told):
                    self._outbox.record(owner, samples)

    def _mind_the_clock(self) -> None:
        """Give times to what waited for them, and tell each step of the clock."""
        change = self._clock.poll()
        if change is not None:
            self._clock_changed(change)
        now_ms = self._now_ms()
        due = self._kept_ms is None or abs(now_ms - self._kept_ms) >= KEEP_TIME_MS
        if self._clock.standing is Standing.SURE and due:
            self._kept_ms = now_ms
            keep_last_known(self._config.data, LastKnown(now_ms, self._clock.boot_id))

    def _clock_changed(self, change: Change) -> None:
        log.warning("the clock was %s: it moved by %+.3f s", change.word, change.by_ms / MS_PER_S)
        if change.waited:
            for machine, samples in self._waiting.release(change.by_ms):
                self._keep(machine, samples)
        said = f"{change.word}, moved by {change.by_ms / MS_PER_S:+.3f} s"
        for machine in self._samplers:
            self._outbox.record(machine, [Sample(names.CLOCK, said, self._now_ms())])

    def _record_untimed(self) -> None:
        """Keep what waits with the times that it has, marked: better than to lose it."""
        for machine, samples in self._waiting.release(0):
            self._outbox.record(machine, uncertain(samples))

    def _committed(self, entries: list[Entry]) -> None:
        self._uplink.appended(entries)

    async def _tick(self) -> None:
        """Let time pass for every machine, and show the supervisor that it does."""
        await asyncio.sleep(FIRST_TICK_S)
        while True:
            self._mind_the_clock()
            now = self._now()
            for machine, sampler in self._samplers.items():
                told = sampler.tick(now)
                if told:
                    self._keep(machine, told)
            self._notice.alive()
            await asyncio.sleep(TICK_S)

    async def _drive(self, driver: Driver) -> None:
        """Keep a driver going: what stops one line must not stop the agent."""
        while True:
            try:
                await driver.run(self._deliver)
            except Exception:
                log.exception("%s failed and starts over", driver.status().name)
            await asyncio.sleep(DRIVER_RESTART_S)

    def _health(self) -> Answer:
        trouble = self.status().healthy()
        return (503, "text/plain", f"{trouble}\n") if trouble else (200, "text/plain", "ok\n")

    def _metrics(self) -> Answer:
        return 200, MEDIA_METRICS, self.status().as_metrics()

    def _status_json(self) -> Answer:
        return 200, "application/json", self.status().as_json()


async def serve(loaded: Loaded, settings: Path) -> None:
    """Run the agent until SIGTERM or SIGINT, following its settings file.

    Raises JournalError where the data directory cannot be used.
    """
    stop = asyncio.Event()
    follower = Follower(settings, loaded)
    _listen_to_signals(stop, follower.asked)
    for problem in loaded.problems:
        log.error("left out: %s", problem)
    clock = AgentClock(
        wall_ms=utc_ms,
        steady_ms=lambda: time.monotonic_ns() // 1_000_000,
        evidence=evidence,
        last=read_last_known(loaded.config.data),
    )
    while not stop.is_set():
        agent = Agent(follower.running, clock=clock, rng=random.SystemRandom())
        try:
            await _run_until_changed(agent, follower, stop)
        except* JournalCorrupt as group:
            # Opened again, the damaged file is set aside and a new epoch announces the loss.
            log.error("the outbox is damaged and begins anew: %s", group.exceptions[0])  # noqa: TRY400


async def _run_until_changed(agent: Agent, follower: Follower, stop: asyncio.Event) -> None:
    """Run the agent until the end, or until it must start anew by other settings."""
    end = asyncio.Event()
    working = asyncio.create_task(agent.run(end))
    leaving = asyncio.create_task(_until(stop))
    following = asyncio.create_task(follower.follow(agent.reload))
    try:
        await asyncio.wait((working, leaving, following), return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()  # raises what no reload should
    finally:
        await _end([leaving, following])
        end.set()
        await working


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _listen_to_signals(stop: asyncio.Event, reload: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    asked = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if hangup := getattr(signal, "SIGHUP", None):  # Windows has none
        asked[hangup] = reload
    for number, event in asked.items():
        signal.signal(number, lambda *_, told=event: loop.call_soon_threadsafe(told.set))


def utc_ms() -> int:
    """Return the time of this computer's clock in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def _open_journal(config: AgentConfig, now_ms: Callable[[], int]) -> Journal:
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    outbox = config.outbox
    journal = Journal.open(
        config.data / JOURNAL_FILE,
        budget=Budget(
            bytes_max=outbox.bytes_max,
            age_max_s=outbox.age_max_ms / MS_PER_S,
            keep_settled_s=outbox.keep_settled_ms / MS_PER_S,
        ),
        when_full="drop_oldest",
        now_ms=now_ms,
        random64=lambda: secrets.randbits(64),
    )
    if journal.set_aside is not None:
        log.error("a damaged outbox was set aside as %s; what it held is lost", journal.set_aside)
    return journal


def _make_uplink(
    config: AgentConfig, sender: Sender, password: str | None, now_ms: Callable[[], int]
) -> Uplink:
    broker = config.broker
    return Uplink(
        sender,
        url=broker.url,
        client_id=f"{config.site}-{config.agent}",
        username=broker.username,
        password=password,
        tls=Tls(broker.ca_file, broker.cert_file, broker.key_file),
        now_ms=now_ms,
    )


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have put their things in order.

    Once may not be enough: `asyncio.wait_for` of Python 3.11 swallows a cancellation that arrives
    together with its result, and the libraries below us use it (fixed in 3.12, gh-86296).
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)
