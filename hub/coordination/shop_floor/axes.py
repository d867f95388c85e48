"""A machine's state on five independent axes, and the one word that people are shown (pure).

Item state and operation mode are those of OPC UA for Machinery (OPC 40001-1, MachineryItemState and
MachineryOperationMode). Tables lead there from the seven words of our rules, from MTConnect's
Execution and from PackML; what comes of a machine is hence the same whoever it speaks through.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.model import Connectivity, State
from hub.coordination.hours.calendar_rules import Kind
from hub.coordination.hours.calendars import Calendars
from hub.live import Hours


class ItemState(StrEnum):
    """Whether the machine does its work, and why not if it does not."""

    EXECUTING = "executing"
    NOT_EXECUTING = "not-executing"
    """It could, and waits for something outside."""
    OUT_OF_SERVICE = "out-of-service"
    NOT_AVAILABLE = "not-available"
    """It is off, or saves energy."""


class Mode(StrEnum):
    """What the machine is being used for."""

    PROCESSING = "processing"
    SETUP = "setup"
    MAINTENANCE = "maintenance"
    NONE = "none"


class Order(StrEnum):
    """Whether there is anything to do for it."""

    RUNNING = "running"
    QUEUED = "queued"
    NONE = "none"


class Axes(NamedTuple):
    """Item state and mode; `waiting` when what it waits for is material, people or the like."""

    item: ItemState
    mode: Mode
    waiting: bool = False


_IDLE: Final = Axes(ItemState.NOT_EXECUTING, Mode.NONE)
_RUNNING: Final = Axes(ItemState.EXECUTING, Mode.PROCESSING)
_PAUSED: Final = Axes(ItemState.NOT_EXECUTING, Mode.PROCESSING)
_WAITING: Final = Axes(ItemState.NOT_EXECUTING, Mode.NONE, waiting=True)
_DOWN: Final = Axes(ItemState.OUT_OF_SERVICE, Mode.NONE)
_OFF: Final = Axes(ItemState.NOT_AVAILABLE, Mode.NONE)

WORDS: Final[Mapping[State, Axes]] = {
    State.RUNNING: _RUNNING,
    State.SETUP: Axes(ItemState.NOT_EXECUTING, Mode.SETUP),
    State.IDLE: _IDLE,
    State.WAITING: _WAITING,
    State.DOWN: _DOWN,
    State.MAINTENANCE: Axes(ItemState.OUT_OF_SERVICE, Mode.MAINTENANCE),
    State.OFF: _OFF,
}
"""What the words of rules at the edge mean."""

MTCONNECT_EXECUTION: Final[Mapping[str, Axes | None]] = {
    "READY": _IDLE,
    "ACTIVE": _RUNNING,
    "INTERRUPTED": _PAUSED,
    "FEED_HOLD": _PAUSED,
    "STOPPED": _IDLE,
    "OPTIONAL_STOP": _PAUSED,
    "PROGRAM_STOPPED": _PAUSED,
    "PROGRAM_OPTIONAL_STOP": _PAUSED,
    "PROGRAM_COMPLETED": _IDLE,
    "WAIT": _WAITING,
    "UNAVAILABLE": None,
}
"""MTConnect 2.7, Execution. None: nothing is known, which is no item state but a gap."""

MTCONNECT_MODES: Final[Mapping[str, Mode]] = {
    "PRODUCTION": Mode.PROCESSING,
    "SETUP": Mode.SETUP,
    "TEARDOWN": Mode.SETUP,
    "MAINTENANCE": Mode.MAINTENANCE,
    "PROCESS_DEVELOPMENT": Mode.SETUP,
}
"""MTConnect 2.7, FunctionalMode."""

PACKML_STATES: Final[Mapping[str, Axes]] = {
    "Stopped": _IDLE,
    "Starting": _RUNNING,
    "Idle": _IDLE,
    "Suspended": _WAITING,
    "Execute": _RUNNING,
    "Stopping": _IDLE,
    "Aborting": _DOWN,
    "Aborted": _DOWN,
    "Holding": _PAUSED,
    "Held": _PAUSED,
    "Unholding": _PAUSED,
    "Suspending": _WAITING,
    "Unsuspending": _WAITING,
    "Resetting": Axes(ItemState.NOT_EXECUTING, Mode.SETUP),
    "Completing": _RUNNING,
    "Complete": _IDLE,
    "Clearing": _DOWN,
}
"""OPC 30050 (PackML) 1.01. Suspended is held up by what is outside, Held by the machine itself."""

OPC_ITEM_STATES: Final[Mapping[str, ItemState]] = {
    "Executing": ItemState.EXECUTING,
    "NotExecuting": ItemState.NOT_EXECUTING,
    "OutOfService": ItemState.OUT_OF_SERVICE,
    "NotAvailable": ItemState.NOT_AVAILABLE,
}
OPC_MODES: Final[Mapping[str, Mode]] = {
    "None": Mode.NONE,
    "Setup": Mode.SETUP,
    "Processing": Mode.PROCESSING,
    "Maintenance": Mode.MAINTENANCE,
}
"""OPC 40001-1, BrowseNames of the nodeset."""

RESTING: Final = frozenset({Kind.CLOSED, Kind.BREAK})
"""What is switched off in these is closed: nobody meant it to be on."""


_SHOWN_MODES: Final = {Mode.SETUP: State.SETUP, Mode.MAINTENANCE: State.MAINTENANCE}


def roll_up(connectivity: Connectivity, axes: Axes | None, calendar: Kind) -> State:
    """Give the one word for people; the first that fits counts.

    A machine that is broken says so while its site is closed, and so does one that runs: both
    concern somebody. Where no schedule is known a machine that is off is `off`.
    """
    if connectivity is not Connectivity.ONLINE or axes is None:
        return State.UNKNOWN
    match axes:
        case Axes(ItemState.OUT_OF_SERVICE, mode):
            return State.MAINTENANCE if mode is Mode.MAINTENANCE else State.DOWN
        case Axes(ItemState.EXECUTING, mode):
            return State.SETUP if mode is Mode.SETUP else State.RUNNING
        case Axes(ItemState.NOT_AVAILABLE, _):
            return State.CLOSED if calendar in RESTING else State.OFF
        case Axes(_, mode) if mode in _SHOWN_MODES:
            return _SHOWN_MODES[mode]
    return State.WAITING if axes.waiting else State.IDLE


def hours_at(calendars: Calendars, site: str, machine: str, time_ms: int) -> Hours:
    """Tell the live state what a calendar makes of an instant."""
    status = calendars.at(site, machine, time_ms)
    return Hours(rests=status.kind in RESTING, until_ms=status.until_ms)
