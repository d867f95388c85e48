"""The page without script, for old televisions, printing and browsers that broke.

Rendered anew for every request from the live state; it reloads itself by a header that browsers
have always known, until the viewer stops that. Words, colours and icons are those of the page with
script.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.model import State
from hub.access import View
from hub.access.masks import all_shown
from hub.coordination.capacity.board import Board, Free
from hub.dashboard.page import HEADERS
from hub.live import Live, LiveMachine
from hub.registry import Registry, SiteRecord

Language = Literal["en", "ja"]
REFRESH_S: Final = 10
NOT_TOLD: Final = Free()
_FOLDER: Final = Path(__file__).parent
_DAY_AND_TIME: Final[dict[Language, str]] = {"en": "%d %b %H:%M", "ja": "%m月%d日 %H:%M"}
_MINUTE_MS: Final = 60_000
_SLUG: Final = re.compile(r"[a-z]+(?:[-_][a-z0-9]+)+\Z")


@dataclass(frozen=True, slots=True)
class Row:
    """A machine as the table shows it: every cell a text."""

    name: str
    kind: str
    state: State
    reason: str
    elapsed: str
    since: str
    free: str
    hours: str
    parts: str
    read: str


@dataclass(frozen=True, slots=True)
class Group:
    """A site and its machines."""

    site: str
    name: str
    running: int
    rows: list[Row]


@cache
def _design(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((_FOLDER / "design" / f"{name}.json").read_text("utf-8"))
    return content


def choose_language(asked: str | None, accepted: str) -> Language:
    """Take the language asked for, else the first of ours that the browser names, else English."""
    for word in (asked or "", *accepted.split(",")):
        match word.strip()[:2].lower():
            case "ja":
                return "ja"
            case "en":
                return "en"
    return "en"


def duration(ms: int, language: Language) -> str:
    """Write a duration like the page with script does."""
    words = _design(language)
    minutes = max(0, ms // _MINUTE_MS)
    hours, days = minutes // 60, minutes // 1440
    if minutes < 1:
        return str(words["duration.under_minute"])
    if hours < 1:
        return str(words["duration.minutes"]).format(m=minutes)
    if days < 1:
        return str(words["duration.hours"]).format(h=hours, m=f"{minutes % 60:02d}")
    return str(words["duration.days"]).format(d=days, h=hours % 24)


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC  # A site's zone is checked in the settings; one only heard of has none.


def _moment(ms: int | None, now_ms: int, zone: tzinfo, language: Language) -> str:
    if ms is None:
        return "—"
    moment, today = (datetime.fromtimestamp(each / 1000, zone) for each in (ms, now_ms))
    same = moment.date() == today.date()
    return moment.strftime("%H:%M" if same else _DAY_AND_TIME[language])


def _named(name: Any, language: Language, fallback: str) -> str:
    return str(name.get(language) or name.get("en") or name.get("ja") or fallback)


def _term(family: str, word: str, language: Language) -> str:
    key = f"{family}.{word.strip().lower().replace(' ', '-')}"
    return str(_design(language).get(key) or _spelled(word))


def _spelled(word: str) -> str:
    """Write a slug nobody translated as people would; texts and alarm numbers stay as they are."""
    return word.replace("-", " ").replace("_", " ").capitalize() if _SLUG.match(word) else word


def _kind_beside(name: str, machine: LiveMachine, language: Language) -> str:
    """Give the sort of machine, unless its name says so already ("NC lathe 2")."""
    kind = _term("kind", machine.kind, language) if machine.kind else ""
    return "" if kind.lower() in name.lower() else kind


def _free(free: Free, now_ms: int, zone: tzinfo, language: Language) -> str:
    """Write when a machine is free: now, at a time, or that nobody knows."""
    if free.now:
        return str(_design(language)["lite.free_now"])
    return _moment(free.next_ms, now_ms, zone, language)


def _hours(free: Free, language: Language) -> str:
    return "" if free.h24 is None else _design(language)["lite.free_hours"].format(h=free.h24)


def _row(
    machine: LiveMachine, now_ms: int, zone: tzinfo, language: Language, free: Free = NOT_TOLD
) -> Row:
    state = machine.state_at(now_ms)
    silent = state is State.UNKNOWN
    name = _named(machine.name, language, machine.machine)
    since_ms = (machine.read_at_ms or machine.since_ms) if silent else machine.since_ms
    return Row(
        name=name,
        kind=_kind_beside(name, machine, language),
        state=state,
        reason="" if silent or not machine.reason else _term("reason", machine.reason, language),
        elapsed="" if since_ms is None else duration(now_ms - since_ms, language),
        since=_moment(since_ms, now_ms, zone, language),
        free=_free(free, now_ms, zone, language),
        hours=_hours(free, language),
        parts="—" if machine.parts_good is None else f"{machine.parts_good:,.0f}",
        read=_moment(machine.read_at_ms, now_ms, zone, language),
    )


def groups(
    machines: Iterable[LiveMachine],
    registry: Registry,
    now_ms: int,
    language: Language,
    free_of: Callable[[LiveMachine], Free] = lambda _: NOT_TOLD,
) -> list[Group]:
    """Arrange machines by site, both in the order of their ids."""
    by_site: dict[str, list[LiveMachine]] = {}
    for machine in machines:
        by_site.setdefault(machine.site, []).append(machine)
    found = []
    for site in sorted(by_site):
        record = registry.site(site) or SiteRecord(site, {})
        zone = _zone(record.time_zone)
        members = sorted(by_site[site], key=lambda each: each.machine)
        rows = [_row(each, now_ms, zone, language, free_of(each)) for each in members]
        running = sum(row.state is State.RUNNING for row in rows)
        found.append(Group(site, _named(record.name, language, site), running, rows))
    return found


def _page_time(shown: Iterable[LiveMachine], registry: Registry, now_ms: int) -> str:
    """Write the time of day in the zone that all sites shown live in, else in UTC."""
    sites = (registry.site(each) for each in {machine.site for machine in shown})
    names = {site.time_zone if site else "" for site in sites}
    zone = _zone(names.pop()) if len(names) == 1 else UTC
    return datetime.fromtimestamp(now_ms / 1000, zone).strftime("%H:%M:%S %Z")


def style_sheet() -> str:
    """Make the style sheet from the tokens: light, and dark where the system wants it."""
    rules = [(_FOLDER / "templates" / "lite.css").read_text("utf-8"), _themed("light")]
    dark = _themed("dark")
    return "\n".join([*rules, f"@media screen and (prefers-color-scheme:dark){{{dark}}}"])


def _themed(theme: str) -> str:
    plain = {k: v for k, v in _design("tokens")[theme].items() if isinstance(v, str)}
    variables = "".join(f"--{name}:{colour};" for name, colour in plain.items())
    states = "".join(
        f".{name}{{background:{look[theme]['tile']};color:{look[theme]['text']};"
        f"border-color:{look[theme]['edge']}}}"
        for name, look in _design("states").items()
    )
    return f":root{{color-scheme:{theme};{variables}}}{states}"


class Lite:
    """Renders the page without script from the live state."""

    def __init__(
        self,
        *,
        live: Live,
        registry: Registry,
        now_ms: Callable[[], int],
        board: Board | None = None,
    ) -> None:
        self._live = live
        self._board = board
        self._registry = registry
        self._now_ms = now_ms
        templates = FileSystemLoader(_FOLDER / "templates")
        environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined)
        self._template = environment.get_template("lite.html")
        self._style = style_sheet()

    def page(self, request: Request) -> Response:
        """Answer the table of all machines, or of those of `?site=`."""
        query = request.query_params
        language = choose_language(query.get("lang"), request.headers.get("accept-language", ""))
        reloads = query.get("refresh") != "0"
        site, now_ms = query.get("site"), self._now_ms()
        seen = all_shown(self._live.machines(), request.state.view)
        shown = [each for each in seen if site is None or each.site == site]
        body = self._template.render(
            groups=groups(
                shown, self._registry, now_ms, language, self._free_of(request.state.view, now_ms)
            ),
            words=_design(language),
            states=_design("states"),
            language=language,
            other="en" if language == "ja" else "ja",
            site=site,
            time=_page_time(shown, self._registry, now_ms),
            reloads=reloads,
            refresh_s=REFRESH_S,
        )
        headers = {**HEADERS, "cache-control": "no-store", "vary": "accept-language"}
        if reloads:
            headers["refresh"] = str(REFRESH_S)
        return Response(body, headers=headers, media_type="text/html; charset=utf-8")

    def _free_of(self, view: View, now_ms: int) -> Callable[[LiveMachine], Free]:
        def free(machine: LiveMachine) -> Free:
            whole = self._live.machine(machine.site, machine.machine)
            if self._board is None or whole is None:
                return NOT_TOLD
            return self._board.free(whole, view, now_ms)

        return free

    def style(self, _request: Request) -> Response:
        """Answer the style sheet."""
        headers = {**HEADERS, "cache-control": "no-cache"}
        return Response(self._style, headers=headers, media_type="text/css; charset=utf-8")


def lite_routes(
    live: Live, registry: Registry, now_ms: Callable[[], int], board: Board | None = None
) -> list[BaseRoute]:
    """Give the routes of the page without script, to be matched after the API's."""
    lite = Lite(live=live, registry=registry, now_ms=now_ms, board=board)
    # Plain functions: they run in a worker thread and never hold up the live stream.
    return [Route("/lite", lite.page), Route("/lite.css", lite.style)]
