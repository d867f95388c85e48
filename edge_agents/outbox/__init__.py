"""From samples to durable entries: aliases, encoding and group commit."""

from edge_agents.outbox.aliases import Alias, Aliases, MachineBirth, SignalBirth
from edge_agents.outbox.outbox import Outbox, OutboxStatus

__all__ = ["Alias", "Aliases", "MachineBirth", "Outbox", "OutboxStatus", "SignalBirth"]
