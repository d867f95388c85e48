"""A view is what owners grant: never more, and the same for all who see the same."""

from hypothesis import given
from hypothesis import strategies as st

from hub.access.view import EVERYTHING, NOTHING, STANDING, Grant, Group, Level, View

SITES = ("ota", "suwa", "kamata")
LEVELS = st.dictionaries(st.sampled_from(Group), st.sampled_from(Level), max_size=6)
GRANTS = st.builds(Grant, LEVELS, st.sampled_from((0, 60, 3600)), st.none() | st.integers(1, 2000))
SHARED = st.dictionaries(st.sampled_from(SITES), st.lists(GRANTS, max_size=3), max_size=3)
NOW = 1000


def seen(view, age_ms=0):
    return {(site, group): view.level(site, group, age_ms) for site in SITES for group in Group}


@given(SHARED, SHARED)
def test_another_grant_never_takes_anything_away(one, other):
    both = {site: [*one.get(site, ()), *other.get(site, ())] for site in one.keys() | other.keys()}

    less, more = View.of((), one, NOW), View.of((), both, NOW)

    for age_ms in (0, 60_000, 10**9):
        for place, level in seen(less, age_ms).items():
            assert seen(more, age_ms)[place] >= level


@given(SHARED, st.sampled_from((0, 1, 59_999, 60_000, 3_600_000)))
def test_nobody_sees_more_than_the_best_of_the_grants_that_hold(shared, age_ms):
    view = View.of((), shared, NOW)
    for (site, group), level in seen(view, age_ms).items():
        holding = [
            grant
            for grant in shared.get(site, ())
            if grant.valid_until_ms is None or grant.valid_until_ms > NOW
        ]
        told = [
            grant.levels.get(group, Level.NONE)
            for grant in holding
            if group in STANDING or age_ms >= grant.delay_s * 1000
        ]
        best = max(told, default=Level.NONE)
        if group is Group.PRESENCE and best < Level.COARSE:
            anything = max((max(g.levels.values(), default=0) for g in holding), default=0)
            best = Level.COARSE if anything >= Level.COARSE else best
        assert level == best


@given(SHARED)
def test_what_has_grown_older_is_shown_no_less(shared):
    view = View.of((), shared, NOW)

    young, old = seen(view), seen(view, 10**12)

    assert all(old[place] >= level for place, level in young.items())


@given(SHARED)
def test_live_of_a_delayed_grant_is_presence_and_what_stands_only(shared):
    delayed = {
        site: [Grant(g.levels, max(1, g.delay_s), g.valid_until_ms) for g in grants]
        for site, grants in shared.items()
    }
    view = View.of((), delayed, NOW)

    assert all(
        level == Level.NONE for (_, group), level in seen(view).items() if group not in STANDING
    )


@given(SHARED, st.sets(st.sampled_from(SITES)))
def test_own_sites_are_seen_whole_whatever_is_shared(shared, own):
    view = View.of(own, shared, NOW)

    for site in SITES:
        assert view.own(site) == (site in own)
        if site in own:
            assert {view.level(site, group) for group in Group} == {Level.FULL}
            assert view.sees(site)


@given(SHARED, SHARED)
def test_views_are_named_alike_exactly_when_they_show_the_same(one, other):
    left, right = View.of((), one, NOW), View.of((), other, NOW)
    ages = (0, 60_000, 3_600_000, 10**12)

    if left.fingerprint == right.fingerprint:
        assert all(seen(left, age) == seen(right, age) for age in ages)


@given(SHARED)
def test_the_order_of_grants_means_nothing(shared):
    turned = {site: list(reversed(grants)) for site, grants in reversed(shared.items())}

    assert View.of((), shared, NOW).fingerprint == View.of((), turned, NOW).fingerprint


@given(SHARED)
def test_a_view_ends_with_the_first_of_its_grants(shared):
    view = View.of((), shared, NOW)
    ends = [
        grant.valid_until_ms
        for grants in shared.values()
        for grant in grants
        if grant.valid_until_ms is not None and grant.valid_until_ms > NOW
    ]

    assert view.valid_until_ms == min(ends, default=None)


@given(SHARED, st.sampled_from(SITES), st.sampled_from(Group), st.sampled_from(Level))
def test_the_delay_told_is_the_least_that_is_enough(shared, site, group, wanted):
    view = View.of((), shared, NOW)
    delay_ms = view.delay_ms(site, group, wanted)

    if delay_ms is None:
        assert view.level(site, group, 10**12) < wanted or site not in view.sites
    else:
        assert view.level(site, group, delay_ms) >= wanted
        assert delay_ms == 0 or view.level(site, group, delay_ms - 1) < wanted


def test_nobody_sees_nothing_and_who_runs_the_hub_sees_all():
    assert not NOTHING.sees("ota")
    assert EVERYTHING.sees("ota")
    assert EVERYTHING.level("ota", "job_detail") is Level.FULL
    assert NOTHING.fingerprint != EVERYTHING.fingerprint


def test_sharing_a_state_shares_that_the_machine_is_there():
    view = View.of((), {"ota": [Grant({Group.STATUS: Level.FULL})]}, NOW)

    assert view.sees("ota")
    assert view.level("ota", Group.PRESENCE) is Level.COARSE


def test_a_share_in_sums_shows_no_machine():
    grant = Grant(dict.fromkeys(Group, Level.AGGREGATE))

    assert not View.of((), {"ota": [grant]}, NOW).sees("ota")
