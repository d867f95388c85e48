"""What a caller may see of each site: the owners' grants, put together.

A view is made per caller and is the same for all callers that see the same, so that lists and
stream frames are encoded once per view. It ends by itself when the first of its grants does.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final, Self


class Level(IntEnum):
    """How exactly something is shared; each level includes the lower ones."""

    NONE = 0
    AGGREGATE = 1
    """Only within sums over several sites."""
    COARSE = 2
    """Half-days and a grid of about one kilometre."""
    FULL = 3

    @property
    def word(self) -> str:
        """How it is written on HTTP."""
        return self.name.lower()


class Group(StrEnum):
    """What can be shared apart from the rest."""

    PRESENCE = "presence"
    """That a machine is there, its name and kind, and whether its data arrives."""
    STATUS = "status"
    """What it is doing, and since when."""
    STATUS_REASON = "status_reason"
    """Why, and by what evidence."""
    CAPACITY_CALENDAR = "capacity_calendar"
    """When it is free."""
    CAPABILITY = "capability"
    """What it can make."""
    RATES = "rates"
    """How fast it makes it."""
    KPI = "kpi"
    """Parts counted and what is computed from them."""
    ENERGY = "energy"
    QUALITY = "quality"
    JOB_DETAIL = "job_detail"
    """Whose part is on it, and every raw signal, which would tell as much."""
    LOCATION_EXACT = "location_exact"
    """Where the site is; the kilometre it is in is shown to all who see the site."""


STANDING: Final = frozenset({Group.PRESENCE, Group.CAPABILITY, Group.LOCATION_EXACT})
"""Groups that a grant's delay does not hold back: they tell nothing of what happens when."""

ALL_FULL: Final[Mapping[Group, Level]] = dict.fromkeys(Group, Level.FULL)


@dataclass(frozen=True, slots=True)
class Grant:
    """What one site shows one audience. Groups left out are not shown."""

    levels: Mapping[Group, Level]
    delay_s: int = 0
    """What happens is shown so much later. Live data of a delayed grant is presence only."""
    valid_until_ms: int | None = None

    def holds(self, now_ms: int) -> bool:
        """Tell whether it has not ended."""
        return self.valid_until_ms is None or now_ms < self.valid_until_ms

    def level(self, group: Group, age_ms: int) -> Level:
        """Give the level of what is `age_ms` old."""
        if group not in STANDING and age_ms < self.delay_s * 1000:
            return Level.NONE
        return self.levels.get(group, Level.NONE)

    @property
    def canonical(self) -> list[Any]:
        """The grant as far as it changes what is shown now."""
        shown = sorted((group.value, int(self.levels[group])) for group in self.levels)
        return [self.delay_s, [pair for pair in shown if pair[1]]]


OWNERS: Final = Grant(ALL_FULL)


@dataclass(frozen=True, slots=True)
class View:
    """What one caller may see. Ask `level`, `sees` and `own`; compare views by `fingerprint`."""

    fingerprint: str
    everything: bool = False
    own_sites: frozenset[str] = frozenset()
    valid_until_ms: int | None = None
    """When the first of its grants ends; the view must be made anew then."""
    _grants: Mapping[str, tuple[Grant, ...]] = field(default_factory=dict, repr=False)
    _live: Mapping[str, Mapping[Group, Level]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, own_sites: Iterable[str], grants: Mapping[str, Iterable[Grant]], now_ms: int
    ) -> Self:
        """Put together what a caller sees: its own sites whole, others as they grant it."""
        own = frozenset(own_sites)
        held: dict[str, tuple[Grant, ...]] = {}
        for site, told in grants.items():
            holding = tuple(grant for grant in told if grant.holds(now_ms))
            if holding and site not in own:
                held[site] = holding
        ends = [g.valid_until_ms for each in held.values() for g in each if g.valid_until_ms]
        held |= dict.fromkeys(own, (OWNERS,))
        return cls(
            fingerprint=_fingerprint(own, held),
            own_sites=own,
            valid_until_ms=min(ends, default=None),
            _grants=held,
            _live={site: _live(each) for site, each in held.items()},
        )

    def level(self, site: str, group: Group | str, age_ms: int = 0) -> Level:
        """Tell how exactly a field group of a site may be shown, of what is `age_ms` old."""
        if self.everything:
            return Level.FULL
        if age_ms <= 0:
            return self._live.get(site, {}).get(Group(group), Level.NONE)
        return _best(self._grants.get(site, ()), Group(group), age_ms)

    def sees(self, site: str) -> bool:
        """Tell whether a site may be shown at all, other than within sums."""
        return self.everything or self.level(site, Group.PRESENCE) >= Level.COARSE

    def own(self, site: str) -> bool:
        """Tell whether a site is the caller's own."""
        return self.everything or site in self.own_sites

    def delay_ms(self, site: str, group: Group, wanted: Level) -> int | None:
        """Tell how old data must be to be shown at a level; None when it never is."""
        if self.everything:
            return 0
        grants = self._grants.get(site, ())
        ages = {0, *(grant.delay_s * 1000 for grant in grants)}
        return min((age for age in ages if _best(grants, group, age) >= wanted), default=None)

    @property
    def sites(self) -> frozenset[str]:
        """Every site of which anything is granted, sums included; own ones too."""
        return frozenset(self._grants)


EVERYTHING: Final = View("all", everything=True)
"""What who runs the hub sees."""


def _live(grants: tuple[Grant, ...]) -> dict[Group, Level]:
    return {group: _best(grants, group, 0) for group in Group}


def _best(grants: tuple[Grant, ...], group: Group, age_ms: int) -> Level:
    found = max((grant.level(group, age_ms) for grant in grants), default=Level.NONE)
    if group is Group.PRESENCE and found < Level.COARSE:
        # Who is shown anything of a machine knows that it is there.
        told = (level for grant in grants for level in grant.levels.values())
        if max(told, default=Level.NONE) >= Level.COARSE:
            return Level.COARSE
    return found


def _fingerprint(own: frozenset[str], grants: Mapping[str, tuple[Grant, ...]]) -> str:
    """Name what is seen. Grants that end later do not make a view another one."""
    content = [
        [site, site in own, sorted(grant.canonical for grant in grants[site])]
        for site in sorted(grants)
    ]
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


NOTHING: Final = View.of((), {}, 0)
"""What a caller sees to whom nobody shows anything."""
