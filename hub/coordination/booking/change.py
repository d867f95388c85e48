"""One change of reservations: a transaction, the events that tell of it, and memory after it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from hub.access import Caller
from hub.coordination.booking.booking import by_clock
from hub.coordination.booking.occupancy import Occupancy
from hub.store import Store, Tx, audit, events
from hub.store import reservations as rows
from hub.store.reservations import Reservation, Status, Step

DUE_MAX: Final = 500
"""How many reservations the clock changes in one transaction."""
More = Callable[[Reservation, Step], Mapping[str, Any]]
"""What an event tells the site of a step besides."""


class Change:
    """A write transaction that knows what it changed. `now_ms` is when it began."""

    def __init__(self, tx: Tx, now_ms: int) -> None:
        self.tx = tx
        self.now_ms = now_ms
        self._before = rows.version(tx)
        self._told: dict[str, Reservation] = {}

    def add(self, new: Reservation) -> None:
        """Insert a hold, and tell so."""
        rows.add(self.tx, new)
        self.tell("held", new)

    def to(self, found: Reservation, status: Status) -> Reservation:
        """Change the status, and tell so."""
        over = {} if status in rows.OCCUPYING else {"risk": None, "risk_since_ms": None}
        new = rows.change(self.tx, found, self.now_ms, status=status, **over)
        self.tell(status.value, new)
        return new

    def by_clock(self) -> int:
        """Expire, begin and end what is due; give how many reservations changed."""
        due = rows.due(self.tx, self.now_ms, DUE_MAX)
        for each in due:
            found = each
            for status in by_clock(each, self.now_ms):
                found = self.to(found, status)
        return len(due)

    def write_down(self, who: Caller, what: str, told: Reservation, **detail: Any) -> None:
        """Note in the audit log of each site what somebody did with a reservation of it."""
        for site in dict.fromkeys(step.site for step in told.steps):
            machines = [step.machine for step in told.steps if step.site == site]
            audit.append(
                self.tx,
                who=who.id,
                action=f"reservation.{what}",
                subject=told.id,
                site=site,
                detail={"version": told.version, "machines": machines, **detail},
                now_ms=self.now_ms,
            )

    def tell(self, what: str, told: Reservation, more: More | None = None) -> None:
        """Append one event for each step: what a site is told names no other site."""
        self._told[told.id] = told
        for step in told.steps:
            events.append(
                self.tx,
                type=f"reservation.{what}",
                site=step.site,
                machine=step.machine,
                subject=told.id,
                data={
                    "status": told.status.value,
                    "version": told.version,
                    "units": step.units,
                    "start_ms": step.segments[0][0],
                    "end_ms": step.segments[-1][1],
                    **({} if more is None else more(told, step)),
                },
                now_ms=self.now_ms,
            )

    def hand_over(self, occupancy: Occupancy) -> None:
        """Let memory follow once this is committed."""
        before, after = self._before, rows.version(self.tx)
        if after == before:
            return
        changed = tuple(self._told.values())
        self.tx.after_commit(lambda: occupancy.follow(before, after, changed))


@contextmanager
def changing(store: Store, occupancy: Occupancy, now_ms: Callable[[], int]) -> Iterator[Change]:
    """Open a change. Nothing of it stays when an error leaves the block."""
    with store.write() as tx:
        change = Change(tx, now_ms())
        yield change
        change.hand_over(occupancy)
