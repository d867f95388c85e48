"""Delivery without loss over a network that loses: both ends, without any input or output."""

from gateway.delivery.commands import Ack, CommandError, ack_command, read_ack, rebirth_command
from gateway.delivery.host import HostSession, HostState, read_state
from gateway.delivery.mark import MARK_FACT, MarkError
from gateway.delivery.messages import (
    Births,
    Lost,
    MachineMetrics,
    NodeBirth,
    Outgoing,
)
from gateway.delivery.receiver import Receiver
from gateway.delivery.sender import Sender, SenderStatus
from gateway.delivery.storage import Storage

__all__ = [
    "MARK_FACT",
    "Ack",
    "Births",
    "CommandError",
    "HostSession",
    "HostState",
    "Lost",
    "MachineMetrics",
    "MarkError",
    "NodeBirth",
    "Outgoing",
    "Receiver",
    "Sender",
    "SenderStatus",
    "Storage",
    "ack_command",
    "read_ack",
    "read_state",
    "rebirth_command",
]
