"""A region is told the same all day, to everybody, of sites that let themselves be counted."""

import pytest

from gateway.model import State
from hub.access import EVERYTHING, Grant, Group, Level, View
from hub.coordination.directory.directory import Directory, Edits, SiteEdit
from hub.coordination.directory.taxonomy import load_taxonomy
from hub.coordination.hours.calendar_rules import Kind
from hub.coordination.region.regions import DAY_MS, Hours, Regions, hours_of
from hub.coordination.shop_floor.buckets import Bucket, Slice
from hub.registry import MachineRecord, Registry

DAY = 20_775 * DAY_MS


class Town:
    """Four shops of two machines each, and a clock."""

    def __init__(self, store):
        self.store = store
        self.now_ms = DAY + 5
        self.state = "running"
        self.registry = Registry({})
        self.views = {}
        self.directory = Directory(self.registry, load_taxonomy())
        self.sites = {}
        for number in range(4):
            self.add(f"s{number}")

    def add(self, site, municipality="13111"):
        self.sites[site] = SiteEdit(site, municipality=municipality)
        self.directory.load(Edits(sites=dict(self.sites)))
        for machine, process in (("m1", "turning"), ("m2", "milling-5axis")):
            self.registry.record(MachineRecord(site, machine, "line", processes=(process,)))

    def regions(self):
        return Regions(
            self.store,
            self.directory,
            view_of=lambda site: self.views.get(site, EVERYTHING),
            state_of=lambda *_: self.state,
            free_h=lambda *_: 2.5,
            hours_of=lambda *_: Hours(3.0, 4.0),
            now_ms=lambda: self.now_ms,
        )


@pytest.fixture
def town(store):
    return Town(store)


def test_machines_are_counted_by_what_they_do_and_how_they_are(town):
    told = town.regions().get("13111").summary

    assert (told.establishments, told.machines) == (4, 8)
    assert (told.by_process["turning"], told.by_process["milling"]) == (4, 4)
    assert told.by_state["running"] == 8
    assert (told.free_hours, told.allocation_efficiency) == (20.0, 0.75)


def test_nothing_changes_during_a_day_whatever_happens_and_however_often_the_hub_starts(town):
    regions = town.regions()
    first = regions.all()
    town.state = "down"
    town.add("s9")

    town.now_ms += DAY_MS - 10
    assert regions.all() == town.regions().all() == first
    town.now_ms += 10

    assert regions.get("13111").summary.by_state["down"] == 8
    assert regions.get("13111").summary.establishments == 4, "a newcomer waits for two more"
    assert regions.get("13111").day_ms == DAY + DAY_MS


def test_a_hub_that_knows_nobody_yet_asks_again(store):
    town = Town(store)
    everybody = dict(town.sites)
    town.directory.load(Edits())
    regions = town.regions()
    assert regions.all() == []

    town.directory.load(Edits(sites=everybody))

    assert regions.get("13").summary.establishments == 4


def test_a_site_that_does_not_let_itself_be_counted_is_not(town):
    town.views["s0"] = View.of((), {}, 0)

    assert town.regions().get("13111").summary.establishments == 3


def test_what_a_site_does_not_share_in_sums_is_not_counted(town):
    shared = dict.fromkeys((Group.PRESENCE, Group.CAPABILITY), Level.AGGREGATE)
    for site in ("s0", "s1", "s2"):
        town.views[site] = View.of((), {site: [Grant(shared)]}, 0)
    told = town.regions().get("13111").summary

    assert told.machines == 8
    assert told.free_hours is None, "one establishment alone would show"
    assert told.allocation_efficiency is None
    assert told.by_state["running"] is None
    assert told.by_state["unknown"] is None


def test_busy_and_planned_hours_are_made_of_the_buckets_of_the_standard():
    hour = 3_600_000
    made = [Bucket.APT, Bucket.AUST, Bucket.ADET, Bucket.ADOT, Bucket.APMT, Bucket.PDT]
    slices = [
        Slice(at * hour, (at + 1) * hour, bucket, State.IDLE, Kind.WORKING, None, "", "edge")
        for at, bucket in enumerate(made)
    ]

    assert hours_of(slices) == Hours(3.0, 5.0)
    unplanned = slices[0]._replace(calendar=Kind.UNDEFINED)
    assert hours_of([unplanned]) is None


@pytest.mark.parametrize("code", [None, "131", "1311a", "abcde"])
def test_a_site_without_a_municipality_is_in_no_region(town, code):
    town.add("lost", municipality=code)

    assert {told.summary.code for told in town.regions().all()} == {"13", "13111"}
