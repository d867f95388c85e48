"""How something is shown that is shared coarsely: half-days, and a grid of a kilometre (pure)."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MESH_LAT_DEG: Final = 1 / 120
MESH_LON_DEG: Final = 1 / 80
"""Third-order mesh of JIS X 0410: 30" of latitude by 45" of longitude, in Japan about 1 km."""
NOON_H: Final = 12
DAYS_MAX: Final = 4000

T = TypeVar("T")


class Stretch(NamedTuple):
    """A time [start, end) with a word for it."""

    start_ms: int
    end_ms: int
    word: str


def mesh_centre(lat: float, lon: float) -> tuple[float, float]:
    """Give the centre of the mesh cell that a place lies in."""
    return _centre(lat, MESH_LAT_DEG), _centre(lon, MESH_LON_DEG)


def _centre(value: float, step: float) -> float:
    # Counting cells by multiplying keeps places on a cell's edge within one cell.
    cells = value * round(1 / step)
    return round((cells // 1 + 0.5) * step, 6)


def zone_of(name: str) -> tzinfo:
    """Give a time zone, UTC for one that does not exist."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def half_day_start_ms(time_ms: int, zone: tzinfo) -> int:
    """Give the last local midnight or noon at or before an instant."""
    local = datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(zone)
    hour = NOON_H if local.hour >= NOON_H else 0
    start = local.replace(hour=hour, minute=0, second=0, microsecond=0, fold=0)
    return round(start.astimezone(UTC).timestamp() * 1000)


def half_days(start_ms: int, end_ms: int, zone: tzinfo) -> list[tuple[int, int]]:
    """Give the local half-days that lie wholly within [start, end)."""
    found: list[tuple[int, int]] = []
    edge = half_day_start_ms(start_ms, zone)
    while edge < end_ms and len(found) < 2 * DAYS_MAX:
        following = _next_edge_ms(edge, zone)
        if edge >= start_ms and following <= end_ms:
            found.append((edge, following))
        edge = following
    return found


def _next_edge_ms(edge_ms: int, zone: tzinfo) -> int:
    local = datetime.fromtimestamp(edge_ms / 1000, UTC).astimezone(zone)
    if local.hour < NOON_H:
        following = local.replace(hour=NOON_H, minute=0, second=0, microsecond=0)
    else:
        following = (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return round(following.astimezone(UTC).timestamp() * 1000)


def prevailing(
    stretches: Sequence[Stretch], start_ms: int, end_ms: int, zone: tzinfo
) -> list[Stretch]:
    """Tell for each whole half-day what was so for the longest time; equal ones by their word.

    Neighbouring half-days with the same word stay apart: how they are cut must tell nothing.
    """
    found: list[Stretch] = []
    first = 0
    for half_start, half_end in half_days(start_ms, end_ms, zone):
        while first < len(stretches) and stretches[first].end_ms <= half_start:
            first += 1
        shares: dict[str, int] = {}
        for told in stretches[first:]:
            if told.start_ms >= half_end:
                break
            length = min(told.end_ms, half_end) - max(told.start_ms, half_start)
            shares[told.word] = shares.get(told.word, 0) + max(0, length)
        word = max(sorted(shares), key=_of(shares), default="unknown")
        found.append(Stretch(half_start, half_end, word))
    return found


def _of(shares: dict[str, int]) -> Callable[[str], int]:
    return lambda word: shares[word]
