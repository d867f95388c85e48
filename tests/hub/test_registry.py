"""Sites and machines are remembered as told; one agent at a time speaks for a machine."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.config import Location, Names, Site
from hub.registry import (
    OWNER_MOVES_AFTER_MS,
    MachineRecord,
    Registry,
    SiteRecord,
    read_description,
)

NOW = 1_790_000_000_000


@pytest.fixture
def registry():
    return Registry(
        {"ota": Site(name=Names(ja="大田", en="Ota"), location=Location(lat=35.5, lon=139.7))}
    )


def test_a_configured_site_has_what_its_operator_wrote(registry):
    site = registry.site("ota")

    assert (site.name, site.location, site.configured) == (
        {"ja": "大田", "en": "Ota"},
        (35.5, 139.7),
        True,
    )


def test_a_site_that_was_only_heard_of_is_flagged(registry):
    registry.record(MachineRecord("Werk 1", "m", "a"))

    assert registry.site("Werk 1") == SiteRecord(
        "Werk 1", {"en": "Werk 1", "ja": "Werk 1"}, configured=False
    )
    assert [site.site for site in registry.sites()] == ["ota", "Werk 1"]


def test_the_same_birth_again_is_no_news(registry):
    assert registry.record(MachineRecord("ota", "m", "a", kind="mill"))
    version = registry.version
    assert not registry.record(MachineRecord("ota", "m", "a", kind="mill"))
    assert registry.version == version
    assert registry.record(MachineRecord("ota", "m", "a", kind="lathe"))
    assert registry.machine("ota", "m").kind == "lathe"


def test_only_one_agent_speaks_for_a_machine(registry):
    assert registry.claim("ota", "m", "a", NOW)
    assert not registry.claim("ota", "m", "b", NOW)
    assert registry.claim("other", "m", "b", NOW)
    assert registry.owner("ota", "m") == "a"


def test_ownership_moves_ten_minutes_after_the_owner_left(registry):
    registry.claim("ota", "m", "a", NOW)
    registry.agent_gone("ota", "a", NOW)
    registry.agent_gone("ota", "a", NOW + 5000)  # said again: the clock does not start over

    assert not registry.claim("ota", "m", "b", NOW + OWNER_MOVES_AFTER_MS - 1)
    assert registry.claim("ota", "m", "b", NOW + OWNER_MOVES_AFTER_MS)
    assert not registry.claim("ota", "m", "a", NOW + OWNER_MOVES_AFTER_MS)


def test_an_owner_that_is_back_keeps_its_machines(registry):
    registry.claim("ota", "m", "a", NOW)
    registry.agent_gone("ota", "a", NOW)
    registry.agent_back("ota", "a")

    assert not registry.claim("ota", "m", "b", NOW + 10 * OWNER_MOVES_AFTER_MS)


def test_an_operator_may_move_a_machine_at_once(registry):
    registry.claim("ota", "m", "a", NOW)
    registry.adopt("ota", "m", "b")

    assert registry.owner("ota", "m") == "b"


def test_a_description_is_read_as_far_as_it_makes_sense():
    told = {
        "name": {"en": "Mill", "ja": "フライス", "de": "?"},
        "kind": "mill",
        "maker": 7,
        "model": "x" * 500,
        "processes": ["milling", 3],
        "unknown": {},
    }
    assert read_description(json.dumps(told)) == {
        "name": {"en": "Mill", "ja": "フライス"},
        "kind": "mill",
        "model": "x" * 200,
        "processes": ("milling",),
    }


@given(st.one_of(st.none(), st.text(), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(json.dumps)))  # fmt: skip
def test_any_description_gives_a_record(text):
    MachineRecord("ota", "m", "a", **read_description(text))


def test_a_description_nested_without_end_is_left_out():
    assert read_description("[" * 100_000) == {}


def test_a_name_that_no_utf8_can_hold_is_mended_where_it_comes_in():
    told = read_description('{"name": {"en": "Mill \\ud83d", "ja": "\\ud83c\\udfed"}}')

    assert told["name"] == {"en": "Mill ?", "ja": "🏭"}
