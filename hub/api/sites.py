"""Sites: what is known of each factory, and what its owner writes of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.responses import Response

from gateway.model import ID_PATTERN
from hub.access import Caller, Group, Level, View
from hub.access.coarse import mesh_centre
from hub.api.availability import LIMIT_MAX
from hub.api.caller import CallerOf, ViewOf
from hub.api.context import Context
from hub.api.directory_models import SiteIn, clock, given, location_fields, site_fields
from hub.api.directory_refusals import explained
from hub.api.problems import RefusalError, documented, not_found
from hub.api.tags import IfMatch, IfNoneMatch, content_tag, require_unchanged
from hub.api.times import rfc3339
from hub.coordination.directory.directory import Directory, SiteEntry
from hub.stream import to_json

SiteIdOf = Annotated[str, Path(max_length=128)]


class Site(BaseModel):
    """A factory. `configured` is false for one that the hub only heard of.

    `edited` holds what a person wrote, and is what a PUT replaces; only its owner sees it. Whoever
    is not shown the exact place sees the middle of the kilometre it is in.
    """

    site: str
    name: dict[str, str]
    organisation: str | None
    time_zone: str
    location: dict[str, float] | None
    location_exact: bool
    municipality: str | None
    production_day_start: str
    grid_factor_kg_per_kwh: float | None
    groups: list[str] | None
    configured: bool
    machines: int
    edited: dict[str, Any] | None


class Sites(BaseModel):
    """All sites, by id."""

    as_of: str
    items: list[Site]
    next: str | None


class Erased(BaseModel):
    """What was deleted: rows of coordination, and the machines whose history went."""

    rows: int
    machines: list[str]


def routes(context: Context) -> APIRouter:
    """Make the routes of sites."""
    router = APIRouter(tags=["directory"])
    directory, changes = context.directory, context.directory_changes

    @router.get("/sites", response_model=Sites, responses=documented(422))
    def sites(
        view: ViewOf,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_MAX,
        cursor: Annotated[str | None, Query(max_length=512)] = None,
    ) -> Response:
        """Give the sites that the caller sees; `cursor` is the last id of the page before."""
        found = [entry for entry in directory.sites() if view.sees(entry.site)]
        found = [entry for entry in found if cursor is None or entry.site > cursor]
        more = found[limit - 1].site if len(found) > limit else None
        items = [body(entry, directory, view) for entry in found[:limit]]
        content = {"as_of": rfc3339(context.now_ms()), "items": items, "next": more}
        return Response(to_json(content), media_type="application/json")

    @router.get("/sites/{site}", response_model=Site, responses=documented(404, 422))
    def one(site: SiteIdOf, view: ViewOf) -> Response:
        """Give one site."""
        entry = directory.site(site)
        if entry is None or not view.sees(site):
            raise not_found("such site")
        return _answer(body(entry, directory, view))

    @router.put(
        "/sites/{site}",
        response_model=Site,
        responses=documented(403, 404, 409, 412, 422, 428, 503),
    )
    def put(
        site: SiteIdOf,
        *,
        told: SiteIn,
        caller: CallerOf,
        view: ViewOf,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Write the facts of a site; what is left out is taken from the hub's settings."""
        if directory.site(site) is None:
            _require_id(site)

        def check(present: Directory) -> None:
            entry = present.site(site)
            tag = None if entry is None else content_tag(body(entry, present, view))
            require_unchanged(if_match, if_none_match, tag)
            _joins_no_group(caller, told, entry)

        with explained():
            changes.put_site(told.edit(site), who=caller.id, check=check)
        return one(site, view)

    @router.delete(
        "/sites/{site}",
        response_model=Erased,
        responses=documented(403, 404, 412, 422, 428, 503),
    )
    def erase(
        site: SiteIdOf, caller: CallerOf, view: ViewOf, if_match: IfMatch = None
    ) -> dict[str, Any]:
        """Delete everything of a site: its history, its machines, calendars, jobs and bookings.

        That it was done stays in the audit log. Stop its agents first: what they send later is
        kept again.
        """

        def check(present: Directory) -> None:
            entry = present.site(site)
            if entry is None:
                raise not_found("such site")
            require_unchanged(if_match, None, content_tag(body(entry, present, view)))

        gone = changes.erase(site, None, who=caller.id, check=check)
        return {"rows": gone.rows, "machines": [machine for _, machine in gone.machines]}

    return router


def _joins_no_group(caller: Caller, told: SiteIn, entry: SiteEntry | None) -> None:
    """Let nobody join a group by themselves: its members show each other what others do not see.

    Raises:
        RefusalError: 403.
    """
    before = entry.groups if entry else ()
    if not caller.is_hub_admin and not set(told.groups or ()) <= set(before):
        text = "Which sites are in a group is decided by who runs the hub."
        errors = [{"pointer": "body/groups", "detail": text}]
        raise RefusalError(403, "group-not-yours", text, errors=errors)


def body(entry: SiteEntry, directory: Directory, view: View) -> dict[str, Any]:
    """Write a site as a caller may see it."""
    exact = view.own(entry.site) or view.level(entry.site, Group.LOCATION_EXACT) is Level.FULL
    own = view.own(entry.site)
    edit = directory.edits.sites.get(entry.site)
    place = entry.location
    if place is not None and not exact:
        place = mesh_centre(*place)
    return {
        "site": entry.site,
        "name": dict(entry.name),
        "organisation": entry.organisation,
        "time_zone": entry.time_zone,
        "location": location_fields(place),
        "location_exact": exact,
        "municipality": entry.municipality,
        "production_day_start": clock(entry.day_start_min),
        "grid_factor_kg_per_kwh": entry.grid_factor_kg_per_kwh,
        "groups": list(entry.groups) if own else None,
        "configured": entry.configured,
        "machines": len(directory.machines(entry.site)),
        "edited": given(site_fields(edit)) if own and edit is not None else None,
    }


def _require_id(site: str) -> None:
    if not ID_PATTERN.fullmatch(site):
        told = {"pointer": "path/site", "detail": "expected 1 to 48 of a-z, 0-9 and -"}
        raise RefusalError(422, "invalid-request", "The id cannot be.", errors=[told])


def _answer(item: dict[str, Any]) -> Response:
    headers = {"ETag": content_tag(item), "Cache-Control": "no-cache, private"}
    return Response(to_json(item), media_type="application/json", headers=headers)
