"""Holding capacity: from what somebody asks for to a row, or to a reasoned no.

Most of the work is done before the write transaction: what is asked, what the calendars say. In
it, only what others could change meanwhile is looked at again. The answer to an idempotency key,
a refusal for want of capacity too, is written in the same transaction, so that a repeated request
gets the very same answer even when the hub was killed before the first one was sent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from hub.access import Caller, Group, Level, View
from hub.coordination.booking.booking import (
    ALTERNATIVES_MAX,
    CLASHES_MAX,
    Alternative,
    Alternatives,
    Clash,
    HoldRequest,
    Hours,
    Mistake,
    Offers,
    Room,
    StepRequest,
    Window,
    as_steps,
    clashes,
    hold_ends_ms,
    mistakes,
    room,
)
from hub.coordination.booking.change import Change, changing
from hub.coordination.booking.occupancy import Key, Occupancy
from hub.coordination.booking.refusals import (
    ConflictError,
    InvalidError,
    KeyReusedError,
    TooManyError,
    UnknownError,
)
from hub.coordination.intervals import Load
from hub.store import Store, Tx
from hub.store import reservations as rows
from hub.store.reservations import Answered, Reservation, Status

KEPT_MS: Final = 86_400_000
"""How long the answer to an idempotency key is given again."""
_BASE32: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's, as ULIDs use it


class MachineEntry(Protocol):
    """What is asked of a machine here."""

    @property
    def capacity_units(self) -> int: ...  # noqa: D102 (the names say it)
    @property
    def retired(self) -> bool: ...  # noqa: D102


class Machines(Protocol):
    """Who knows the machines: `hub.coordination.directory.directory.Directory`."""

    def machine(self, site: str, machine: str) -> MachineEntry | None:
        """Give one machine, a retired one too."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one caller may have open at once, and how many keys it may use in a day."""

    open_holds: int = 500
    keys: int = 20_000


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is asked for, and what the calendars of one version make of it."""

    steps: tuple[StepRequest, ...]
    rooms: tuple[Room, ...]
    hours_version: int


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who asks, and under which key."""

    caller: Caller
    view: View
    key: str
    digest: str


