"""Machines as rows of the stream, and which of them a viewer must be sent again (pure)."""

from collections.abc import Iterable
from typing import Final

from gateway.model import Quality, Reason
from hub.coordination.capacity.board import Free
from hub.live import LiveMachine, SignalValue

COLUMNS: Final = (
    "i",
    "site",
    "machine",
    "name",
    "kind",
    "state",
    "last_state",
    "since",
    "reason",
    "connectivity",
    "valid_until",
    "parts",
    "agent_online",
    "free_now",
    "next_free",
    "free_h24",
    "free_d7",
    "read_at",
)
_VALID_UNTIL: Final = COLUMNS.index("valid_until")
_READ_AT: Final = COLUMNS.index("read_at")
RENEW_MS: Final = 10_000
"""A row goes out again this long before what was sent of it loses its validity."""

NOT_TOLD: Final = Free()
Key = tuple[str, str]
Row = tuple[object, ...]
_QUALITY: Final = {Quality.GOOD: "good", Quality.UNCERTAIN: "uncertain", Quality.BAD: "bad"}


def machine_row(machine: LiveMachine, now_ms: int, free: Free = NOT_TOLD) -> Row:
    """Write a machine as it may be shown at `now_ms`, without its position."""
    return (
        machine.site,
        machine.machine,
        {"en": machine.name.get("en"), "ja": machine.name.get("ja")},
        machine.kind or None,
        machine.state_at(now_ms).value,
        machine.known_state.value,
        machine.since_ms,
        machine.reason or None,
        machine.connectivity(now_ms).value,
        machine.valid_until_ms,
        machine.parts_good,
        machine.agent_online is True,
        free.now,
        free.next_ms,
        free.h24,
        free.d7,
        machine.read_at_ms,
    )


def signal_row(signal: SignalValue) -> Row:
    """Write a signal: name, unit, value, time, quality, reason."""
    reason = None if signal.reason is Reason.NONE else signal.reason.name.lower()
    quality = _QUALITY[signal.quality]
    return (signal.signal, signal.unit, signal.value, signal.time_ms, quality, reason)


def must_resend(sent: Row | None, row: Row, now_ms: int) -> bool:
    """Tell whether a viewer who has `sent` needs `row`.

    That a machine was read again is no news by itself, until what was sent is about to expire.
    """
    if sent is None or _without_clocks(sent) != _without_clocks(row):
        return True
    expires, renewed = sent[_VALID_UNTIL - 1], row[_VALID_UNTIL - 1]
    if expires == renewed:
        return False
    return not isinstance(expires, int) or expires - now_ms < RENEW_MS


def _without_clocks(row: Row) -> Row:
    return (*row[: _VALID_UNTIL - 1], *row[_VALID_UNTIL : _READ_AT - 1])


class Rows:
    """The row of every machine, refreshed as little as possible."""

    def __init__(self) -> None:
        self._rows: dict[Key, Row] = {}
        self._expires: dict[Key, int] = {}

    def refresh(self, machines: Iterable[tuple[LiveMachine, Free]], now_ms: int) -> None:
        """Take over machines that changed, as they may be shown, with how free they are."""
        for machine, free in machines:
            key = (machine.site, machine.machine)
            self._rows[key] = machine_row(machine, now_ms, free)
            self._expires.pop(key, None)
            until_ms = machine.shown_until_ms(now_ms)
            if until_ms is not None:
                self._expires[key] = until_ms

    def drop(self, hidden: Iterable[Key]) -> None:
        """Forget machines that are no longer shown."""
        for key in hidden:
            self._rows.pop(key, None)
            self._expires.pop(key, None)

    def expired(self, now_ms: int) -> list[Key]:
        """Name the machines of which the clock alone now tells something else.

        Their last reading has lost its validity, or their hours have begun or ended.
        """
        return [key for key, until_ms in self._expires.items() if now_ms > until_ms]

    def keys(self, site: str | None, machine: str | None) -> list[Key]:
        """Name the machines of a scope, sorted by site and machine."""
        return sorted(
            key
            for key in self._rows
            if (site is None or key[0] == site) and (machine is None or key[1] == machine)
        )

    def __getitem__(self, key: Key) -> Row:
        return self._rows[key]
