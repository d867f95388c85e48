"""Who is doing what now, and who is free: the answer that most callers want.

Lists are encoded once per content and query and served as bytes: 500 machines are 120 kB, and
building them anew for every caller would cost forty times as much as sending them.
"""

import base64
import binascii
import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Annotated, Any, Final, NamedTuple

import orjson
from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from gateway.model import Connectivity, State
from hub.access import EVERYTHING, View
from hub.access.masks import all_shown, place
from hub.api.caller import ViewOf
from hub.api.context import Context
from hub.api.problems import RefusalError, documented
from hub.api.times import Instant, maybe_rfc3339, rfc3339, to_ms
from hub.coordination.capacity.transport import distance_km
from hub.live import LiveMachine
from hub.registry import Registry
from hub.stream import to_json

LIMIT_MAX: Final = 500
FRESH_MS: Final = 100
"""A list at most this old is served again even if something changed since."""
ENCODED_MAX_MS: Final = 1000
"""A list is encoded anew after this long even if nothing changed: validity ends by the clock."""
CACHED_QUERIES_MAX: Final = 256


class FreeHours(BaseModel):
    """Free unit-hours of the next 24 hours and of the next seven days."""

    h24: float
    d7: float


class Item(BaseModel):
    """One machine, as it may be believed until `valid_until`."""

    site: str
    machine: str
    name: dict[str, str]
    kind: str | None
    processes: list[str]
    state: State
    since: str | None
    reason: str | None
    connectivity: Connectivity
    free_now: bool | None
    """Null when the owner does not show it."""
    next_free_at: str | None
    """When it will be free; null for one that is free now, or when nobody knows."""
    free_hours: FreeHours | None
    """Null where nobody has told working hours, or the owner does not show them."""
    confidence: float | None
    """In `next_free_at` and `free_hours`: an order of trust from 0 to 1."""
    read_at: str | None
    valid_until: str | None


class Availability(BaseModel):
    """Machines as of one instant; `next` is the cursor of the following page, if any."""

    as_of: str
    items: list[Item]
    next: str | None


class Filter(NamedTuple):
    """What the caller asked for; equal filters share one encoded answer."""

    site: str | None = None
    process: str | None = None
    state: State | None = None
    near: tuple[float, float] | None = None
    radius_km: float | None = None
    updated_since_ms: int | None = None
    limit: int = LIMIT_MAX
    after: tuple[str, str] | None = None


class Encoded(NamedTuple):
    """An answer as bytes, with the tag of its content without `as_of`."""

    version: int
    encoded_ms: int
    body: bytes
    etag: str


class Lists:
    """Answers encoded once and handed out as they are."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._cache: OrderedDict[tuple[Filter, str], Encoded] = OrderedDict()

    def get(self, wanted: Filter, view: View = EVERYTHING) -> Encoded:
        """Give the answer to a query, encoded at most `FRESH_MS` before the last change.

        Callers who see the same share one answer.
        """
        asked = (wanted, view.fingerprint)
        now_ms, version = self._context.now_ms(), self._context.live.version
        held = self._cache.get(asked)
        if held is not None:
            age_ms = now_ms - held.encoded_ms
            if 0 <= age_ms < (ENCODED_MAX_MS if held.version == version else FRESH_MS):
                return held
        found = select(self._context, wanted, now_ms, view)
        items = [item(self._context, m, view, now_ms) for m in found[: wanted.limit]]
        more = write_cursor(found[wanted.limit - 1]) if len(found) > wanted.limit else None
        fresh = encode({"items": items, "next": more}, now_ms, version)
        self._cache[asked] = fresh
        self._cache.move_to_end(asked)
        if len(self._cache) > CACHED_QUERIES_MAX:
            self._cache.popitem(last=False)
        return fresh


def routes(context: Context) -> APIRouter:
    """Make the route of the live list."""
    router = APIRouter(tags=["live"])
    lists = Lists(context)

    @router.get(
        "/availability",
        response_model=Availability,
        responses=documented(400, 422, also={304: {"description": "Nothing changed"}}),
    )
    async def availability(
        request: Request,
        view: ViewOf,
        *,
        site: Annotated[str | None, Query(max_length=128)] = None,
        process: Annotated[str | None, Query(max_length=64)] = None,
        state: State | None = None,
        near: Annotated[str | None, Query(max_length=64, examples=["35.56,139.72"])] = None,
        radius_km: Annotated[float | None, Query(gt=0, le=20_040)] = None,
        updated_since: Instant | None = None,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_MAX,
        cursor: Annotated[str | None, Query(max_length=512)] = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Live state of every machine: what it does, since when, whether it is free now.

        `free_now` means online, idle, not booked and not closed; it is never true of a machine
        whose data is stale.
        """
        del if_none_match  # Documents the header; it may come more than once.
        wanted = Filter(
            site,
            process,
            state,
            read_near(near),
            radius_km,
            None if updated_since is None else to_ms(updated_since),
            limit,
            read_cursor(cursor),
        )
        return respond(request, lists.get(wanted, view))

    return router


