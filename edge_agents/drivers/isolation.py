"""Keeps OPC UA conversations out of the agent's own process, and the healthy ones running.

Servers are spread over a few children (see `opcua_child`). A child that stalls, dies or talks
nonsense is killed; its servers are said to be lost and begin again in a new one. The server to
blame goes to a child of its own, so that it can do no more harm.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from edge_agents.drivers.breaker import Backoff
from edge_agents.drivers.counters import Counters
from edge_agents.drivers.driver import Deliver, Delivery, DriverStatus, UnitStatus
from edge_agents.drivers.nodes import Server, as_json
from edge_agents.drivers.presence import Presence
from gateway.model import Quality, Reason, Sample

log = logging.getLogger(__name__)

OPCUA_COMMAND: Final = (sys.executable, "-m", "edge_agents.drivers.opcua_child")
MEMORY_BYTES_MAX: Final = 72 * 1024**2
"""What one child may hold of its own; an interpreter with the library takes half of it.

With one child that eats all it can, the whole agent stays below 200 MiB.
"""
SIGNAL_BYTES: Final = 4 * 1024
"""What one signal may take in addition; 2.4 KiB were measured with 15,000 of them."""
SILENT_S: Final = 8.0
"""A child tells every second that it lives, and blames a culprit after four."""
LINE_BYTES_MAX: Final = 4 * 1024**2
SOLITARY_MAX: Final = 4
"""Children for servers that have hung one before; if there are more such, they share."""
RESTART_FIRST_S: Final = 1.0
RESTART_LAST_S: Final = 60.0
HEALTHY_S: Final = 60.0


class ChildError(Exception):
    """The child talks nonsense, or not at all."""


class IsolatedServer:
    """One OPC UA server, read in a child process; a `Driver`."""

    def __init__(
        self,
        server: Server,
        nursery: "Nursery",
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"opcua {server.url}"
        self.server = server
        self.suspect = False
        """Whether it has hung a child before."""
        self._nursery = nursery
        self._presences = {
            one.machine: Presence(
                one.machine,
                tuple(signal.name for signal in one.signals),
                self.name,
                now_ms=now_ms,
                monotonic=monotonic,
            )
            for one in server.machines
        }
        # Here and not in the child, which may be replaced between two readings of a counter.
        self._counters = {
            one.machine: Counters(one.machine, one.signals) for one in server.machines
        }
        self._status: DriverStatus | None = None

    async def run(self, deliver: Deliver) -> None:
        """Have the server read until cancelled."""
        for presence in self._presences.values():
            presence.begin(deliver)
        await self._nursery.keep(self)

    def status(self) -> DriverStatus:
        """Tell what the child said last; nothing when it is gone."""
        if self._status is not None:
            return self._status
        units = tuple(
            one.status(breaker_open=True, quarantined=()) for one in self._presences.values()
        )
        return DriverStatus(self.name, False, 0, 0, 0, 0, 0, 0.0, 0.0, units)  # noqa: FBT003

    def heard(self, status: DriverStatus) -> None:
        """Take in what the child says about the conversation."""
        self._status = status

    def take(self, delivery: Delivery) -> None:
        """Pass a delivery of the child on. Raises ChildError for a machine that is not ours."""
        presence = self._presences.get(delivery.machine)
        if presence is None:
            raise ChildError(f"{delivery.machine!r} is no machine of {self.name}")
        samples = self._counters[delivery.machine].followed(delivery.samples)
        presence.relay(replace(delivery, samples=samples))

    def lose(self, cause: str) -> None:
        """Say that nothing is known of the machines any more."""
        self._status = None
        for presence in self._presences.values():
            presence.lose(Reason.CONNECTION)
            presence.silent(cause)


@dataclass(slots=True, eq=False)
class _Child:
    """One place for a child process; the process in it may change."""

    solitary: bool
    backoff: Backoff
    servers: dict[int, IsolatedServer] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    clock_offset_ms: int | None = None
    """What the process was told last about the time; see `Nursery`."""
    task: asyncio.Task[None] | None = None


class Nursery:
    """Spreads servers over children, and replaces a child that fails."""

    def __init__(
        self,
        processes: int,
        *,
        rng: random.Random,
        command: Sequence[str] = OPCUA_COMMAND,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        clock_offset_ms: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._clock_offset_ms = clock_offset_ms
        self._processes = processes
        self._rng = rng
        self._command = (*command, str(memory_bytes_max))
        self._children: list[_Child] = []
        self._next_number = 0

    async def keep(self, server: IsolatedServer) -> None:
        """Have `server` read in some child until cancelled."""
        self._next_number += 1
        number = self._next_number
        self._admit(number, server)
        try:
            await asyncio.Event().wait()
        finally:
            await self._dismiss(number)

    # Who lives where.

    def _admit(self, number: int, server: IsolatedServer) -> None:
        """Give a server to the emptiest child of its kind, a new one while there may be more."""
        kind = [one for one in self._children if one.solitary is server.suspect]
        limit = SOLITARY_MAX if server.suspect else self._processes
        if len(kind) < limit:
            child = self._new_child(solitary=server.suspect)
        else:
            child = min(kind, key=lambda one: len(one.servers))
        child.servers[number] = server
        self._order(child, _adding(number, server))

    def _new_child(self, *, solitary: bool) -> _Child:
        backoff = Backoff(self._rng, first_s=RESTART_FIRST_S, longest_s=RESTART_LAST_S)
        child = _Child(solitary, backoff)
        self._children.append(child)
        child.task = asyncio.create_task(self._care(child), name="opcua child")
        return child

    async def _dismiss(self, number: int) -> None:
        for child in self._children:
            if child.servers.pop(number, None) is not None:
                self._order(child, {"remove": number})
                await self._close_if_empty(child)
                return

    async def _close_if_empty(self, child: _Child) -> None:
        if child.servers or child.task is None:
            return
        if child in self._children:
            self._children.remove(child)
        if child.task is not asyncio.current_task():
            child.task.cancel()
            await asyncio.gather(child.task, return_exceptions=True)

    # What happens to a child.

    async def _care(self, child: _Child) -> None:
        """Keep a process running for the servers of a child, until there are none."""
        while child.servers:
            began_s = time.monotonic()
            cause = await self._one_life(child)
            log.warning("a child that reads %s: %s", _named(child), cause)
            for server in child.servers.values():
                server.lose(cause)
            if self._part_suspects(child):
                continue  # the others had no part in it and go on at once
            if time.monotonic() - began_s > HEALTHY_S:
                child.backoff.reset()
            await asyncio.sleep(child.backoff.next_s())
        await self._close_if_empty(child)

    def _part_suspects(self, child: _Child) -> bool:
        """Move the servers to blame to children of their own; tell whether there were any."""
        if child.solitary or len(child.servers) == 1:
            return False  # the harm cannot be made less
        suspects = {number: one for number, one in child.servers.items() if one.suspect}
        for number, server in suspects.items():
            del child.servers[number]
            self._admit(number, server)
        return bool(suspects)

    async def _one_life(self, child: _Child) -> str:
        """Run one process until it fails; say why it did."""
        process = None
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_BYTES_MAX,
                env={**os.environ, "MALLOC_ARENA_MAX": "2"},
            )
            child.process = process
            child.clock_offset_ms = None
            self._tell_time(child)
            for number, server in child.servers.items():
                self._order(child, _adding(number, server))
            return await self._listen(child, process)
        except (OSError, ChildError, ValueError) as error:
            return f"{error}"
        finally:
            child.process = None
            if process is not None:
                await _end(process)

    async def _listen(self, child: _Child, process: asyncio.subprocess.Process) -> str:
        if process.stdout is None:
            raise ChildError("no pipe")
        while True:
            try:
                async with asyncio.timeout(SILENT_S):
                    line = await process.stdout.readline()
            except TimeoutError:
                return "it was silent and was killed"
            if not line:
                return "it ended by itself"
            self._tell_time(child)
            stuck = self._hear(child, line)
            if stuck is not None:
                return stuck

    def _hear(self, child: _Child, line: bytes) -> str | None:
        """Take in one line of a child; return the cause if it is its last.

        Raises ChildError for what no child of ours would say.
        """
        try:
            match json.loads(line, parse_constant=_no_number):
                case ["read", int(number), str(machine), int(at_ms), bool(link), list(samples), by]:
                    delivery = Delivery(machine, at_ms, tuple(map(_sample, samples)), link)
                    if number in child.servers:
                        child.servers[number].take(_moved(delivery, self._moved_ms(by)))
                case ["beat", dict(statuses)]:
                    for number, status in statuses.items():
                        if int(number) in child.servers:
                            child.servers[int(number)].heard(_status(status))
                case ["stuck", number]:
                    return self._stuck(child, number)
                case _:
                    raise ChildError("it talked nonsense and was killed")
        except (ValueError, TypeError, KeyError) as error:
            if line.strip():  # an empty line comes before the last words
                log.debug("a line of a child makes no sense: %r", line[:200])
                raise ChildError("it talked nonsense and was killed") from error
        return None

    @staticmethod
    def _stuck(child: _Child, number: object) -> str:
        server = child.servers.get(number) if isinstance(number, int) else None
        if server is None:
            return "it hung, no one knows by whom"
        server.suspect = True
        return f"{server.name} hung it"

    def _tell_time(self, child: _Child) -> None:
        """Have a child know the time as we do: it has the same steady clock."""
        offset_ms = self._clock_offset_ms()
        if offset_ms != child.clock_offset_ms:
            child.clock_offset_ms = offset_ms
            self._order(child, {"clock": offset_ms})

    def _moved_ms(self, offset_ms: object) -> int:
        """Tell what times lack that a child gave by another offset than ours by now."""
        if not isinstance(offset_ms, int):
            return 0
        ours_ms = self._clock_offset_ms()
        if ours_ms is None:
            ours_ms = (time.time_ns() - time.monotonic_ns()) // 1_000_000
        return ours_ms - offset_ms

    @staticmethod
    def _order(child: _Child, order: Mapping[str, Any]) -> None:
        process = child.process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(json.dumps(order).encode() + b"\n")


def _adding(number: int, server: IsolatedServer) -> dict[str, Any]:
    return {"add": number, "server": as_json(server.server)}


def _named(child: _Child) -> str:
    return ", ".join(server.name for server in child.servers.values())


def _sample(data: Sequence[Any]) -> Sample:
    signal, value, time_ms, quality, reason = data
    if not (value is None or isinstance(value, str | int | float)) or not isinstance(time_ms, int):
        raise ValueError("no sample")
    return Sample(str(signal), value, time_ms, Quality(quality), Reason(reason))


def _moved(delivery: Delivery, by_ms: int) -> Delivery:
    if not by_ms:
        return delivery
    samples = tuple(replace(one, time_ms=one.time_ms + by_ms) for one in delivery.samples)
    return replace(delivery, at_ms=delivery.at_ms + by_ms, samples=samples)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _status(data: Mapping[str, Any]) -> DriverStatus:
    units = tuple(
        UnitStatus(
            **{**unit, "reason": Reason(unit["reason"]), "quarantined": tuple(unit["quarantined"])}
        )
        for unit in data["units"]
    )
    return DriverStatus(**{**data, "units": units})


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
