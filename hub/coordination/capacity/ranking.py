"""Which of several offers comes first: Pareto, then weights, then fairness. Pure.

An offer that another one beats in nothing and loses to in something never stands before it. Among
the rest the caller's weights decide, over each criterion scaled to what is on offer. What is as
good as equal goes to whoever had the least work of late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

SCORE_DIGITS: Final = 2
"""Scores equal to so many digits are as good as equal: then the least loaded comes first."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each criterion counts; only their proportions matter."""

    time: float = 1.0
    distance: float = 0.3
    co2: float = 0.3
    price: float = 0.0


class Criteria(NamedTuple):
    """What an offer is judged by, less being better. None: nobody knows, the worst on offer."""

    end_p90_ms: float
    distance_km: float | None
    co2_kg: float | None
    price: float | None


class Judged(NamedTuple):
    """The place of an offer in what was given, its score (0 is best), whether it is Pareto."""

    place: int
    score: float
    pareto: bool


def rank(
    offers: Sequence[Criteria], loads: Sequence[float], names: Sequence[str], weights: Weights
) -> list[Judged]:
    """Order offers, best first. `loads` is recent work of each, `names` makes ties certain."""
    columns = [_filled([offer[i] for offer in offers]) for i in range(len(Criteria._fields))]
    rows = list(zip(*columns, strict=True))
    scaled = [_scaled(column) for column in columns]
    shares = _shares(weights)
    scores = [sum(s * c[i] for s, c in zip(shares, scaled, strict=True)) for i in range(len(rows))]
    # Whoever beats another has no greater score, and is before it in the criteria themselves.
    order = sorted(range(len(rows)), key=lambda i: (scores[i], rows[i], names[i]))
    front: list[int] = []
    for i in order:
        if not any(_beats(rows[j], rows[i]) for j in front):
            front.append(i)
    best = frozenset(front)
    judged = [Judged(i, scores[i], i in best) for i in range(len(rows))]
    judged.sort(key=lambda j: _place(j, rows[j.place], loads[j.place], names[j.place]))
    return judged


def _place(
    judged: Judged, row: tuple[float, ...], load: float, name: str
) -> tuple[bool, float, float, float, tuple[float, ...], str]:
    rounded = round(judged.score, SCORE_DIGITS)
    return not judged.pareto, rounded, load, judged.score, row, name


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _filled(column: Sequence[float | None]) -> list[float]:
    known = [each for each in column if each is not None]
    worst = max(known, default=0.0)
    return [worst if each is None else each for each in column]


def _scaled(column: Sequence[float]) -> list[float]:
    low, high = min(column, default=0.0), max(column, default=0.0)
    if high <= low:
        return [0.0] * len(column)
    return [(each - low) / (high - low) for each in column]


def _shares(weights: Weights) -> tuple[float, float, float, float]:
    parts = (weights.time, weights.distance, weights.co2, weights.price)
    total = sum(parts)
    if total <= 0:
        return (1.0, 0.0, 0.0, 0.0)
    return (parts[0] / total, parts[1] / total, parts[2] / total, parts[3] / total)