class Holding:
    """Makes holds. One per hub, any thread."""

    def __init__(
        self,
        store: Store,
        occupancy: Occupancy,
        *,
        machines: Machines,
        hours: Hours,
        now_ms: Callable[[], int],
        random80: Callable[[], int],
        offers: Offers | None,
        alternatives: Alternatives,
        bounds: Bounds,
    ) -> None:
        self._store = store
        self._occupancy = occupancy
        self._machines = machines
        self._hours = hours
        self._now_ms = now_ms
        self._random80 = random80
        self._offers = offers
        self._alternatives = alternatives
        self._bounds = bounds
        self._keys: dict[str, int] = {}

    def hold(self, request: HoldRequest, caller: Caller, view: View, key: str) -> Reservation:
        """Hold capacity, all steps or nothing; see `Reservations.hold`."""
        asker = _Asker(caller, view, key, request.digest)
        with self._store.read() as tx:
            known = self._answered(tx, asker)
        if known is not None:
            return again(known, asker.digest)
        plan = self._plan(request, view)
        found: list[Clash] = []
        with changing(self._store, self._occupancy, self._now_ms) as change:
            known = self._answered(change.tx, asker)
            if known is None:
                change.by_clock()
                self._refuse_too_many(change.tx, caller)
                plan = self._still(plan)
                found = self._clashes(change, plan)
                if not found:
                    return self._make(change, request, plan, asker)
        if known is not None:
            return again(known, asker.digest)
        return self._refuse(plan, found, asker)

    def recount(self) -> None:
        """Forget how many keys each caller used, so that it is counted again."""
        self._keys.clear()

    # -- before the transaction ------------------------------------------------------------

    def _plan(self, request: HoldRequest, view: View) -> _Plan:
        """Find out what is asked for, and refuse what no free capacity could make possible."""
        steps = self._asked(request, view)
        wrong = mistakes(steps, self._now_ms())
        if wrong:
            raise InvalidError(wrong)
        for step in steps:
            self._see(step, view, offered=request.offer_id is not None)
        version = self._hours.version
        plan = _Plan(steps, self._rooms(steps), version)
        wrong = [
            Mistake(f"{step.at}/segments", "The machine does not work all of this time.")
            for step, found in zip(steps, plan.rooms, strict=True)
            if found.closed
        ]
        if wrong:
            raise InvalidError(wrong)
        return plan

    def _asked(self, request: HoldRequest, view: View) -> tuple[StepRequest, ...]:
        if request.offer_id is None:
            return request.steps
        offered = self._offers.get(request.offer_id, view) if self._offers is not None else None
        if not offered:
            raise UnknownError("such offer, or it no longer stands", "body/offer_id")
        return tuple(replace(step, at="body/offer_id") for step in offered)

    def _see(self, step: StepRequest, view: View, *, offered: bool) -> None:
        """See that a machine is there for this caller, and takes so many units at all.

        What a search has offered can be held by whom half-days are shown: only who names times
        of his own could feel his way to the bookings of others.
        """
        entry = self._machines.machine(step.site, step.machine)
        level = view.level(step.site, Group.CAPACITY_CALENDAR)
        enough = Level.COARSE if offered else Level.FULL
        if entry is None or not (view.own(step.site) or level >= enough):
            raise UnknownError("such machine", f"{step.at}/machine")
        if entry.retired:
            raise InvalidError([Mistake(f"{step.at}/machine", "The machine is out of service.")])
        if step.units > entry.capacity_units:
            text = f"The machine has {entry.capacity_units} in all."
            raise InvalidError([Mistake(f"{step.at}/units", text)])

    def _rooms(self, steps: Sequence[StepRequest]) -> tuple[Room, ...]:
        """Lay the steps over the calendars, each machine's asked once."""
        spans: dict[Key, list[int]] = {}
        for step in steps:
            edges = spans.setdefault((step.site, step.machine), [])
            edges += (at for segment in step.segments for at in segment)
        windows = {
            key: self._hours.windows(*key, min(edges), max(edges)) for key, edges in spans.items()
        }
        return tuple(self._room(step, windows[step.site, step.machine]) for step in steps)

    def _room(self, step: StepRequest, windows: Sequence[Window]) -> Room:
        entry = self._machines.machine(step.site, step.machine)
        units = 0 if entry is None or entry.retired else entry.capacity_units
        return room(step.segments, windows, units)

    # -- inside it -------------------------------------------------------------------------

    def _answered(self, tx: Tx, asker: _Asker) -> Answered | None:
        return rows.answered(tx, asker.caller.id, asker.key, self._now_ms() - KEPT_MS)

    def _refuse_too_many(self, tx: Tx, caller: Caller) -> None:
        bounds = self._bounds
        if rows.open_holds(tx, caller.id) >= bounds.open_holds:
            text = f"{bounds.open_holds} holds are open. Confirm or release some."
            raise TooManyError(text, retry_after_s=60)
        used = self._keys.get(caller.id)
        if used is None:
            used = rows.keys_of(tx, caller.id, self._now_ms() - KEPT_MS)
        if used >= bounds.keys:
            raise TooManyError(f"More than {bounds.keys} requests in a day.", retry_after_s=3600)
        self._keys[caller.id] = used + 1

    def _still(self, plan: _Plan) -> _Plan:
        """Look at the calendars again when one was changed since the plan was made."""
        version = self._hours.version
        if version == plan.hours_version:
            return plan
        return _Plan(plan.steps, self._rooms(plan.steps), version)

    def _clashes(self, change: Change, plan: _Plan) -> list[Clash]:
        """Sweep over each machine of the plan: what is taken, what is wanted, what is there."""
        wanted: dict[Key, list[Load]] = {}
        capacity: dict[Key, Sequence[Load]] = {}
        for step, found in zip(plan.steps, plan.rooms, strict=True):
            key = (step.site, step.machine)
            wanted.setdefault(key, []).extend((s, e, step.units) for s, e in step.segments)
            capacity[key] = found.capacity
        short: list[Clash] = []
        for key, loads in wanted.items():
            span = (min(load[0] for load in loads), max(load[1] for load in loads))
            there = rows.taken(change.tx, change.now_ms, key, span)
            taken = [(each.start_ms, each.end_ms, each.units) for each in there]
            spans = clashes(loads, taken, capacity[key])
            short += [Clash(*key, start_ms, end_ms) for start_ms, end_ms in spans]
        return short[:CLASHES_MAX]

    def _make(
        self, change: Change, request: HoldRequest, plan: _Plan, asker: _Asker
    ) -> Reservation:
        now_ms = change.now_ms
        steps = as_steps(plan.steps, [found.unscheduled for found in plan.rooms])
        ends_ms = max(step.segments[-1][1] for step in steps)
        made = Reservation(
            id=new_id(now_ms, self._random80()),
            status=Status.HELD,
            version=1,
            created_ms=now_ms,
            changed_ms=now_ms,
            created_by=asker.caller.id,
            organisation=asker.caller.organisation,
            reference=request.reference,
            hold_expires_ms=hold_ends_ms(request.ttl_s, now_ms, now_ms, ends_ms),
            steps=steps,
        )
        change.add(made)
        change.write_down(asker.caller, "held", made)
        told = Answered(asker.digest, {"held": made.as_json()})
        rows.answer(change.tx, asker.caller.id, asker.key, told, now_ms)
        return made

    # -- after it --------------------------------------------------------------------------

    def _refuse(self, plan: _Plan, found: Sequence[Clash], asker: _Asker) -> Reservation:
        """Look for something else outside of the transaction, then remember the refusal."""
        others = self._alternatives(plan.steps, asker.view)[:ALTERNATIVES_MAX]
        told = Answered(asker.digest, _refusal(found, others))
        with self._store.write() as tx:
            known = self._answered(tx, asker)
            if known is None:
                rows.answer(tx, asker.caller.id, asker.key, told, self._now_ms())
        return again(known or told, asker.digest)


