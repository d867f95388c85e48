"""What crosses the edge of the delivery module: messages out, births in, losses told."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.sparkplug import Metric


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One MQTT message to publish.

    ``token`` is set when the sender wants to hear that the publish completed; hand it back with
    ``Sender.published``.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    token: int | None = None


@dataclass(frozen=True, slots=True)
class MachineMetrics:
    """One DBIRTH: every metric of a machine with its present value.

    ``metrics`` carry name, alias, datatype, value (None = unknown) and properties; aliases that
    only unacknowledged entries still use are among them, null and marked retired.
    """

    machine: str
    metrics: Sequence[Metric]


@dataclass(frozen=True, slots=True)
class Births:
    """Everything that a full birth announces beside the session itself.

    ``machines`` holds every machine configured, and those removed whose last entry is not
    acknowledged yet.
    """

    machines: Sequence[MachineMetrics]


@dataclass(frozen=True, slots=True)
class NodeBirth:
    """What the hub reads from an agent's NBIRTH.

    ``first`` is the oldest offset that the agent's journal holds, ``next`` the next to be written.
    """

    bdseq: int
    protocol: int
    epoch: int
    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Offsets (inclusive) that no longer exist at the agent and never reached the hub."""

    epoch: int
    first: int
    last: int
