"""A machine as it was at one version of the live state, and what may be concluded from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.model import Connectivity, Quality, Reason, State, Value

AGES_TO_STALE: Final = 3
"""A reading is valid for this many times the age that the agent promised."""


class Hours(NamedTuple):
    """What the calendar makes of one instant, as far as the one word for people depends on it."""

    rests: bool
    """Whether nobody works now: what is switched off then is closed, not off."""
    until_ms: int
    """When this may change."""


def no_calendar(_time_ms: int) -> Hours:
    """Say that no calendar says anything."""
    return Hours(rests=False, until_ms=1 << 62)


@dataclass(frozen=True, slots=True)
class Told:
    """What a person said a machine is doing that nothing else speaks for."""

    state: State
    reason: str
    since_ms: int
    said_ms: int
    until_ms: int
    """The first instant at which it is no longer believed."""


@dataclass(frozen=True, slots=True)
class SignalValue:
    """The last value of one signal, with the clock of its reading and that of its change."""

    signal: str
    value: Value
    time_ms: int
    changed_ms: int
    quality: Quality
    reason: Reason
    unit: str | None = None
    kind: str = "double"
    counts: str | None = None


@dataclass(frozen=True, slots=True)
class AgentLink:
    """An agent's session with the broker, as far as the hub has heard of it."""

    site: str
    agent: str
    foreign: bool
    online: bool | None
    """None: known from before the hub's start, and not heard from since."""
    since_ms: int
    heard_ms: int | None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """What a person wrote of a machine, which goes before what its birth says. None: nothing."""

    name: Mapping[str, str] | None = None
    kind: str | None = None
    maker: str | None = None
    model: str | None = None
    processes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LiveMachine:
    """One machine. Whatever depends on the clock is a method that takes the time.

    Four clocks, kept apart because "is it really alive?" has four answers: the agent's session
    (`agent_online`), the device link (`link`, `read_at_ms`), each signal's reading, and each
    signal's change (both in `signals`).
    """

    index: int
    site: str
    machine: str
    version: int
    """Version of the live state at which anything of this machine changed."""
    row_version: int
    """The same, of anything but signal values and the time of the last reading."""
    agent: str = ""
    foreign: bool = False
    name: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    maker: str = ""
    model: str = ""
    processes: tuple[str, ...] = ()
    agent_online: bool | None = None
    device_online: bool = True
    reachable: bool = True
    """Whether the hub itself is connected to the broker."""
    state: State = State.UNKNOWN
    """What was last reported; see `state_at` for what may be shown."""
    known_state: State = State.UNKNOWN
    """The last state reported that was one: agents that lose their machine report "unknown"."""
    since_ms: int | None = None
    reason: str = ""
    evidence: str = ""
    link: bool | None = None
    read_at_ms: int | None = None
    max_age_ms: int | None = None
    parts_good: float | None = None
    parts_scrap: float | None = None
    told: Told | None = None
    """What a person said, of a machine without an agent; `state` and the rest are from it."""
    hours: Callable[[int], Hours] = field(default=no_calendar, repr=False, compare=False)
    read_signals: Callable[[], dict[str, SignalValue]] = field(
        default=dict, repr=False, compare=False
    )

    @property
    def signals(self) -> dict[str, SignalValue]:
        """The last value of each signal, read when asked for: maybe newer than `version`."""
        return self.read_signals()

    @property
    def valid_until_ms(self) -> int | None:
        """Until when the last reading may be believed; None when nobody promised."""
        if self.told is not None:
            return self.told.until_ms - 1
        if self.read_at_ms is None or self.max_age_ms is None:
            return None
        return self.read_at_ms + AGES_TO_STALE * self.max_age_ms

    def connectivity(self, now_ms: int) -> Connectivity:
        """Tell whether this machine's data is arriving."""
        if self.told is not None:
            return Connectivity.ONLINE if now_ms < self.told.until_ms else Connectivity.STALE
        if self.read_at_ms is None:
            return Connectivity.NEVER_SEEN
        if self.agent_online is False or not self.device_online:
            return Connectivity.OFFLINE
        if self.agent_online is None:
            return Connectivity.STALE
        if self.valid_until_ms is None:
            # A foreign node promises nothing but its will, which needs a broker to arrive.
            return Connectivity.ONLINE if self.foreign and self.reachable else Connectivity.STALE
        return Connectivity.ONLINE if now_ms <= self.valid_until_ms else Connectivity.STALE

    def state_at(self, now_ms: int) -> State:
        """Roll up to the one word that people are shown."""
        if self.connectivity(now_ms) is not Connectivity.ONLINE:
            return State.UNKNOWN
        if self.state is State.OFF and self.hours(now_ms).rests:
            return State.CLOSED
        return self.state

    def shown_until_ms(self, now_ms: int) -> int | None:
        """Give the last instant until which `state_at` stays what it is by the clock alone.

        None when only news can change it.
        """
        if self.connectivity(now_ms) is not Connectivity.ONLINE:
            return None
        ends = [self.valid_until_ms] if self.valid_until_ms is not None else []
        if self.state is State.OFF:
            ends.append(self.hours(now_ms).until_ms - 1)
        return min(ends, default=None)

    def free_now(self, now_ms: int) -> bool:
        """Tell whether the machine could take work now; never true from stale data."""
        linked = self.link is not False if self.foreign else self.link is True
        return linked and self.state_at(now_ms) is State.IDLE
