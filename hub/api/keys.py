"""API keys, for programs."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hub.access.tokens import KEY_PREFIX
from hub.api.account_models import Name, ScopeIn, ScopeOut, scope_out
from hub.api.availability import LIMIT_MAX
from hub.api.caller import CallerOf
from hub.api.context import Context
from hub.api.problems import RefusalError, documented
from hub.api.times import maybe_rfc3339, rfc3339, to_ms
from hub.store.accounts import Key

LAST_MS: Final = 4_102_444_800_000
"""2100-01-01: no key is asked to last longer."""


class KeyIn(ScopeIn):
    """A key to be made. Without `expires` it ends when it is revoked."""

    name: Name
    expires: datetime | None = None


class KeyOut(ScopeOut):
    """A key as far as it may be known. `prefix` is what its text begins with."""

    key: str
    prefix: str
    name: str
    created: str
    created_by: str
    expires: str | None
    last_used: str | None
    revoked: str | None


class NewKey(KeyOut):
    """A key that was just made; `secret` is its whole text, told this once."""

    secret: str


class Keys(BaseModel):
    """Keys, by id; `next` is the cursor of the following page, if any."""

    items: list[KeyOut]
    next: str | None


def routes(context: Context) -> APIRouter:
    """Make the routes of API keys."""
    router = APIRouter(tags=["access"])
    accounts = context.access.accounts

    @router.get("/keys", response_model=Keys, responses=documented(422, 503))
    def keys(
        caller: CallerOf,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_MAX,
        cursor: Annotated[str | None, Query(max_length=64)] = None,
    ) -> dict[str, Any]:
        """Give the keys that the caller looks after."""
        found = sorted(accounts.keys(caller), key=lambda key: key.id)
        found = [key for key in found if cursor is None or key.id > cursor]
        more = found[limit - 1].id if len(found) > limit else None
        return {"items": [_key(key) for key in found[:limit]], "next": more}

    @router.post(
        "/keys", status_code=201, response_model=NewKey, responses=documented(403, 422, 503)
    )
    def create(told: KeyIn, caller: CallerOf) -> Response:
        """Make a key. Nobody can give a key more than they have themselves."""
        expires_ms = None if told.expires is None else to_ms(told.expires)
        if expires_ms is not None and expires_ms > LAST_MS:
            detail = "At most until 2100-01-01."
            errors = [{"pointer": "body/expires", "detail": detail}]
            raise RefusalError(422, "bad-time", detail, errors=errors)
        key, secret = accounts.create_key(caller, told.name, told.scope(), expires_ms)
        headers = {"Cache-Control": "no-store", "Location": f"/api/v1/keys/{key.id}"}
        return JSONResponse(_key(key) | {"secret": secret}, 201, headers)

    @router.delete("/keys/{key}", status_code=204, responses=documented(404, 422, 503))
    def revoke(key: Annotated[str, Path(pattern="^[a-z0-9]{1,32}$")], caller: CallerOf) -> Response:
        """End a key at once, for good."""
        accounts.revoke_key(caller, key)
        return Response(status_code=204)

    return router


def _key(key: Key) -> dict[str, Any]:
    return {
        "key": key.id,
        "prefix": f"{KEY_PREFIX}{key.id}",
        "name": key.name,
        **scope_out(key.scope),
        "created": rfc3339(key.created_ms),
        "created_by": key.created_by,
        "expires": maybe_rfc3339(key.expires_ms),
        "last_used": maybe_rfc3339(key.last_used_ms),
        "revoked": maybe_rfc3339(key.revoked_ms),
    }
