"""The regions' publications, one a day: made once, kept, and told to everybody the same."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.model import State
from hub.access import Group, View
from hub.coordination.directory.directory import Directory, MachineEntry
from hub.coordination.hours.calendar_rules import Kind
from hub.coordination.region.region import (
    MUNICIPALITY_DIGITS,
    PREFECTURE_DIGITS,
    Establishment,
    Publication,
    Row,
    Share,
    Summary,
    group_of,
    publish,
)
from hub.coordination.shop_floor.buckets import PLANNED, Bucket, Slice, totals
from hub.store import Store, regions

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
BUSY: Final = frozenset({Bucket.APT, Bucket.AUST, Bucket.ADET})
"""What actual unit busy time (AUBT) is made of."""
COUNTED: Final = (Group.PRESENCE, Group.CAPABILITY)
"""What a site must share, at least within sums, to be counted at all."""
UNKNOWN: Final = State.UNKNOWN.value
"""The state of a machine whose site does not share it."""


class Hours(NamedTuple):
    """Busy and planned machine-hours of a machine on one day (AUBT and PBT of ISO 22400)."""

    busy_h: float
    planned_h: float


def hours_of(slices: Sequence[Slice]) -> Hours | None:
    """Give busy and planned hours (AUBT, PBT); None where no calendar says what is planned."""
    if any(each.calendar is Kind.UNDEFINED for each in slices):
        return None
    sums = totals(slices)
    busy_ms = sum(sums[bucket] for bucket in BUSY)
    planned_ms = sum(sums[bucket] for bucket in PLANNED)
    return Hours(busy_ms / HOUR_MS, planned_ms / HOUR_MS)


class Told(NamedTuple):
    """A summary, and the start of the day (UTC) on which it was made."""

    summary: Summary
    day_ms: int


class Regions:
    """Asks for figures once a day. Any thread may call.

    Days are UTC days. What a day's first question finds is that day's publication, whoever asks.
    """

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        view_of: Callable[[str], View],
        state_of: Callable[[str, str], str],
        free_h: Callable[[str, str], float | None],
        hours_of: Callable[[str, str, int], Hours | None],
        now_ms: Callable[[], int],
    ) -> None:
        """`view_of` gives what a site shares with its municipality, at least within sums.

        `free_h` are the hours of the next seven days, `hours_of` those of the day given.
        """
        self._view_of = view_of
        self._store = store
        self._directory = directory
        self._state_of = state_of
        self._free_h = free_h
        self._hours_of = hours_of
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._day_ms = -1
        self._told: dict[str, Told] = {}

    def all(self) -> list[Told]:
        """Give every region of which anything is known, by code."""
        self._publish()
        return [told for _, told in sorted(self._told.items())]

    def get(self, code: str) -> Told | None:
        """Give one region by its code; None when nothing is known of it."""
        self._publish()
        return self._told.get(code)

    def _publish(self) -> None:
        """Make today's publications unless they are made."""
        day_ms = self._now_ms() // DAY_MS * DAY_MS
        with self._lock:
            if day_ms == self._day_ms:
                return
            present = self._establishments(day_ms)
            told: dict[str, Told] = {}
            with self._store.write() as tx:
                held = {code: (day, _read(text)) for code, (day, text) in regions.load(tx).items()}
                for code in sorted(set(present) | set(held)):
                    day, publication = held.get(code, (-1, None))
                    if day < day_ms or publication is None:
                        publication = publish(code, present.get(code, []), publication)
                        day = day_ms
                        regions.put(tx, code, day, _write(publication))
                    told |= {c: Told(s, day) for c, s in publication.summaries.items()}
            self._told = told
            # A hub that knows nobody yet asks again: there was nothing to tell.
            self._day_ms = day_ms if told else -1

    def _establishments(self, day_ms: int) -> dict[str, list[Establishment]]:
        """Count each site that lets itself be counted and has machines, by prefecture.

        The same for every caller: what depended on who asks could be subtracted.
        """
        found: dict[str, list[Establishment]] = {}
        for site in self._directory.sites():
            code, machines = site.municipality or "", self._directory.machines(site.site)
            if len(code) != MUNICIPALITY_DIGITS or not (code.isascii() and code.isdigit()):
                continue
            if machines and all(self._view_of(site.site).level(site.site, g) for g in COUNTED):
                counted = self._count(site.site, code, machines, day_ms)
                found.setdefault(code[:PREFECTURE_DIGITS], []).append(counted)
        return found

    def _count(
        self, site: str, code: str, machines: list[MachineEntry], day_ms: int
    ) -> Establishment:
        tree = self._directory.taxonomy.processes
        told = {group for group in Group if self._view_of(site).level(site, group)}
        keys = [(entry.site, entry.machine) for entry in machines]
        states = [self._state_of(*key) if Group.STATUS in told else UNKNOWN for key in keys]
        hours = [self._hours_of(*key, day_ms - DAY_MS) for key in keys]
        known = [each for each in hours if each is not None and Group.KPI in told]
        free = [self._free_h(*key) for key in keys if Group.CAPACITY_CALENDAR in told]
        return Establishment(
            site,
            code,
            groups=Counter(group_of(entry.processes, tree) for entry in machines),
            states=Counter(states),
            free_h=_sum(free),
            busy_h=_sum([each.busy_h for each in known]),
            planned_h=_sum([each.planned_h for each in known]),
        )


def _sum(values: Sequence[float | None]) -> float | None:
    """Add what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _write(told: Publication) -> str:
    shares = ("groups", "states", "hours")
    rows = {
        code: {"sites": sorted(row.sites)}
        | {
            name: {k: [s.value, sorted(s.givers)] for k, s in getattr(row, name).items()}
            for name in shares
        }
        for code, row in told.rows.items()
    }
    summaries = {
        code: {name: getattr(summary, name) for name in Summary.__slots__}
        for code, summary in told.summaries.items()
    }
    content = {"rows": rows, "closed": sorted(told.closed), "summaries": summaries}
    return json.dumps(content, separators=(",", ":"))


def _read(text: str) -> Publication:
    told: dict[str, Any] = json.loads(text)

    def shares(part: Mapping[str, Any]) -> dict[str, Share]:
        return {name: Share(value, frozenset(givers)) for name, (value, givers) in part.items()}

    return Publication(
        rows={
            code: Row(
                frozenset(row["sites"]),
                shares(row["groups"]),
                shares(row["states"]),
                shares(row["hours"]),
            )
            for code, row in told["rows"].items()
        },
        closed=frozenset((row, column) for row, column in told["closed"]),
        summaries={code: Summary(**fields) for code, fields in told["summaries"].items()},
    )
