"""One Modbus line: one question at a time, and each machine's troubles kept from the others.

The conversation is the same over every transport. A unit that stays silent three times in a row
is only probed from then on, at growing intervals, so it delays its neighbours by at most one
time-out per probe. A connection that ends is opened again at once; only if that fails too are its
machines lost. Lines share nothing, so they never disturb each other.

Where answers carry no number, a unit that did not answer in time is first left in peace and then
asked something unmistakable (see `late_reply`), while its neighbours are read on.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from edge_agents.drivers.bisection import LAST_RETEST_S, Change, Group
from edge_agents.drivers.breaker import Backoff, Breaker
from edge_agents.drivers.counters import Counters
from edge_agents.drivers.decoder import Decoder, GarbledError
from edge_agents.drivers.driver import Deliver, DriverStatus, UnitStatus, obey_cancellation
from edge_agents.drivers.frames import Refusal
from edge_agents.drivers.late_reply import LateReplyGuard
from edge_agents.drivers.presence import Presence, listed
from edge_agents.drivers.registers import Block, Limits, RegisterSignal, Table
from edge_agents.drivers.schedule import Schedule
from gateway.model import Reason

__all__ = ["GATEWAY_SILENT", "Disconnected", "Line", "LineMachine", "Refusal", "Transport"]

log = logging.getLogger(__name__)

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = frozenset({2, 3})
BUSY: Final = 6
GATEWAY_SILENT: Final = frozenset({10, 11})
"""Exception codes: Modbus Application Protocol 1.1b3, section 7. The last two are a gateway's
words for: the unit behind me does not answer."""

BUSY_RETRY_S: Final = 0.2
BUSY_RETRIES: Final = 3
UNSUPPORTED_RETRY_S: Final = 60.0
RECONNECT_FIRST_S: Final = 0.5
RECONNECT_LAST_S: Final = 15.0
IDLE_MAX_S: Final = 60.0
WINDOW_S: Final = 10.0
"""Utilisation is measured over this long."""
RTT_WEIGHT: Final = 0.1


class Disconnected(Exception):  # noqa: N818 (an event of every day rather than an error)
    """There is no connection, or it ended before the answer came."""


class Transport(Protocol):
    """How questions reach the units of a line."""

    name: str

    @property
    def numbered(self) -> bool:
        """Whether a late answer cannot be taken for the one to the next question."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as this end knows."""

    async def connect(self, timeout_s: float) -> None:
        """Open a new connection; raise Disconnected if there is none within the time."""

    async def read(self, device_id: int, block: Block, timeout_s: float) -> bytes | Refusal:
        """Ask a unit once; return the bytes of its answer, or its refusal.

        Raises TimeoutError without an answer, Disconnected, or GarbledError.
        """

    def close(self) -> None:
        """End the connection; safe at any time."""


@dataclass(frozen=True, slots=True)
class LineMachine:
    """One machine of a line: its unit, and the signals read from it."""

    machine: str
    device_id: int
    signals: tuple[RegisterSignal, ...]
    limits: Limits = field(default_factory=Limits)
    timeout_s: float = 1.0


@dataclass(slots=True, eq=False)
class _Poll:
    """One block of one machine, with what is needed to ask for it and to read the answer."""

    machine: "_Machine"
    group: Group
    block: Block
    decoder: Decoder
    breaker: Breaker
    period_s: float
    retest: bool
    busy: int = 0


@dataclass(slots=True, eq=False)
class _Machine:
    config: LineMachine
    unit: "_Unit"
    presence: Presence
    groups: list[Group]
    counters: Counters
    polls: dict[Block, _Poll] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Unit:
    """All that one device id of the line answers for."""

    breaker: Breaker
    guard: LateReplyGuard | None
    """None where answers carry the number of their question."""
    machines: list[_Machine] = field(default_factory=list)


