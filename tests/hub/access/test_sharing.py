"""What an owner says holds at once for everybody, ends by itself, and every look is told."""

import pytest

from hub.access import ANONYMOUS, LOCAL, Caller, Group, Level, Role
from hub.access.refusals import InvalidError, StaleError
from hub.store import StoreUnavailableError, audit, events
from hub.store.sharing import Terms
from tests.hub.callers import new_access
from tests.hub.scenes import Clock

HOUR_MS = 3_600_000
FULL = {"presence": 3, "status": 3}
NEIGHBOUR = Caller(
    "key:n", "key", "Suwa", roles=frozenset({Role.PLANNER}), sites=frozenset({"suwa"})
)
CITY = Caller("key:c", "key", "City", audiences=frozenset({"municipality"}))
STRANGER = Caller("key:s", "key", "Else", sites=frozenset({"kobe"}))


@pytest.fixture
def clock():
    clock = Clock()
    clock.now_ms -= clock.now_ms % HOUR_MS
    return clock


@pytest.fixture
def access(store, clock):
    access = new_access(store, clock)
    access.sharing.follow(lambda: {"ota": ("keihin",), "suwa": ("keihin",)}, lambda: 0)
    return access


def level(access, caller, group="status", site="ota"):
    return access.view(caller).level(site, group)


def test_who_says_nothing_shares_presence_and_capability_with_the_group_and_nothing_else(access):
    view = access.view(NEIGHBOUR)

    assert {group for group in Group if view.level("ota", group)} == {
        Group.PRESENCE,
        Group.CAPABILITY,
    }
    for nobody in (CITY, STRANGER, ANONYMOUS):
        assert not access.view(nobody).sees("ota")
    assert access.sharing.policy("ota").version == 0


def test_what_is_said_holds_at_once_and_replaces_what_was_said_before(access):
    access.view(NEIGHBOUR)
    access.sharing.put(LOCAL, "ota", 0, [Terms("municipality", FULL)])

    assert level(access, CITY) is Level.FULL
    assert not access.view(NEIGHBOUR).sees("ota")
    access.sharing.put(LOCAL, "ota", 1, [])
    assert not access.view(CITY).sees("ota")


def test_it_is_still_said_after_a_restart(access, store, clock):
    access.sharing.put(LOCAL, "ota", 0, [Terms("public", {"presence": 2}, 60, clock() + 1)])

    again = new_access(store, clock)

    assert again.sharing.policy("ota") == access.sharing.policy("ota")
    assert again.view(ANONYMOUS).sees("ota")


def test_a_grant_ends_by_itself(access, clock):
    access.sharing.put(LOCAL, "ota", 0, [Terms("municipality", FULL, 0, clock() + HOUR_MS)])
    clock.now_ms += HOUR_MS - 1
    assert level(access, CITY) is Level.FULL

    clock.now_ms += 1

    assert not access.view(CITY).sees("ota")


def test_the_public_is_everybody(access):
    access.sharing.put(LOCAL, "ota", 0, [Terms("public", {"presence": 3})])

    assert all(access.view(each).sees("ota") for each in (CITY, STRANGER, ANONYMOUS, NEIGHBOUR))


def test_two_owners_do_not_overwrite_each_other_unseen(access):
    access.sharing.put(LOCAL, "ota", 0, [])

    with pytest.raises(StaleError):
        access.sharing.put(LOCAL, "ota", 0, [Terms("public", FULL)])
    assert not access.view(CITY).sees("ota")


@pytest.mark.parametrize(
    "terms",
    [
        [Terms("everybody", FULL)],
        [Terms("self", FULL)],
        [Terms("group:UPPER", FULL)],
        [Terms("public", FULL), Terms("public", {})],
        [Terms("public", FULL, -1)],
        [Terms("public", FULL, 32 * 86_400)],
        [Terms(f"group:g{i}", FULL) for i in range(33)],
    ],
)
def test_terms_that_cannot_be_change_nothing(access, terms):
    with pytest.raises(InvalidError):
        access.sharing.put(LOCAL, "ota", None, terms)
    assert access.sharing.policy("ota").version == 0