def new_id(now_ms: int, random80: int) -> str:
    """Make an id that sorts by time: a ULID, 48 bits of milliseconds and 80 of randomness."""
    number = ((now_ms & ((1 << 48) - 1)) << 80) | (random80 & ((1 << 80) - 1))
    return "".join(_BASE32[(number >> shift) & 31] for shift in range(125, -1, -5))


def again(known: Answered, digest: str) -> Reservation:
    """Give the answer that a key was given before.

    Raises:
        KeyReusedError: that was to another request.
        ConflictError: the answer was a refusal.
    """
    if known.digest != digest:
        raise KeyReusedError("This Idempotency-Key was used for another request.")
    if "held" in known.answer:
        return Reservation.of_json(known.answer["held"])
    others = [
        Alternative(tuple(_step(*step) for step in steps)) for steps in known.answer["alternatives"]
    ]
    raise ConflictError([Clash(*each) for each in known.answer["conflicts"]], others)


def _refusal(found: Sequence[Clash], others: Sequence[Alternative]) -> Mapping[str, Any]:
    return {
        "conflicts": [[c.site, c.machine, c.start_ms, c.end_ms] for c in found],
        "alternatives": [
            [[s.site, s.machine, s.units, s.segments] for s in other.steps] for other in others
        ],
    }


def _step(site: str, machine: str, units: int, segments: Sequence[tuple[int, int]]) -> StepRequest:
    return StepRequest(site, machine, units, tuple((start, end) for start, end in segments))
