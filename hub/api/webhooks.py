"""Webhooks over HTTP: who is told what happens, and what could not be delivered."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from hub.api.caller import CallerOf
from hub.api.context import Context
from hub.api.problems import RefusalError, documented, not_found
from hub.api.tags import IfMatch, required_version, stale, tag
from hub.api.times import maybe_rfc3339, rfc3339
from hub.notices.subscriptions import (
    Facts,
    NotYourSiteError,
    StaleWebhookError,
    TooManyWebhooksError,
    UnknownWebhookError,
)
from hub.notices.target import URL_MAX, TargetError
from hub.store.webhooks import DeadLetter, Webhook

LETTERS_MAX: Final = 500
LINES: Final = "application/x-ndjson"
PLAIN: Final = r"^[^\x00-\x1f\x7f]*$"

Site = Annotated[str, Field(min_length=1, max_length=128, pattern=PLAIN)]
TypeWord = Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)?$", max_length=64)]
HookId = Annotated[str, Path(max_length=32, pattern="^[a-z0-9]+$")]
Place = Annotated[int, Field(ge=0, le=2**53 - 1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WebhookIn(_Strict):
    """Whom to tell. `sites` says whose events; none means all, for who runs the hub."""

    url: Annotated[str, Field(min_length=1, max_length=URL_MAX, pattern=PLAIN)]
    sites: Annotated[list[Site], Field(max_length=50)] = []
    types: Annotated[list[TypeWord], Field(max_length=50)] = []
    description: Annotated[str, Field(max_length=200, pattern=PLAIN)] = ""


class LettersIn(_Strict):
    """Which dead letters are meant; all without `ids`."""

    ids: Annotated[list[Place], Field(max_length=LETTERS_MAX)] | None = None


class WebhookItem(BaseModel):
    """A webhook and how delivering goes. `next` is when it is tried again after a failure."""

    id: str
    url: str
    sites: list[str]
    types: list[str]
    description: str
    status: str
    paused: str | None
    version: int
    created: str
    cursor: int
    behind: int
    delivered: int
    missed: int
    dead_letters: int
    tries: int
    next: str | None
    failing_since: str | None
    last: str | None
    last_status: int | None
    last_error: str | None


class WebhookSecret(WebhookItem):
    """A webhook with its secret, which is never shown again."""

    secret: str


class WebhookList(BaseModel):
    """Webhooks, oldest first."""

    as_of: str
    items: list[WebhookItem]


class LetterItem(BaseModel):
    """A notice that could not be delivered. `body` is what was sent, to the byte."""

    id: int
    message: str
    sequence: int
    type: str
    time: str
    dead: str
    tries: int
    status: int | None
    error: str | None
    again: bool
    body: str


class LetterList(BaseModel):
    """Dead letters, oldest first. Ask again with `after` = `next`."""

    items: list[LetterItem]
    next: int | None


class Affected(BaseModel):
    """How many dead letters it was about."""

    letters: int


class Tested(BaseModel):
    """The number of the event that was made for the test."""

    sequence: int


_TAGGED: Final[dict[str, Any]] = {"headers": {"ETag": {"schema": {"type": "string"}}}}
_LETTERS: Final[dict[str, Any]] = {
    "content": {
        "application/json": {"schema": LetterList.model_json_schema(mode="serialization")},
        LINES: {"schema": {"type": "string"}},
    }
}


def routes(context: Context) -> APIRouter:
    """Make the routes of webhooks."""
    router = APIRouter(tags=["webhooks"])
    _keeping(router, context)
    _acting(router, context)
    _letters(router, context)
    return router


def _keeping(router: APIRouter, context: Context) -> None:
    hooks = context.subscriptions

    @router.get("/webhooks", response_model=WebhookList, responses=documented(503))
    def every(caller: CallerOf) -> dict[str, Any]:
        """Give the caller's webhooks."""
        counts = hooks.counts()
        items = [_item(context, hook, counts) for hook in hooks.every(caller)]
        return {"as_of": rfc3339(context.now_ms()), "items": items}

    @router.post(
        "/webhooks",
        response_model=WebhookSecret,
        status_code=201,
        responses=documented(400, 403, 409, 422, 503, also={201: _TAGGED}),
    )
    def create(told: WebhookIn, caller: CallerOf) -> Response:
        """Add a webhook. The answer holds its secret, which is shown this once."""
        with _refusals():
            hook, secret = hooks.create(caller, _facts(told))
        answer = _one(context, hook, 201, secret=secret)
        answer.headers["Location"] = f"/api/v1/webhooks/{hook.id}"
        return answer

    @router.get(
        "/webhooks/{webhook}",
        response_model=WebhookItem,
        responses=documented(404, 422, 503, also={200: _TAGGED}),
    )
    def one(webhook: HookId, caller: CallerOf) -> Response:
        """Give one webhook."""
        with _refusals():
            return _one(context, hooks.get(caller, webhook))

    @router.put(
        "/webhooks/{webhook}",
        response_model=WebhookItem,
        responses=documented(400, 403, 404, 412, 422, 428, 503, also={200: _TAGGED}),
    )
    def change(
        *, webhook: HookId, told: WebhookIn, caller: CallerOf, if_match: IfMatch = None
    ) -> Response:
        """Give a webhook other facts; its secret and its place among the events stay."""
        version = required_version(if_match)
        with _refusals():
            return _one(context, hooks.change(caller, webhook, _facts(told), version))

    @router.delete("/webhooks/{webhook}", status_code=204, responses=documented(404, 422, 503))
    def remove(webhook: HookId, caller: CallerOf) -> Response:
        """Remove a webhook, with what could not be delivered."""
        with _refusals():
            hooks.remove(caller, webhook)
        return Response(status_code=204)


