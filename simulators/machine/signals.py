"""What a machine tells about itself: the names, units and natures of its signals."""

from dataclasses import dataclass
from typing import Final, Literal

from simulators.machine.kinds import Kind

Value = float | int | bool | str
Counts = Literal["good", "scrap"]
Nature = Literal["analog", "counter", "flag", "code", "text"]

PROGRAM_BYTES: Final = 16
"""Room for the program's name; longer ones are cut, shorter ones padded with zero bytes."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One named quantity.

    `resolution` is the smallest step that the controller tells (0.1 = tenths); `deadband` is the
    step worth telling others about, in the signal's unit.
    """

    name: str
    nature: Nature
    unit: str = ""
    resolution: float = 1.0
    deadband: float = 0.0
    counts: Counts | None = None
    bits: Literal[16, 32] = 16


def signals_of(kind: Kind) -> tuple[Signal, ...]:
    """List the signals of one kind of machine, always in the same order."""
    width = kind.counter_bits
    nominal = kind.drive_nominal
    fine = nominal < 100  # noqa: PLR2004 - slow drives are told in tenths
    return (
        Signal("step", "counter", bits=32),
        Signal("parts_good", "counter", counts="good", bits=width),
        Signal("parts_scrap", "counter", counts="scrap", bits=width),
        Signal("energy", "counter", "kWh", 0.01, bits=32),
        Signal("run_time", "counter", "h", 0.01, bits=32),
        Signal("alarm", "flag"),
        Signal("setup_mode", "flag"),
        Signal("waiting_material", "flag"),
        Signal("door_open", "flag"),
        Signal(kind.drive, "analog", kind.drive_unit, 0.1 if fine else 1.0, nominal * 0.01),
        Signal("load", "analog", "%", 0.1, 2.0),
        Signal("power", "analog", "kW", 0.01, 0.05),
        Signal("feed_rate", "analog", "mm/min", 1.0, 20.0),
        Signal("drive_temperature", "analog", "°C", 0.1, 0.2),
        Signal("coolant_temperature", "analog", "°C", 0.1, 0.2),
        Signal("vibration", "analog", "mm/s", 0.01, 0.05),
        Signal("air_pressure", "analog", "MPa", 0.001, 0.005),
        Signal("cycle_time", "analog", "s", 0.1),
        Signal("alarm_code", "code"),
        Signal("program", "text"),
    )
