"""Free capacity over HTTP: of one machine over time, and the search for who can make something."""

from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hub.access import Group, Level, View
from hub.access.coarse import zone_of
from hub.api.caller import ViewOf
from hub.api.capacity_models import (
    Bucket,
    CapacityItem,
    SearchIn,
    SearchResult,
    StepIn,
)
from hub.api.context import Context
from hub.api.offer_items import result
from hub.api.problems import RefusalError, documented, not_found
from hub.api.times import Moment, rfc3339, to_ms
from hub.coordination.capacity import search as capacity_search
from hub.coordination.capacity.candidates import Terms
from hub.coordination.capacity.capacity import tally
from hub.coordination.capacity.chains import Order
from hub.coordination.capacity.ledger import DAY_MS, HORIZON_MS, Page
from hub.coordination.capacity.matching import Step
from hub.coordination.capacity.offers import half_day
from hub.coordination.capacity.ranking import Weights
from hub.coordination.directory.directory import MachineEntry
from hub.stream import to_json

HOUR_MS: Final = 3_600_000
BUCKETS_MAX: Final = 1500
Span = tuple[int, int]


def routes(context: Context) -> APIRouter:
    """Make the routes of free capacity."""
    router = APIRouter(tags=["capacity"])

    @router.get(
        "/machines/{site}/{machine}/capacity",
        response_model=CapacityItem,
        responses=documented(400, 404, 422),
    )
    def machine_capacity(
        site: str,
        machine: str,
        view: ViewOf,
        *,
        from_: Annotated[Moment | None, Query(alias="from")] = None,
        to: Moment | None = None,
        bucket: Bucket = "day",
    ) -> Response:
        """Tell how many hours of a machine work, are held, reserved and free, bucket by bucket.

        From now on for a week unless told otherwise, at most two months ahead. Hours that are past
        count as they were planned.
        """
        entry = context.directory.machine(site, machine)
        if entry is None or entry.retired or not _shown(view, site):
            raise not_found("such machine")
        span = _range(context.now_ms(), from_, to)
        return _json(_capacity(context, entry, view, span, bucket))

    @router.post(
        "/capacity/search",
        response_model=SearchResult,
        responses=documented(400, 422),
    )
    async def search(body: SearchIn, view: ViewOf) -> Response:
        """Ask who can make this, when and where. Nothing is reserved and nothing changes.

        An offer can be held by its `offer_id` until `valid_until`, unless somebody is faster.
        """
        query = _query(context, body)
        found = await run_in_threadpool(context.capacity.search.find, query, view)
        return _json(result(found, query.order))

    return router


