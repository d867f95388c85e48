"""The one place where a request is let in: every route has a rule, or nobody comes through.

The gate knows the routes of the application as they were when it was put together. It answers
for paths that are none of them, so a route that is added behind its back cannot be reached.
"""

import ipaddress
import math
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.access import Access, At, Caller, Credential, Door, Rule, View
from hub.access.tokens import csrf_of, same
from hub.api.admission import Admission
from hub.api.cookies import session_token
from hub.api.problems import respond
from hub.api.table import Found, Table

SAFE: Final = frozenset({"GET", "HEAD"})
CSRF_HEADER: Final = b"x-csrf-token"
_BEARER: Final = b"bearer "
_FOREIGN_SITES: Final = frozenset({b"cross-site", b"same-site"})


class Gate:
    """Lets requests in by the rules (ASGI)."""

    def __init__(self, app: ASGIApp, *, table: Table, access: Access) -> None:
        self._app = app
        self._table = table
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or tell the route who calls (the ASGI entry)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = await self._admit(scope)
        await (self._app if refusal is None else refusal)(scope, receive, send)

    async def _admit(self, scope: Scope) -> Response | None:
        """Find out who calls and what they may; None lets the request in."""
        access = self._access
        found = self._table.find(scope["method"], scope["path"])
        if not access.is_open:
            refusal = self._too_often(scope, found)
            if refusal is not None:
                return refusal
        if not isinstance(found, Found):
            return _no_route(found)
        headers = Headers(scope)
        if scope["method"] not in SAFE and headers.come_from_elsewhere():
            return respond(403, "cross-site", "Changes are not taken from pages of other sites.")
        caller = await self._caller(scope, headers)
        if isinstance(caller, Response):
            return caller
        view = access.view(caller)
        refusal = refuse(found, caller, view, public=access.public_view)
        if refusal is not None:
            return refusal
        state = scope.setdefault("state", {})
        state["caller"], state["view"] = caller, view
        shown = None if access.is_open else headers.credential()
        state["admission"] = Admission(access, shown, caller, view)
        if found.rule is not None and found.rule.reads and caller.kind != "local":
            access.looks.note(caller, view, _site_asked_for(scope, found), found.rule.reads)
        return None

    async def _caller(self, scope: Scope, headers: "Headers") -> Caller | Response:
        """Tell who shows these headers; a refusal when what they show is wrong."""
        access = self._access
        shown = headers.credential()
        if access.is_open or shown is None:
            return access.anonymous()
        caller = access.recognition.known(shown)
        if caller is None:
            wait_s = access.guesses_wait_s(address_of(scope))
            if wait_s > 0:
                return _slow_down("too-many-tries", wait_s)
            caller = await run_in_threadpool(access.recognition.find, shown)
        if caller is None:
            access.guessed(address_of(scope))
            # A cookie that ended is no reason to refuse what needs none: logging in, above all.
            return _unauthenticated() if shown.kind == "key" else access.anonymous()
        wait_s = access.by_caller.take(caller.id)
        if wait_s > 0:
            return _slow_down("too-many-requests", wait_s)
        if shown.kind == "session" and scope["method"] not in SAFE:
            told = headers.get(CSRF_HEADER)
            if not same(told.encode(), csrf_of(shown.token).encode()):
                text = "Send the csrf_token of GET /api/v1/session as X-CSRF-Token."
                return respond(403, "csrf", text)
        return caller

    def _too_often(self, scope: Scope, found: "Found | frozenset[str]") -> Response | None:
        access, address = self._access, address_of(scope)
        wait_s = access.by_address.take(address)
        if wait_s > 0:
            return _slow_down("too-many-requests", wait_s)
        if isinstance(found, Found) and found.rule is not None and found.rule.strict:
            wait_s = access.strict.take(address)
            if wait_s > 0:
                return _slow_down("too-many-tries", wait_s)
        return None


class Headers:
    """The headers that matter here, read once."""

    def __init__(self, scope: Scope) -> None:
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._raw = scope["headers"]

    def get(self, name: bytes) -> str:
        """Give a header as text, empty when it is not there."""
        return self._headers.get(name, b"").decode("latin-1")

    def credential(self) -> Credential | None:
        """Read what the caller shows. A key counts more than a cookie that comes along."""
        told = self._headers.get(b"authorization")
        if told is not None and told[: len(_BEARER)].lower() == _BEARER:
            return Credential("key", told[len(_BEARER) :].strip().decode("latin-1"))
        if b"cookie" not in self._headers:
            return None
        token = session_token(value for name, value in self._raw if name == b"cookie")
        return None if token is None else Credential("session", token)

    def come_from_elsewhere(self) -> bool:
        """Tell whether a browser says that another site's page sends this."""
        if self._headers.get(b"sec-fetch-site") in _FOREIGN_SITES:
            return True
        origin = self._headers.get(b"origin")
        if origin is None:
            return False
        host = urlsplit(origin.decode("latin-1")).netloc.lower()
        return host != self.get(b"host").lower()


def refuse(found: Found, caller: Caller, view: View, *, public: bool) -> Response | None:
    """Decide by the rule: None lets the caller in."""
    rule = found.rule
    if rule is None:
        return respond(403, "no-rule", "Nobody may use this route: it has no rule.")
    if not caller.known and not _door_opens(rule, public=public):
        return _unauthenticated()
    if found.site is not None and rule.at is not At.ANYWHERE and not view.sees(found.site):
        return respond(404, "not-found", "There is no such site.")
    if rule.roles and not caller.has_role(*rule.roles):
        return respond(403, "forbidden", "Your role does not allow this.")
    if found.site is not None and rule.at is At.OWN and not caller.owns(found.site):
        return respond(403, "forbidden", "This is not your site.")
    return None


def address_of(scope: Scope) -> str:
    """Name where a request comes from: an IPv4 address, or the /64 network of an IPv6 one."""
    client = scope.get("client")
    host = client[0] if client else ""
    if ":" not in host:
        return host or "unknown"
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host


def _door_opens(rule: Rule, *, public: bool) -> bool:
    return rule.door is Door.ANYONE or (rule.door is Door.VIEWERS and public)


def _site_asked_for(scope: Scope, found: Found) -> str | None:
    """Tell which one site a request is about: by its path, else by its query."""
    if found.site is not None:
        return found.site
    query: bytes = scope.get("query_string", b"")
    if b"site" not in query and b"machine" not in query:
        return None
    try:
        told = parse_qs(query.decode("latin-1"), max_num_fields=50)
    except ValueError:
        return None
    if "site" in told:
        return told["site"][-1]
    kind, _, rest = told.get("scope", [""])[-1].partition(":")
    return rest.partition("/")[0] if kind in {"site", "machine"} else None


def _unauthenticated() -> Response:
    headers = {"WWW-Authenticate": 'Bearer realm="machikoba"'}
    return respond(401, "unauthenticated", "Log in, or send an API key.", headers=headers)


def _slow_down(code: str, wait_s: float) -> Response:
    headers = {"Retry-After": str(max(1, math.ceil(wait_s)))}
    return respond(429, code, "Too many requests. Wait a little.", headers=headers)


def _no_route(methods: frozenset[str]) -> Response:
    if not methods:
        return respond(404, "not-found", "Not Found")
    headers = {"Allow": ", ".join(sorted(methods))}
    return respond(405, "method-not-allowed", "Method Not Allowed", headers=headers)
