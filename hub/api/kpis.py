"""Key figures and the slices of time that they are made from."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from hub.access import Group, Level, View
from hub.api.caller import ViewOf
from hub.api.context import Context
from hub.api.history import HOUR_MS, read_span
from hub.api.problems import RefusalError, documented, not_found
from hub.api.times import Instant, rfc3339
from hub.coordination.shop_floor.figures import Measured
from hub.coordination.shop_floor.kpis import Inputs, coverage, measure
from hub.historian import Span

DAY_MS: Final = 24 * HOUR_MS
DAYS_MAX: Final = 92
SLICES_MAX: Final = 5000
_SiteId = Annotated[str, Path(max_length=128)]
_MachineId = Annotated[str, Path(max_length=400)]
_From = Annotated[Instant | None, Query(alias="from")]
_RESPONSES: Final = documented(400, 404, 422, 503)


class KpiItem(BaseModel):
    """One figure; null with the reason. `of` names the buckets that it is made from."""

    value: float | None
    reason: str | None
    flags: list[str]
    of: list[str]


class PeriodItem(BaseModel):
    """Figures of one stretch of time; `coverage` is the share of planned time that is known.

    `slices` leads to the intervals that every figure of it is made from.
    """

    start: str
    end: str
    label: str | None
    day: str | None
    coverage: float | None
    buckets_s: dict[str, float]
    outside_hours_s: float
    good: float | None
    scrap: float | None
    breakdowns: int
    kpis: dict[str, KpiItem]
    slices: str | None


class MachineKpis(BaseModel):
    """Figures of a machine, oldest first. What has not begun is left out."""

    site: str
    machine: str
    by: str
    time_zone: str
    periods: list[PeriodItem]


class SiteKpis(BaseModel):
    """Ratios of sums over the machines `counted`; those without a schedule are left out."""

    site: str
    counted: list[str]
    left_out: list[str]
    period: PeriodItem | None


class SliceItem(BaseModel):
    """A stretch of one bucket, and what made it so."""

    start: str
    end: str
    bucket: str
    state: str
    calendar: str
    order: str | None
    reason: str | None
    source: str


class Slices(BaseModel):
    """Slices without gap or overlap; `next` is where to go on when there are more."""

    slices: list[SliceItem]
    next: str | None


def routes(context: Context) -> APIRouter:
    """Make the routes of figures."""
    router = APIRouter(tags=["kpis"])
    _add_machine(router, context)
    _add_site(router, context)
    return router


def _add_machine(router: APIRouter, context: Context) -> None:
    @router.get("/machines/{site}/{machine}/kpis", response_model=MachineKpis, responses=_RESPONSES)
    def kpis(
        site: _SiteId,
        machine: _MachineId,
        view: ViewOf,
        *,
        from_: _From = None,
        to: Instant | None = None,
        by: Literal["range", "day", "shift"] = "range",
    ) -> dict[str, Any]:
        """Give a machine's figures, aligned with ISO 22400-2, of the last 24 hours by default."""
        _require_machine(context, site, machine, view)
        span = read_range(from_, to, context.now_ms())
        found = context.floor.figures.of_machine(site, machine, span, by)
        base = f"/api/v1/machines/{quote(site, safe='')}/{quote(machine, safe='')}/buckets"
        return {
            "site": site,
            "machine": machine,
            "by": by,
            "time_zone": context.calendars.time_zone(site, machine),
            "periods": [_period(each, base) for each in found],
        }

    @router.get("/machines/{site}/{machine}/buckets", response_model=Slices, responses=_RESPONSES)
    def buckets(
        site: _SiteId,
        machine: _MachineId,
        view: ViewOf,
        *,
        from_: _From = None,
        to: Instant | None = None,
    ) -> dict[str, Any]:
        """Give the slices of time that a machine's figures are made from."""
        _require_machine(context, site, machine, view)
        span = read_range(from_, to, context.now_ms())
        found = context.floor.figures.slices(site, machine, span)
        items = [
            {
                "start": rfc3339(each.start_ms),
                "end": rfc3339(each.end_ms),
                "bucket": each.bucket.value,
                "state": each.state.value,
                "calendar": each.calendar.value,
                "order": each.order.value if each.order else None,
                "reason": each.reason or None,
                "source": each.source,
            }
            for each in found[:SLICES_MAX]
        ]
        more = found[SLICES_MAX].start_ms if len(found) > SLICES_MAX else None
        return {"slices": items, "next": None if more is None else rfc3339(more)}


def _add_site(router: APIRouter, context: Context) -> None:
    @router.get("/sites/{site}/kpis", response_model=SiteKpis, responses=_RESPONSES)
    def site_kpis(
        site: _SiteId, view: ViewOf, *, from_: _From = None, to: datetime | None = None
    ) -> dict[str, Any]:
        """Give a site's figures as ratios of sums, of the last 24 hours by default."""
        if context.directory.site(site) is None or not shown(view, site):
            raise not_found("such site")
        span = read_range(from_, to, context.now_ms())
        inputs, counted, left_out = context.floor.figures.of_site(site, span)
        period = None if inputs is None else _figures(inputs, span, None)
        return {"site": site, "counted": counted, "left_out": left_out, "period": period}


def read_range(from_: datetime | None, to: datetime | None, now_ms: int) -> Span:
    """Make the range asked for, the last 24 hours by default.

    Raises:
        RefusalError: it is empty, or longer than 92 days.
    """
    span = read_span(from_, to, now_ms, default_ms=DAY_MS)
    if span.to_ms - span.from_ms > DAYS_MAX * DAY_MS:
        raise RefusalError(400, "bad-range", f"The range is longer than {DAYS_MAX} days.")
    return span


def shown(view: View, site: str) -> bool:
    """Tell whether the figures of a site are shown one by one."""
    return view.level(site, Group.KPI) is Level.FULL


def _require_machine(context: Context, site: str, machine: str, view: View) -> None:
    if context.directory.machine(site, machine) is None or not shown(view, site):
        raise not_found("such machine")


def _period(measured: Measured, base: str) -> dict[str, Any]:
    period = measured.period
    item = _figures(measured.inputs, period.span, base)
    day = period.day.isoformat() if period.day else None
    return {**item, "label": period.label or None, "day": day}


def _figures(inputs: Inputs, span: Span, base: str | None) -> dict[str, Any]:
    start, end = rfc3339(span.from_ms), rfc3339(span.to_ms)
    return {
        "start": start,
        "end": end,
        "label": None,
        "day": None,
        "coverage": coverage(inputs),
        "buckets_s": {bucket.value: ms / 1000 for bucket, ms in inputs.buckets.items()},
        "outside_hours_s": inputs.outside_ms / 1000,
        "good": inputs.good,
        "scrap": inputs.scrap,
        "breakdowns": inputs.breakdowns,
        "kpis": {
            name: {"value": k.value, "reason": k.reason, "flags": k.flags, "of": k.of}
            for name, k in measure(inputs).items()
        },
        "slices": None if base is None else f"{base}?from={start}&to={end}",
    }
