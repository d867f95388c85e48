"""Instants as RFC 3339 in UTC, in and out."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

TIME_MS_MAX: Final = 253_402_300_799_999
"""The last instant that RFC 3339 can write: 9999-12-31T23:59:59.999Z."""


_WRITTEN: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _as_written(raw: object) -> object:
    """Let nothing pass for an instant but one that is written as such, no bare number."""
    if isinstance(raw, str) and _WRITTEN.match(raw) is None:
        raise ValueError("expected RFC 3339, for example 2026-11-23T08:30:00Z")
    return raw


Instant = Annotated[datetime, BeforeValidator(_as_written)]
"""An instant in a query: a bare number would else be taken for seconds since 1970."""


YEARS: Final = 2000, 2100
"""Where the times lie that people plan with; anything else is a slip of the pen."""


def in_reach(moment: datetime) -> datetime:
    """Let instants of this century pass.

    Raises:
        ValueError: it lies elsewhere.
    """
    if not YEARS[0] <= moment.year < YEARS[1]:
        raise ValueError(f"must lie within {YEARS[0]} and {YEARS[1]}")
    return moment


Moment = Annotated[datetime, AfterValidator(in_reach)]
"""An instant in a request's body."""


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
