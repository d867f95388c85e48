"""What every way of logging in answers."""

from typing import Any, Final, Literal

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hub.access import Caller
from hub.access.sessions import LogIn
from hub.access.tokens import csrf_of
from hub.api.account_models import ScopeOut
from hub.api.context import Context
from hub.api.cookies import session_token, set_session

NO_STORE: Final = {"Cache-Control": "no-store"}


class CallerOut(ScopeOut):
    """Who asks."""

    id: str
    kind: Literal["key", "session", "screen", "local"]
    name: str


class SessionOut(BaseModel):
    """Who asks; null for nobody known. `csrf_token` goes with every change as X-CSRF-Token."""

    access: Literal["open", "required"]
    public_view: bool
    caller: CallerOut | None
    csrf_token: str | None


def told(context: Context, caller: Caller, token: str | None) -> dict[str, Any]:
    """Write who asks, and how this hub lets callers in."""
    cookie = token is not None and caller.kind in {"session", "screen"}
    return {
        "access": "open" if context.access.is_open else "required",
        "public_view": context.access.public_view,
        "caller": _caller(caller) if caller.known else None,
        "csrf_token": csrf_of(token) if cookie and token is not None else None,
    }


def begun(context: Context, request: Request, log_in: LogIn) -> Response:
    """Answer a log-in: a new cookie, and the end of whatever session was there before."""
    old = token_of(request)
    if old is not None:
        context.access.sessions.log_out(old)
    answer = JSONResponse(told(context, log_in.caller, log_in.token), 201, NO_STORE)
    age_s = max(0, log_in.expires_ms - context.now_ms()) // 1000
    secure = request.url.scheme == "https"
    set_session(answer, log_in.token, secure=secure, age_s=age_s)
    return answer


def token_of(request: Request) -> str | None:
    """Find the token of the session that a request carries."""
    return session_token(value.encode("latin-1") for value in request.headers.getlist("cookie"))


def _caller(caller: Caller) -> dict[str, Any]:
    return {
        "id": caller.id,
        "kind": caller.kind,
        "name": caller.name,
        "organisation": caller.organisation,
        "roles": sorted(caller.roles),
        "sites": sorted(caller.sites),
        "audiences": sorted(caller.audiences),
    }
