"""What the agent announces of a machine, and how large that announcement gets."""

from typing import Final

from edge_agents.config import CYCLE_TIME, MachineConfig
from edge_agents.outbox import Aliases, MachineBirth, SignalBirth
from edge_agents.outbox.encoding import birth_metrics
from gateway.sparkplug import Payload, encode

BIRTH_BYTES_MAX: Final = 200 * 1024
"""A larger birth is refused by `machikoba agent check`; the hub takes no message over 256 KiB."""


def announced(machine: MachineConfig) -> MachineBirth:
    """Put a machine of the configuration into the words of its birth."""
    signals = [
        SignalBirth(
            name,
            config.datatype,
            unit=config.unit or None,
            counts=config.counts,
            max_age_ms=machine.promise_ms,
        )
        for name, config in machine.signals.items()
    ]
    if machine.cycle_counter is not None:
        signals.append(SignalBirth(CYCLE_TIME, "double", unit="s", max_age_ms=machine.promise_ms))
    return MachineBirth(machine.id, machine.description(), signals)


def birth_bytes(machine: MachineConfig) -> int:
    """Tell how large a machine's birth is before anything was read."""
    birth = announced(machine)
    aliases = Aliases({})
    given = {
        signal: aliases.give(machine.id, signal, datatype)
        for signal, datatype in birth.datatypes().items()
    }
    return len(encode(Payload(metrics=list(birth_metrics(birth, given, {})))))
