"""The nouns of the field: ids, samples, quality and the words for a machine's state."""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

Value = float | int | bool | str | None
"""What a signal can hold. None means that there is no value, and quality says why."""

ID_PATTERN: Final = re.compile(r"[a-z0-9-]{1,48}")
"""Our own site, agent and machine ids. They become topic levels, so nothing else is allowed."""

SIGNAL_PATTERN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ ./-]{0,95}")
"""Names of signals. They are percent-encoded in URLs and never become topic levels."""


class Quality(IntEnum):
    """How far a value can be trusted. Zero is good, so a fresh column of zeros is good data."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class Reason(IntEnum):
    """Why a value is uncertain or bad; the number travels as property ``Machikoba/Quality``."""

    NONE = 0
    TIMEOUT = 1
    """The machine did not answer in time."""
    CONNECTION = 2
    """There is no connection to the machine."""
    REFUSED = 3
    """The machine answered that it cannot serve the request."""
    ADDRESS = 4
    """The machine says that this register or node does not exist."""
    GARBLED = 5
    """The answer could not be understood."""
    RANGE = 6
    """The value lies outside the range configured as plausible."""
    SENTINEL = 7
    """The machine sent its own mark for 'no value'."""
    NOT_FINITE = 8
    """The value is not a number or infinite."""
    CLOCK = 9
    """The time of the reading cannot be trusted."""
    STALE = 10
    """Nothing newer was read within the time promised."""
    SOURCE = 11
    """The source itself marks the value (for example an OPC UA status code)."""
    TYPE = 12
    """The value has another type than the one announced."""
    UNKNOWN = 255


class State(StrEnum):
    """What a machine is doing, in one word. The last two are said by the hub only."""

    RUNNING = "running"
    SETUP = "setup"
    IDLE = "idle"
    WAITING = "waiting"
    DOWN = "down"
    MAINTENANCE = "maintenance"
    OFF = "off"
    UNKNOWN = "unknown"
    CLOSED = "closed"


EDGE_STATES: Final = frozenset(State) - {State.CLOSED}
"""Words that rules at the edge may say."""


class Connectivity(StrEnum):
    """Whether a machine's data is arriving."""

    ONLINE = "online"
    STALE = "stale"
    OFFLINE = "offline"
    NEVER_SEEN = "never-seen"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one signal.

    ``time_ms`` is the instant of acquisition, in milliseconds since 1970-01-01 UTC: the mid-point
    of request and reply, or the time that the source itself gave.
    """

    signal: str
    value: Value
    time_ms: int
    quality: Quality = Quality.GOOD
    reason: Reason = Reason.NONE


def valid_id(text: str) -> bool:
    """Tell whether `text` may be a site, agent or machine id of ours."""
    return ID_PATTERN.fullmatch(text) is not None
