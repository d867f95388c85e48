"""Who may use which route: one table, and no other place that decides it.

A route that the table does not name is refused to everybody. The table is looked up by method
and path template, as the application's routes are written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from hub.access.caller import Role
from hub.access.view import Group


class Door(Enum):
    """Who comes through at all."""

    ANYONE = "anyone"
    """Nothing of a site is behind it."""
    VIEWERS = "viewers"
    """Who has shown credentials; anybody where the hub is told to serve the public."""
    KNOWN = "known"
    """Who has shown credentials."""


class At(Enum):
    """What the site in the path must be to the caller. The answer else is 404."""

    ANYWHERE = "anywhere"
    SEEN = "seen"
    """Shown to the caller, at least in part."""
    OWN = "own"
    """The caller's own. Who sees it without owning it gets 403."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may use one route. No roles: any caller that comes through the door."""

    door: Door = Door.KNOWN
    roles: frozenset[Role] = frozenset()
    at: At = At.ANYWHERE
    reads: frozenset[Group] = frozenset()
    """Field groups that it answers with: what the owner of another site is told was looked at."""
    strict: bool = False
    """Guessing must not pay here: few requests per address."""

    def reading(self, *groups: Group) -> "Rule":
        """Give this rule for a route that answers with field groups of sites."""
        return replace(self, reads=frozenset(groups))


LIVE: Final = (Group.PRESENCE, Group.STATUS, Group.STATUS_REASON, Group.CAPABILITY)
"""What the live lists hold."""

ANYONE: Final = Rule(Door.ANYONE)
GUESSABLE: Final = Rule(Door.ANYONE, strict=True)
VIEWERS: Final = Rule(Door.VIEWERS)
SEEN: Final = Rule(Door.VIEWERS, at=At.SEEN)
KNOWN: Final = Rule()
OPERATE: Final = Rule(roles=frozenset({Role.OPERATOR, Role.PLANNER, Role.SITE_ADMIN}), at=At.OWN)
WORK: Final = Rule(roles=frozenset({Role.OPERATOR, Role.PLANNER, Role.SITE_ADMIN}))
PLAN: Final = Rule(roles=frozenset({Role.PLANNER, Role.SITE_ADMIN}))
PLAN_HERE: Final = Rule(roles=frozenset({Role.PLANNER, Role.SITE_ADMIN}), at=At.OWN)
OWNER: Final = Rule(roles=frozenset({Role.SITE_ADMIN}), at=At.OWN)
ADMINS: Final = Rule(roles=frozenset({Role.SITE_ADMIN}))
REGION: Final = Rule(roles=frozenset({Role.REGION_VIEWER, Role.PLANNER, Role.SITE_ADMIN}))
HUB: Final = Rule(roles=frozenset({Role.HUB_ADMIN}))

_MACHINE: Final = "/api/v1/machines/{site}/{machine}"
_SITE: Final = "/api/v1/sites/{site}"

