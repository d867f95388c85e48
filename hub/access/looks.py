"""Who looked at whose site: counted by the hour, and shown to the owner."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from hub.access.caller import Caller
from hub.access.view import Group, Level, View
from hub.store import Store, StoreError, sharing
from hub.store.sharing import EVERY_SITE, Look

HOUR_MS: Final = 3_600_000
WAITING_MAX: Final = 20_000
"""Different looks held until they are written. Beyond it they are counted as lost and told."""
KEEP_DAYS: Final = 400
_EVER_MS: Final = 10**15
_Place = tuple[int, str, str | None, frozenset[Group], str]


@dataclass(slots=True)
class _Waiting:
    caller: Caller
    view: View
    count: int
    last_ms: int


class Looks:
    """Notes every look at a site that is not the caller's own. Safe to use from any thread."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._waiting: dict[_Place, _Waiting] = {}
        self._swept_ms = 0
        self.lost = 0
        """Looks that could not be kept because too many different ones waited."""

    def note(self, caller: Caller, view: View, site: str | None, groups: frozenset[Group]) -> None:
        """Note that a caller was shown field groups of a site; None is every site it sees."""
        if caller.kind == "local" or (site is not None and site in view.own_sites):
            return
        now_ms = self._now_ms()
        place = (now_ms - now_ms % HOUR_MS, caller.id, site, groups, view.fingerprint)
        with self._lock:
            found = self._waiting.get(place)
            if found is not None:
                found.count += 1
                found.last_ms = now_ms
            elif len(self._waiting) < WAITING_MAX:
                self._waiting[place] = _Waiting(caller, view, 1, now_ms)
            else:
                self.lost += 1

    def flush(self) -> None:
        """Write what was noted."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        found: list[Look] = []
        for (hour_ms, _, site, groups, _), told in waiting.items():
            found += _looks(hour_ms, site, groups, told)
        now_ms = self._now_ms()
        sweep = now_ms - self._swept_ms > HOUR_MS
        if not found and not sweep:
            return
        try:
            with self._store.write() as tx:
                sharing.add_looks(tx, found)
                if sweep:
                    sharing.forget_looks(tx, now_ms - KEEP_DAYS * 24 * HOUR_MS)
        except StoreError:
            self._keep(waiting)
            raise
        self._swept_ms = now_ms

    def _keep(self, waiting: dict[_Place, _Waiting]) -> None:
        """Take back what could not be written."""
        with self._lock:
            for place, told in waiting.items():
                newer = self._waiting.get(place)
                if newer is not None:
                    newer.count += told.count
                elif len(self._waiting) < WAITING_MAX:
                    self._waiting[place] = told
                else:
                    self.lost += told.count

    def at(self, site: str, *, from_ms: int, to_ms: int, limit: int, offset: int = 0) -> list[Look]:
        """Give who looked at a site in the hours of [from, to), newest first."""
        self.flush()
        with self._store.read() as tx:
            return sharing.looks(tx, site, from_ms=from_ms, to_ms=to_ms, limit=limit, offset=offset)


def _looks(
    hour_ms: int, site: str | None, groups: frozenset[Group], told: _Waiting
) -> Iterable[Look]:
    view = told.view
    if site is not None:
        sites = {site}
    elif view.everything:
        sites = {EVERY_SITE}
    else:
        sites = {each for each in view.sites if view.sees(each) and not view.own(each)}
    for each in sorted(sites):
        shown = {group.value for group in groups if _shown(view, each, group)}
        yield Look(
            hour_ms,
            told.caller.id,
            each,
            tuple(sorted(shown or {Group.PRESENCE.value})),
            told.caller.organisation,
            told.caller.name,
            told.count,
            told.last_ms,
        )


def _shown(view: View, site: str, group: Group) -> bool:
    return view.level(site, group, _EVER_MS) >= Level.COARSE
