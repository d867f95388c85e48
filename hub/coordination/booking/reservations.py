"""Reservations: holding capacity with an end in sight, confirming it, giving it back.

Never booked twice: one write transaction reads what is taken, sweeps over it and inserts, and no
other write comes between. A chain over several machines is one reservation with several steps, so
it stands or falls as a whole. Who repeats a request with its idempotency key gets the first answer
again, also after the hub was killed in between.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

from hub.access import Caller, View
from hub.coordination.booking.booking import (
    LEADS_TO,
    LEGAL,
    Action,
    Alternatives,
    HoldRequest,
    Hours,
    Offers,
    hold_ends_ms,
)
from hub.coordination.booking.change import Change, More, changing
from hub.coordination.booking.holding import KEPT_MS, Bounds, Holding, Machines
from hub.coordination.booking.occupancy import Busy, Key, Occupancy
from hub.coordination.booking.parties import WHOSE, may, shown, shown_to
from hub.coordination.booking.refusals import (
    HoldExpiredError,
    IllegalTransitionError,
    NotYoursError,
    RefusedError,
    StaleError,
)
from hub.store import Store
from hub.store import reservations as rows
from hub.store.reservations import Reservation, SeenBy, Status, Taken, Wanted

log = logging.getLogger(__name__)

REFRESHES_MAX: Final = 10
FORGET_MAX: Final = 1000
FORGET_EVERY_MS: Final = 600_000
FORGET_AFTER_MS: Final = 400 * 86_400_000
"""How long a reservation that is over can still be read."""


class Reservations:
    """All reservations of the hub. Any thread may ask and change; changes are serial."""

    def __init__(
        self,
        store: Store,
        *,
        machines: Machines,
        hours: Hours,
        now_ms: Callable[[], int],
        random80: Callable[[], int],
        offers: Offers | None = None,
        alternatives: Alternatives = lambda _steps, _view: (),
        bounds: Bounds | None = None,
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._occupancy = Occupancy()
        self._refreshing = threading.Lock()
        self._forget_due_ms = 0
        self._holding = Holding(
            store,
            self._occupancy,
            machines=machines,
            hours=hours,
            now_ms=now_ms,
            random80=random80,
            offers=offers,
            alternatives=alternatives,
            bounds=bounds or Bounds(),
        )
        self.refresh()

    # -- what readers ask ------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Grows with every change of any reservation, after its commit."""
        return self._occupancy.version

    def busy(self, site: str, machine: str, from_ms: int, to_ms: int) -> list[Busy]:
        """Give what is held, confirmed or running on a machine, from memory, by its start."""
        return self._occupancy.busy(site, machine, from_ms, to_ms, self._now_ms())

    def taken(self, site: str, machine: str) -> tuple[Taken, ...]:
        """Give what is booked of a machine: the very same object until that changes."""
        return self._occupancy.taken(site, machine)

    def booked_machines(self) -> list[Key]:
        """Give the machines on which anything is booked."""
        return self._occupancy.machines()

    def get(self, id_: str, caller: Caller) -> Reservation:
        """Give one reservation, as far as the caller may see it.

        Raises:
            UnknownError: there is none, or the caller has no part in it.
        """
        with self._store.read() as tx:
            return shown(rows.get(tx, id_), caller)

    def find(self, wanted: Wanted, caller: Caller, limit: int) -> list[Reservation]:
        """Give reservations in which the caller has a part, the newest first."""
        if not caller.is_hub_admin:
            seen_by = SeenBy(caller.id, caller.organisation, caller.sites)
            wanted = replace(wanted, seen_by=seen_by)
        with self._store.read() as tx:
            found = rows.find(tx, wanted, limit)
        seen = (shown_to(each, caller) for each in found)
        return [each for each in seen if each is not None]

    # -- what people do --------------------------------------------------------------------

    def hold(self, request: HoldRequest, caller: Caller, view: View, key: str) -> Reservation:
        """Hold capacity for a while; all of its steps, or nothing.

        Raises:
            KeyReusedError: the key was used for another request.
            UnknownError: a machine or the offer is not there, or not shown to the caller.
            InvalidError: the request contradicts the clock, a calendar or itself.
            ConflictError: the capacity is taken; that answer is remembered like a success.
            TooManyError: the caller has too many holds open, or used too many keys.
        """
        return self._holding.hold(request, caller, view, key)

    def act(
        self,
        action: Action,
        id_: str,
        caller: Caller,
        version: int,
        *,
        ttl_s: int = 0,
        reason: str | None = None,
    ) -> Reservation:
        """Let a person change a reservation that is at `version`.

        `ttl_s` is for extending and counts from now; `reason` is for cancelling.

        Raises:
            UnknownError: there is none, or the caller has no part in it.
            NotYoursError: the caller sees it, and this is not the caller's to do.
            HoldExpiredError: the hold ran out.
            StaleError: it has changed since.
            IllegalTransitionError: its status does not allow that.
        """
        with self._changing() as change:
            found = rows.get(change.tx, id_)
            shown(found, caller)
            if found is None or not may(action, found, caller):
                raise NotYoursError(f"Only {WHOSE[action]} may do that.")
            refused = _refused(change, action, found, version)
            if refused is None:
                found = _applied(change, action, found, ttl_s, reason)
                detail = {} if reason is None else {"reason": reason}
                change.write_down(caller, _TOLD[action], found, **detail)
        if refused is not None:  # not raised inside: that the hold ran out has been noted there
            raise refused
        return shown(found, caller)

    # -- what jobs and machines do ---------------------------------------------------------

    def begin(self, id_: str) -> bool:
        """Let a job start on what was confirmed before its time; False when it is not."""
        return self._progress(id_, Status.CONFIRMED, Status.RUNNING)

    def finish(self, id_: str) -> bool:
        """Let the job end what was running; the rest of its time is free. False when it is not."""
        return self._progress(id_, Status.RUNNING, Status.DONE)

    def note_risk(self, id_: str, risk: str | None, more: More) -> bool:
        """Note why a reservation may not take place as booked, or that nothing endangers it now.

        True when that is news; then events tell each of its sites, with what `more` gives.
        """
        with self._changing() as change:
            found = rows.get(change.tx, id_)
            if found is None or found.risk == risk or not found.occupies(change.now_ms):
                return False
            since_ms = None if risk is None else change.now_ms
            fields = {"risk": risk, "risk_since_ms": since_ms}
            found = rows.change(change.tx, found, change.now_ms, **fields)
            change.tell("safe" if risk is None else "at_risk", found, more)
            return True

    # -- what the clock does ---------------------------------------------------------------

    def turn(self) -> None:
        """Do what is due, and now and then throw old answers and bookings away."""
        self.sweep()
        now_ms = self._now_ms()
        if now_ms >= self._forget_due_ms:
            full = self.forget() >= FORGET_MAX
            self._forget_due_ms = now_ms + (0 if full else FORGET_EVERY_MS)

    def sweep(self) -> int:
        """Expire, begin and end what is due; give how many reservations changed."""
        with self._store.read() as tx:
            due_ms, version = rows.next_due_ms(tx), rows.version(tx)
        if version != self.version:
            self.refresh()
        if due_ms is None or due_ms > self._now_ms():
            return 0
        with self._changing() as change:
            return change.by_clock()

    def forget(self) -> int:
        """Delete answers older than a day and what was over long ago, a bounded part at once."""
        now_ms = self._now_ms()
        with self._store.write() as tx:
            gone = rows.forget_keys(tx, before_ms=now_ms - KEPT_MS, at_most=FORGET_MAX)
            gone += rows.forget(tx, before_ms=now_ms - FORGET_AFTER_MS, at_most=FORGET_MAX)
        self._holding.recount()
        return gone

    def refresh(self) -> None:
        """Read everything that takes capacity again: rows were moved, or another process wrote."""
        with self._refreshing:
            for _ in range(REFRESHES_MAX):
                with self._store.read() as tx:
                    version, taken = rows.version(tx), rows.taken(tx, self._now_ms())
                if self._occupancy.load(version, taken):
                    return
            log.warning("bookings change faster than they can be read; memory may lag")

    def _progress(self, id_: str, old: Status, new: Status) -> bool:
        with self._changing() as change:
            found = rows.get(change.tx, id_)
            if found is None or found.status is not old:
                return False
            change.to(found, new)
            return True

    def _changing(self) -> AbstractContextManager[Change]:
        return changing(self._store, self._occupancy, self._now_ms)


