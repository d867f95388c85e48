"""A region to ask for capacity: sites on a map, machines with hours, bookings and a live state.

Real parts over a real store; only the clock is turned by hand. T0 is a Thursday, 09:00 in Tokyo.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from hub.access import EVERYTHING, LOCAL
from hub.columns import SeriesIndex
from hub.coordination.booking.booking import HoldRequest
from hub.coordination.capacity.candidates import Terms
from hub.coordination.capacity.chains import Order
from hub.coordination.capacity.matching import Step
from hub.coordination.capacity.ranking import Weights
from hub.coordination.capacity.search import Query
from hub.coordination.directory.directory import Capability, Edits, MachineEdit, SiteEdit
from hub.historian import open_historian
from hub.live import Live
from hub.registry import Registry
from hub.schedule import Calendar, Rule
from tests.hub.contexts import new_context
from tests.hub.scenes import Scene

TOKYO = ZoneInfo("Asia/Tokyo")
MIN = 60_000
HOUR = 60 * MIN
DAY = 24 * HOUR
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def tokyo(text):
    """Read "2026-11-19 09:00" by the clock of Tokyo."""
    return round(datetime.fromisoformat(text).replace(tzinfo=TOKYO).timestamp() * 1000)


NOW = tokyo("2026-11-19 09:00")
HOME = (35.56, 139.72)
"""Where things are delivered: Ota ward."""
DEGREE_KM = 111.195
"""One degree of latitude on the mean sphere."""


def north_of_home(km):
    """Give the place so many kilometres north of home, as the crow flies."""
    return (HOME[0] + km / DEGREE_KM, HOME[1])


def shift(start="08:00", end="17:00", days=WEEK, **others):
    return Rule(kind="work", start=start, end=end, weekdays=tuple(days), **others)


def lunch():
    return Rule(kind="break", start="12:00", end="13:00", weekdays=WEEK)


class Region:
    """Sites with one or more machines each."""

    def __init__(self, store, folder):
        self.scene = Scene()
        self.scene.index = SeriesIndex()
        self.scene.live = Live(self.scene.index)
        self.scene.live.broker_connected(connected=True)
        self.scene.registry = Registry({})
        self.scene.clock.now_ms = NOW
        self.clock = self.scene.clock
        self.historian = open_historian(
            folder, self.scene.index, memory_mib=64, raw_days=30, rollup_days=400
        )
        self.context = new_context(
            live=self.scene.live,
            registry=self.scene.registry,
            historian=self.historian,
            store=store,
            now_ms=self.clock,
        )
        self._sites, self._machines = {}, {}
        self._keys = 0

    def site(self, site, place=None, *rules, **others):
        """Add a site; without rules nobody has told its hours."""
        self._sites[site] = SiteEdit(site, time_zone="Asia/Tokyo", location=place, **others)
        self._load()
        if rules:
            calendar = Calendar(time_zone="Asia/Tokyo", rules=rules)
            self.context.calendars.put(site, None, calendar, who="test", version=None)

    def machine(self, site, machine="mc-1", *capabilities, state="idle", **others):
        """Add a machine that is alive in a state, or without any sensor (`state` None)."""
        told = capabilities or (Capability("milling-3axis", cycle_s=60.0),)
        self._machines[site, machine] = MachineEdit(
            site, machine, capabilities=tuple(told), **others
        )
        if state is not None:
            self.scene.add(machine, site=site)
            self.scene.read(machine, state, site=site)
        self._load()

    def _load(self):
        self.context.directory.load(Edits(sites=self._sites, machines=self._machines))
        self.context.calendars.reload()

    def say(self, site, machine, state, **others):
        self.scene.read(machine, state, site=site, **others)

    def find(self, *steps, view=EVERYTHING, terms=None, sites=None, max_offers=10, **order):
        """Search; steps may be given as dicts."""
        told = tuple(s if isinstance(s, Step) else Step(**s) for s in steps)
        order.setdefault("earliest_ms", self.clock())
        terms = terms or Terms(deliver_to=order.get("deliver_to"))
        query = Query(Order(told, **order), terms, max_offers, sites)
        return self.context.capacity.search.find(query, view)

    def hold(self, offer, view=EVERYTHING, caller=LOCAL):
        self._keys += 1
        request = HoldRequest((), 3600, offer_id=offer.id)
        return self.context.reservations.hold(request, caller, view, f"key-{self._keys}")

    def close(self):
        self.historian.close()


def weights(**others):
    zero = {"time": 0.0, "distance": 0.0, "co2": 0.0, "price": 0.0}
    return Weights(**{**zero, **others})


def parts(quantity=100, process="milling-3axis", **others):
    return Step(process=process, quantity=quantity, **others)


def machines_of(found):
    """Give the machines of each offer."""
    return [[lot.candidate.name for lot in offer.chain.lots] for offer in found.offers]


def why(found):
    """Give the reason for each machine that is not offered."""
    return {f"{each.site}/{each.machine}": each.code for each in found.rejected}
