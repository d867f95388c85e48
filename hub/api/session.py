"""Logging in and out: people, and the first admin."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field, SecretStr
from starlette.responses import JSONResponse, Response

from hub.access import Caller
from hub.api.account_models import Login, Secret, Strict, Typed
from hub.api.caller import CallerOf
from hub.api.context import Context
from hub.api.cookies import end_session
from hub.api.gate import address_of
from hub.api.log_in import NO_STORE, SessionOut, begun, token_of, told
from hub.api.problems import RefusalError, documented


class LogInIn(Strict):
    """Who logs in."""

    login: Annotated[str, Field(min_length=1, max_length=64)]
    password: Secret


class SetUpIn(Strict):
    """The first admin, with the secret that the hub showed at its first start."""

    secret: Typed
    login: Login
    password: Secret


class PasswordIn(Strict):
    """A new password."""

    current: Secret
    password: Secret


def routes(context: Context) -> APIRouter:
    """Make the routes of sessions."""
    router = APIRouter(tags=["access"])
    sessions = context.access.sessions

    @router.get("/session", response_model=SessionOut)
    async def who(request: Request, caller: CallerOf) -> Response:
        """Tell who asks, and how this hub lets callers in."""
        return JSONResponse(told(context, caller, token_of(request)), headers=NO_STORE)

    @router.post(
        "/session",
        status_code=201,
        response_model=SessionOut,
        responses=documented(401, 422, 429, 503),
    )
    def log_in(request: Request, asked: LogInIn) -> Response:
        """Log in by password; the answer sets a cookie that no script can read."""
        address = address_of(request.scope)
        password = asked.password.get_secret_value()
        return begun(context, request, sessions.log_in(asked.login, password, address))

    @router.delete("/session", status_code=204, responses=documented(503))
    def log_out(request: Request) -> Response:
        """Log out here. Logging out twice is no mistake."""
        token = token_of(request)
        if token is not None:
            sessions.log_out(token)
        answer = Response(status_code=204)
        end_session(answer)
        return answer

    @router.delete("/sessions", status_code=204, responses=documented(403, 503))
    def log_out_everywhere(caller: CallerOf) -> Response:
        """End every session of the person who asks, on whatever device."""
        _person_only(caller)
        sessions.log_out_everywhere(caller)
        answer = Response(status_code=204)
        end_session(answer)
        return answer

    @router.put("/session/password", status_code=204, responses=documented(403, 412, 422, 503))
    def change_password(asked: PasswordIn, caller: CallerOf) -> Response:
        """Choose a new password. All sessions end: log in again with the new one."""
        _person_only(caller)
        current, password = (_text(each) for each in (asked.current, asked.password))
        context.access.accounts.change_password(caller, current, password)
        answer = Response(status_code=204)
        end_session(answer)
        return answer

    @router.post(
        "/setup",
        status_code=201,
        response_model=SessionOut,
        responses=documented(401, 409, 422, 429, 503),
    )
    def set_up(request: Request, asked: SetUpIn) -> Response:
        """Make the first admin, once, with the secret that the hub showed at its first start."""
        address, password = address_of(request.scope), _text(asked.password)
        return begun(
            context, request, sessions.set_up(asked.secret, asked.login, password, address)
        )

    return router


def _person_only(caller: Caller) -> None:
    if caller.kind != "session":
        raise RefusalError(403, "no-person", "Only a person who is logged in can do this.")


def _text(secret: SecretStr) -> str:
    return secret.get_secret_value()
