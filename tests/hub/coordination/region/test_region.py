"""No combination of published figures tells what one or two establishments do.

An attacker with all cells of all regions, before and after somebody joined or left, works out what
it can. With any of the protections taken out it succeeds: the attack is real.
"""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.coordination.directory.taxonomy import load_taxonomy
from hub.coordination.region import region, suppression
from hub.coordination.region.region import (
    GROUPS,
    STATES,
    Establishment,
    Publication,
    group_of,
    publish,
)
from hub.coordination.region.suppression import TOTAL, Table, suppress, suppress_column
from tests.hub.coordination.attacker import Attacker

PREFECTURE = "13"
TABLES = (("by_process", "groups", GROUPS), ("by_state", "states", STATES))


def shop(name, town, groups, states=None, free=None):
    made = states or {"running": sum(groups.values())}
    return Establishment(name, town, groups, made, free, free, free)


@st.composite
def towns(draw, fewest=0, most=14):
    """Some shops in a few towns of one prefecture, most of them small."""
    count = draw(st.integers(fewest, most))
    shops = []
    for number in range(count):
        town = draw(st.sampled_from(["13101", "13111", "13201", "13361"]))
        kinds = draw(
            st.dictionaries(
                st.sampled_from(["turning", "milling", "edm", "welding"]),
                st.integers(1, 4), min_size=1, max_size=3,
            )
        )  # fmt: skip
        total = sum(kinds.values())
        idle = draw(st.integers(0, total))
        states = {"idle": idle, "running": total - idle}
        states = {name: value for name, value in states.items() if value}
        free = draw(st.none() | st.integers(1, 50).map(float))
        shops.append(shop(f"s{number}", town, kinds, states, free))
    return shops


def givers(shops, field):
    """Tell who stands behind each cell in truth."""
    found = {}
    for each in shops:
        for code in (PREFECTURE, each.municipality):
            for name in (*getattr(each, field), "machines", "establishments"):
                found.setdefault((code, name), set()).add(each.site)
    return found


def leaks(shops, told):
    """Give what an attacker learns of one or two establishments."""
    found = []
    for table, field, columns in TABLES:
        attacker = Attacker(PREFECTURE, told.summaries, table, columns)
        behind = givers(shops, field)
        found += [
            (table, cell, value)
            for cell, value in attacker.found().items()
            if value > 0 and 0 < len(behind.get(cell, ())) < 3
        ]
        for cells in attacker.sums():
            inside = [cell for cell in cells if behind.get(cell)]
            together = set().union(*(behind[cell] for cell in inside))
            if 0 < len(together) < 3:
                found.append((table, tuple(cells), "sum"))
    return found


@settings(max_examples=80, deadline=None)
@given(towns())
def test_nobody_learns_what_one_or_two_establishments_do(shops):
    told = publish(PREFECTURE, shops, None)

    assert leaks(shops, told) == []


@settings(max_examples=40, deadline=None)
@given(towns(fewest=6), st.integers(0, 3))
def test_the_same_holds_from_day_to_day(shops, seed):
    rng = random.Random(seed)
    first = publish(PREFECTURE, shops, None)
    later = [
        shop(each.site, each.municipality, each.groups, {"down": sum(each.groups.values())})
        if rng.random() < 0.5
        else each
        for each in shops
    ]

    second = publish(PREFECTURE, later, first)

    assert leaks(later, second) == []
    for code, summary in first.summaries.items():
        before, after = summary.by_process, second.summaries[code].by_process
        assert before == after, "what was χ stays χ, or two days could be subtracted"


def shut_only_small_cells(table, _keep=frozenset()):
    """Do what someone does who has not thought of totals."""
    full = table.with_totals()
    return frozenset(
        cell for cell, who in full.givers.items() if 0 < len(who) < 3 and cell[0] not in full.untold
    )


def shut_only_small_towns(rows):
    """The same for whole municipalities."""
    return {code for code in rows if len(rows[code].sites) < 3}


@pytest.mark.parametrize(
    ("protection", "without"),
    [("suppress", shut_only_small_cells), ("_closed_whole", shut_only_small_towns)],
)
def test_without_complementary_cells_the_attack_succeeds(monkeypatch, protection, without):
    monkeypatch.setattr(region, protection, without)
    rng = random.Random(7)

    assert any(leaks(shops, publish(PREFECTURE, shops, None)) for shops in many(rng, 40))


def test_without_the_look_at_sums_the_attack_succeeds(monkeypatch):
    monkeypatch.setattr(suppression, "_too_few", lambda _: None)
    rng = random.Random(7)

    assert any(leaks(shops, publish(PREFECTURE, shops, None)) for shops in many(rng, 200))


def many(rng, count):
    for _ in range(count):
        yield [
            shop(
                f"s{n}",
                rng.choice(["13101", "13111", "13201"]),
                Counter(rng.choices(["turning", "milling", "edm"], k=rng.randint(1, 4))),
            )
            for n in range(rng.randint(4, 14))
        ]


def test_a_region_of_many_tells_what_it_can():
    shops = [
        shop(f"s{n}", town, {"turning": 2, "milling": 1}, free=10.0)
        for n, town in enumerate(["13101", "13111"] * 5)
    ]
    told = publish(PREFECTURE, shops, None).summaries

    assert told["13"].establishments == 10
    assert told["13101"].by_process["turning"] == 10
    assert told["13101"].by_process["edm"] == 0
    assert told["13111"].by_state["running"] == 15
    assert told["13111"].free_hours == 50.0
    assert told["13"].allocation_efficiency == 1.0