class Unfiltered(Route):
    """The whole list, for which no parameter need be read: that is most of what is asked.

    Looking for nine parameters costs more than everything else of the answer, so this route
    stands before the documented one and leaves requests with a query to it.
    """

    def __init__(self, path: str, context: Context) -> None:
        lists = Lists(context)

        async def everything(request: Request) -> Response:
            return respond(request, lists.get(Filter(), request.state.view))

        super().__init__(path, everything, methods=["GET"])
        self.include_in_schema = False

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match GET requests without a query."""
        if scope.get("query_string") or scope.get("method") != "GET":
            return Match.NONE, {}
        return super().matches(scope)


def respond(request: Request, answer: Encoded) -> Response:
    """Send a list, or that the caller has it already."""
    headers = {"ETag": answer.etag, "Cache-Control": "no-cache"}
    if names_tag(request.headers.getlist("if-none-match"), answer.etag):
        return Response(status_code=304, headers=headers)
    return Response(answer.body, media_type="application/json", headers=headers)


def select(context: Context, wanted: Filter, now_ms: int, view: View) -> list[LiveMachine]:
    """Choose the machines that a filter lets through, one more than its limit.

    A filter looks at what the caller may see, so that it tells nothing else by what it finds.
    """
    found = sorted(context.live.machines(), key=lambda m: (m.site, m.machine))
    seen = all_shown(found, view)
    kept: Iterable[LiveMachine] = (m for m in seen if _matches(m, wanted, now_ms))
    if wanted.near is not None:
        kept = _within(kept, wanted.near, wanted.radius_km or 50.0, context.registry, view=view)
    chosen: list[LiveMachine] = []
    for machine in kept:
        chosen.append(machine)
        if len(chosen) > wanted.limit:
            break
    return chosen


def _matches(machine: LiveMachine, wanted: Filter, now_ms: int) -> bool:
    if wanted.after is not None and (machine.site, machine.machine) <= wanted.after:
        return False
    if wanted.site is not None and machine.site != wanted.site:
        return False
    if wanted.process is not None and wanted.process not in machine.processes:
        return False
    if wanted.state is not None and machine.state_at(now_ms) is not wanted.state:
        return False
    since_ms = wanted.updated_since_ms
    return since_ms is None or (machine.read_at_ms or 0) >= since_ms


def _within(
    machines: Iterable[LiveMachine],
    near: tuple[float, float],
    radius_km: float,
    registry: Registry,
    *,
    view: View,
) -> Iterable[LiveMachine]:
    for machine in machines:
        site = registry.site(machine.site)
        there = place(view, machine.site, site.location if site else None)
        if there and distance_km(near, there) <= radius_km:
            yield machine


def encode(told: dict[str, Any], now_ms: int, version: int) -> Encoded:
    """Write the answer; the tag covers everything but `as_of`."""
    content = to_json(told)
    etag = f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    body = b'{"as_of":"' + rfc3339(now_ms).encode() + b'",' + content[1:]
    return Encoded(version, now_ms, body, etag)


def item(context: Context, machine: LiveMachine, view: View, now_ms: int) -> dict[str, Any]:
    """Write one machine, as it may be shown, at `now_ms`."""
    whole = machine
    if not view.everything:
        # Who may not see what a machine does may still see that it is free: ask the whole machine.
        whole = context.live.machine(machine.site, machine.machine) or machine
    free = context.capacity.board.free(whole, view, now_ms)
    return {
        "site": machine.site,
        "machine": machine.machine,
        "name": dict(machine.name),
        "kind": machine.kind or None,
        "processes": machine.processes,
        "state": machine.state_at(now_ms).value,
        "since": maybe_rfc3339(machine.since_ms),
        "reason": machine.reason or None,
        "connectivity": machine.connectivity(now_ms).value,
        "free_now": free.now,
        "next_free_at": maybe_rfc3339(free.next_ms),
        "free_hours": None if free.d7 is None else {"h24": free.h24, "d7": free.d7},
        "confidence": free.confidence,
        "read_at": maybe_rfc3339(machine.read_at_ms),
        "valid_until": maybe_rfc3339(machine.valid_until_ms),
    }


def names_tag(conditions: list[str], etag: str) -> bool:
    """Tell whether ``If-None-Match`` names a tag, compared weakly (RFC 9110, section 13.1.2)."""
    told = [tag.strip() for condition in conditions for tag in condition.split(",")]
    return "*" in told or etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in told}


def read_near(text: str | None) -> tuple[float, float] | None:
    """Read "latitude,longitude" in degrees.

    Raises:
        RefusalError: it is not such a pair.
    """
    if text is None:
        return None
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError:
        lat = lon = math.nan
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):  # noqa: PLR2004 (degrees)
        raise RefusalError(400, "bad-location", "near must be latitude,longitude in degrees.")
    return lat, lon


def write_cursor(machine: LiveMachine) -> str:
    """Make the opaque cursor that continues after a machine."""
    return base64.urlsafe_b64encode(orjson.dumps([machine.site, machine.machine])).decode()


def read_cursor(text: str | None) -> tuple[str, str] | None:
    """Read a cursor of ours.

    Raises:
        RefusalError: it is none.
    """
    if text is None:
        return None
    try:
        site, machine = orjson.loads(base64.b64decode(text, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError):
        site = machine = None
    if not isinstance(site, str) or not isinstance(machine, str):
        raise RefusalError(400, "bad-cursor", "The cursor is not one that this hub gave out.")
    return site, machine
