"""What the hub knows now: machines, alarms and its own counters."""

from hub.live.alarms import Alarm, Alarms
from hub.live.counters import Counters
from hub.live.live import Live
from hub.live.machine import AgentLink, Hours, Label, LiveMachine, SignalValue, Told

__all__ = [
    "AgentLink",
    "Alarm",
    "Alarms",
    "Counters",
    "Hours",
    "Label",
    "Live",
    "LiveMachine",
    "SignalValue",
    "Told",
]
