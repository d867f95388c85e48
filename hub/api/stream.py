"""The live stream over HTTP: server-sent events, the same bytes to everybody."""

import asyncio
from contextlib import suppress
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from hub.access import View
from hub.api.admission import Admission
from hub.api.caller import ViewOf
from hub.api.context import Context
from hub.api.problems import RefusalError, documented, not_found, respond
from hub.stream import (
    GZIP_HEADER,
    Frame,
    LiveStream,
    Scope,
    ScopeError,
    TooManyScopesError,
    Viewer,
)

FAREWELL_S: Final = 0.2
"""How long a connection may take to take the end of the stream when the hub leaves."""
SEND_TIMEOUT_S: Final = 60.0
"""A connection that takes no byte for so long is closed."""
_EVENTS: Final[dict[str, Any]] = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}


def routes(context: Context) -> APIRouter:
    """Make the route of the stream."""
    router = APIRouter(tags=["live"])

    @router.get(
        "/stream",
        response_class=EventStream,
        status_code=200,
        responses=documented(404, 422, 503, also={200: _EVENTS}),
    )
    async def stream(
        request: Request,
        view: ViewOf,
        scope: Annotated[str, Query(max_length=300, examples=["region"])] = "region",
        last_event_id: Annotated[str | None, Header(max_length=64)] = None,
        last_event_id_query: Annotated[
            str | None, Query(alias="last_event_id", max_length=64)
        ] = None,
    ) -> "EventStream":
        """Follow a region, a site or a machine: a snapshot, then what changes.

        The stream ends when the caller may see something else than at its start, or nothing any
        more; whoever still may comes back and begins anew.
        """
        wanted = read_scope(context, scope, view)
        deflate = "gzip" in request.headers.get("accept-encoding", "")
        last_id = last_event_id or last_event_id_query
        admission: Admission = request.state.admission
        return EventStream(context.stream, wanted, last_id, admission=admission, deflate=deflate)

    return router


def read_scope(context: Context, text: str, view: View) -> Scope:
    """Read a scope and see that it exists, and that the caller may know it.

    Raises:
        RefusalError: 422 for what is no scope, 404 for a site or machine that is not there.
    """
    try:
        scope = Scope.parse(text)
    except ScopeError as error:
        raise RefusalError(422, "bad-scope", f"{error}.") from error
    if scope.site is not None and not view.sees(scope.site):
        raise not_found("such site" if scope.machine is None else "such machine")
    if scope.machine is not None and scope.site is not None:
        if context.live.machine(scope.site, scope.machine) is None:
            raise not_found("such machine")
    elif scope.site is not None and context.registry.site(scope.site) is None:
        raise not_found("such site")
    return scope


class EventStream(Response):
    """An answer that lasts: sends frames until the viewer goes."""

    media_type = "text/event-stream"

    def __init__(
        self,
        stream: LiveStream,
        scope: Scope,
        last_id: str | None,
        *,
        admission: Admission,
        deflate: bool,
    ) -> None:
        self._stream = stream
        self._admission = admission
        self._scope = scope
        self._last_id = last_id
        self._deflate = deflate
        super().__init__()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one viewer (the ASGI entry)."""
        try:
            async with self._stream.follow(
                self._scope, self._last_id, self._admission.view
            ) as viewer:
                await send(self._start())
                if self._deflate:
                    await self._send(send, GZIP_HEADER)
                sending = asyncio.create_task(self._pump(viewer, send))
                leaving = asyncio.create_task(_gone(receive))
                ending = asyncio.create_task(self._stream.ended.wait())
                changing = asyncio.create_task(self._admission.ended())
                tasks = (sending, leaving, ending, changing)
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
            if self._stream.ended.is_set() or self._admission.is_over:
                await self._end(send)
        except TooManyScopesError as error:
            refusal = respond(503, "too-many-viewers", f"{error}.", headers={"Retry-After": "30"})
            await refusal(scope, receive, send)

    async def _end(self, send: Send) -> None:
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(FAREWELL_S):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _start(self) -> dict[str, object]:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        if self._deflate:
            headers.append((b"content-encoding", b"gzip"))
        return {"type": "http.response.start", "status": 200, "headers": headers}

    async def _pump(self, viewer: Viewer, send: Send) -> None:
        with suppress(TimeoutError, OSError):
            while True:
                frame: Frame = await viewer.next()
                await self._send(send, frame.deflated if self._deflate else frame.plain)

    async def _send(self, send: Send, body: bytes) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
