"""What the agent asks of every protocol: a driver runs by itself and delivers what it read."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.model import Reason, Sample


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one request, or one notification, told about one machine.

    ``at_ms`` is the instant of acquisition in milliseconds UTC. ``link`` says whether the machine
    answered. Signals that could not be read come as bad samples with their reason, once, at the
    moment of loss; a delivery without samples only confirms the link or its absence.
    """

    machine: str
    at_ms: int
    samples: tuple[Sample, ...]
    link: bool


Deliver = Callable[[Delivery], None]


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """How one machine behind a driver is doing."""

    machine: str
    link: bool
    breaker_open: bool
    reason: Reason
    quarantined: tuple[str, ...]
    """Signals whose address the machine refuses, tried again every hour."""


@dataclass(frozen=True, slots=True)
class DriverStatus:
    """How the conversation is going, for the status page; counters grow from the start."""

    name: str
    """The line or server, as in the configuration: ``modbus 192.168.10.21:502``."""
    connected: bool
    requests: int
    timeouts: int
    exceptions: int
    """Answers that refused a request."""
    reconnects: int
    missed_polls: int
    """Readings left out because the line was busy when they were due."""
    rtt_ms: float
    """Round trip, smoothed over the last few requests; 0 before the first answer."""
    utilisation: float
    """Share of the last while that the line spent waiting for answers, 0…1."""
    units: tuple[UnitStatus, ...]


class Driver(Protocol):
    """Owner of one line (host and port) or one OPC UA server; several machines may share it."""

    async def run(self, deliver: Deliver) -> None:
        """Read and deliver until cancelled. No trouble of a machine is ever raised."""

    def status(self) -> DriverStatus:
        """Tell how the conversation is going."""


def obey_cancellation() -> None:
    """Raise CancelledError if the running task was cancelled and somebody swallowed that.

    `asyncio.wait_for` of Python 3.11 does when the answer comes in the same instant, and both
    protocol libraries wait with it: the driver would go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
