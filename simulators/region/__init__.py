"""A region of several sites: written in one YAML file, generated, run, and told to others."""

from simulators.region.generate import generated
from simulators.region.plan import MachinePlan, Problem, Region, RegionError, Site, read, to_yaml
from simulators.region.simulation import Simulation, Whereabouts, now_ms
from simulators.region.texts import (
    agent_yaml,
    hub_yaml,
    write_agent_configs,
    write_hub_config,
    write_whole,
)

__all__ = [
    "MachinePlan",
    "Problem",
    "Region",
    "RegionError",
    "Simulation",
    "Site",
    "Whereabouts",
    "agent_yaml",
    "generated",
    "hub_yaml",
    "now_ms",
    "read",
    "to_yaml",
    "write_agent_configs",
    "write_hub_config",
    "write_whole",
]
