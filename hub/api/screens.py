"""Wall screens: logged in by a code that somebody reads out, to look and nothing else."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from hub.api.account_models import Audience, Name, SiteName, Strict, Typed
from hub.api.caller import CallerOf
from hub.api.context import Context
from hub.api.gate import address_of
from hub.api.log_in import NO_STORE, SessionOut, begun
from hub.api.problems import documented
from hub.api.times import rfc3339
from hub.store.accounts import Scope

SCREENS_MAX: Final = 500


class PairIn(Strict):
    """The code that somebody reads out to a wall screen."""

    code: Typed


class ScreenIn(Strict):
    """What a wall screen is to show, and for how long it stays logged in."""

    name: Name
    sites: list[SiteName] = Field(default=[], max_length=500)
    audiences: list[Audience] = Field(default=[], max_length=32)
    days: int = Field(default=365, ge=1, le=400)


class ScreenCode(BaseModel):
    """A code to type at the screen, once, before it ends."""

    code: str
    expires: str


class Screen(BaseModel):
    """A wall screen that is logged in."""

    screen: str
    name: str
    sites: list[str]
    audiences: list[str]
    created: str
    expires: str


class Screens(BaseModel):
    """Wall screens, by id."""

    items: list[Screen]


def routes(context: Context) -> APIRouter:
    """Make the routes of wall screens."""
    router = APIRouter(tags=["access"])
    sessions = context.access.sessions

    @router.post(
        "/session/pair",
        status_code=201,
        response_model=SessionOut,
        responses=documented(401, 422, 429, 503),
    )
    def pair(request: Request, asked: PairIn) -> Response:
        """Make this browser a wall screen: it looks, and can change nothing."""
        return begun(context, request, sessions.pair(asked.code, address_of(request.scope)))

    @router.post(
        "/screens",
        status_code=201,
        response_model=ScreenCode,
        responses=documented(403, 422, 503),
    )
    def invite(asked: ScreenIn, caller: CallerOf) -> Response:
        """Make a code, good for a quarter of an hour, that turns a browser into a wall screen."""
        scope = Scope((), tuple(asked.sites), None, tuple(asked.audiences))
        code, expires_ms = sessions.new_pairing(caller, asked.name, scope, asked.days)
        return JSONResponse({"code": code, "expires": rfc3339(expires_ms)}, 201, NO_STORE)

    @router.get("/screens", response_model=Screens, responses=documented(503))
    def screens(caller: CallerOf) -> dict[str, Any]:
        """Give the wall screens that the caller looks after."""
        found = sessions.screens(caller)[:SCREENS_MAX]
        return {
            "items": [
                {
                    "screen": each.id,
                    "name": each.name,
                    "sites": list(each.scope.sites if each.scope else ()),
                    "audiences": list(each.scope.audiences if each.scope else ()),
                    "created": rfc3339(each.created_ms),
                    "expires": rfc3339(each.expires_ms),
                }
                for each in found
            ]
        }

    @router.delete("/screens/{screen}", status_code=204, responses=documented(404, 422, 503))
    def end_screen(
        screen: Annotated[str, Path(pattern="^[a-z0-9]{1,32}$")], caller: CallerOf
    ) -> Response:
        """Log a wall screen out."""
        sessions.end_screen(caller, screen)
        return Response(status_code=204)

    return router
