"""The hours of sites and machines: read, written, taken away, and what they come to."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hub.access import Caller, Group, Level, View
from hub.api.caller import CallerOf, ViewOf
from hub.api.context import Context
from hub.api.history import read_span
from hub.api.problems import ERRORS_MAX, RefusalError, documented, not_found
from hub.api.tags import IfMatch, required_version, stale, tag
from hub.api.times import Instant, maybe_rfc3339, rfc3339, to_ms
from hub.coordination.hours import ical
from hub.coordination.hours.calendars import (
    Calendars,
    Owned,
    StaleCalendarError,
    TooManyCalendarsError,
)
from hub.historian import Span
from hub.schedule import Calendar
from hub.stream import to_json

DAY_MS: Final = 86_400_000
WINDOWS_DAYS_MAX: Final = 400
FEED_BEFORE_MS: Final = 7 * DAY_MS
FEED_AFTER_MS: Final = 60 * DAY_MS
ICS: Final = "text/calendar"
JSON: Final = "application/json"
_SiteId = Annotated[str, Path(max_length=128)]
_MachineId = Annotated[str, Path(max_length=400)]
_Accept = Annotated[str, Header(include_in_schema=False)]
_ICS_CONTENT: Final[dict[str, Any]] = {ICS: {"schema": {"type": "string"}}}
_READ: Final = documented(404, 422, also={200: {"content": _ICS_CONTENT}})
_WRITE: Final = documented(400, 403, 404, 409, 411, 412, 413, 415, 422, 428, 503)
_REMOVE: Final = documented(403, 404, 412, 422, 428, 503, also={204: {"description": "Gone"}})


class CalendarAnswer(BaseModel):
    """A calendar as it was written, or null when nobody wrote one.

    `source` is `written`, `settings` (what the hub's settings say of the site) or `none`.
    """

    site: str
    machine: str | None
    time_zone: str
    source: str
    version: int
    changed: str | None
    changed_by: str | None
    calendar: Calendar | None


class WindowItem(BaseModel):
    """All of [start, end) is of one kind."""

    start: str
    end: str
    kind: str
    capacity_units: int
    attended: bool


class Windows(BaseModel):
    """What the calendar comes to, without gap or overlap."""

    time_zone: str
    windows: list[WindowItem]


def routes(context: Context) -> APIRouter:
    """Make the routes of calendars."""
    router = APIRouter(tags=["calendars"])
    _add_site(router, context)
    _add_machine(router, context)
    _add_windows(router, context)
    return router


def _add_site(router: APIRouter, context: Context) -> None:
    path = "/sites/{site}/calendar"

    @router.get(path, response_model=CalendarAnswer, responses=_READ)
    def read_site(site: _SiteId, view: ViewOf, accept: _Accept = JSON) -> Response:
        """Give the hours of a site, as JSON or as iCalendar."""
        _require_site(context, site, view)
        return _answer(context, site, None, view, accept)

    @router.put(path, response_model=CalendarAnswer, responses=_WRITE, openapi_extra=_body())
    async def write_site(
        request: Request, site: _SiteId, caller: CallerOf, view: ViewOf, if_match: IfMatch = None
    ) -> Response:
        """Replace the hours of a site. Send the ETag that was read as If-Match."""
        _require_site(context, site, view)
        return await _write(
            context, request, (site, None), caller=caller, view=view, if_match=if_match
        )

    @router.delete(path, status_code=204, responses=_REMOVE)
    def remove_site(
        site: _SiteId, caller: CallerOf, view: ViewOf, if_match: IfMatch = None
    ) -> Response:
        """Take away what was written of a site; what the settings say holds again, if anything."""
        _require_site(context, site, view)
        return _remove(context, site, None, caller, if_match)


def _add_machine(router: APIRouter, context: Context) -> None:
    path = "/machines/{site}/{machine}/calendar"

    @router.get(path, response_model=CalendarAnswer, responses=_READ)
    def read_machine(
        site: _SiteId, machine: _MachineId, view: ViewOf, accept: _Accept = JSON
    ) -> Response:
        """Give what is different about a machine's hours, as JSON or as iCalendar."""
        _require_machine(context, site, machine, view)
        return _answer(context, site, machine, view, accept)

    @router.put(path, response_model=CalendarAnswer, responses=_WRITE, openapi_extra=_body())
    async def write_machine(
        request: Request,
        site: _SiteId,
        machine: _MachineId,
        *,
        caller: CallerOf,
        view: ViewOf,
        if_match: IfMatch = None,
    ) -> Response:
        """Replace a machine's own hours: more rules and special days, or other ones.

        Where they say nothing the site's hold, unless `inherit` is false.
        """
        _require_machine(context, site, machine, view)
        return await _write(
            context, request, (site, machine), caller=caller, view=view, if_match=if_match
        )

    @router.delete(path, status_code=204, responses=_REMOVE)
    def remove_machine(
        site: _SiteId,
        machine: _MachineId,
        caller: CallerOf,
        view: ViewOf,
        if_match: IfMatch = None,
    ) -> Response:
        """Take a machine's own hours away; the site's hold."""
        _require_machine(context, site, machine, view)
        return _remove(context, site, machine, caller, if_match)


def _add_windows(router: APIRouter, context: Context) -> None:
    @router.get(
        "/machines/{site}/{machine}/calendar/windows",
        response_model=Windows,
        responses=documented(400, 404, 422),
    )
    def windows(
        site: _SiteId,
        machine: _MachineId,
        view: ViewOf,
        *,
        from_: Annotated[Instant | None, Query(alias="from")] = None,
        to: Instant | None = None,
    ) -> dict[str, Any]:
        """Give what the calendars of site and machine come to, two weeks from now by default."""
        _require_machine(context, site, machine, view)
        span = read_future(from_, to, context.now_ms())
        found = context.calendars.windows(site, machine, *span)
        items = [
            {
                "start": rfc3339(window.start_ms),
                "end": rfc3339(window.end_ms),
                "kind": window.kind.value,
                "capacity_units": window.capacity_units,
                "attended": window.attended,
            }
            for window in found
        ]
        return {"time_zone": context.calendars.time_zone(site, machine), "windows": items}

    @router.get(
        "/machines/{site}/{machine}/calendar.ics",
        response_class=Response,
        responses=documented(404, 422, also={200: {"content": _ICS_CONTENT}}),
    )
    def feed(site: _SiteId, machine: _MachineId, view: ViewOf) -> Response:
        """Give a machine's hours of the next 60 days as a calendar to subscribe to."""
        _require_machine(context, site, machine, view)
        now_ms = context.now_ms()
        span = (now_ms - FEED_BEFORE_MS, now_ms + FEED_AFTER_MS)
        found = context.calendars.windows(site, machine, *span)
        return _ics(ical.write_windows(found, f"{site}/{machine}", now_ms=now_ms), machine)


def read_future(from_: datetime | None, to: datetime | None, now_ms: int) -> Span:
    """Make a range that may lie ahead: two weeks from now by default.

    Raises:
        RefusalError: it is empty, or longer than 400 days.
    """
    if to is None and from_ is None:
        return Span(now_ms, now_ms + 14 * DAY_MS)
    if from_ is None:
        span = read_span(None, to, now_ms, default_ms=14 * DAY_MS)
    else:
        begin = read_span(from_, None, to_ms(from_) + 14 * DAY_MS)
        span = begin if to is None else read_span(from_, to, now_ms)
    if span.to_ms - span.from_ms > WINDOWS_DAYS_MAX * DAY_MS:
        text = f"The range is longer than {WINDOWS_DAYS_MAX} days."
        raise RefusalError(400, "bad-range", text)
    return span


def _require_site(context: Context, site: str, view: View) -> None:
    if context.directory.site(site) is None or not _shown(view, site):
        raise not_found("such site")


def _require_machine(context: Context, site: str, machine: str, view: View) -> None:
    if context.directory.machine(site, machine) is None or not _shown(view, site):
        raise not_found("such machine")


def _shown(view: View, site: str) -> bool:
    """Tell whether the hours of a site are shown; half-days would not tell them."""
    return view.level(site, Group.CAPACITY_CALENDAR) is Level.FULL


def _answer(context: Context, site: str, machine: str | None, view: View, accept: str) -> Response:
    calendars = context.calendars
    owned = calendars.get(site, machine)
    version = owned.version if owned else 0
    headers = {"ETag": tag(version), "Cache-Control": "no-cache", "Vary": "Accept"}
    if ICS in accept:
        calendar = owned.calendar if owned else Calendar()
        zone = calendars.time_zone(site, machine)
        name = f"{site}/{machine}" if machine else site
        text = ical.write(calendar, zone, name, now_ms=context.now_ms())
        return _ics(text, machine or site, headers)
    content = _content(calendars, site, machine, owned, own=view.own(site))
    return Response(to_json(content), media_type=JSON, headers=headers)


def _content(
    calendars: Calendars, site: str, machine: str | None, owned: Owned | None, *, own: bool
) -> dict[str, Any]:
    source = "none" if owned is None else "written" if owned.version else "settings"
    return {
        "site": site,
        "machine": machine,
        "time_zone": calendars.time_zone(site, machine),
        "source": source,
        "version": owned.version if owned else 0,
        "changed": maybe_rfc3339(owned.changed_ms if owned else None),
        "changed_by": owned.changed_by if owned and own else None,
        "calendar": owned.calendar.model_dump(mode="json") if owned else None,
    }


async def _write(
    context: Context,
    request: Request,
    key: tuple[str, str | None],
    *,
    caller: Caller,
    view: View,
    if_match: str | None,
) -> Response:
    version = required_version(if_match)
    place = context.directory.site(key[0])
    zone = place.time_zone if place else "UTC"
    calendar = _read_body(request.headers.get("content-type", ""), await request.body(), zone)

    def put() -> Owned:
        return context.calendars.put(*key, calendar, who=caller.id, version=version)

    try:
        owned = await run_in_threadpool(put)
    except StaleCalendarError as error:
        raise stale() from error
    except TooManyCalendarsError as error:
        raise RefusalError(409, "too-many", "This hub keeps no more calendars.") from error
    content = _content(context.calendars, *key, owned, own=view.own(key[0]))
    return Response(to_json(content), media_type=JSON, headers={"ETag": tag(owned.version)})


def _remove(
    context: Context, site: str, machine: str | None, caller: Caller, if_match: str | None
) -> Response:
    version = required_version(if_match)
    try:
        removed = context.calendars.remove(site, machine, who=caller.id, version=version)
    except StaleCalendarError as error:
        raise stale() from error
    if not removed:
        raise not_found("calendar that somebody wrote")
    return Response(status_code=204)


def _read_body(content_type: str, body: bytes, zone: str) -> Calendar:
    """Read a calendar from JSON or iCalendar.

    Raises:
        RefusalError: 415 for anything else; 422 with the place of each mistake.
    """
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == ICS:
            return ical.read(body, zone)
        if kind == JSON:
            return Calendar.model_validate_json(body)
    except ValidationError as error:
        raise RefusalError(
            422, "invalid-request", "The calendar has mistakes.", errors=_errors(error)
        ) from error
    except ical.IcalError as error:
        errors = [{"pointer": error.place, "detail": error.cause}]
        raise RefusalError(422, "invalid-calendar", str(error), errors=errors) from error
    raise RefusalError(415, "unsupported-media-type", f"Send {JSON} or {ICS}.")


def _errors(error: ValidationError) -> list[dict[str, str]]:
    return [
        {"pointer": "/".join(("body", *map(str, item["loc"]))), "detail": str(item["msg"])}
        for item in error.errors(include_url=False, include_input=False)[:ERRORS_MAX]
    ]


def _ics(text: bytes, name: str, headers: dict[str, str] | None = None) -> Response:
    file = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in name)[:64]
    told = {"Content-Disposition": f'attachment; filename="{file}.ics"', **(headers or {})}
    return Response(text, media_type=f"{ICS}; charset=utf-8", headers=told)


def _body() -> dict[str, Any]:
    """Describe the body for OpenAPI: it is read by hand, for it comes in two forms."""
    schema = Calendar.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    content = {JSON: {"schema": schema}, **_ICS_CONTENT}
    return {"requestBody": {"required": True, "content": content}}