def _json(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json")


def _shown(view: View, site: str) -> bool:
    return view.sees(site) and view.level(site, Group.CAPACITY_CALENDAR) >= Level.COARSE


# -- one machine -------------------------------------------------------------------------------


def _range(now_ms: int, from_: datetime | None, to: datetime | None) -> tuple[int, int]:
    from_ms = now_ms if from_ is None else to_ms(from_)
    until_ms = from_ms + 7 * DAY_MS if to is None else to_ms(to)
    first_ms, last_ms = now_ms // DAY_MS * DAY_MS, now_ms // DAY_MS * DAY_MS + HORIZON_MS
    if from_ms >= until_ms:
        raise RefusalError(400, "bad-range", "`to` must lie after `from`.")
    if from_ms < first_ms or until_ms > last_ms:
        text = f"Capacity is known from {rfc3339(first_ms)} to {rfc3339(last_ms)}."
        raise RefusalError(400, "bad-range", text)
    return from_ms, until_ms


def _capacity(
    context: Context, entry: MachineEntry, view: View, span: Span, bucket: Bucket
) -> dict[str, Any]:
    site, machine, now_ms = entry.site, entry.machine, context.now_ms()
    page = context.capacity.ledger.page(entry)
    zone_name = context.calendars.time_zone(site, machine)
    zone = zone_of(zone_name)
    coarse = view.level(site, Group.CAPACITY_CALENDAR) < Level.FULL
    spans = _half_days(span, zone) if coarse else _spans(context, entry, span, bucket, zone)
    if len(spans) > BUCKETS_MAX:
        text = f"That would be more than {BUCKETS_MAX} buckets: ask for less or larger ones."
        raise RefusalError(400, "bad-range", text)
    return {
        "site": site,
        "machine": machine,
        "as_of": rfc3339(now_ms),
        "units": entry.capacity_units,
        "time_zone": zone_name,
        "bucket": "half-day" if coarse else bucket,
        "basis": "calendar" if page.opened else "undefined",
        "coarse": coarse,
        **_release(context, entry, view, page),
        "buckets": [_bucket(page, each, coarse=coarse) for each in spans],
    }


def _release(context: Context, entry: MachineEntry, view: View, page: Page) -> dict[str, Any]:
    """Tell from when on it can take work, unless that would tell what is not shared."""
    site, now_ms = entry.site, context.now_ms()
    if view.level(site, Group.STATUS) < Level.FULL:
        return dict.fromkeys(("release_p50", "release_basis", "confidence"))
    presence = context.capacity.presence
    present = presence.of(entry, context.live.machine(site, entry.machine), page, now_ms)
    release = presence.release(entry, present, 1.0, now_ms)
    coarse = view.level(site, Group.CAPACITY_CALENDAR) < Level.FULL
    return {
        "release_p50": None if coarse else rfc3339(release.p50_ms),
        "release_basis": release.basis,
        "confidence": round(release.confidence, 3),
    }


def _bucket(page: Page, span: Span, *, coarse: bool) -> dict[str, Any]:
    names = ("available_h", "reserved_h", "held_h", "free_h")
    hours: dict[str, float | None] = dict.fromkeys(names)
    if page.opened:
        found = tally(page.stretches(), *span)
        told = (found.available, found.reserved, found.held, found.free)
        hours = {n: _hours(each, coarse=coarse) for n, each in zip(names, told, strict=True)}
    if coarse:
        # Who has booked how much is not the business of who may know half-days.
        hours |= {"reserved_h": None, "held_h": None}
    return {"start": rfc3339(span[0]), "end": rfc3339(span[1]), **hours}


def _hours(unit_ms: int, *, coarse: bool) -> float:
    hours = unit_ms / HOUR_MS
    return float(round(hours)) if coarse else round(hours, 3)


def _half_days(span: Span, zone: tzinfo) -> list[Span]:
    edges = [half_day(span[0], zone, up=False)]
    while edges[-1] < span[1]:
        edges.append(half_day(edges[-1] + 1, zone, up=True))
    return list(pairwise(edges))


def _spans(
    context: Context, entry: MachineEntry, span: Span, bucket: Bucket, zone: tzinfo
) -> list[Span]:
    """Cut a range into hours by the clock of the site, its shifts, or its production days."""
    if bucket == "hour":
        return list(pairwise(_hour_edges(*span, zone)))
    told: Iterable[Any]
    if bucket == "shift":
        told = context.calendars.shifts(entry.site, entry.machine, *span)
    else:
        told = context.calendars.days(entry.site, entry.machine, *span)
    clipped = ((max(each.start_ms, span[0]), min(each.end_ms, span[1])) for each in told)
    return [(start, end) for start, end in clipped if start < end]


def _hour_edges(from_ms: int, until_ms: int, zone: tzinfo) -> list[int]:
    """Give the full hours of a site's clock; zones off by half an hour have theirs."""
    offset = datetime.fromtimestamp(from_ms / 1000, zone).utcoffset() or timedelta()
    off_ms = round(offset.total_seconds() * 1000) % HOUR_MS
    first_ms = (from_ms + off_ms) // HOUR_MS * HOUR_MS - off_ms + HOUR_MS
    return [from_ms, *range(first_ms, until_ms, HOUR_MS), until_ms]


# -- the search --------------------------------------------------------------------------------


def _query(context: Context, body: SearchIn) -> capacity_search.Query:
    now_ms = context.now_ms()
    earliest_ms = now_ms if body.earliest is None else to_ms(body.earliest)
    due_ms = None if body.due is None else to_ms(body.due)
    for name, time_ms in (("earliest", earliest_ms), ("due", due_ms)):
        if time_ms is not None and time_ms > now_ms + HORIZON_MS - 2 * DAY_MS:
            raise _mistake(f"body/{name}", "Free capacity is known for 60 days ahead.")
    to = None if body.deliver_to is None else (body.deliver_to.lat, body.deliver_to.lon)
    order = Order(
        steps=tuple(_step(context, at, step) for at, step in enumerate(body.steps)),
        earliest_ms=max(now_ms, earliest_ms),
        due_ms=due_ms,
        deliver_to=to,
        weights=Weights(**body.weights.model_dump()),
    )
    terms = Terms(
        require_live=body.require_live,
        allow_unscheduled=body.allow_unscheduled,
        radius_km=body.radius_km,
        deliver_to=to,
    )
    sites = None if body.sites is None else frozenset(body.sites)
    return capacity_search.Query(order, terms, body.max_offers, sites)


def _step(context: Context, at: int, told: StepIn) -> Step:
    taxonomy = context.directory.taxonomy
    process = taxonomy.process(told.process)
    if process is None:
        near = taxonomy.processes.near(told.process)
        raise _mistake(f"body/steps/{at}/process", _unknown("process", near))
    material = None
    if told.material is not None:
        material = taxonomy.material(told.material)
        if material is None:
            near = taxonomy.materials.near(told.material)
            raise _mistake(f"body/steps/{at}/material", _unknown("material", near))
    sides = told.envelope_mm
    return Step(
        process=process,
        quantity=told.quantity,
        material=material,
        cycle_s=told.cycle_s,
        setup_min=told.setup_min,
        envelope_mm=None if sides is None else (sides[0], sides[1], sides[2]),
        tolerance_it=told.tolerance_it,
        certifications=tuple(told.certifications),
        splittable=told.splittable,
        chunk_min_ms=round(told.min_chunk_min * 60_000),
        setup_again=told.setup_each_chunk,
        unattended=told.unattended,
        units=told.units,
        max_lots=told.max_lots,
        part_mass_kg=told.part_mass_kg,
    )


def _unknown(what: str, near: list[str]) -> str:
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return f"The taxonomy knows no such {what}.{hint}"


def _mistake(pointer: str, detail: str) -> RefusalError:
    errors = [{"pointer": pointer, "detail": detail}]
    return RefusalError(422, "invalid-request", "The request has mistakes.", errors=errors)