def _acting(router: APIRouter, context: Context) -> None:
    hooks = context.subscriptions
    answers = documented(404, 422, 503, also={200: _TAGGED})

    @router.post("/webhooks/{webhook}/pause", response_model=WebhookItem, responses=answers)
    def pause(webhook: HookId, caller: CallerOf) -> Response:
        """Send nothing for now; what happens is kept as long as events are."""
        with _refusals():
            return _one(context, hooks.pause(caller, webhook))

    @router.post("/webhooks/{webhook}/resume", response_model=WebhookItem, responses=answers)
    def resume(webhook: HookId, caller: CallerOf) -> Response:
        """Send again, from where it stopped."""
        with _refusals():
            return _one(context, hooks.resume(caller, webhook))

    @router.post("/webhooks/{webhook}/rotate", response_model=WebhookSecret, responses=answers)
    def rotate(webhook: HookId, caller: CallerOf) -> Response:
        """Make a new secret; the answer holds it, this once, and the old one signs no more."""
        with _refusals():
            hook, secret = hooks.rotate(caller, webhook)
        return _one(context, hook, secret=secret)

    @router.post(
        "/webhooks/{webhook}/test",
        response_model=Tested,
        status_code=202,
        responses=documented(404, 422, 503),
    )
    def test(webhook: HookId, caller: CallerOf) -> dict[str, Any]:
        """Have a test event sent, in its turn."""
        with _refusals():
            return {"sequence": hooks.test(caller, webhook)}


