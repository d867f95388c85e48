"""What owners share, and what follows from it for each caller.

Policies are few and asked for with every request, so all of them are held in memory and written
through. A site without a policy shares presence and capability with its groups and nothing with
anybody else.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from hub.access.caller import Caller
from hub.access.refusals import InvalidError, StaleError
from hub.access.view import EVERYTHING, Grant, Group, Level, View
from hub.store import Store, audit, events, sharing
from hub.store.sharing import Policy, Terms

AUDIENCE: Final = re.compile(r"group:[a-z0-9-]{1,48}|coordinator|municipality|public")
PUBLIC: Final = "public"
TERMS_MAX: Final = 32
DELAY_S_MAX: Final = 31 * 86_400
VIEWS_MAX: Final = 1000
DEFAULT_LEVELS: Final[Mapping[str, int]] = {
    Group.PRESENCE.value: int(Level.FULL),
    Group.CAPABILITY.value: int(Level.FULL),
}
"""What a site that said nothing shows the other members of its groups."""

Memberships = Callable[[], Mapping[str, Collection[str]]]
"""Gives the groups of every site that is in any."""


def no_memberships() -> Mapping[str, Collection[str]]:
    """Give the memberships of a hub that knows no groups."""
    return {}


class Sharing:
    """Keeps the policies and makes views of them. Safe to use from any thread."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._memberships: Memberships = no_memberships
        self._memberships_version: Callable[[], int] = int
        self._views: OrderedDict[tuple[object, ...], View] = OrderedDict()
        self._seen_version = -1
        self._changes = 0
        with store.read() as tx:
            self._policies = {each.site: each for each in sharing.all_policies(tx)}

    def follow(self, memberships: Memberships, version: Callable[[], int]) -> None:
        """Learn which site is in which group from somebody; `version` grows when that changes."""
        with self._lock:
            self._memberships, self._memberships_version = memberships, version
            self._changes += 1

    @property
    def version(self) -> int:
        """Grows with every change of a policy or of who is in which group."""
        return self._changes + self._memberships_version()

    def policy(self, site: str) -> Policy:
        """Give what a site shows to whom; version 0 when its owner has said nothing yet."""
        return self._policy(site, self._memberships())

    def _policy(self, site: str, memberships: Mapping[str, Collection[str]]) -> Policy:
        told = self._policies.get(site)
        if told is not None:
            return told
        groups = sorted(memberships.get(site, ()))
        terms = tuple(Terms(f"group:{group}", DEFAULT_LEVELS) for group in groups)
        return Policy(site, 0, terms, 0, "")

    def put(self, by: Caller, site: str, version: int | None, terms: Sequence[Terms]) -> Policy:
        """Write a site's policy anew. Views made of the old one end with the commit.

        Raises:
            InvalidError: the terms cannot be.
            StaleError: the policy has changed since the caller read it.
        """
        check(terms)
        now_ms = self._now_ms()
        with self._store.write() as tx:
            held = sharing.get(tx, site)
            held_version = 0 if held is None else held.version
            if version is not None and version != held_version:
                raise StaleError("stale", "It has changed since you read it.")
            told = Policy(site, held_version + 1, tuple(terms), now_ms, by.id)
            sharing.put(tx, told)
            shown = {each.audience: _words(each) for each in terms}
            audit.append(
                tx,
                who=by.id,
                action="sharing.changed",
                subject=site,
                detail=shown,
                now_ms=now_ms,
                site=site,
            )
            events.append(
                tx,
                type="sharing.changed",
                site=site,
                machine=None,
                subject=site,
                data={"version": told.version, "audiences": sorted(shown)},
                now_ms=now_ms,
            )
            tx.after_commit(lambda: self._take(told))
        return told

    def view(self, caller: Caller) -> View:
        """Give what a caller may see now."""
        if caller.is_hub_admin:
            return EVERYTHING
        now_ms, version = self._now_ms(), self.version
        place = (caller.sites, caller.audiences)
        with self._lock:
            if version != self._seen_version:
                self._views.clear()
                self._seen_version = version
            found = self._views.get(place)
            if found is not None and (
                found.valid_until_ms is None or now_ms < found.valid_until_ms
            ):
                return found
            memberships = self._memberships()
            audiences = audiences_of(caller, memberships)
            grants = self._grants(audiences, memberships)
            fresh = self._views[place] = View.of(caller.sites, grants, now_ms)
            self._views.move_to_end(place)
            if len(self._views) > VIEWS_MAX:
                self._views.popitem(last=False)
            return fresh

    def preview(self, site: str, audience: str, terms: Sequence[Terms] | None = None) -> View:
        """Give what somebody would see of one site who is of an audience and nothing else."""
        told = self.policy(site).terms if terms is None else terms
        audiences = {audience, PUBLIC}
        grants = [grant_of(each) for each in told if each.audience in audiences]
        return View.of((), {site: grants}, self._now_ms())

    def _grants(
        self, audiences: Collection[str], memberships: Mapping[str, Collection[str]]
    ) -> dict[str, list[Grant]]:
        found: dict[str, list[Grant]] = {}
        for site in self._policies.keys() | memberships.keys():
            terms = self._policy(site, memberships).terms
            told = [grant_of(each) for each in terms if each.audience in audiences]
            if told:
                found[site] = told
        return found

    def _take(self, told: Policy) -> None:
        with self._lock:
            self._policies = {**self._policies, told.site: told}
            self._changes += 1


def audiences_of(caller: Caller, memberships: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Tell what a caller looks as: the public, what it was given, and its own sites' groups."""
    groups = {f"group:{group}" for site in caller.sites for group in memberships.get(site, ())}
    return frozenset({PUBLIC, *caller.audiences, *groups})


def grant_of(told: Terms) -> Grant:
    """Read terms as a grant; a group that this program does not know shows nothing."""
    levels = {
        Group(group): Level(level)
        for group, level in told.levels.items()
        if group in Group._value2member_map_
    }
    return Grant(levels, told.delay_s, told.valid_until_ms)


def check(terms: Sequence[Terms]) -> None:
    """Refuse terms that cannot be.

    Raises:
        InvalidError: it names the field.
    """
    if len(terms) > TERMS_MAX:
        raise InvalidError("too-many-audiences", f"At most {TERMS_MAX} audiences.", "audiences")
    seen: set[str] = set()
    for told in terms:
        if not AUDIENCE.fullmatch(told.audience):
            text = "An audience is group:<id>, coordinator, municipality or public."
            raise InvalidError("unknown-audience", text, "audiences")
        if told.audience in seen:
            raise InvalidError("audience-twice", f"{told.audience} is there twice.", "audiences")
        seen.add(told.audience)
        if not 0 <= told.delay_s <= DELAY_S_MAX:
            raise InvalidError("bad-delay", "A delay is 0 s to 31 days.", "delay_s")


def _words(told: Terms) -> dict[str, object]:
    levels = {group: Level(level).word for group, level in told.levels.items() if level}
    return {"levels": levels, "delay_s": told.delay_s, "valid_until_ms": told.valid_until_ms}
