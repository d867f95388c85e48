"""Where time was lost: stops by reason, the greatest loss first (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.model import State
from hub.coordination.shop_floor.buckets import BUSY, Bucket, Slice

LOSSES: Final = frozenset({Bucket.ADET, Bucket.ADOT, Bucket.APMT, Bucket.UNKNOWN})
"""What stands still within the hours, whatever the cause; unknown time is shown beside it."""


@dataclass(slots=True)
class Loss:
    """What one reason cost. Without a reason it goes by the state."""

    reason: str | None
    state: State | None
    duration_ms: int = 0
    stops: int = 0
    machines: int = 0


def pareto(machines: Iterable[Iterable[Slice]]) -> list[Loss]:
    """Add up stops by reason, over the slices of several machines."""
    losses: dict[tuple[str, State | None], Loss] = {}
    for found in machines:
        here = set()
        before: tuple[str, State | None] | None = None
        for each in found:
            key = (each.reason, None if each.reason else each.state)
            if each.bucket in LOSSES and each.state not in BUSY:
                loss = losses.setdefault(key, Loss(each.reason or None, key[1]))
                loss.duration_ms += each.end_ms - each.start_ms
                loss.stops += key != before
                here.add(key)
                before = key
            else:
                before = None
        for key in here:
            losses[key].machines += 1
    return sorted(losses.values(), key=lambda loss: (-loss.duration_ms, loss.reason or ""))