def test_a_change_is_in_the_audit_and_among_the_events(access, store):
    access.sharing.put(NEIGHBOUR, "suwa", 0, [Terms("public", {"presence": 3})])

    with store.read() as tx:
        assert audit.verify(tx) is None
        told = audit.before(tx, None, limit=1)[0]
        event = events.after(tx, 0, limit=9)[0]
    assert (told.who, told.action, told.site) == ("key:n", "sharing.changed", "suwa")
    assert (event.type, event.site) == ("sharing.changed", "suwa")


def test_a_preview_is_what_that_audience_sees(access):
    access.sharing.put(LOCAL, "ota", 0, [Terms("municipality", FULL), Terms("public", {"kpi": 3})])

    preview = access.sharing.preview("ota", "municipality")

    assert preview.fingerprint == access.view(CITY).fingerprint
    assert preview.level("ota", "kpi") is Level.FULL, "it is the public, too"
    assert not access.sharing.preview("ota", "coordinator").level("ota", "status")


def test_callers_who_see_the_same_share_one_view(access):
    same = Caller("key:m", "key", "Other", sites=frozenset({"suwa"}))

    assert access.view(same) is access.view(NEIGHBOUR)
    assert access.view(CITY).fingerprint != access.view(NEIGHBOUR).fingerprint


# -- who looked ------------------------------------------------------------------------------------


def looks(access, site="ota"):
    return access.looks.at(site, from_ms=0, to_ms=2**50, limit=99)


def note(access, caller, site, *groups):
    access.looks.note(caller, access.view(caller), site, frozenset(groups))


def test_looks_of_one_hour_are_one_line_with_their_number(access, clock):
    for _ in range(5):
        note(access, NEIGHBOUR, "ota", Group.PRESENCE, Group.STATUS)
        access.looks.flush()
        clock.now_ms += 60_000
    clock.now_ms += HOUR_MS
    note(access, NEIGHBOUR, "ota", Group.PRESENCE)

    found = looks(access)

    assert [(each.caller, each.count) for each in found] == [("key:n", 1), ("key:n", 5)]
    assert found[1].groups == ("presence",), "the state is not shown to it, so it was not looked at"
    assert found[1].last_ms == found[1].hour_ms + 4 * 60_000


def test_a_look_at_a_list_is_a_look_at_every_site_in_it_but_ones_own(access):
    note(access, NEIGHBOUR, None, Group.PRESENCE)
    note(access, STRANGER, None, Group.PRESENCE)

    assert [each.caller for each in looks(access)] == ["key:n"]
    assert looks(access, "suwa") == []


def test_nobody_is_told_of_looks_at_ones_own_site_or_by_this_box_itself(access):
    note(access, NEIGHBOUR, "suwa", Group.STATUS)
    access.looks.note(LOCAL, access.view(LOCAL), "ota", frozenset({Group.STATUS}))

    assert looks(access, "suwa") == looks(access, "ota") == []


def test_whoever_runs_the_hub_is_seen_looking_too(access):
    admin = Caller("person:a", "session", "boss", roles=frozenset({Role.HUB_ADMIN}))
    note(access, admin, None, Group.PRESENCE, Group.STATUS)
    note(access, admin, "ota", Group.JOB_DETAIL)

    assert {(each.site, each.groups) for each in looks(access)} == {
        ("*", ("presence", "status")),
        ("ota", ("job_detail",)),
    }


def test_looks_are_forgotten_after_a_year_and_a_bit(access, clock):
    note(access, NEIGHBOUR, "ota", Group.PRESENCE)
    assert len(looks(access)) == 1
    clock.now_ms += 402 * 24 * HOUR_MS

    assert looks(access) == []


def test_looks_that_cannot_be_written_now_are_written_later(access, monkeypatch):
    note(access, NEIGHBOUR, "ota", Group.PRESENCE)
    with monkeypatch.context() as away:

        def no_store():
            raise StoreUnavailableError("away")

        away.setattr(access.looks._store, "write", no_store)
        with pytest.raises(StoreUnavailableError):
            access.looks.flush()
    note(access, NEIGHBOUR, "ota", Group.PRESENCE)

    assert [each.count for each in looks(access)] == [2]


def test_waiting_looks_are_bounded_and_the_lost_are_counted(access, monkeypatch):
    monkeypatch.setattr("hub.access.looks.WAITING_MAX", 10)
    for i in range(15):
        note(access, Caller(f"key:{i}", "key", sites=frozenset({"suwa"})), "ota", Group.PRESENCE)

    assert access.looks.lost == 5
    assert len(looks(access)) == 10
