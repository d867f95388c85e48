"""What a site shows to whom, how that looks to them, and who has looked."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field, StringConstraints
from starlette.responses import Response

from hub.access import Group, Level, View
from hub.access.masks import all_shown
from hub.access.sharing import DELAY_S_MAX, TERMS_MAX
from hub.api.account_models import Strict
from hub.api.availability import LIMIT_MAX, Item, item
from hub.api.caller import CallerOf
from hub.api.context import Context
from hub.api.history import read_span
from hub.api.problems import RefusalError, documented, not_found
from hub.api.tags import IfMatch, required_version, tag
from hub.api.times import maybe_rfc3339, rfc3339, to_ms
from hub.store.sharing import Look, Policy, Terms
from hub.stream import to_json

LAST_MS: Final = 4_102_444_800_000
DAYS_DEFAULT_MS: Final = 7 * 86_400_000
Site = Annotated[str, Path(min_length=1, max_length=128)]
GroupName = Literal[
    "presence",
    "status",
    "status_reason",
    "capacity_calendar",
    "capability",
    "rates",
    "kpi",
    "energy",
    "quality",
    "job_detail",
    "location_exact",
]
LevelName = Literal["none", "aggregate", "coarse", "full"]
AudienceName = Annotated[
    str, StringConstraints(pattern=r"^(coordinator|municipality|public|group:[a-z0-9-]{1,48})$")
]
AnyAudience = Annotated[
    str,
    Query(pattern=r"^(self|coordinator|municipality|public|group:[a-z0-9-]{1,48})$"),
]


class TermsIn(Strict):
    """What one audience is shown. Groups left out are not shown to it."""

    audience: AudienceName
    groups: dict[GroupName, LevelName] = Field(default={})
    delay_s: int = Field(default=0, ge=0, le=DELAY_S_MAX)
    """What happens is shown so much later; live there is presence only."""
    valid_until: datetime | None = None
    """When this ends by itself."""


class PolicyIn(Strict):
    """All that a site shows to others. Who is left out is shown nothing."""

    audiences: list[TermsIn] = Field(max_length=TERMS_MAX)


class TermsOut(BaseModel):
    """What one audience is shown."""

    audience: str
    groups: dict[str, LevelName]
    delay_s: int
    valid_until: str | None


class PolicyOut(BaseModel):
    """What a site shows to whom. Its own people see everything; that is not said here.

    `changed` is null while nobody has said anything: then its groups see presence and capability.
    """

    site: str
    audiences: list[TermsOut]
    changed: str | None
    changed_by: str | None


class Preview(BaseModel):
    """A site as an audience sees it now. `delays_s` holds what is shown later than it happens."""

    site: str
    audience: str
    sees: bool
    groups: dict[str, LevelName]
    delays_s: dict[str, int]
    valid_until: str | None
    machines: list[Item]


class LookOut(BaseModel):
    """That somebody was shown field groups of this site within one hour, how often, and when last.

    `of_all` is true for a look at every site at once, by who runs the hub.
    """

    hour: str
    caller: str
    name: str
    organisation: str | None
    groups: list[str]
    count: int
    last: str
    of_all: bool


class LooksOut(BaseModel):
    """Who looked, newest hour first; `next` is the cursor of the following page, if any."""

    items: list[LookOut]
    next: str | None


def routes(context: Context) -> APIRouter:
    """Make the routes of sharing."""
    router = APIRouter(tags=["sharing"])
    sharing, looks = context.access.sharing, context.access.looks

    def exists(site: str) -> None:
        if context.registry.site(site) is None:
            raise not_found("such site")

    @router.get(
        "/sites/{site}/sharing", response_model=PolicyOut, responses=documented(403, 404, 422, 503)
    )
    def policy(site: Site) -> Response:
        """Give what a site shows to whom."""
        exists(site)
        return _answer(sharing.policy(site))

    @router.put(
        "/sites/{site}/sharing",
        response_model=PolicyOut,
        responses=documented(403, 404, 412, 422, 428, 503),
    )
    def put(site: Site, told: PolicyIn, caller: CallerOf, if_match: IfMatch = None) -> Response:
        """Write what a site shows to whom. It holds at once, for open streams, too."""
        exists(site)
        version = required_version(if_match)
        terms = [_terms(each) for each in told.audiences]
        return _answer(sharing.put(caller, site, version, terms))

    @router.get(
        "/sites/{site}/sharing/preview",
        response_model=Preview,
        responses=documented(403, 404, 422, 503),
    )
    def preview(site: Site, audience: AnyAudience = "public") -> Response:
        """Show a site as an audience sees it."""
        exists(site)
        if audience == "self":
            view = View.of((site,), {}, context.now_ms())
        else:
            view = sharing.preview(site, audience)
        return Response(
            to_json(_preview(context, site, audience, view)), media_type="application/json"
        )

    @router.get(
        "/sites/{site}/views",
        response_model=LooksOut,
        responses=documented(400, 403, 404, 422, 503),
    )
    def views(
        site: Site,
        *,
        from_: Annotated[datetime | None, Query(alias="from")] = None,
        to: datetime | None = None,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_MAX,
        cursor: Annotated[int | None, Query(ge=0, le=100_000_000)] = None,
    ) -> dict[str, Any]:
        """Tell who looked at this site from outside, the last week by default."""
        exists(site)
        span = read_span(from_, to, context.now_ms(), default_ms=DAYS_DEFAULT_MS)
        start = cursor or 0
        found = looks.at(
            site, from_ms=span.from_ms, to_ms=span.to_ms, limit=limit + 1, offset=start
        )
        more = str(start + limit) if len(found) > limit else None
        return {"items": [_look(each, site) for each in found[:limit]], "next": more}

    return router


def _preview(context: Context, site: str, audience: str, view: View) -> dict[str, Any]:
    now_ms = context.now_ms()
    here = [machine for machine in context.live.machines() if machine.site == site]
    seen = sorted(all_shown(here, view), key=lambda machine: machine.machine)[:LIMIT_MAX]
    delays = {
        group.value: delay_ms // 1000
        for group in Group
        if (delay_ms := view.delay_ms(site, group, Level.COARSE))
    }
    return {
        "site": site,
        "audience": audience,
        "sees": view.sees(site),
        "groups": {group.value: view.level(site, group).word for group in Group},
        "delays_s": delays,
        "valid_until": maybe_rfc3339(view.valid_until_ms),
        "machines": [item(context, machine, view, now_ms) for machine in seen],
    }


def _terms(told: TermsIn) -> Terms:
    until_ms = None if told.valid_until is None else to_ms(told.valid_until)
    if until_ms is not None and not 0 < until_ms <= LAST_MS:
        detail = "Between 1970 and 2100."
        errors = [{"pointer": "body/audiences/valid_until", "detail": detail}]
        raise RefusalError(422, "bad-time", detail, errors=errors)
    levels: dict[str, int] = {
        group: int(Level[word.upper()]) for group, word in told.groups.items()
    }
    return Terms(told.audience, levels, told.delay_s, until_ms)


def _answer(policy: Policy) -> Response:
    content = {
        "site": policy.site,
        "audiences": [
            {
                "audience": each.audience,
                "groups": {
                    group: Level(level).word for group, level in sorted(each.levels.items())
                },
                "delay_s": each.delay_s,
                "valid_until": maybe_rfc3339(each.valid_until_ms),
            }
            for each in policy.terms
        ],
        "changed": rfc3339(policy.changed_ms) if policy.version else None,
        "changed_by": policy.changed_by or None,
    }
    headers = {"ETag": tag(policy.version), "Cache-Control": "no-cache"}
    return Response(to_json(content), media_type="application/json", headers=headers)


def _look(look: Look, site: str) -> dict[str, Any]:
    return {
        "hour": rfc3339(look.hour_ms),
        "caller": look.caller,
        "name": look.name,
        "organisation": look.organisation,
        "groups": list(look.groups),
        "count": look.count,
        "last": rfc3339(look.last_ms),
        "of_all": look.site != site,
    }
