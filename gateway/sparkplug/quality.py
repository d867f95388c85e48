"""How quality travels: as Sparkplug's property `Quality` and, with a reason, as one of ours.

Sparkplug knows good, bad and stale (specification 3.0, section 6.4.17). "Uncertain" is therefore
a good value with a reason beside it, so that hosts that do not know the reason still use it.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from gateway.model import Quality, Reason, Value
from gateway.sparkplug import names


class WireQuality(IntEnum):
    """The values of Sparkplug's property `Quality`."""

    BAD = 0
    GOOD = 192
    STALE = 500


def quality_properties(quality: Quality, reason: Reason) -> dict[str, Value]:
    """Return the properties that say how far a value can be trusted; none when it is good."""
    if quality is Quality.GOOD:
        return {}
    wire = WireQuality.BAD if quality is Quality.BAD else WireQuality.GOOD
    told = reason if reason is not Reason.NONE else Reason.UNKNOWN
    return {names.QUALITY: int(wire), names.QUALITY_REASON: int(told)}


def quality_of(properties: Mapping[str, Value], *, is_null: bool) -> tuple[Quality, Reason]:
    """Read the quality of a metric from its properties.

    A metric without a value is bad whatever its properties say. A quality or reason that nobody
    knows is uncertain with `Reason.UNKNOWN`.
    """
    wire = properties.get(names.QUALITY, WireQuality.GOOD)
    reason = _reason(properties.get(names.QUALITY_REASON))
    unsaid = Reason.STALE if wire == WireQuality.STALE else Reason.UNKNOWN
    if is_null or wire == WireQuality.BAD:
        return Quality.BAD, reason or unsaid
    if wire == WireQuality.GOOD and reason is Reason.NONE:
        return Quality.GOOD, Reason.NONE
    return Quality.UNCERTAIN, reason or unsaid


def _reason(number: Value) -> Reason:
    if number is None:
        return Reason.NONE
    if isinstance(number, int) and number in _REASONS:
        return Reason(number)
    return Reason.UNKNOWN


_REASONS: Final = frozenset(Reason)
