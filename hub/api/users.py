"""People who log in."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hub.api.account_models import Login, Name, ScopeIn, ScopeOut, Secret, scope_out
from hub.api.availability import LIMIT_MAX
from hub.api.caller import CallerOf
from hub.api.context import Context
from hub.api.problems import documented
from hub.api.tags import IfMatch, required_version, tag
from hub.api.times import rfc3339
from hub.store.accounts import Person

UserId = Annotated[str, Path(pattern="^[a-z0-9]{1,32}$")]


class UserIn(ScopeIn):
    """Somebody to be let in. They are told the password, and change it."""

    login: Login
    name: Name
    password: Secret


class UserChange(ScopeIn):
    """What a user is to be from now on. Their sessions end."""

    name: Name
    disabled: bool = False
    password: Secret | None = None
    """A new password, if there is to be one."""


class UserOut(ScopeOut):
    """Somebody who logs in."""

    user: str
    login: str
    name: str
    disabled: bool
    created: str


class Users(BaseModel):
    """Users, by id; `next` is the cursor of the following page, if any."""

    items: list[UserOut]
    next: str | None


def routes(context: Context) -> APIRouter:
    """Make the routes of users."""
    router = APIRouter(tags=["access"])
    accounts = context.access.accounts

    @router.get("/users", response_model=Users, responses=documented(422, 503))
    def users(
        caller: CallerOf,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_MAX,
        cursor: Annotated[str | None, Query(max_length=64)] = None,
    ) -> dict[str, Any]:
        """Give the users that the caller looks after."""
        found = sorted(accounts.people(caller), key=lambda person: person.id)
        found = [person for person in found if cursor is None or person.id > cursor]
        more = found[limit - 1].id if len(found) > limit else None
        return {"items": [_user(person) for person in found[:limit]], "next": more}

    @router.post(
        "/users", status_code=201, response_model=UserOut, responses=documented(403, 409, 422, 503)
    )
    def create(told: UserIn, caller: CallerOf) -> Response:
        """Let somebody log in. Nobody can give others more than they have themselves."""
        password = told.password.get_secret_value()
        person = accounts.create_person(caller, told.login, told.name, password, told.scope())
        return _answer(person, 201)

    @router.get("/users/{user}", response_model=UserOut, responses=documented(404, 422, 503))
    def one(user: UserId, caller: CallerOf) -> Response:
        """Give one user."""
        return _answer(accounts.person(caller, user))

    @router.put(
        "/users/{user}",
        response_model=UserOut,
        responses=documented(403, 404, 412, 422, 428, 503),
    )
    def change(
        user: UserId, told: UserChange, caller: CallerOf, if_match: IfMatch = None
    ) -> Response:
        """Write a user anew."""
        version = required_version(if_match)
        password = None if told.password is None else told.password.get_secret_value()
        person = accounts.change_person(
            caller,
            user,
            version,
            name=told.name,
            scope=told.scope(),
            disabled=told.disabled,
            password=password,
        )
        return _answer(person)

    @router.delete("/users/{user}", status_code=204, responses=documented(403, 404, 422, 503))
    def remove(user: UserId, caller: CallerOf) -> Response:
        """Forget a user. What they did stays in the audit."""
        accounts.remove_person(caller, user)
        return Response(status_code=204)

    return router


def _answer(person: Person, status: int = 200) -> Response:
    headers = {"ETag": tag(person.version), "Cache-Control": "no-store"}
    return JSONResponse(_user(person), status, headers)


def _user(person: Person) -> dict[str, Any]:
    return {
        "user": person.id,
        "login": person.login,
        "name": person.name,
        **scope_out(person.scope),
        "disabled": person.disabled,
        "created": rfc3339(person.created_ms),
    }
