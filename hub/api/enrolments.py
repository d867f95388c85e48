"""How agents come to the hub: a code for a site, and a broker login for who brings it."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field, StringConstraints
from starlette.responses import JSONResponse, Response

from hub.api.account_models import Strict, Typed
from hub.api.caller import CallerOf
from hub.api.context import Context
from hub.api.gate import address_of
from hub.api.problems import documented, not_found
from hub.api.times import rfc3339

Site = Annotated[str, Path(min_length=1, max_length=128)]
AgentId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,48}$")]


class InviteIn(Strict):
    """How long the code is to be good for."""

    hours: float = Field(default=24.0, ge=0.1, le=24.0, allow_inf_nan=False)


class Invite(BaseModel):
    """A code for one agent, to be typed once before it ends."""

    site: str
    code: str
    expires: str


class JoinIn(Strict):
    """An agent that brings a code, and the name that it wants."""

    code: Typed
    agent: AgentId


class BrokerOut(BaseModel):
    """How the agent reaches the broker. The password is told this once."""

    url: str
    username: str
    password: str
    ca_pem: str | None


class Joined(BaseModel):
    """What an agent needs to begin."""

    site: str
    agent: str
    broker: BrokerOut


class AgentOut(BaseModel):
    """An agent that has a login at the broker."""

    agent: str
    username: str
    joined: str


class Agents(BaseModel):
    """The agents of a site that joined by a code."""

    items: list[AgentOut]


def routes(context: Context) -> APIRouter:
    """Make the routes of enrolment."""
    router = APIRouter(tags=["enrolment"])
    enrolments = context.access.enrolments

    @router.post(
        "/sites/{site}/enrolments",
        status_code=201,
        response_model=Invite,
        responses=documented(403, 404, 409, 422, 503),
    )
    def invite(site: Site, caller: CallerOf, asked: InviteIn | None = None) -> Response:
        """Make a code that lets one agent join a site."""
        if context.registry.site(site) is None:
            raise not_found("such site")
        hours = (asked or InviteIn()).hours
        code, expires_ms = enrolments.invite(caller, site, hours)
        content = {"site": site, "code": code, "expires": rfc3339(expires_ms)}
        return JSONResponse(content, 201, {"Cache-Control": "no-store"})

    @router.get(
        "/sites/{site}/enrolments",
        response_model=Agents,
        responses=documented(403, 404, 422, 503),
    )
    def agents(site: Site) -> dict[str, Any]:
        """Give the agents of a site that have a login at the broker."""
        if context.registry.site(site) is None:
            raise not_found("such site")
        items = [
            {"agent": each.agent, "username": each.username, "joined": rfc3339(each.created_ms)}
            for each in enrolments.agents(site)
        ]
        return {"items": items}

    @router.delete(
        "/sites/{site}/enrolments/{agent}",
        status_code=204,
        responses=documented(403, 404, 409, 422, 503),
    )
    def expel(
        site: Site, agent: Annotated[str, Path(pattern="^[a-z0-9-]{1,48}$")], caller: CallerOf
    ) -> Response:
        """Take an agent's login at the broker away."""
        enrolments.expel(caller, site, agent)
        return Response(status_code=204)

    @router.post(
        "/enrol",
        response_model=Joined,
        responses=documented(401, 409, 422, 429, 503),
    )
    def join(request: Request, told: JoinIn) -> Response:
        """Take a code, and give the agent that brings it a login at the broker."""
        found = enrolments.join(told.code, told.agent, address_of(request.scope))
        broker = {
            "url": found.url,
            "username": found.username,
            "password": found.password,
            "ca_pem": found.ca_pem,
        }
        content = {"site": found.site, "agent": found.agent, "broker": broker}
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    return router
