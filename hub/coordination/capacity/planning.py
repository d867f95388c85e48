"""Work laid over machines: one operation or a chain of them, whole or shared out. Pure.

A chain is planned on its p90: parts set out for the next shop when they are nearly sure to be
ready, so a chain that is booked holds. It is found by beam search: after every step only the most
promising partial chains are followed further, which keeps the answer quick and deterministic, and
may miss a chain that begins badly and ends well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from hub.coordination.capacity.capacity import parts_by, promise
from hub.coordination.capacity.chains import Candidate, Chain, Journey, Lot, Order, Stage, summed
from hub.coordination.capacity.matching import Mismatch, Step, mismatch
from hub.coordination.capacity.ranking import Criteria, rank
from hub.coordination.capacity.transport import Roads

BEAM: Final = 20
FOLLOWED: Final = 20
"""So many machines are tried after each partial chain: could be done first, journey included."""
FORESEEN: Final = 60
"""They are chosen among so many: the ones that could be done first, and the nearest."""
SHARED_AMONG: Final = 40
"""A lot is shared out among so many machines at most: the ones that could make it all first."""
_RESOLUTION_MS: Final = 60_000
_NEVER_MS: Final = 1 << 62
_WAITED_MS: Final = 7 * 86_400_000
"""No journey waits longer than this for its pick-up."""


Refused = tuple[int, Candidate, Mismatch]
"""Number of the step, the machine, and why it is not offered for it."""


class Planner:
    """Plans one order."""

    def __init__(self, order: Order, roads: Roads) -> None:
        self._order = order
        self._roads = roads
        self.refused: list[Refused] = []
        """Machines that can do a step, but not in time."""

    def plan(self, candidates: Sequence[Sequence[Candidate]]) -> list[Chain]:
        """Find chains that are done in time; one list of candidates for each step."""
        beam = [Chain()]
        for number, (step, able_) in enumerate(zip(self._order.steps, candidates, strict=True)):
            able = self._foreseen(beam, number, step, able_) if number else able_
            found = [
                chain for before in beam for chain in self._continued(before, number, step, able)
            ]
            beam = found if number == len(candidates) - 1 else self._best(found)
        return self._in_time(beam)

    # -- one step ----------------------------------------------------------------------------

    def _continued(
        self, before: Chain, number: int, step: Step, able: Sequence[Candidate]
    ) -> list[Chain]:
        """Give every way of going on with a step."""
        chains: list[Chain] = []
        for candidate in self._worth_trying(before, able):
            ready_ms = self._ready_ms(before, step, candidate)
            lot = attempt(step, candidate, step.quantity, ready_ms)
            if isinstance(lot, Lot):
                chains.append(self._with(before, step, [lot]))
            elif not number:
                self.refused.append((number, candidate, lot))
        if step.splittable and step.max_lots > 1:
            chains += [self._with(before, step, lots) for lots in self._shared(before, step, able)]
        return chains

    def _foreseen(
        self, beam: Sequence[Chain], number: int, step: Step, able: Sequence[Candidate]
    ) -> list[Candidate]:
        """Choose who may follow any of the partial chains; who never could is refused."""
        ready_ms = min((chain.end_of_work_ms for chain in beam), default=self._order.earliest_ms)
        ends: list[tuple[int, str, Candidate]] = []
        for candidate in able:
            lot = attempt(step, candidate, step.quantity, ready_ms)
            if isinstance(lot, Lot):
                ends.append((lot.promise.end_p90_ms, candidate.name, candidate))
            elif step.splittable and step.max_lots > 1:
                ends.append((_NEVER_MS, candidate.name, candidate))
            else:
                self.refused.append((number, candidate, lot))
        ends.sort(key=lambda each: each[:2])
        soon = [candidate for _, _, candidate in ends[: FORESEEN // 2]]
        rest = [candidate for _, _, candidate in ends[FORESEEN // 2 :]]
        rest.sort(key=lambda candidate: (self._km_from(beam, candidate), candidate.name))
        return soon + rest[: FORESEEN - len(soon)]

    def _km_from(self, beam: Sequence[Chain], candidate: Candidate) -> float:
        """Tell how far the goods must go to a machine, from the best chain and then home."""
        here = candidate.place
        places = [lot.candidate.place for chain in beam[:1] for lot in chain.stages[-1].lots]
        ways = [self._roads.road_km(each, here) for each in places if each and here]
        home = self._km(candidate) if self._order.deliver_to is not None else 0.0
        return max(ways, default=float("inf")) + home

    def _worth_trying(self, before: Chain, able: Sequence[Candidate]) -> Sequence[Candidate]:
        """Choose whom to try: all in the first step, later the first of those foreseen."""
        if not before.stages or len(able) <= FOLLOWED:
            return able
        soon = able[: FOLLOWED // 2]
        near = sorted(
            able[FOLLOWED // 2 :], key=lambda each: (self._way_ms(before, each), each.name)
        )
        return [*soon, *near[: FOLLOWED - len(soon)]]

    def _way_ms(self, before: Chain, candidate: Candidate) -> int:
        places = [lot.candidate.place for lot in before.stages[-1].lots]
        known = [self._roads.road_km(p, candidate.place) for p in places if p and candidate.place]
        return self._roads.travel_ms(max(known, default=0.0))

    def _ready_ms(self, before: Chain, step: Step, candidate: Candidate) -> int:
        """Tell when everything that a step needs is at a machine."""
        journeys = self._journeys(before, step, candidate, step.quantity)
        return max((j.leg.arrive_ms for j in journeys), default=self._order.earliest_ms)

    def _journeys(
        self, before: Chain, step: Step, candidate: Candidate, quantity: int
    ) -> list[Journey]:
        """Bring a share of every lot of the step before to a machine."""
        if not before.stages:
            return []
        share = quantity / step.quantity
        journeys = []
        for lot in before.stages[-1].lots:
            origin, ready_ms = lot.candidate, lot.promise.end_p90_ms
            if origin.site == candidate.site:
                leg = self._roads.within(ready_ms)
            else:
                mass_kg = _mass(step, lot.quantity * share)
                leg = self._roads.leg(origin.place, candidate.place, ready_ms, origin.zone, mass_kg)
            journeys.append(Journey(origin.site, candidate.site, leg))
        return journeys

    def _with(self, before: Chain, step: Step, lots: Sequence[Lot]) -> Chain:
        journeys = [
            journey
            for lot in lots
            for journey in self._journeys(before, step, lot.candidate, lot.quantity)
        ]
        stage = Stage(step, tuple(journeys), tuple(lots))
        chain = replace(before, stages=(*before.stages, stage))
        if len(chain.stages) < len(self._order.steps):
            return chain
        if self._order.deliver_to is None:
            return chain
        sure = [self._delivered(step, lot, lot.promise.end_p90_ms) for lot in lots]
        likely = [self._delivered(step, lot, lot.promise.end_p50_ms) for lot in lots]
        arrive_ms = max(journey.leg.arrive_ms for journey in likely)
        return replace(chain, delivery=tuple(sure), arrive_p50_ms=arrive_ms)

    def _delivered(self, step: Step, lot: Lot, ready_ms: int) -> Journey:
        here, mass_kg = lot.candidate, _mass(step, lot.quantity)
        leg = self._roads.leg(here.place, self._order.deliver_to, ready_ms, here.zone, mass_kg)
        return Journey(here.site, None, leg)

    # -- a lot over several machines ---------------------------------------------------------

    def _shared(self, before: Chain, step: Step, able: Sequence[Candidate]) -> Iterator[list[Lot]]:
        """Share a lot out: as fast as can be, with as few lots as the due date lets, and near."""
        pool = self._pool(before, step, able)
        if len(pool) < 2:  # noqa: PLR2004 (one machine shares with nobody)
            return
        plans: list[dict[Candidate, int] | None] = [self._fastest(step, pool)]
        if self._order.due_ms is not None and len(before.stages) == len(self._order.steps) - 1:
            by_due = [(c, r, self._must_be_ready_ms(c)) for c, r in pool]
            most = [(c, _most(step, c, r, until)) for c, r, until in by_due]
            most.sort(key=lambda each: (-each[1], each[0].name))
            plans.append(_chosen(step, most[: step.max_lots]))
            most.sort(key=lambda each: (self._km(each[0]), each[0].name))
            plans.append(_chosen(step, _enough(step, most)))
        seen: list[dict[Candidate, int]] = []
        for plan in plans:
            if plan is None or len(plan) < 2 or plan in seen:  # noqa: PLR2004 (one is no sharing)
                continue
            seen.append(plan)
            lots = [attempt(step, c, n, self._ready_ms(before, step, c)) for c, n in plan.items()]
            if all(isinstance(lot, Lot) for lot in lots):
                yield [lot for lot in lots if isinstance(lot, Lot)]

    def _pool(
        self, before: Chain, step: Step, able: Sequence[Candidate]
    ) -> list[tuple[Candidate, int]]:
        """Choose who shares: those that would have a fair part of the lot done first."""
        part = max(1, step.quantity // step.max_lots)
        found = []
        for candidate in able:
            quantity = max(part, candidate.lot_min)
            ready_ms = self._ready_ms(before, step, candidate)
            lot = attempt(step, replace(candidate, lot_max=None), quantity, ready_ms)
            if isinstance(lot, Lot):
                found.append((lot.promise.end_p90_ms, candidate.name, candidate, ready_ms))
        found.sort(key=lambda each: each[:2])
        return [(candidate, ready_ms) for _, _, candidate, ready_ms in found[:SHARED_AMONG]]

    def _fastest(
        self, step: Step, pool: Sequence[tuple[Candidate, int]]
    ) -> dict[Candidate, int] | None:
        """Find the earliest instant by which `max_lots` machines make it all together."""

        def chosen(until_ms: int) -> dict[Candidate, int] | None:
            most = [(c, _most(step, c, ready_ms, until_ms)) for c, ready_ms in pool]
            most.sort(key=lambda each: (-each[1], each[0].name))
            return _chosen(step, most[: step.max_lots])

        low = min(ready_ms for _, ready_ms in pool)
        high = max((c.free[-1][1] for c, _ in pool if c.free), default=low)
        if chosen(high) is None:
            return None
        while high - low > _RESOLUTION_MS:
            middle = (low + high) // 2
            if chosen(middle) is None:
                low = middle
            else:
                high = middle
        return chosen(high)

    def _must_be_ready_ms(self, candidate: Candidate) -> int:
        """Tell by when a lot must leave a machine to be delivered by the due date."""
        due_ms = self._order.due_ms or 0
        if self._order.deliver_to is None:
            return due_ms

        def arrives(ready_ms: int) -> int:
            return self._roads.leg(
                candidate.place, self._order.deliver_to, ready_ms, candidate.zone, None
            ).arrive_ms

        low, high = due_ms - _WAITED_MS, due_ms
        while high - low > _RESOLUTION_MS:
            middle = (low + high) // 2
            if arrives(middle) <= due_ms:
                low = middle
            else:
                high = middle
        return low

    def _km(self, candidate: Candidate) -> float:
        if self._order.deliver_to is None or candidate.place is None:
            return float("inf")
        return self._roads.road_km(candidate.place, self._order.deliver_to)

    # -- the beam ------------------------------------------------------------------------------

    def _best(self, chains: Sequence[Chain]) -> list[Chain]:
        """Keep the partial chains that look best, as the whole will be judged."""
        criteria = [
            Criteria(
                chain.end_of_work_ms,
                summed([chain.distance_km, self._ahead_km(chain)]),
                chain.co2_kg,
                None,
            )
            for chain in chains
        ]
        judged = rank(
            criteria,
            [chain.load for chain in chains],
            [chain.name for chain in chains],
            self._order.weights,
        )
        return [chains[each.place] for each in judged[:BEAM]]

    def _ahead_km(self, chain: Chain) -> float | None:
        km = max(self._km(lot.candidate) for lot in chain.stages[-1].lots)
        return None if km == float("inf") else km

    def _in_time(self, chains: Sequence[Chain]) -> list[Chain]:
        due_ms = self._order.due_ms
        if due_ms is None:
            return list(chains)
        kept = []
        for chain in chains:
            if chain.end_p90_ms <= due_ms:
                kept.append(chain)
            elif len(chain.stages[-1].lots) == 1:
                lot = chain.stages[-1].lots[0]
                number = len(chain.stages) - 1
                self.refused.append((number, lot.candidate, _late(lot, chain.end_p90_ms)))
        return kept


def attempt(step: Step, candidate: Candidate, quantity: int, ready_ms: int) -> Lot | Mismatch:
    """Lay parts on a machine as early as possible once they are there."""
    if candidate.lot_max is not None and quantity > candidate.lot_max:
        return mismatch("lot-size", f"takes lots of {candidate.lot_max} parts at most")
    freed = candidate.release
    found = promise(
        candidate.free,
        candidate.need(step, quantity),
        candidate.pace.ratio_p90,
        max(freed.p50_ms, ready_ms),
        max(freed.p90_ms, ready_ms),
    )
    if found is None:
        return _no_room(candidate)
    until_ms = candidate.certified_until_ms
    if until_ms is not None and found.end_p90_ms > until_ms:
        return mismatch(
            "certification-expires",
            f"a certificate ends at {utc(until_ms)}, before the work is surely done",
        )
    return Lot(candidate, quantity, found)


def _no_room(candidate: Candidate) -> Mismatch:
    if candidate.tells_state and candidate.release.basis.startswith("repair"):
        return mismatch("down", "is down, and has no room after its likely repair")
    if not candidate.free:
        return mismatch("no-window", "is booked or closed all the time asked for")
    return mismatch("no-window", "has no free time long enough")


def _late(lot: Lot, end_ms: int) -> Mismatch:
    candidate = lot.candidate
    if candidate.tells_state and candidate.release.basis.startswith("repair"):
        return mismatch("down", f"is down; would be done by {utc(end_ms)}, after the due date")
    if not candidate.tells_times:
        return mismatch("after-due", "would not be done by the due date")
    return mismatch("after-due", f"would be done by {utc(end_ms)}, after the due date")


def _most(step: Step, candidate: Candidate, ready_ms: int, until_ms: int) -> int:
    """Tell how many parts a machine surely makes between two instants, within its lot limits."""
    if candidate.certified_until_ms is not None:
        until_ms = min(until_ms, candidate.certified_until_ms)
    slow = candidate.need(step, 1).stretched(candidate.pace.ratio_p90)
    from_ms = max(candidate.release.p90_ms, ready_ms)
    parts = parts_by(candidate.free, slow, from_ms, until_ms)
    if candidate.lot_max is not None:
        parts = min(parts, candidate.lot_max)
    return parts if parts >= candidate.lot_min else 0


def _enough(step: Step, most: Sequence[tuple[Candidate, int]]) -> list[tuple[Candidate, int]]:
    """Take machines in the order given until they make it all together."""
    taken: list[tuple[Candidate, int]] = []
    for candidate, parts in most:
        if parts and len(taken) < step.max_lots:
            taken.append((candidate, parts))
            if sum(each for _, each in taken) >= step.quantity:
                break
    return taken


def _chosen(step: Step, most: Sequence[tuple[Candidate, int]]) -> dict[Candidate, int] | None:
    """Share the quantity out: everybody's smallest lot first, then as much as each can."""
    taken = _enough(step, most)
    left = step.quantity - sum(candidate.lot_min for candidate, _ in taken)
    if left < 0:
        return None
    plan: dict[Candidate, int] = {}
    for candidate, parts in taken:
        more = min(left, parts - candidate.lot_min)
        plan[candidate] = candidate.lot_min + more
        left -= more
    return plan if left == 0 else None


def _mass(step: Step, quantity: float) -> float | None:
    return None if step.part_mass_kg is None else step.part_mass_kg * quantity


def utc(time_ms: int) -> str:
    """Write an instant for people, to the minute."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%MZ}"
