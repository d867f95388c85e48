"""Who changed what."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from hub.api.availability import LIMIT_MAX
from hub.api.caller import CallerOf
from hub.api.context import Context
from hub.api.problems import documented
from hub.api.times import rfc3339
from hub.store import audit
from hub.stream import to_json


class EntryOut(BaseModel):
    """One change: who did what to what. `hash` chains it to the one before."""

    seq: int
    time: str
    who: str
    action: str
    subject: str
    site: str | None
    detail: dict[str, Any]
    hash: str


class EntriesOut(BaseModel):
    """Changes, newest first; `next` is the cursor of the following page, if any."""

    items: list[EntryOut]
    next: str | None


def routes(context: Context) -> APIRouter:
    """Make the route of the audit."""
    router = APIRouter(tags=["access"])

    @router.get("/audit", response_model=EntriesOut, responses=documented(422, 503))
    def entries(
        caller: CallerOf,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 100,
        cursor: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    ) -> Response:
        """Give the changes at the caller's own sites; all of them to who runs the hub."""
        sites = None if caller.is_hub_admin else caller.sites
        with context.store.read() as tx:
            found = audit.before(tx, cursor, limit=limit + 1, sites=sites)
        more = str(found[limit - 1].seq) if len(found) > limit else None
        content = {"items": [_entry(each) for each in found[:limit]], "next": more}
        return Response(to_json(content), media_type="application/json")

    return router


def _entry(entry: audit.Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "time": rfc3339(entry.time_ms),
        "who": entry.who,
        "action": entry.action,
        "subject": entry.subject,
        "site": entry.site,
        "detail": dict(entry.detail),
        "hash": entry.hash,
    }
