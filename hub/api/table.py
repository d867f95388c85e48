"""Every route of the application with its rule, and which of them a request is for."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path

from hub.access import Rule, rule_of

PATH_MAX: Final = 65_536
"""No path of ours is longer; a server cuts off sooner."""


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
        ValueError: a route is of a kind that nobody can see into.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self.entries = list(_entries(routes))
        # A path without parameters may still be one that a template before it matches.
        self._plain = {
            entry.template: self._search(entry.template)
            for entry in self.entries
            if "{" not in entry.template
        }

    def find(self, method: str, path: str) -> Found | frozenset[str]:
        """Find the route of a request, or else the methods that the path knows."""
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
