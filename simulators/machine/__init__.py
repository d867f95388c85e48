"""What a simulated machine is and does; pure: no clock, no network, no randomness of its own."""

from simulators.machine.kinds import KINDS, Kind
from simulators.machine.physics import Machine, Phase
from simulators.machine.signals import Counts, Signal, Value, signals_of

__all__ = ["KINDS", "Counts", "Kind", "Machine", "Phase", "Signal", "Value", "signals_of"]