def test_a_region_of_two_tells_nothing_but_that_it_is_there():
    told = publish(PREFECTURE, [shop("a", "13101", {"edm": 1})] * 2, None).summaries

    assert set(told) == {"13", "13101"}
    assert told["13"] == region._nothing("13")
    assert told["13101"] == region._nothing("13101")


def test_a_rare_process_is_closed_and_so_is_what_would_give_it_away():
    shops = [shop(f"s{n}", "13101", {"turning": 2, "milling": 2}) for n in range(4)]
    shops += [shop(f"t{n}", "13111", {"turning": 2, "milling": 2}) for n in range(4)]
    shops[0] = shop("s0", "13101", {"turning": 2, "milling": 2, "edm": 3})
    shops[4] = shop("t0", "13111", {"turning": 2, "milling": 2, "edm": 3})

    told = publish(PREFECTURE, shops, None).summaries

    assert told["13101"].by_process["edm"] is None
    assert told["13111"].by_process["edm"] is None
    assert told["13"].by_process["edm"] is None, "two establishments in the whole prefecture"
    assert leaks(shops, publish(PREFECTURE, shops, None)) == []


# -- time ----------------------------------------------------------------------------------


def region_of(*counts):
    shops = []
    for town, count in zip(("13101", "13111", "13201"), counts, strict=False):
        shops += [shop(f"{town}-{n}", town, {"turning": 2, "milling": 1}) for n in range(count)]
    return shops


@settings(max_examples=60, deadline=None)
@given(towns(fewest=4), st.integers(0, 20), st.sampled_from(["13101", "13111", "13999"]))
def test_the_day_after_one_joins_tells_nothing_of_it(shops, machines, town):
    first = publish(PREFECTURE, shops, None)
    newcomer = shop("new", town, {"edm": machines + 1})

    second = publish(PREFECTURE, [*shops, newcomer], first)

    known = {code: summary for code, summary in second.summaries.items() if code in first.summaries}
    assert known == first.summaries
    assert all(second.summaries[code] == region._nothing(code) for code in second.summaries
               if code not in first.summaries)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(towns(fewest=4), st.data())
def test_the_day_after_one_leaves_tells_nothing_of_it(shops, data):
    first = publish(PREFECTURE, shops, None)
    gone = data.draw(st.sampled_from(shops))

    second = publish(PREFECTURE, [each for each in shops if each is not gone], first)

    assert second.summaries == first.summaries


def test_newcomers_are_let_in_three_at_a_time():
    told = publish(PREFECTURE, region_of(4), None)
    sizes = []
    for count in (5, 6, 7, 8):
        told = publish(PREFECTURE, region_of(count), told)
        sizes.append(told.summaries["13101"].establishments)

    assert sizes == [4, 4, 7, 7]


def test_letting_them_in_at_once_would_tell_of_them(monkeypatch):
    def at_once(present, _counted):
        here = {}
        for each in present:
            here.setdefault(each.municipality, []).append(each)
        return {code: region._count(found) for code, found in here.items()}

    monkeypatch.setattr(region, "_rows", at_once)
    first = publish(PREFECTURE, region_of(4), None)
    second = publish(PREFECTURE, [*region_of(4), shop("new", "13101", {"edm": 5})], first)

    grown = second.summaries["13101"].machines - first.summaries["13101"].machines
    assert grown == 5, "the difference is exactly what the newcomer has"


def test_members_are_counted_afresh_every_day_while_a_newcomer_waits():
    first = publish(PREFECTURE, region_of(4), None)
    later = [shop(s.site, s.municipality, {"turning": 3}) for s in region_of(4)]

    second = publish(PREFECTURE, [*later, shop("new", "13101", {"edm": 9})], first)

    assert second.summaries["13101"].by_process["turning"] == 12


# -- parts ---------------------------------------------------------------------------------


def test_a_machine_counts_once_in_the_group_of_what_it_does_first():
    tree = load_taxonomy().processes

    assert group_of(["milling-5axis", "drilling"], tree) == "milling"
    assert group_of(["drilling"], tree) == "cutting-defined-edge"
    assert group_of(["wire-edm"], tree) == "edm"
    assert group_of(["arc-welding"], tree) == "welding"
    assert group_of(["design"], tree) == group_of([], tree) == "other"
    assert all(group in tree or group == "other" for group in GROUPS)


def test_a_table_without_rare_cells_is_wholly_open():
    everybody = frozenset("abc")
    table = Table(("x", "y"), ("p", "q"), {("x", "p"): 3}, {("x", "p"): everybody})

    assert suppress(table) == frozenset()


def test_hours_of_one_establishment_close_those_of_another_town():
    givers = {"x": frozenset("a"), "y": frozenset("bcd"), "z": frozenset("efg")}

    closed = suppress_column({"x": 5.0, "y": 9.0, "z": 7.0}, givers, frozenset())

    assert closed == {"x", "z"}


def test_hours_of_two_establishments_close_the_total_too():
    givers = {"x": frozenset("a"), "y": frozenset("b")}

    assert suppress_column({"x": 5.0, "y": 9.0}, givers, frozenset()) == {"x", "y", TOTAL}


def test_a_publication_is_made_of_the_one_before_and_nothing_else():
    first = publish(PREFECTURE, region_of(4, 5), None)

    again = publish(PREFECTURE, region_of(4, 5), Publication(first.rows, first.closed, {}))

    assert again == first
