"""What happened: as a list to page through, and as a stream to follow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.access import View
from hub.api.admission import Admission
from hub.api.caller import ViewOf
from hub.api.context import Context
from hub.api.problems import documented, respond
from hub.api.times import rfc3339
from hub.coordination.events import (
    Event,
    Events,
    Follower,
    ForgottenError,
    TooManyFollowersError,
    as_cloud_event,
    may_see,
)
from hub.store.events import Wanted
from hub.stream import to_json

LIMIT_MAX: Final = 500
SEQ_MAX: Final = 2**53 - 1
BATCH: Final = 100
HEARTBEAT_S: Final = 15.0
RETRY_MS: Final = 3000
SEND_TIMEOUT_S: Final = 60.0
FAREWELL_S: Final = 0.2
SOURCE: Final = "/api/v1/events"
MEDIA_TYPE: Final = "text/event-stream"

TypeWord = Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)?$", max_length=64)]


class EventItem(BaseModel):
    """An event as JSON of CloudEvents 1.0. `id` and `sequence` are its number."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    subject: str
    datacontenttype: str
    sequence: str
    site: str | None = None
    machine: str | None = None
    data: dict[str, Any]


class EventList(BaseModel):
    """Events in order. Ask again with `after` = `next`; `reset` says that some were forgotten."""

    as_of: str
    items: list[EventItem]
    next: int
    newest: int
    reset: bool


_EVENTS: Final[dict[str, Any]] = {
    "content": {
        "application/json": {"schema": EventList.model_json_schema(mode="serialization")},
        MEDIA_TYPE: {"schema": {"type": "string"}},
    }
}


def routes(context: Context) -> APIRouter:
    """Make the route of events."""
    router = APIRouter(tags=["events"])

    @router.get(
        "/events",
        response_class=Response,
        status_code=200,
        responses=documented(422, 503, also={200: _EVENTS}),
    )
    async def events(
        *,
        request: Request,
        view: ViewOf,
        after: Annotated[int | None, Query(ge=0, le=SEQ_MAX)] = None,
        types: Annotated[list[TypeWord] | None, Query(max_length=20)] = None,
        site: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
        machine: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_MAX,
        accept: Annotated[str | None, Header(max_length=1000)] = None,
        last_event_id: Annotated[str | None, Header(max_length=64)] = None,
    ) -> Response:
        """Give what happened after a number; without one, the last things that did.

        With ``Accept: text/event-stream`` the answer lasts: it goes on with what happens from now
        on, or from the number in ``Last-Event-ID`` or `after`.
        """
        wanted = Wanted(types=tuple(types or ()), site=site, machine=machine)
        if MEDIA_TYPE in (accept or ""):
            known = _number(last_event_id)
            begin = after if known is None else known
            return EventStream(context, request.state.admission, wanted, begin)
        start = max(0, context.events.newest - limit) if after is None else after
        page = await run_in_threadpool(_page, context, view, wanted, start, limit)
        return Response(to_json(page), media_type="application/json")

    return router


def _page(context: Context, view: View, wanted: Wanted, after: int, limit: int) -> dict[str, Any]:
    log, now_ms, reset = context.events, context.now_ms(), False
    newest = log.newest
    try:
        found = log.after(after, limit=limit, wanted=wanted)
    except ForgottenError as error:
        reset, newest = True, error.newest
        after = min(error.oldest - 1, newest)
        found = log.after(after, limit=limit, wanted=wanted)
    # A page that is not full has looked at everything up to the newest event.
    seen = found[-1].seq if len(found) == limit else max(newest, found[-1].seq if found else 0)
    return {
        "as_of": rfc3339(now_ms),
        "items": [as_cloud_event(e, SOURCE) for e in found if may_see(view, e, now_ms)],
        "next": seen,
        "newest": newest,
        "reset": reset,
    }


def _number(last_event_id: str | None) -> int | None:
    """Read the header; what is no number of ours says nothing."""
    text = last_event_id or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None  # noqa: PLR2004 (below 2**53)


class EventStream(Response):
    """An answer that lasts: until the follower goes, the hub does, or it may see something else."""

    media_type = MEDIA_TYPE

    def __init__(
        self, context: Context, admission: Admission, wanted: Wanted, begin: int | None
    ) -> None:
        self._context = context
        self._log: Events = context.events
        self._admission = admission
        self._wanted = wanted
        self._begin = begin
        super().__init__()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one follower (the ASGI entry)."""
        try:
            with self._log.following() as follower:
                await send(_START)
                tasks = [
                    asyncio.create_task(self._pump(follower, send)),
                    asyncio.create_task(_gone(receive)),
                    asyncio.create_task(self._context.stream.ended.wait()),
                    asyncio.create_task(self._admission.ended()),
                ]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(FAREWELL_S):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TooManyFollowersError as error:
            refusal = respond(503, "too-many-followers", f"{error}.", headers={"Retry-After": "30"})
            await refusal(scope, receive, send)

    async def _pump(self, follower: Follower, send: Send) -> None:
        with suppress(TimeoutError, OSError):
            await _say(send, f"retry: {RETRY_MS}\n\n".encode())
            async for block in self._blocks(follower):
                await _say(send, block)

    async def _blocks(self, follower: Follower) -> AsyncIterator[bytes]:
        """Give what happens, in blocks of whole events, and a comment when nothing does."""
        place = self._log.newest if self._begin is None else self._begin
        while True:
            try:
                found = await run_in_threadpool(self._log.after, place, limit=BATCH)
            except ForgottenError as error:
                place = max(0, min(error.oldest - 1, error.newest))
                data = to_json({"oldest": error.oldest, "newest": error.newest})
                yield b"id: %d\nevent: reset\ndata: %b\n\n" % (place, data)
                continue
            if found:
                place = found[-1].seq
                yield self._written(found)
            elif not await follower.news(HEARTBEAT_S):
                # The number goes along: events that were not shown are not looked at again.
                yield b": %d\nid: %d\n\n" % (place, place)

    def _written(self, found: list[Event]) -> bytes:
        now_ms = self._context.now_ms()
        view = self._admission.view
        shown = (e for e in found if self._wanted.takes(e) and may_see(view, e, now_ms))
        return b"".join(
            b"id: %d\nevent: %b\ndata: %b\n\n"
            % (e.seq, e.type.encode(), to_json(as_cloud_event(e, SOURCE)))
            for e in shown
        )


_START: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ],
}


async def _say(send: Send, body: bytes) -> None:
    if body:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