RULES: Final[Mapping[tuple[str, str], Rule]] = {
    # The page and its files: the same to everybody, without any data.
    ("GET", "/"): ANYONE,
    ("GET", "/wall"): ANYONE,
    ("GET", "/m/{site}/{machine}"): ANYONE,
    ("GET", "/assets/{name}"): ANYONE,
    ("GET", "/favicon.svg"): ANYONE,
    ("GET", "/third-party-notices.txt"): ANYONE,
    ("GET", "/lite.css"): ANYONE,
    ("GET", "/lite"): VIEWERS.reading(*LIVE),
    # The hub itself.
    ("GET", "/healthz"): ANYONE,
    ("GET", "/readyz"): ANYONE,
    ("GET", "/metrics"): HUB,
    ("GET", "/api/v1/openapi.json"): KNOWN,
    # Logging in; accounts; what is shared with whom; who looked; what was changed.
    ("GET", "/api/v1/session"): ANYONE,
    ("POST", "/api/v1/session"): GUESSABLE,
    ("DELETE", "/api/v1/session"): ANYONE,
    ("DELETE", "/api/v1/sessions"): KNOWN,
    ("PUT", "/api/v1/session/password"): replace(KNOWN, strict=True),
    ("POST", "/api/v1/session/pair"): GUESSABLE,
    ("POST", "/api/v1/setup"): GUESSABLE,
    ("GET", "/api/v1/screens"): ADMINS,
    ("POST", "/api/v1/screens"): ADMINS,
    ("DELETE", "/api/v1/screens/{screen}"): ADMINS,
    ("GET", "/api/v1/keys"): ADMINS,
    ("POST", "/api/v1/keys"): ADMINS,
    ("DELETE", "/api/v1/keys/{key}"): ADMINS,
    ("GET", "/api/v1/users"): ADMINS,
    ("POST", "/api/v1/users"): ADMINS,
    ("GET", "/api/v1/users/{user}"): ADMINS,
    ("PUT", "/api/v1/users/{user}"): ADMINS,
    ("DELETE", "/api/v1/users/{user}"): ADMINS,
    ("GET", f"{_SITE}/sharing"): OWNER,
    ("PUT", f"{_SITE}/sharing"): OWNER,
    ("GET", f"{_SITE}/sharing/preview"): OWNER,
    ("GET", f"{_SITE}/views"): OWNER,
    ("GET", "/api/v1/audit"): ADMINS,
    # Agents: invited by the owner, joining by the code alone.
    ("GET", f"{_SITE}/enrolments"): OWNER,
    ("POST", f"{_SITE}/enrolments"): OWNER,
    ("DELETE", f"{_SITE}/enrolments/{{agent}}"): OWNER,
    ("POST", "/api/v1/enrol"): GUESSABLE,
    # Live state and history.
    ("GET", "/api/v1/availability"): VIEWERS.reading(*LIVE),
    ("GET", "/api/v1/stream"): VIEWERS.reading(*LIVE, Group.KPI),
    ("GET", "/api/v1/sites"): VIEWERS.reading(Group.PRESENCE),
    ("GET", _SITE): SEEN.reading(Group.PRESENCE),
    ("GET", "/api/v1/machines"): VIEWERS.reading(*LIVE),
    ("GET", _MACHINE): SEEN.reading(*LIVE, Group.KPI, Group.JOB_DETAIL),
    ("GET", f"{_MACHINE}/signals/{{signal:path}}/history"): SEEN.reading(Group.JOB_DETAIL),
    ("GET", f"{_MACHINE}/timeline"): SEEN.reading(Group.STATUS, Group.STATUS_REASON),
    ("GET", "/api/v1/alarms"): KNOWN,
    ("POST", "/api/v1/alarms/{alarm}/acknowledge"): WORK,
    # The directory. An organisation's own site admins write it; the route knows whose it is.
    ("GET", "/api/v1/processes"): ANYONE,
    ("GET", "/api/v1/materials"): ANYONE,
    ("GET", "/api/v1/organisations"): VIEWERS.reading(Group.PRESENCE),
    ("GET", "/api/v1/organisations/{organisation}"): VIEWERS.reading(Group.PRESENCE),
    ("PUT", "/api/v1/organisations/{organisation}"): ADMINS,
    ("DELETE", "/api/v1/organisations/{organisation}"): ADMINS,
    ("PUT", _SITE): OWNER,
    ("DELETE", _SITE): OWNER,
    ("GET", f"{_MACHINE}/entry"): SEEN.reading(Group.PRESENCE, Group.CAPABILITY),
    ("PUT", f"{_MACHINE}/entry"): OWNER,
    ("GET", f"{_MACHINE}/capabilities"): SEEN.reading(Group.CAPABILITY, Group.RATES),
    ("PUT", f"{_MACHINE}/capabilities"): OWNER,
    ("POST", f"{_MACHINE}/retire"): OWNER,
    ("POST", f"{_MACHINE}/return"): OWNER,
    ("POST", f"{_MACHINE}/move"): OWNER,
    ("DELETE", _MACHINE): OWNER,
    ("GET", "/api/v1/directory"): ADMINS,
    ("POST", "/api/v1/directory"): ADMINS,
    # Sums in which no site can be found.
    ("GET", "/api/v1/regions"): REGION,
    ("GET", "/api/v1/regions/{code}/summary"): REGION,
    # Free capacity: what a view does not show is not searched.
    ("GET", f"{_MACHINE}/capacity"): SEEN.reading(Group.CAPACITY_CALENDAR),
    ("POST", "/api/v1/capacity/search"): KNOWN.reading(Group.CAPACITY_CALENDAR, Group.CAPABILITY),
    # Hours: shown whole or not at all, for half-days would not tell them.
    ("GET", f"{_SITE}/calendar"): SEEN.reading(Group.CAPACITY_CALENDAR),
    ("PUT", f"{_SITE}/calendar"): OWNER,
    ("DELETE", f"{_SITE}/calendar"): OWNER,
    ("GET", f"{_MACHINE}/calendar"): SEEN.reading(Group.CAPACITY_CALENDAR),
    ("PUT", f"{_MACHINE}/calendar"): OWNER,
    ("DELETE", f"{_MACHINE}/calendar"): OWNER,
    ("GET", f"{_MACHINE}/calendar/windows"): SEEN.reading(Group.CAPACITY_CALENDAR),
    ("GET", f"{_MACHINE}/calendar.ics"): SEEN.reading(Group.CAPACITY_CALENDAR),
    # What machines did: figures, losses, and what people at the machines say of it.
    ("GET", f"{_MACHINE}/kpis"): SEEN.reading(Group.KPI),
    ("GET", f"{_MACHINE}/buckets"): SEEN.reading(Group.KPI, Group.STATUS_REASON),
    ("GET", f"{_SITE}/kpis"): SEEN.reading(Group.KPI),
    ("GET", f"{_SITE}/downtime"): SEEN.reading(Group.KPI, Group.STATUS_REASON),
    ("GET", f"{_SITE}/reasons"): SEEN.reading(Group.STATUS_REASON),
    ("PUT", f"{_SITE}/reasons/{{code}}"): OWNER,
    ("DELETE", f"{_SITE}/reasons/{{code}}"): OWNER,
    ("PUT", f"{_MACHINE}/timeline/{{start}}/reason"): OPERATE,
    ("POST", f"{_MACHINE}/state"): OPERATE,
    # Events filter each event by the view; jobs know whose they are.
    ("GET", "/api/v1/events"): KNOWN.reading(
        Group.CAPACITY_CALENDAR, Group.STATUS_REASON, Group.JOB_DETAIL
    ),
    # Reservations know who has part in them, and name nobody to others.
    ("GET", "/api/v1/reservations"): KNOWN,
    ("POST", "/api/v1/reservations"): PLAN.reading(Group.CAPACITY_CALENDAR),
    ("GET", "/api/v1/reservations/{reservation}"): KNOWN,
    ("POST", "/api/v1/reservations/{reservation}/confirm"): PLAN,
    ("POST", "/api/v1/reservations/{reservation}/extend"): PLAN,
    ("POST", "/api/v1/reservations/{reservation}/release"): PLAN,
    ("POST", "/api/v1/reservations/{reservation}/cancel"): PLAN,
    ("GET", f"{_MACHINE}/busy"): SEEN.reading(Group.CAPACITY_CALENDAR),
    ("GET", "/api/v1/jobs"): KNOWN.reading(Group.JOB_DETAIL),
    ("GET", "/api/v1/jobs/{job}"): KNOWN.reading(Group.JOB_DETAIL),
    ("POST", "/api/v1/jobs"): PLAN,
    ("PUT", "/api/v1/jobs/{job}"): PLAN,
    ("POST", "/api/v1/jobs/{job}/{action}"): WORK,
    ("POST", "/api/v1/sites/{site}/jobs/import"): PLAN_HERE,
    # Webhooks belong to sites; the route sees to it that they are the caller's.
    ("GET", "/api/v1/webhooks"): ADMINS,
    ("POST", "/api/v1/webhooks"): ADMINS,
    ("GET", "/api/v1/webhooks/{webhook}"): ADMINS,
    ("PUT", "/api/v1/webhooks/{webhook}"): ADMINS,
    ("DELETE", "/api/v1/webhooks/{webhook}"): ADMINS,
    ("POST", "/api/v1/webhooks/{webhook}/pause"): ADMINS,
    ("POST", "/api/v1/webhooks/{webhook}/resume"): ADMINS,
    ("POST", "/api/v1/webhooks/{webhook}/rotate"): ADMINS,
    ("POST", "/api/v1/webhooks/{webhook}/test"): ADMINS,
    ("GET", "/api/v1/webhooks/{webhook}/dead-letters"): ADMINS,
    ("POST", "/api/v1/webhooks/{webhook}/dead-letters/retry"): ADMINS,
    ("POST", "/api/v1/webhooks/{webhook}/dead-letters/discard"): ADMINS,
}


def rule_of(method: str, template: str) -> Rule | None:
    """Look a route up. HEAD is GET without the body."""
    return RULES.get(("GET" if method == "HEAD" else method, template))
