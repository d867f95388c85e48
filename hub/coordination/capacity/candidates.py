"""Machines put up for a step: what they can do, joined with when, how fast and from when on."""

from dataclasses import dataclass
from typing import Final

from hub.access import Group, Level, View
from hub.access.coarse import zone_of
from hub.access.masks import place as shown_place
from hub.coordination.capacity.capacity import Observed, Present, pace, quantile
from hub.coordination.capacity.chains import Candidate
from hub.coordination.capacity.experience import Experience
from hub.coordination.capacity.ledger import Ledger, Page
from hub.coordination.capacity.matching import Mismatch, Step, match, mismatch
from hub.coordination.capacity.present import Presence
from hub.coordination.capacity.transport import Place, Roads, distance_km
from hub.coordination.directory.directory import Capability, MachineEntry, SiteEntry
from hub.coordination.directory.taxonomy import Taxonomy
from hub.live import LiveMachine

CYCLES_MIN: Final = 10
"""Without any planned cycle, so many observed ones make one."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What else must hold of a machine, besides what a step asks for."""

    require_live: bool = False
    """Its state must be known now, and it must not be down."""
    allow_unscheduled: bool = False
    """Machines whose hours nobody has told count as working around the clock."""
    radius_km: float | None = None
    """From where it is delivered, as the crow flies."""
    deliver_to: Place | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A machine, its site and its live state, as they are at one instant."""

    entry: MachineEntry
    site: SiteEntry
    live: LiveMachine | None


class Candidates:
    """Makes candidates. Any thread may ask."""

    def __init__(
        self,
        *,
        taxonomy: Taxonomy,
        ledger: Ledger,
        presence: Presence,
        experience: Experience,
        roads: Roads,
    ) -> None:
        self._taxonomy = taxonomy
        self._ledger = ledger
        self._presence = presence
        self._experience = experience
        self._roads = roads

    def candidate(
        self, step: Step, known: Known, terms: Terms, view: View, now_ms: int
    ) -> Candidate | Mismatch:
        """Put a machine up for a step, or say why not."""
        entry = known.entry
        matched = match(step, entry, self._taxonomy, now_ms)
        if isinstance(matched, Mismatch):
            return matched
        planned_s = self._planned_s(step, entry, matched.capability)
        if planned_s is None:
            return mismatch("no-cycle-time", "nobody has said how long a part takes")
        place = shown_place(view, entry.site, known.site.location)
        far = _too_far(terms, place)
        if far is not None:
            return far
        page = self._ledger.page(entry)
        present = self._presence.of(entry, known.live, page, now_ms)
        exact = view.level(entry.site, Group.STATUS) >= Level.FULL
        absent = _absent(terms, page, present, tells_state=exact)
        if absent is not None:
            return absent
        speed = pace(planned_s, self._observed(step, entry, matched.capability, planned_s))
        alone = step.unattended and not matched.capability.attended
        grid = known.site.grid_factor_kg_per_kwh
        return Candidate(
            site=entry.site,
            machine=entry.machine,
            free=page.free(step.units, alone=alone, unscheduled=terms.allow_unscheduled),
            pace=speed,
            setup_ms=_setup_ms(step, matched.capability),
            release=self._presence.release(entry, present, speed.ratio_p90, now_ms),
            place=place,
            zone=zone_of(known.site.time_zone),
            lot_min=matched.capability.lot_min,
            lot_max=matched.capability.lot_max,
            certified_until_ms=matched.certified_until_ms,
            power_kw=entry.rated_power_kw,
            grid_kg_per_kwh=self._roads.factors.grid_kg_per_kwh if grid is None else grid,
            load=self._experience.load(entry.site, entry.machine),
            tells_times=view.level(entry.site, Group.CAPACITY_CALENDAR) >= Level.FULL,
            tells_state=exact,
            tells_pace=view.level(entry.site, Group.RATES) >= Level.FULL,
        )

    def _planned_s(self, step: Step, entry: MachineEntry, capability: Capability) -> float | None:
        if step.cycle_s is not None:
            return step.cycle_s
        if capability.cycle_s is not None:
            return capability.cycle_s
        seen = self._experience.observed(entry.site, entry.machine, capability.process).cycles_s
        return quantile(seen, 0.5) if len(seen) >= CYCLES_MIN else None

    def _observed(
        self, step: Step, entry: MachineEntry, capability: Capability, planned_s: float
    ) -> Observed:
        """Give the cycles seen; for a part with a plan of its own, how far off plans were."""
        seen = self._experience.observed(entry.site, entry.machine, capability.process)
        if step.cycle_s is None:
            return seen
        return Observed(tuple(planned_s * ratio for ratio in seen.ratios), seen.ratios)


def _setup_ms(step: Step, capability: Capability) -> int:
    setup_min = capability.setup_min if step.setup_min is None else step.setup_min
    return round((setup_min or 0.0) * 60_000)


def _too_far(terms: Terms, place: Place | None) -> Mismatch | None:
    if terms.radius_km is None or terms.deliver_to is None:
        return None
    if place is None:
        return mismatch("location-unknown", "nobody has said where its site is")
    km = distance_km(place, terms.deliver_to)
    if km <= terms.radius_km:
        return None
    return mismatch("too-far", f"is {km:.1f} km away, more than {terms.radius_km:g} km")


def _absent(terms: Terms, page: Page, present: Present, *, tells_state: bool) -> Mismatch | None:
    if not page.opened and not (terms.allow_unscheduled and page.blank):
        return mismatch("no-calendar", "nobody has told its working hours")
    if terms.require_live and present.doing == "unknown":
        return mismatch("not-live", "its state is not known now")
    if terms.require_live and present.doing == "down":
        if tells_state:
            return mismatch("down", "is down")
        return mismatch("no-window", "has no free time long enough")
    return None
