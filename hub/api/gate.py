"""The one place where a request is let in: every route has a rule, or nobody comes through.

The gate knows the routes of the application as they were when it was put together. It answers
for paths that are none of them, so a route that is added behind its back cannot be reached.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fastapi.routing import iter_route_contexts
from starlette.responses import Response
from starlette.routing import BaseRoute, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.access import EVERYTHING, LOCAL, Access, At, Caller, Door, Rule, View, rule_of
from hub.api.problems import respond

PATH_MAX: Final = 8192
"""No path of ours is longer, however long the names in it."""


class Entry(NamedTuple):
    """One route: its template, its methods, and the rule of each of them."""

    template: str
    pattern: re.Pattern[str]
    rules: dict[str, Rule | None]


class Found(NamedTuple):
    """Where a request leads: its rule, and the site that its path names."""

    rule: Rule | None
    site: str | None


class Table:
    """The routes of an application, in the order in which its router tries them.

    Raises:
        ValueError: a route is of a kind that the gate cannot see into.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self.entries = list(_entries(routes))
        # A path without parameters may still be one that a template before it matches.
        self._plain = {
            entry.template: self._search(entry.template)
            for entry in self.entries
            if "{" not in entry.template
        }
        self._ready = {
            (method, path): Found(entries[0].rules[method], None)
            for path, entries in self._plain.items()
            for method in entries[0].rules
            if "{" not in entries[0].template
        }

    def find(self, method: str, path: str) -> Found | frozenset[str]:
        """Find the route of a request, or else the methods that the path knows."""
        ready = self._ready.get((method, path))
        if ready is not None:
            return ready
        if len(path) > PATH_MAX:
            return frozenset()
        entries = self._plain.get(path) or self._search(path)
        for entry in entries:
            if method in entry.rules:
                match = entry.pattern.match(path)
                site = match.groupdict().get("site") if match else None
                return Found(entry.rules[method], site)
        return frozenset(method for entry in entries for method in entry.rules)

    def _search(self, path: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.pattern.match(path)]


def _entries(routes: Iterable[BaseRoute]) -> Iterable[Entry]:
    for route in iter_route_contexts(list(routes)):
        template, methods = route.path, route.methods
        if template is None or not methods:
            raise ValueError(f"{route.route!r} is no route with methods: it cannot be guarded")
        pattern, _, _ = compile_path(template)
        yield Entry(template, pattern, {each: rule_of(each, template) for each in sorted(methods)})


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
        refusal = self._refusal(scope)
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        found = self._table.find(scope["method"], scope["path"])
        if not isinstance(found, Found):
            return _no_route(found)
        caller = self._access.anonymous()
        view = EVERYTHING if caller is LOCAL else self._access.view(caller)
        refusal = refuse(found, caller, view, public=self._access.public_view)
        state = scope.setdefault("state", {})
        state["caller"], state["view"] = caller, view
        return refusal


def refuse(found: Found, caller: Caller, view: View, *, public: bool) -> Response | None:
    """Decide: None lets the caller in."""
    rule = found.rule
    if rule is None:
        return respond(403, "no-rule", "Nobody may use this route: it has no rule.")
    if not caller.known and not (
        rule.door is Door.ANYONE or (rule.door is Door.VIEWERS and public)
    ):
        headers = {"WWW-Authenticate": 'Bearer realm="machikoba"'}
        return respond(401, "unauthenticated", "Log in, or send an API key.", headers=headers)
    if found.site is not None and rule.at is not At.ANYWHERE and not view.sees(found.site):
        return respond(404, "not-found", "There is no such site.")
    if rule.roles and not caller.has_role(*rule.roles):
        return respond(403, "forbidden", "Your role does not allow this.")
    if found.site is not None and rule.at is At.OWN and not caller.owns(found.site):
        return respond(403, "forbidden", "This is not your site.")
    return None


def _no_route(methods: frozenset[str]) -> Response:
    if not methods:
        return respond(404, "not-found", "Not Found")
    headers = {"Allow": ", ".join(sorted(methods))}
    return respond(405, "method-not-allowed", "Method Not Allowed", headers=headers)
