"""Instants as RFC 3339 in UTC, in and out."""

from datetime import UTC, datetime
from typing import Final

TIME_MS_MAX: Final = 253_402_300_799_999
"""The last instant that RFC 3339 can write: 9999-12-31T23:59:59.999Z."""


def rfc3339(time_ms: int) -> str:
    """Write an instant, always with milliseconds and ``Z``.

    Instants beyond what four digits of year can hold are clipped: a machine's clock may say
    anything, and the answer must stay readable.
    """
    clipped = min(max(time_ms, 0), TIME_MS_MAX)
    whole = datetime.fromtimestamp(clipped // 1000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{clipped % 1000:03d}Z"


def maybe_rfc3339(time_ms: int | None) -> str | None:
    """Write an instant, or None for none."""
    return None if time_ms is None else rfc3339(time_ms)


def to_ms(moment: datetime) -> int:
    """Read an instant; one without an offset is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)
