"""What a search has offered: kept for a while, so that it can be held by its id, and explained.

The id is unguessable and the offer is bound to what its caller could see then. Offers live in this
process only, in bounded number: whoever comes too late searches again.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final, Literal

from hub.access import View
from hub.access.coarse import half_day_start_ms
from hub.coordination.booking.booking import StepRequest
from hub.coordination.capacity.capacity import BASES
from hub.coordination.capacity.chains import Candidate, Chain, Lot

OFFER_MS: Final = 10 * 60_000
"""How long an offer stands. Its work begins no sooner, so it can be held until the last moment."""
KEPT_MAX: Final = 10_000
Language = Literal["ja", "en"]
_INTO_NEXT_MS: Final = round(13.5 * 3_600_000)


@dataclass(frozen=True, slots=True)
class Offer:
    """A chain that can be held by its id until `valid_until_ms`, unless somebody is faster."""

    id: str
    chain: Chain
    valid_until_ms: int
    fingerprint: str
    """Of the view it was made for."""
    score: float
    """0 is the best of what was on offer, 1 the worst."""
    pareto: bool
    """Whether nothing else on offer was better in something and worse in nothing."""

    @property
    def steps(self) -> tuple[StepRequest, ...]:
        """What is to be booked: one step for each lot."""
        return tuple(
            StepRequest(
                lot.candidate.site,
                lot.candidate.machine,
                stage.step.units,
                lot.promise.segments,
            )
            for stage in self.chain.stages
            for lot in stage.lots
        )

    @property
    def tells_times(self) -> bool:
        """Whether the caller may know all its times to the minute."""
        return all(lot.candidate.tells_times for lot in self.chain.lots)


class OfferBook:
    """Remembers offers. Any thread may use it."""

    def __init__(self, *, now_ms: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._now_ms = now_ms
        self._new_id = new_id
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Offer] = OrderedDict()

    def keep(self, chain: Chain, view: View, *, score: float, pareto: bool) -> Offer:
        """Make an offer of a chain; the oldest ones are forgotten when there are too many."""
        until_ms = self._now_ms() + OFFER_MS
        offer = Offer(self._new_id(), chain, until_ms, view.fingerprint, score, pareto)
        with self._lock:
            self._kept[offer.id] = offer
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return offer

    def get(self, offer_id: str, view: View | None = None) -> Sequence[StepRequest] | None:
        """Give what an offer would book; None when it is unknown, over, or somebody else's."""
        offer = self._kept.get(offer_id)
        if offer is None or self._now_ms() >= offer.valid_until_ms:
            return None
        if view is not None and view.fingerprint != offer.fingerprint:
            return None
        return offer.steps


# -- what may be shown of it -------------------------------------------------------------------


def half_day(time_ms: int, zone: tzinfo, *, up: bool) -> int:
    """Round to midnight or noon of a site's clock, back or (`up`) forth."""
    start_ms = half_day_start_ms(time_ms, zone)
    if not up or start_ms == time_ms:
        return start_ms
    # Well into the next half-day, even where clocks change by an hour in between.
    return half_day_start_ms(start_ms + _INTO_NEXT_MS, zone)


def shown_start_ms(lot: Lot) -> int:
    """Give the start of a lot as exactly as the caller may know it."""
    start_ms = lot.promise.start_ms
    exact = lot.candidate.tells_times
    return start_ms if exact else half_day(start_ms, lot.candidate.zone, up=False)


def shown_end_ms(candidate: Candidate, end_ms: int) -> int:
    """Give an end as exactly as the caller may know it."""
    return end_ms if candidate.tells_times else half_day(end_ms, candidate.zone, up=True)


def shown_basis(candidate: Candidate) -> str:
    """Tell what the release rests on, unless that would tell what the machine is doing."""
    return candidate.release.basis if candidate.tells_state else "not-shared"


def shown_confidence(candidate: Candidate) -> float:
    """Give the confidence, unless it would tell what the machine is doing."""
    return candidate.release.confidence if candidate.tells_state else BASES["calendar-only"]


BASIS_WORDS: Final = {
    "live": {"ja": "今すぐ空いており", "en": "free by its live state"},
    "running-job": {"ja": "進行中の仕事の後", "en": "after the job on it"},
    "job-unknown": {
        "ja": "稼働中(仕事の残りは不明のため仮定)",
        "en": "after the work on it, whose rest is assumed",
    },
    "repair-own": {
        "ja": "停止中(この機械の過去の復旧時間による)",
        "en": "after its repair, by its own past stops",
    },
    "repair-class": {
        "ja": "停止中(同種機械の復旧時間による)",
        "en": "after its repair, by stops of its kind",
    },
    "repair-assumed": {
        "ja": "停止中(復旧時間は仮定)",
        "en": "after its repair, whose time is assumed",
    },
    "planned-end": {"ja": "計画保全の後", "en": "after planned maintenance"},
    "calendar-only": {
        "ja": "現在の状態は不明、暦のみによる",
        "en": "by calendar only, its state is not known",
    },
    "not-shared": {"ja": "暦と予約による", "en": "by calendar and bookings"},
}
"""What a release rests on, for people."""

_SENTENCES: Final = {
    "en": "{quantity} parts{pace} from {start}, {basis}; likely done {p50}, nearly surely {p90}.",
    "ja": "{quantity}個{pace}、{start}開始、{basis}。完了見込み{p50}、ほぼ確実に{p90}。",
}
_PACES: Final = {"en": " at {cycle} s each", "ja": "(1個{cycle}秒)"}


def explanation(lot: Lot, language: Language) -> str:
    """Say in one line why a lot can be promised, in the time of its site."""
    candidate = lot.candidate
    cycle = f"{candidate.pace.cycle_ms / 1000:g}"
    return _SENTENCES[language].format(
        quantity=lot.quantity,
        pace=_PACES[language].format(cycle=cycle) if candidate.tells_pace else "",
        start=_clock(shown_start_ms(lot), candidate.zone),
        basis=BASIS_WORDS[shown_basis(candidate)][language],
        p50=_clock(shown_end_ms(candidate, lot.promise.end_p50_ms), candidate.zone),
        p90=_clock(shown_end_ms(candidate, lot.promise.end_p90_ms), candidate.zone),
    )


def _clock(time_ms: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, zone):%Y-%m-%d %H:%M}"
