"""The application: routes, problem documents, headers."""

import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.api import (
    access_refusals,
    alarms,
    audit,
    availability,
    calendars,
    capacity,
    directory,
    downtime,
    enrolments,
    entries,
    events,
    health,
    history,
    jobs,
    keys,
    kpis,
    machines,
    moved,
    openapi,
    organisations,
    problems,
    regions,
    reservations,
    screens,
    session,
    sharing,
    sites,
    stream,
    taxonomies,
    users,
    webhooks,
)
from hub.api.context import Context
from hub.api.gate import Gate
from hub.api.table import Table

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""For answers that are no page and have no policy of their own."""
TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")
"""Said over TLS only; over plain HTTP browsers ignore it."""
BODY_BYTES_MAX: Final = 64 * 1024
BODIES_MAX: Final[Mapping[tuple[str, str], int]] = {
    ("POST", "/api/v1/directory"): directory.BYTES_MAX,
}
"""Routes that take larger bodies, and how large."""
TABLES: Final = re.compile(r"/api/v1/sites/[^/]+/jobs/import")
"""Paths of tables of jobs, by site."""


def create_app(context: Context, pages: Sequence[BaseRoute] = ()) -> FastAPI:
    """Make the application; `pages` are the dashboard's routes, matched after the API's."""
    app = FastAPI(
        title="Machikoba hub",
        summary="Live machine state and free capacity of a network of small manufacturers",
        version=version("machikoba"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    problems.install(app)
    access_refusals.install(app)
    for module in (
        availability,
        calendars,
        kpis,
        downtime,
        capacity,
        machines,
        history,
        stream,
        events,
        alarms,
        jobs,
        webhooks,
        sites,
        entries,
        organisations,
        taxonomies,
        regions,
        directory,
        reservations,
        session,
        screens,
        keys,
        users,
        sharing,
        audit,
        enrolments,
    ):
        moved.include(app, module.routes(context), context)
    app.include_router(health.routes(context))
    app.router.routes.insert(0, availability.Unfiltered("/api/v1/availability", context))
    app.router.routes.extend(pages)
    table = Table(app.routes)
    openapi.describe_access(app, table)
    app.add_middleware(Gate, table=table, access=context.access)
    app.add_middleware(Guard)
    return app


class Guard:
    """Adds the headers that every answer carries and refuses bodies nobody asked for.

    A body of unannounced length is refused too, so no more than 64 KiB are ever received. Both
    refusals end the connection: nobody reads what is still on its way.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on (the ASGI entry)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *SECURITY_HEADERS]
                if not any(name == POLICY[0] for name, _ in headers):
                    headers.append(POLICY)
                if scope.get("scheme") == "https":
                    headers.append(TRANSPORT)
                message["headers"] = headers
            await send(message)

        app = _refusal(scope) or self._app
        await app(scope, receive, send_guarded)


def _refusal(scope: Scope) -> ASGIApp | None:
    close = {"Connection": "close"}
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            text = "Announce the length of the body, or send none."
            return problems.respond(411, "length-required", text, headers=close)
        most = _bytes_max(scope["method"], scope["path"])
        if name == b"content-length" and _bytes(value) > most:
            text = f"The body is larger than {most // 1024} KiB."
            return problems.respond(413, "body-too-large", text, headers=close)
    return None


def _bytes_max(method: str, path: str) -> int:
    if method == "POST" and TABLES.fullmatch(path):
        return jobs.IMPORT_BYTES_MAX
    return BODIES_MAX.get((method, path), BODY_BYTES_MAX)


def _bytes(length: bytes) -> int:
    return int(length) if length.isdigit() and len(length) < 20 else sys.maxsize  # noqa: PLR2004 (no sane length)
