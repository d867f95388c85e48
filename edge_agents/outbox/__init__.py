"""From samples to durable entries: aliases, encoding and group commit."""

from edge_agents.outbox.aliases import Alias, Aliases, MachineBirth, SignalBirth
from edge_agents.outbox.outbox import Outbox, OutboxStatus
from edge_agents.outbox.waiting import Waiting, uncertain

__all__ = [
    "Alias",
    "Aliases",
    "MachineBirth",
    "Outbox",
    "OutboxStatus",
    "SignalBirth",
    "Waiting",
    "uncertain",
]
