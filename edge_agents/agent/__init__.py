"""One agent: machines -> drivers -> samplers -> outbox -> uplink, put together and kept going."""

from edge_agents.agent.agent import Agent, serve
from edge_agents.agent.loading import Loaded, load
from edge_agents.agent.page import PORT_FILE

__all__ = ["PORT_FILE", "Agent", "Loaded", "load", "serve"]