_TOLD: Final = {
    Action.CONFIRM: "confirmed",
    Action.EXTEND: "extended",
    Action.RELEASE: "released",
    Action.CANCEL: "cancelled",
}


def _refused(
    change: Change, action: Action, found: Reservation, version: int
) -> RefusedError | None:
    read = found.version
    if found.lapsed(change.now_ms):
        found = change.to(found, Status.EXPIRED)
    if found.status is Status.EXPIRED and action is not Action.CANCEL:
        return HoldExpiredError("The hold ran out; hold the capacity again.")
    if read != version:
        return StaleError(found.version)
    if found.status not in LEGAL[action]:
        return IllegalTransitionError(found.status, action)
    return None


def _applied(
    change: Change, action: Action, found: Reservation, ttl_s: int, reason: str | None
) -> Reservation:
    now_ms = change.now_ms
    fields: dict[str, Any] = {"status": LEADS_TO[action]}
    if action is Action.EXTEND:
        ends_ms = hold_ends_ms(ttl_s, now_ms, found.created_ms, found.ends_ms)
        fields["hold_expires_ms"] = ends_ms
    elif action is not Action.CONFIRM:
        fields |= {"risk": None, "risk_since_ms": None, "reason": reason}
    new = rows.change(change.tx, found, now_ms, **fields)
    change.tell(_TOLD[action], new)
    return new
