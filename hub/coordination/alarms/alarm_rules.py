"""When the hub itself raises an alarm (pure): what is seen goes in, what should be on comes out."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.model import State
from hub.notice_settings import AlarmRules

DOWN: Final = "machine-down"
DISK: Final = "disk-filling"
CERTIFICATE: Final = "certificate-expiring"
INBOX: Final = "inbox-filling"
OWN: Final = frozenset({DOWN, DISK, CERTIFICATE, INBOX})
"""The codes that these rules raise and clear, and nobody else."""

LATCHED: Final = frozenset(
    {"protocol", "twin-agent", "samples-dropped", "undecodable-entries", "webhook-missed"}
)
"""Alarms about something that happened, not about something that lasts: taking note ends them."""

RELIEF: Final = 1.2
"""What was too full must have so much more room before it counts as relieved: no flapping."""
DAY_MS: Final = 86_400_000

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MachineSeen:
    """One machine as it may be shown now. `state` is unknown when its data does not arrive."""

    site: str
    machine: str
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the hub sees of the world around it at one instant."""

    machines: Collection[MachineSeen] = ()
    disk_free_percent: float | None = None
    inbox_percent: float | None = None
    certificates: Mapping[str, int] = field(default_factory=dict)
    """When each certificate ends, by the name of its file."""


class DownSince:
    """Remembers since when each machine has been seen down, by the hub's own clock."""

    def __init__(self) -> None:
        self._since: dict[Key, int] = {}

    def note(self, machines: Collection[MachineSeen], now_ms: int) -> dict[Key, int]:
        """Take note of what is seen now; unknown machines keep what was known of them."""
        for seen in machines:
            key = (seen.site, seen.machine)
            if seen.state is State.DOWN:
                self._since[key] = min(self._since.get(key, now_ms), now_ms)
            elif seen.state is not State.UNKNOWN:
                self._since.pop(key, None)
        return self._since


def wanted(
    seen: Seen,
    down_since: Mapping[Key, int],
    on: Collection[Key],
    rules: AlarmRules,
    now_ms: int,
) -> dict[Key, str]:
    """Give the alarms of these rules that should be on, as (code, subject) with their text."""
    found = dict(_machines(seen, down_since, on, rules, now_ms))
    free = seen.disk_free_percent
    if free is not None and free < rules.disk_free_percent * _relief((DISK, "disk"), on):
        found[DISK, "disk"] = f"only {free:.0f} % of the disk are free"
    full = seen.inbox_percent
    if full is not None and 100 - full < (100 - rules.inbox_percent) * _relief(
        (INBOX, "inbox"), on
    ):
        found[INBOX, "inbox"] = f"the inbox is {full:.0f} % full"
    for name, ends_ms in seen.certificates.items():
        days = (ends_ms - now_ms) / DAY_MS
        if days < rules.certificate_days:
            text = "has expired" if days <= 0 else f"expires in {days:.0f} days"
            found[CERTIFICATE, name] = f"certificate {name} {text}"
    return found


def _machines(
    seen: Seen,
    down_since: Mapping[Key, int],
    on: Collection[Key],
    rules: AlarmRules,
    now_ms: int,
) -> Iterator[tuple[Key, str]]:
    for each in seen.machines:
        since_ms = down_since.get((each.site, each.machine))
        if since_ms is None and each.state is not State.UNKNOWN:
            continue
        key = (DOWN, f"{each.site}/{each.machine}")
        lasting = since_ms is not None and now_ms - since_ms >= rules.machine_down_after_s * 1000
        # One that was on stays on while nothing else is known, after a restart too.
        if lasting or key in on:
            why = f" ({each.reason})" if each.reason else ""
            yield key, f"{each.site}/{each.machine} is down{why}"


def _relief(key: Key, on: Collection[Key]) -> float:
    return RELIEF if key in on else 1.0
