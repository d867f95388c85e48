"""What people wrote wins, field by field; births speak for the rest, and nothing is lost."""

import dataclasses

import pytest

from hub.config import Location, Names, Site
from hub.coordination.directory.directory import (
    Alias,
    Capability,
    Directory,
    Edits,
    MachineEdit,
    SiteEdit,
)
from hub.coordination.directory.taxonomy import load_taxonomy
from hub.registry import MachineRecord, Registry

TAXONOMY = load_taxonomy()
MC = ("ota", "mc-1")


@pytest.fixture
def registry():
    site = Site(
        name=Names(ja="大田精密", en="Ota Precision"),
        time_zone="Asia/Tokyo",
        location=Location(lat=35.56, lon=139.71),
        municipality="131113",
    )
    registry = Registry({"ota": site})
    registry.record(birth())
    return registry


def birth(**others):
    told = {"name": {"en": "Mill"}, "kind": "machining-centre", "maker": "Ota Seiki"}
    told |= {"processes": ("milling-3axis", "drilling", "chanting")}
    return MachineRecord(*MC, "line-1", **told | others)


def directory(registry, *machines, sites=(), aliases=()):
    edits = Edits(
        sites={edit.site: edit for edit in sites},
        machines={(edit.site, edit.machine): edit for edit in machines},
        aliases={(alias.site, alias.machine): alias for alias in aliases},
    )
    return Directory(registry, TAXONOMY, edits)


def test_a_machine_nobody_edited_is_what_its_birth_says(registry):
    entry = directory(registry).machine(*MC)

    assert (entry.kind, entry.maker, entry.capacity_units) == ("machining-centre", "Ota Seiki", 1)
    assert entry.processes == ("milling-3axis", "drilling")
    assert entry.announced
    assert entry.edited == frozenset()


def test_a_process_that_no_taxonomy_knows_is_kept_and_flagged(registry):
    assert directory(registry).machine(*MC).unknown_processes == ("chanting",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", {"en": "Old Faithful"}),
        ("kind", "lathe"),
        ("maker", "+GF+"),
        ("model", "X"),
        ("capacity_units", 3),
        ("rated_power_kw", 7.5),
        ("envelope_mm", (100.0, 100.0, 50.0)),
        ("capabilities", (Capability("turning"),)),
    ],
)
def test_each_field_that_a_person_wrote_wins_and_no_other(registry, field, value):
    before = directory(registry).machine(*MC)

    after = directory(registry, MachineEdit(*MC, **{field: value})).machine(*MC)

    assert getattr(after, field) == value
    assert after.edited == {field}
    assert dataclasses.replace(after, **{field: getattr(before, field)}, edited=frozenset()) == (
        before
    )


def test_a_later_birth_changes_what_nobody_edited_and_nothing_else(registry):
    found = directory(registry, MachineEdit(*MC, maker="Mine"))
    version = found.version

    registry.record(birth(maker="Theirs", model="VMC-200"))

    assert found.version > version
    assert (found.machine(*MC).maker, found.machine(*MC).model) == ("Mine", "VMC-200")


def test_a_machine_without_any_sensor_is_there(registry):
    entry = directory(registry, MachineEdit("ota", "vice-1", kind="bench")).machine("ota", "vice-1")

    assert not entry.announced
    assert entry.capabilities == ()


def test_a_retired_machine_is_not_listed_and_its_births_stay_hidden(registry):
    found = directory(registry, MachineEdit(*MC, retired_ms=1))

    assert found.machines() == []
    assert found.hidden(*MC)
    assert found.machine(*MC).retired


def test_a_moved_machine_is_listed_under_its_present_id_only(registry):
    found = directory(registry, MachineEdit("ota", "mc-9"), aliases=[Alias(*MC, "ota", "mc-9", 5)])

    assert [entry.machine for entry in found.machines()] == ["mc-9"]
    assert found.machine(*MC) is None
    assert found.moved_to(*MC) == ("ota", "mc-9")
    assert found.hidden(*MC)
    assert found.former_ids("ota", "mc-9") == [MC]


def test_a_site_is_what_settings_say_until_somebody_writes_more(registry):
    found = directory(registry, sites=[SiteEdit("ota", time_zone="Europe/Berlin")])

    entry = found.site("ota")
    assert (entry.time_zone, entry.location) == ("Europe/Berlin", (35.56, 139.71))
    assert entry.municipality == "13111", "the check digit is no part of the code"
    assert entry.edited == {"time_zone"}


def test_a_site_only_heard_of_is_configured_once_somebody_writes_of_it(registry):
    registry.record(MachineRecord("suwa", "mc-1", "line-1"))

    assert not directory(registry).site("suwa").configured
    assert (
        directory(registry, sites=[SiteEdit("suwa", municipality="20206")]).site("suwa").configured
    )
    assert directory(registry).site("nowhere") is None


def test_every_change_makes_a_new_version(registry):
    found = directory(registry)
    version = found.version

    found.load(Edits(machines={MC: MachineEdit(*MC, kind="lathe")}))

    assert found.version > version
    assert found.machine(*MC).kind == "lathe"
