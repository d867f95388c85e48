"""Offers as they are told: no more of a site than it shares with who asks."""

from typing import Any

from hub.api.times import maybe_rfc3339, rfc3339
from hub.coordination.capacity.capacity import latest_start
from hub.coordination.capacity.chains import Journey, Lot, Order, Stage
from hub.coordination.capacity.ledger import DAY_MS
from hub.coordination.capacity.matching import Step
from hub.coordination.capacity.offers import (
    Offer,
    explanation,
    shown_basis,
    shown_confidence,
    shown_end_ms,
    shown_start_ms,
)
from hub.coordination.capacity.search import Found


def result(found: Found, order: Order) -> dict[str, Any]:
    """Write the answer to a search."""
    return {
        "as_of": rfc3339(found.as_of_ms),
        "offers": [_offer(offer, order) for offer in found.offers],
        "rejected": [rejected._asdict() for rejected in found.rejected],
        "rejected_total": found.rejected_total,
    }


def _offer(offer: Offer, order: Order) -> dict[str, Any]:
    chain = offer.chain
    lots = list(chain.lots)
    alone = lots[0].candidate if len({lot.candidate.name for lot in lots}) == 1 else None
    last = [lot.candidate for lot in chain.stages[-1].lots]
    stages = [_stage(stage, order) for stage in chain.stages]
    return {
        "offer_id": offer.id,
        "valid_until": rfc3339(offer.valid_until_ms),
        "site": alone.site if alone else None,
        "machine": alone.machine if alone else None,
        "start": rfc3339(min(shown_start_ms(lot) for lot in lots)),
        "end_p50": rfc3339(max(shown_end_ms(c, chain.end_p50_ms) for c in last)),
        "end_p90": rfc3339(max(shown_end_ms(c, chain.end_p90_ms) for c in last)),
        "distance_km": _rounded(chain.distance_km, 2),
        "co2_kg": _rounded(chain.co2_kg, 3),
        "transport_co2_kg": _rounded(chain.transport_co2_kg, 3),
        "energy_co2_kg": _rounded(chain.energy_co2_kg, 3),
        "price_hint": None,
        "confidence": round(min(shown_confidence(lot.candidate) for lot in lots), 3),
        "basis": list(dict.fromkeys(shown_basis(lot.candidate) for lot in lots)),
        "pareto": offer.pareto,
        "score": round(offer.score, 4),
        "coarse": not offer.tells_times,
        "explanation": {
            "ja": " → ".join(explanation(lot, "ja") for lot in lots),
            "en": " Then: ".join(explanation(lot, "en") for lot in lots),
        },
        "steps": stages,
        "delivery": [_journey(each, coarse=not offer.tells_times) for each in chain.delivery],
    }


def _stage(stage: Stage, order: Order) -> dict[str, Any]:
    coarse = any(not lot.candidate.tells_times for lot in stage.lots)
    return {
        "process": stage.step.process,
        "quantity": stage.step.quantity,
        "journeys": [_journey(each, coarse=coarse) for each in stage.journeys],
        "lots": [_lot(lot, stage.step, order) for lot in stage.lots],
    }


def _lot(lot: Lot, step: Step, order: Order) -> dict[str, Any]:
    candidate, promise = lot.candidate, lot.promise
    kwh, grid = lot.energy_kwh, candidate.grid_kg_per_kwh
    segments = promise.segments if candidate.tells_times else ()
    return {
        "site": candidate.site,
        "machine": candidate.machine,
        "quantity": lot.quantity,
        "units": step.units,
        "start": rfc3339(shown_start_ms(lot)),
        "end_p50": rfc3339(shown_end_ms(candidate, promise.end_p50_ms)),
        "end_p90": rfc3339(shown_end_ms(candidate, promise.end_p90_ms)),
        "latest_start": maybe_rfc3339(_latest_ms(lot, step, order)),
        "segments": [{"start": rfc3339(s), "end": rfc3339(e)} for s, e in segments],
        "cycle_s": candidate.pace.cycle_ms / 1000 if candidate.tells_pace else None,
        "setup_min": round(candidate.setup_ms / 60_000, 3),
        "basis": shown_basis(candidate),
        "confidence": round(shown_confidence(candidate), 3),
        "energy_kwh": _rounded(kwh, 3),
        "energy_co2_kg": None if kwh is None or grid is None else round(kwh * grid, 3),
        "explanation": {"ja": explanation(lot, "ja"), "en": explanation(lot, "en")},
    }


def _latest_ms(lot: Lot, step: Step, order: Order) -> int | None:
    """Tell the latest start of work that is not followed by another step or a journey."""
    candidate = lot.candidate
    if order.due_ms is None or len(order.steps) > 1 or order.deliver_to is not None:
        return None
    if not candidate.tells_times:
        return None
    slow = candidate.need(step, lot.quantity).stretched(candidate.pace.ratio_p90)
    return latest_start(candidate.free, slow, lot.promise.start_ms, order.due_ms)


def _journey(journey: Journey, *, coarse: bool) -> dict[str, Any]:
    leg = journey.leg
    step_ms = DAY_MS if coarse else 1
    return {
        "from_site": journey.from_site,
        "to_site": journey.to_site,
        "depart": rfc3339(leg.depart_ms // step_ms * step_ms),
        "arrive": rfc3339(-(-leg.arrive_ms // step_ms) * step_ms),
        "distance_km": _rounded(leg.distance_km, 2),
        "co2_kg": _rounded(leg.emission.co2_kg, 3),
        "method": leg.emission.method,
        "vehicle": leg.emission.vehicle,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