@dataclass(slots=True)
class _Figures:
    """Counters for the status page."""

    requests: int = 0
    timeouts: int = 0
    exceptions: int = 0
    connects: int = 0
    rtt_s: float = 0.0
    utilisation: float = 0.0
    _window_s: float = 0.0
    _busy_s: float = 0.0

    def exchanged(self, began_s: float, ended_s: float, *, answered: bool) -> None:
        """Count one exchange."""
        elapsed_s = ended_s - began_s
        self._busy_s += elapsed_s
        if answered:
            weight = RTT_WEIGHT if self.rtt_s else 1.0
            self.rtt_s += weight * (elapsed_s - self.rtt_s)
        if ended_s - self._window_s >= WINDOW_S:
            whole_s = ended_s - self._window_s
            self.utilisation = min(1.0, self._busy_s / whole_s)
            self._window_s, self._busy_s = ended_s, 0.0


class Line:
    """Reads every machine of one line; a `Driver`."""

    def __init__(
        self,
        transport: Transport,
        machines: Sequence[LineMachine],
        *,
        now_ms: Callable[[], int],
        rng: random.Random,
        phase_s: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transport = transport
        self._now_ms = now_ms
        self._rng = rng
        self._phase_s = phase_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._reconnect = Backoff(rng, first_s=RECONNECT_FIRST_S, longest_s=RECONNECT_LAST_S)
        self._schedule: Schedule[_Poll] = Schedule()
        self._figures = _Figures()
        self._units: dict[int, _Unit] = {}
        self._machines = [self._machine(one) for one in machines]
        self._connect_timeout_s = max(one.timeout_s for one in machines)

    async def run(self, deliver: Deliver) -> None:
        """Read and deliver until cancelled."""
        start_s = self._monotonic() + self._phase_s
        for machine in self._machines:
            machine.presence.begin(deliver)
            for poll in machine.polls.values():
                self._schedule.set(poll, due_s=start_s, period_s=poll.period_s)
        try:
            while True:
                await self._turn()
                obey_cancellation()
        finally:
            self._transport.close()

    def status(self) -> DriverStatus:
        """Tell how the line is doing."""
        figures = self._figures
        return DriverStatus(
            name=self._transport.name,
            connected=self._transport.connected,
            requests=figures.requests,
            timeouts=figures.timeouts,
            exceptions=figures.exceptions,
            reconnects=max(0, figures.connects - 1),
            missed_polls=self._schedule.missed,
            rtt_ms=figures.rtt_s * 1_000,
            utilisation=figures.utilisation,
            units=tuple(_status(machine) for machine in self._machines),
        )

    # What the line is made of.

    def _machine(self, config: LineMachine) -> _Machine:
        kinds: dict[tuple[int, Table], list[RegisterSignal]] = {}
        for signal in config.signals:
            kinds.setdefault((signal.period_ms, signal.table), []).append(signal)
        groups = [Group(signals, config.limits) for signals in kinds.values()]
        unit = self._units.get(config.device_id)
        if unit is None:
            guard = None if self._transport.numbered else LateReplyGuard(config.timeout_s)
            unit = self._units[config.device_id] = _Unit(Breaker(self._rng), guard)
        presence = Presence(
            config.machine,
            tuple(signal.name for signal in config.signals),
            self._transport.name,
            now_ms=self._now_ms,
            monotonic=self._monotonic,
        )
        counters = Counters(config.machine, config.signals)
        machine = _Machine(config, unit, presence, groups, counters)
        unit.machines.append(machine)
        for group in groups:
            for block in group.blocks:
                self._add_poll(machine, group, block)
        return machine

    def _add_poll(
        self, machine: _Machine, group: Group, block: Block, *, retest: bool = False
    ) -> _Poll:
        period_s = LAST_RETEST_S if retest else block.period_ms / 1_000
        breaker = Breaker(self._rng)
        poll = _Poll(machine, group, block, Decoder(block), breaker, period_s, retest)
        machine.polls[block] = poll
        return poll

    # What the line does.

    async def _turn(self) -> None:
        """Ask the question that is due, or wait for one."""
        poll, wait_s = self._schedule.next(self._monotonic())
        try:
            if poll is None:
                await self._sleep(min(wait_s, IDLE_MAX_S))
            elif self._transport.connected:
                await self._ask(poll)
            else:
                await self._connect()
        except Disconnected as error:
            await self._lose_all(Reason.CONNECTION, str(error))
        except Exception:
            # Whatever a machine's bytes did to us, the line goes on and the log has the cause.
            log.exception("%s: unforeseen trouble", self._transport.name)
            await self._lose_all(Reason.UNKNOWN, "unforeseen trouble")

    async def _connect(self) -> None:
        await self._transport.connect(self._connect_timeout_s)
        self._figures.connects += 1

    async def _ask(self, poll: _Poll) -> None:
        """Put one question to the line, and take in whatever comes of it."""
        began_s = self._monotonic()
        guard = poll.machine.unit.guard
        if guard is not None and (wait_s := guard.wait_s(began_s)) > 0:
            self._postpone(poll, wait_s)
            return
        block = poll.block if guard is None else guard.question(poll.block, began_s)
        outcome = await self._exchange(poll, block)
        ended_s = self._monotonic()
        at_ms = self._now_ms() - round((ended_s - began_s) * 500)
        answered = not isinstance(outcome, Reason)
        self._figures.exchanged(began_s, ended_s, answered=answered)
        if guard is not None:
            self._note(guard, block, outcome, ended_s)
        if answered and block is not poll.block:
            self._heard(poll)  # the true question is still due, and may be asked now
            return
        self._schedule.done(poll, ended_s)
        if isinstance(outcome, bytes):
            self._take(poll, outcome, at_ms)
        elif isinstance(outcome, Refusal):
            self._refused(poll, outcome.code)
        elif outcome is Reason.TIMEOUT:
            self._figures.timeouts += 1
            self._unanswered(poll, Reason.TIMEOUT)
        else:
            self._garbled(poll)

    def _note(
        self, guard: LateReplyGuard, block: Block, outcome: bytes | Refusal | Reason, now_s: float
    ) -> None:
        """Remember which answers may still come."""
        if isinstance(outcome, Reason):
            guard.unanswered(block, now_s)
        else:
            guard.answered(block, now_s, refused=isinstance(outcome, Refusal))

    async def _exchange(self, poll: _Poll, block: Block) -> bytes | Refusal | Reason:
        """Ask; if the connection has ended, ask once more over a new one.

        Many devices close connections that were idle, so one that ended is no loss yet.
        """
        self._figures.requests += 1
        config = poll.machine.config
        try:
            try:
                return await self._transport.read(config.device_id, block, config.timeout_s)
            except Disconnected:
                await self._connect()
                return await self._transport.read(config.device_id, block, config.timeout_s)
        except TimeoutError:
            return Reason.TIMEOUT
        except GarbledError:
            return Reason.GARBLED

    # What comes of a question.

    def _take(self, poll: _Poll, answer: bytes, at_ms: int) -> None:
        try:
            samples = poll.decoder.decode(answer, at_ms)
        except GarbledError:
            self._garbled(poll)
            return
        self._heard(poll)
        poll.busy = 0
        poll.machine.presence.read(at_ms, poll.machine.counters.followed(samples))
        self._follow(poll, poll.group.answered(poll.block))

    def _heard(self, poll: _Poll) -> None:
        """Take in that the unit answered: it is there, and so is the line."""
        self._reconnect.reset()
        poll.breaker.answered()
        unit = poll.machine.unit
        probed, doubted = unit.breaker.open, unit.breaker.doubted
        unit.breaker.answered()
        if doubted:
            self._doubt(unit, doubted=False)
        for machine in unit.machines:
            back = probed or machine.presence.announced
            machine.presence.answers()
            if back:
                self._welcome(machine, poll)

    def _welcome(self, machine: _Machine, heard: _Poll) -> None:
        """Ask a machine that is back for everything else at once."""
        now_s = self._monotonic()
        for poll in machine.polls.values():
            if poll is not heard:
                self._schedule.set(poll, due_s=now_s, period_s=poll.period_s)

    def _unanswered(self, poll: _Poll, reason: Reason) -> None:
        machine = poll.machine
        probe_s = machine.unit.breaker.failed()
        if probe_s is not None:
            self._leave_alone(machine.unit, probe_s, reason)
            return
        self._doubt(machine.unit, doubted=True)
        machine.presence.lose(reason, poll.block.names)
        pause_s = poll.breaker.failed()
        if pause_s is not None:  # only this question is met by silence
            self._postpone(poll, pause_s)

    def _doubt(self, unit: _Unit, *, doubted: bool) -> None:
        """Let a unit that was silent wait behind the others that are due."""
        for machine in unit.machines:
            for poll in machine.polls.values():
                self._schedule.doubt(poll, doubted=doubted)

    def _leave_alone(self, unit: _Unit, probe_s: float, reason: Reason) -> None:
        """Give a silent unit's time to the others, but for one short question after a while."""
        for machine in unit.machines:
            machine.presence.lose(reason)
            machine.presence.silent(reason.name.lower())
            for poll in machine.polls.values():
                self._schedule.remove(poll)
        polls = (poll for machine in unit.machines for poll in machine.polls.values())
        probe = min(polls, key=lambda poll: (poll.retest, poll.block.count))
        self._postpone(probe, probe_s)
        self._schedule.doubt(probe, doubted=True)
        if all(one.breaker.open for one in self._units.values()):
            # Nobody answers: the connection may be dead without our knowing. A new one will tell.
            self._transport.close()

    def _garbled(self, poll: _Poll) -> None:
        if poll.machine.unit.guard is not None:
            # Noise on a shared line need not be the unit's: it proves nothing, and costs time.
            self._unanswered(poll, Reason.GARBLED)
            return
        self._heard(poll)
        machine = poll.machine
        new = machine.presence.lose(Reason.GARBLED, poll.block.names, link=True)
        if new:
            log.warning(
                "%s: its answer about %s makes no sense", machine.config.machine, listed(new)
            )

    def _refused(self, poll: _Poll, code: int) -> None:
        """Take in an exception: an answer, which says that something in the question is wrong."""
        self._figures.exceptions += 1
        if code in GATEWAY_SILENT:
            self._figures.timeouts += 1
            self._unanswered(poll, Reason.TIMEOUT)
            return
        self._heard(poll)
        if code in ILLEGAL_ADDRESS:
            self._follow(poll, poll.group.refused(poll.block))
            return
        if code == BUSY and poll.busy < BUSY_RETRIES:
            poll.busy += 1
            self._postpone(poll, BUSY_RETRY_S)
            return
        machine = poll.machine
        new = machine.presence.lose(Reason.REFUSED, poll.block.names, link=True)
        if new:
            name = machine.config.machine
            log.warning("%s refuses to tell %s: exception %d", name, listed(new), code)
        if code == ILLEGAL_FUNCTION:
            self._postpone(poll, UNSUPPORTED_RETRY_S)

    def _follow(self, poll: _Poll, change: Change) -> None:
        """Ask from now on what the group made of the last answer."""
        machine, group, now_s = poll.machine, poll.group, self._monotonic()
        for block in change.removed:
            gone = machine.polls.pop(block, None)
            if gone is not None:
                self._schedule.remove(gone)
        for block in change.added:
            new = self._add_poll(machine, group, block)
            self._schedule.set(new, due_s=now_s, period_s=new.period_s)
        for block, delay_s in change.retests:
            again = self._add_poll(machine, group, block, retest=True)
            self._schedule.set(again, due_s=now_s + delay_s, period_s=again.period_s)
        name = machine.config.machine
        for signal in change.quarantined:
            where = f"{signal.table} {signal.address}"
            log.warning("%s does not know %s (%s): left out for now", name, where, signal.name)
        for signal in change.released:
            log.info("%s knows %s %d (%s)", name, signal.table, signal.address, signal.name)
        refused = [signal.name for signal in change.quarantined]
        if refused:
            machine.presence.lose(Reason.ADDRESS, refused, link=True)

    # What is lost.

    async def _lose_all(self, reason: Reason, cause: str) -> None:
        """Say that every machine is lost, and wait a little before the next try."""
        self._transport.close()
        for machine in self._machines:
            machine.presence.lose(reason)
            machine.presence.silent(cause)
        await self._sleep(self._reconnect.next_s())
        self._schedule.begin_anew(self._monotonic())

    def _postpone(self, poll: _Poll, delay_s: float) -> None:
        due_s = self._monotonic() + delay_s
        self._schedule.set(poll, due_s=due_s, period_s=poll.period_s)


def _status(machine: _Machine) -> UnitStatus:
    quarantined = tuple(name for group in machine.groups for name in group.quarantined)
    return machine.presence.status(breaker_open=machine.unit.breaker.open, quarantined=quarantined)
