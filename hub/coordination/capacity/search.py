"""Who can make this, when and where: the question that everything else is there for.

Nothing is changed by asking. What the caller may not see is not searched, and is not told of as
refused either.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from hub.access import Group, Level, View
from hub.coordination.booking.booking import SEGMENTS_MAX
from hub.coordination.capacity.candidates import Candidates, Known, Terms
from hub.coordination.capacity.chains import Candidate, Chain, Order
from hub.coordination.capacity.matching import Mismatch
from hub.coordination.capacity.offers import OFFER_MS, Offer, OfferBook, shown_end_ms
from hub.coordination.capacity.planning import Planner
from hub.coordination.capacity.ranking import Criteria, rank
from hub.coordination.capacity.transport import Roads
from hub.coordination.directory.directory import Directory, SiteEntry
from hub.live import Live

REJECTED_MAX: Final = 200
"""So many refused machines are told of, the nearest misses first."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for."""

    order: Order
    terms: Terms
    max_offers: int = 10
    sites: frozenset[str] | None = None
    """Only machines of these; None is any."""


class Rejected(NamedTuple):
    """A machine that is not offered for a step, and why."""

    site: str
    machine: str
    step: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a query."""

    as_of_ms: int
    offers: tuple[Offer, ...]
    rejected: tuple[Rejected, ...]
    rejected_total: int


Refusal = tuple[str, str, int, Mismatch]


class Search:
    """Answers queries. Any thread may ask; what it costs is said in `benchmarks/capacity.py`."""

    def __init__(
        self,
        *,
        directory: Directory,
        live: Live,
        candidates: Candidates,
        roads: Roads,
        offers: OfferBook,
        now_ms: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._live = live
        self._candidates = candidates
        self._roads = roads
        self._offers = offers
        self._now_ms = now_ms

    def find(self, query: Query, view: View) -> Found:
        """Give the best offers, and why other machines are not among them.

        Work begins no sooner than an offer ends, so that each can be held until then.
        """
        now_ms = self._now_ms()
        earliest_ms = max(query.order.earliest_ms, now_ms + OFFER_MS)
        order = replace(query.order, earliest_ms=earliest_ms)
        machines = list(self._machines(query, view))
        candidates, refused = self._put_up(order, query.terms, machines, view, now_ms)
        planner = Planner(order, self._roads)
        chains = planner.plan(candidates) if all(candidates) else []
        chains = [chain for chain in chains if _bookable(chain)]
        refused += [(c.site, c.machine, number, why) for number, c, why in planner.refused]
        best = ranked(chains, order)[: query.max_offers]
        offers = tuple(
            self._offers.keep(chain, view, score=score, pareto=pareto)
            for chain, score, pareto in best
        )
        told = rejected(refused, chains)
        return Found(now_ms, offers, tuple(told[:REJECTED_MAX]), len(told))

    def _machines(self, query: Query, view: View) -> Iterable[Known]:
        """Give the machines that the caller may be offered at all."""
        lives = {(each.site, each.machine): each for each in self._live.machines()}
        shown: dict[str, SiteEntry | None] = {}
        for entry in self._directory.machines():
            if query.sites is not None and entry.site not in query.sites:
                continue
            if entry.site not in shown:
                may = may_be_offered(view, entry.site)
                shown[entry.site] = self._directory.site(entry.site) if may else None
            site = shown[entry.site]
            if site is not None:
                yield Known(entry, site, lives.get((entry.site, entry.machine)))

    def _put_up(
        self, order: Order, terms: Terms, machines: Sequence[Known], view: View, now_ms: int
    ) -> tuple[list[list[Candidate]], list[Refusal]]:
        candidates: list[list[Candidate]] = []
        refused: list[Refusal] = []
        for number, step in enumerate(order.steps):
            able: list[Candidate] = []
            for known in machines:
                found = self._candidates.candidate(step, known, terms, view, now_ms)
                if isinstance(found, Candidate):
                    able.append(found)
                else:
                    refused.append((known.entry.site, known.entry.machine, number, found))
            candidates.append(able)
        return candidates, refused


def may_be_offered(view: View, site: str) -> bool:
    """Tell whether a view shows what machines of a site can do and when, at least coarsely."""
    groups = (Group.CAPABILITY, Group.CAPACITY_CALENDAR)
    return view.sees(site) and all(view.level(site, group) >= Level.COARSE for group in groups)


def ranked(chains: Sequence[Chain], order: Order) -> list[tuple[Chain, float, bool]]:
    """Order chains by what the caller may know of them: chain, score, whether it is Pareto."""
    criteria = [
        Criteria(
            max(shown_end_ms(lot.candidate, chain.end_p90_ms) for lot in chain.lots),
            chain.distance_km,
            chain.co2_kg,
            None,
        )
        for chain in chains
    ]
    loads, names = [chain.load for chain in chains], [chain.name for chain in chains]
    judged = rank(criteria, loads, names, order.weights)
    return [(chains[each.place], each.score, each.pareto) for each in judged]


def rejected(refused: Iterable[Refusal], chains: Iterable[Chain]) -> list[Rejected]:
    """Tell of the machines that no chain uses in a step, the nearest misses first, each once."""
    used = {
        (lot.candidate.site, lot.candidate.machine, number)
        for chain in chains
        for number, stage in enumerate(chain.stages)
        for lot in stage.lots
    }
    nearest: dict[tuple[str, str, int], Mismatch] = {}
    for site, machine, number, why in refused:
        key = (site, machine, number)
        if key not in used and (key not in nearest or why.near > nearest[key].near):
            nearest[key] = why
    ordered = sorted(nearest.items(), key=lambda each: (-each[1].near, each[0]))
    return [Rejected(*key, why.code, why.detail) for key, why in ordered]


def _bookable(chain: Chain) -> bool:
    return sum(len(lot.promise.segments) for lot in chain.lots) <= SEGMENTS_MAX