def _letters(router: APIRouter, context: Context) -> None:
    hooks = context.subscriptions

    @router.get(
        "/webhooks/{webhook}/dead-letters",
        response_class=Response,
        responses=documented(404, 422, 503, also={200: _LETTERS}),
    )
    def letters(
        *,
        webhook: HookId,
        caller: CallerOf,
        after: Annotated[int, Query(ge=0, le=2**53 - 1)] = 0,
        limit: Annotated[int, Query(ge=1, le=LETTERS_MAX)] = LETTERS_MAX,
        accept: Annotated[str | None, Header(max_length=1000)] = None,
    ) -> Response:
        """Give what could not be delivered; as lines of JSON with ``Accept: x-ndjson``."""
        with _refusals():
            found = hooks.letters(caller, webhook, after=after, limit=limit)
        if LINES in (accept or ""):
            lines = b"".join(letter.body.encode() + b"\n" for letter in found)
            return Response(lines, media_type=LINES)
        more = found[-1].id if len(found) == limit else None
        return _answer({"items": [_letter(letter) for letter in found], "next": more})

    @router.post(
        "/webhooks/{webhook}/dead-letters/retry",
        response_model=Affected,
        status_code=202,
        responses=documented(400, 404, 422, 503),
    )
    def retry(
        *, webhook: HookId, caller: CallerOf, told: LettersIn | None = None
    ) -> dict[str, Any]:
        """Have dead letters sent once more; out of their order, which is over."""
        with _refusals():
            ids = None if told is None else told.ids
            return {"letters": hooks.send_again(caller, webhook, ids)}

    @router.post(
        "/webhooks/{webhook}/dead-letters/discard",
        response_model=Affected,
        responses=documented(400, 404, 422, 503),
    )
    def discard(
        *, webhook: HookId, caller: CallerOf, told: LettersIn | None = None
    ) -> dict[str, Any]:
        """Delete dead letters."""
        with _refusals():
            ids = None if told is None else told.ids
            return {"letters": hooks.discard(caller, webhook, ids)}


@contextmanager
def _refusals() -> Iterator[None]:
    """Say what went wrong as a problem document."""
    try:
        yield
    except UnknownWebhookError as error:
        raise not_found("such webhook") from error
    except StaleWebhookError as error:
        raise stale() from error
    except NotYourSiteError as error:
        text = "A webhook is told of own sites only; of all sites for who runs the hub."
        raise RefusalError(403, "forbidden", text) from error
    except TooManyWebhooksError as error:
        raise RefusalError(409, "too-many-webhooks", f"{error}.") from error
    except TargetError as error:
        errors = [{"pointer": "body/url", "detail": str(error)}]
        text = "This address cannot be used."
        raise RefusalError(422, "bad-target", text, errors=errors) from error


def _facts(told: WebhookIn) -> Facts:
    sites, types = sorted(set(told.sites)), sorted(set(told.types))
    return Facts(told.url, tuple(sites), tuple(types), told.description)


def _one(context: Context, hook: Webhook, status: int = 200, *, secret: str = "") -> Response:
    content = _item(context, hook, context.subscriptions.counts())
    answer = _answer(content | ({"secret": secret} if secret else {}), status)
    answer.headers["ETag"] = tag(hook.version)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _answer(content: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _item(context: Context, hook: Webhook, counts: dict[str, int]) -> dict[str, Any]:
    failing = hook.failing_since_ms is not None
    return {
        "id": hook.id,
        "url": hook.url,
        "sites": list(hook.sites),
        "types": list(hook.types),
        "description": hook.description,
        "status": "paused" if hook.paused else "failing" if failing else "active",
        "paused": hook.paused,
        "version": hook.version,
        "created": rfc3339(hook.created_ms),
        "cursor": hook.cursor,
        "behind": max(0, context.events.newest - hook.cursor),
        "delivered": hook.delivered,
        "missed": hook.missed,
        "dead_letters": counts.get(hook.id, 0),
        "tries": hook.tries,
        "next": rfc3339(hook.next_ms) if hook.next_ms else None,
        "failing_since": maybe_rfc3339(hook.failing_since_ms),
        "last": maybe_rfc3339(hook.last_ms),
        "last_status": hook.last_status,
        "last_error": hook.last_error,
    }


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "message": letter.message,
        "sequence": letter.seq,
        "type": letter.type,
        "time": rfc3339(letter.time_ms),
        "dead": rfc3339(letter.dead_ms),
        "tries": letter.tries,
        "status": letter.status,
        "error": letter.error,
        "again": letter.again,
        "body": letter.body,
    }
