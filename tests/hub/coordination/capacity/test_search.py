"""Who is offered, in which order, with what times; and who is not, with the reason.

Every figure here is worked out by hand from the calendar of the region, not by the code under test.
"""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.access import LOCAL, Caller, Grant, Group, Level, Role, View
from hub.coordination.booking.booking import Action, HoldRequest
from hub.coordination.booking.refusals import ConflictError, UnknownError
from hub.coordination.capacity.candidates import Terms
from hub.coordination.directory.directory import Capability, Certification
from hub.coordination.intervals import intersect, subtract
from hub.store import Store
from tests.hub.coordination.towns import (
    DAY,
    HOME,
    HOUR,
    MIN,
    NOW,
    Region,
    lunch,
    machines_of,
    north_of_home,
    parts,
    shift,
    tokyo,
    weights,
    why,
)

MILL = Capability("milling-3axis", cycle_s=60.0)


@pytest.fixture
def region(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    made = Region(store, tmp_path / "history")
    yield made
    made.close()
    store.close()


def one(region, **machine):
    """Give the region with a single site, open from 08:00 to 17:00 with an hour's break."""
    region.site("a", north_of_home(1), shift(), lunch())
    region.machine("a", **machine)
    return region


# -- times -------------------------------------------------------------------------------------


def test_work_begins_when_an_offer_ends_and_takes_its_set_up_and_its_parts(region):
    one(region)

    (offer,) = region.find(parts(60, setup_min=30.0)).offers

    (lot,) = offer.chain.lots
    assert lot.promise.start_ms == NOW + 10 * MIN
    assert offer.valid_until_ms == NOW + 10 * MIN
    assert lot.promise.end_p50_ms == NOW + 10 * MIN + 90 * MIN
    assert lot.promise.end_p90_ms == NOW + 10 * MIN + round(90 * 1.25 * MIN)
    assert lot.promise.segments == ((lot.promise.start_ms, lot.promise.end_p90_ms),)
    assert lot.candidate.release.basis == "live"


def test_a_lot_that_cannot_pause_waits_for_a_half_day_that_is_long_enough(region):
    one(region)

    (offer,) = region.find(parts(150)).offers

    # 150 min and a quarter more do not fit before noon, but from one o'clock they do.
    assert offer.chain.end_p50_ms == tokyo("2026-11-19 15:30")
    assert offer.chain.end_p90_ms == tokyo("2026-11-19 13:00") + 187.5 * MIN


def test_a_lot_that_may_pause_goes_on_after_the_break_and_the_night(region):
    one(region)

    (offer,) = region.find(parts(480, splittable=True)).offers

    (lot,) = offer.chain.lots
    # Likely: 170 parts before noon, 240 after it, 70 next morning from eight.
    assert offer.chain.end_p50_ms == tokyo("2026-11-20 09:10")
    # Nearly surely at 75 s each: 136, 192, and the last 152 from eight: 190 minutes.
    assert offer.chain.end_p90_ms == tokyo("2026-11-20 11:10")
    assert lot.promise.segments == (
        (tokyo("2026-11-19 09:10"), tokyo("2026-11-19 12:00")),
        (tokyo("2026-11-19 13:00"), tokyo("2026-11-19 17:00")),
        (tokyo("2026-11-20 08:00"), tokyo("2026-11-20 11:10")),
    )


def test_what_is_booked_or_held_by_others_is_not_offered_again(region):
    one(region)
    (first,) = region.find(parts(100)).offers
    region.hold(first)

    (second,) = region.find(parts(100)).offers

    taken, offered = (list(o.steps[0].segments) for o in (first, second))
    assert intersect(taken, offered) == []
    assert second.chain.stages[0].lots[0].promise.start_ms == tokyo("2026-11-19 13:00")


def test_a_hold_that_ran_out_takes_nothing(region):
    one(region)
    (offer,) = region.find(parts(100)).offers
    region.hold(offer)
    region.clock.now_ms += DAY
    region.say("a", "mc-1", "idle")
    region.context.reservations.sweep()

    (again,) = region.find(parts(100)).offers

    assert again.chain.stages[0].lots[0].promise.start_ms == NOW + DAY + 10 * MIN


def test_a_machine_for_two_jobs_takes_two_at_once_and_no_third(region):
    one(region, capacity_units=2)
    region.site("a", north_of_home(1), shift())

    starts = []
    for _ in range(3):
        (offer,) = region.find(parts(100)).offers
        starts.append(offer.steps[0].segments[0][0])
        region.hold(offer)

    assert starts[:2] == [NOW + 10 * MIN] * 2
    assert starts[2] == NOW + 10 * MIN + 125 * MIN


def test_nobody_there_means_only_what_needs_nobody_is_offered(region):
    region.site("a", None, shift("08:00", "12:00"), shift("12:00", "20:00", attended=False))
    region.machine("a", "wire-1", Capability("wire-edm", cycle_s=3600.0, attended=False))
    region.machine("a", "wire-2", Capability("wire-edm", cycle_s=3600.0))

    tended = region.find(parts(6, process="wire-edm"))
    alone = region.find(parts(6, process="wire-edm", unattended=True))

    assert machines_of(tended) == []
    assert machines_of(alone) == [["a/wire-1"]]


def test_the_answer_is_the_same_however_often_it_is_asked(region):
    for n in range(6):
        region.site(f"s{n}", north_of_home(n), shift())
        region.machine(f"s{n}")

    answers = [machines_of(region.find(parts(), deliver_to=HOME)) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]


# -- the live state ----------------------------------------------------------------------------


def test_a_machine_that_is_down_comes_after_its_repair(region):
    one(region, state="down")

    (offer,) = region.find(parts(60)).offers

    (lot,) = offer.chain.lots
    assert lot.candidate.release.basis == "repair-assumed"
    # Down for an hour as likely as not, for four nearly surely; then 75 minutes for sixty parts.
    assert lot.promise.start_ms == tokyo("2026-11-19 13:00")
    assert offer.chain.end_p90_ms == tokyo("2026-11-19 14:15")


def test_a_machine_that_is_down_and_would_be_late_is_refused_for_that(region):
    one(region, state="down")

    found = region.find(parts(60), due_ms=tokyo("2026-11-19 12:00"))

    assert found.offers == ()
    assert why(found) == {"a/mc-1": "down"}


def test_a_machine_without_a_voice_counts_by_its_calendar_at_half_the_confidence(region):
    one(region)
    (live,) = region.find(parts()).offers
    region.clock.now_ms += 5 * MIN  # its data is valid for half a minute only
    (silent,) = region.find(parts()).offers

    assert silent.chain.stages[0].lots[0].candidate.release.basis == "calendar-only"
    assert silent.chain.confidence == live.chain.confidence / 2


def test_who_asks_for_live_machines_gets_no_other(region):
    one(region, state=None)

    found = region.find(parts(), terms=Terms(require_live=True))

    assert (machines_of(found), why(found)) == ([], {"a/mc-1": "not-live"})


def test_a_machine_that_works_on_something_nobody_told_of_is_trusted_less(region):
    one(region, state="running")

    (offer,) = region.find(parts(20)).offers

    (lot,) = offer.chain.lots
    assert lot.candidate.release.basis == "job-unknown"
    assert lot.promise.start_ms == NOW + 30 * MIN
    assert offer.chain.end_p90_ms == NOW + 120 * MIN + 25 * MIN


# -- who can -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"process": "turning-cnc"}, "process"),
        ({"material": "titanium"}, "material"),
        ({"envelope_mm": (10.0, 10.0, 900.0)}, "envelope"),
        ({"tolerance_it": 5}, "tolerance"),
        ({"certifications": ("JIS Q 9100",)}, "certification-missing"),
        ({"quantity": 2}, "lot-size"),
        ({"quantity": 5000}, "lot-size"),
        ({"units": 2}, "units"),
        ({"cycle_s": 10 * 3600.0}, "no-window"),
    ],
)
def test_each_lack_is_told_by_its_code(region, asked, code):
    region.site("a", None, shift())
    capability = Capability(
        "milling-3axis",
        materials=("aluminium",),
        envelope_mm=(500.0, 400.0, 300.0),
        tolerance_it=7,
        lot_min=5,
        lot_max=1000,
        cycle_s=60.0,
        certifications=(Certification("ISO 9001"),),
    )
    region.machine("a", "mc-1", capability)
    fits = {
        "quantity": 100,
        "material": "wrought-aluminium",
        "envelope_mm": (290.0, 480.0, 380.0),
        "tolerance_it": 7,
        "certifications": ("iso9001",),
    }
    assert machines_of(region.find(parts(**fits))) == [["a/mc-1"]]

    found = region.find(parts(**(fits | asked)))

    assert (machines_of(found), why(found)) == ([], {"a/mc-1": code})


def test_what_nobody_has_said_is_not_promised(region):
    one(region)

    for asked in (
        {"material": "aluminium"},
        {"envelope_mm": (1.0, 1.0, 1.0)},
        {"tolerance_it": 16},
    ):
        found = region.find(parts(**asked))
        assert machines_of(found) == [], asked
        assert set(why(found).values()) <= {"material", "envelope", "tolerance"}


def test_the_kind_answers_for_its_family_and_not_the_other_way_round(region):
    region.site("a", None, shift())
    region.machine("a", "five", Capability("milling-5axis", cycle_s=60.0))
    region.machine("a", "three", Capability("milling-3axis", cycle_s=60.0))

    assert sorted(machines_of(region.find(parts(process="milling")))) == [["a/five"], ["a/three"]]
    assert machines_of(region.find(parts(process="milling-5axis"))) == [["a/five"]]


def test_without_hours_or_without_a_cycle_nothing_is_guessed(region):
    region.site("a", None)
    region.machine("a", "dumb", Capability("milling-3axis"))
    region.machine("a", "mc-1")

    assert why(region.find(parts())) == {"a/dumb": "no-cycle-time", "a/mc-1": "no-calendar"}
    open_ = region.find(parts(), terms=Terms(allow_unscheduled=True))
    assert machines_of(open_) == [["a/mc-1"]]


def test_a_certificate_must_hold_until_the_work_is_surely_done(region):
    region.site("a", None, shift())
    ends = NOW + 10 * MIN + 110 * MIN  # after the likely end, before the nearly sure one
    for machine, until in (("mc-1", ends), ("mc-2", ends + 20 * MIN)):
        held = (Certification("ISO 9001", valid_until_ms=until),)
        region.machine("a", machine, Capability("milling-3axis", cycle_s=60.0, certifications=held))

    found = region.find(parts(100, certifications=("ISO 9001",)))

    assert machines_of(found) == [["a/mc-2"]]
    assert why(found) == {"a/mc-1": "certification-expires"}


def test_what_is_further_away_than_asked_is_refused_as_that(region):
    region.site("near", north_of_home(4.9), shift())
    region.site("far", north_of_home(5.1), shift())
    region.site("lost", None, shift())
    for site in ("near", "far", "lost"):
        region.machine(site)

    found = region.find(parts(), deliver_to=HOME, terms=Terms(radius_km=5.0, deliver_to=HOME))

    assert machines_of(found) == [["near/mc-1"]]
    assert why(found) == {"far/mc-1": "too-far", "lost/mc-1": "location-unknown"}


# -- who first ---------------------------------------------------------------------------------


def test_the_nearest_that_can_comes_first_when_distance_is_all_that_counts(region):
    """Thirty sites, one each kilometre; the nearest two cannot, the third is busy till Monday."""
    for km in range(1, 31):
        region.site(f"km{km:02d}", north_of_home(km), shift())
        able = MILL if km > 2 else Capability("turning-cnc", cycle_s=60.0)
        region.machine(f"km{km:02d}", "mc-1", able)
    region.site("km03", north_of_home(3), shift(days=("mon",)))

    found = region.find(
        parts(100),
        deliver_to=HOME,
        due_ms=tokyo("2026-11-20 17:00"),
        weights=weights(distance=1.0),
        max_offers=30,
    )

    assert machines_of(found)[0] == ["km04/mc-1"]
    assert why(found)["km01/mc-1"] == "process"
    assert why(found)["km03/mc-1"] == "after-due"
    assert found.offers[0].chain.distance_km == pytest.approx(4 * 1.3, rel=1e-3)
    distances = [offer.chain.distance_km for offer in found.offers]
    assert len(distances) == 27
    assert all(a <= b for a, b in pairwise(distances))


def test_who_beats_nobody_in_anything_comes_last_whatever_the_weights(region):
    region.site("near", north_of_home(2), shift())
    region.site("far", north_of_home(20), shift())
    region.machine("near")
    region.machine("far")
    region.machine("far", "mc-2", Capability("milling-3axis", cycle_s=30.0))

    for wanted in (weights(time=1.0), weights(distance=1.0), weights(co2=1.0)):
        found = region.find(parts(100, part_mass_kg=1.0), deliver_to=HOME, weights=wanted)
        assert machines_of(found)[-1] == ["far/mc-1"]
        assert [offer.pareto for offer in found.offers] == [True, True, False]


def test_equals_take_turns_the_one_with_less_work_of_late_first(region):
    for site in ("a", "b"):
        region.site(site, north_of_home(3), shift())
        region.machine(site)
    (first, _) = region.find(parts(100)).offers
    assert machines_of(region.find(parts(100)))[0] == ["a/mc-1"]
    held = region.hold(first)
    region.context.reservations.act(Action.CONFIRM, held.id, LOCAL, held.version)
    region.clock.now_ms = tokyo("2026-11-20 09:00")
    for site in ("a", "b"):
        region.say(site, "mc-1", "idle")
    region.context.reservations.sweep()
    region.context.capacity.board.refresh()

    assert machines_of(region.find(parts(100)))[0] == ["b/mc-1"]


# -- shared out --------------------------------------------------------------------------------


def five_sites(region):
    for n in range(1, 6):
        region.site(f"s{n}", north_of_home(n), shift())
        region.machine(f"s{n}")


def test_what_no_site_can_do_in_time_is_shared_out_and_done_in_time_by_all(region):
    five_sites(region)
    due_ms = tokyo("2026-11-19 17:00")
    order = parts(1000, splittable=True, max_lots=5)

    assert region.find(parts(1000, splittable=True), due_ms=due_ms).offers == ()
    found = region.find(order, due_ms=due_ms)

    # From 09:10 to 17:00 are 376 parts of 75 s: three sites are needed, and are enough.
    lots = {tuple(sorted(lot.quantity for lot in offer.chain.lots)) for offer in found.offers}
    assert (248, 376, 376) in lots
    for offer in found.offers:
        shares = list(offer.chain.lots)
        assert sum(lot.quantity for lot in shares) == 1000
        assert len({lot.candidate.name for lot in shares}) == len(shares) <= 5
        assert all(lot.promise.end_p90_ms <= due_ms for lot in shares)


def test_sharing_out_over_all_is_the_fastest(region):
    five_sites(region)

    found = region.find(parts(1000, splittable=True, max_lots=5), weights=weights(time=1.0))

    # 200 parts each: done after 200 times 75 seconds.
    assert sorted(lot.quantity for lot in found.offers[0].chain.lots) == [200] * 5
    assert found.offers[0].chain.end_p90_ms == pytest.approx(NOW + 10 * MIN + 250 * MIN, abs=MIN)


def test_the_nearest_sites_share_when_distance_is_all_that_counts(region):
    five_sites(region)

    found = region.find(
        parts(700, splittable=True, max_lots=5, part_mass_kg=0.1),
        due_ms=tokyo("2026-11-19 17:00"),
        deliver_to=HOME,
        weights=weights(distance=1.0),
    )

    assert machines_of(found)[0] == ["s1/mc-1", "s2/mc-1"] or machines_of(found)[0] == [
        "s1/mc-1",
        "s2/mc-1",
        "s3/mc-1",
    ]
    assert sum(lot.quantity for lot in found.offers[0].chain.lots) == 700


def test_no_lot_is_smaller_or_larger_than_its_machine_takes(region):
    for n in range(4):
        region.site(f"s{n}", None, shift())
        region.machine(
            f"s{n}", "mc-1", Capability("milling-3axis", cycle_s=60.0, lot_min=150, lot_max=300)
        )

    found = region.find(parts(700, splittable=True, max_lots=4))

    assert found.offers
    for offer in found.offers:
        shares = [lot.quantity for lot in offer.chain.lots]
        assert sum(shares) == 700
        assert all(150 <= share <= 300 for share in shares)


# -- chains ------------------------------------------------------------------------------------


def test_a_chain_waits_for_the_pick_up_drives_and_goes_on(region):
    region.site("mill", north_of_home(10), shift())
    region.machine("mill")
    region.site("coat", HOME, shift())
    region.machine("coat", "bath", Capability("anodizing", cycle_s=30.0))

    (offer,) = region.find(
        parts(100, part_mass_kg=0.5),
        parts(100, process="anodizing", part_mass_kg=0.5),
        deliver_to=HOME,
    ).offers

    milled, coated = offer.chain.stages
    (journey,) = coated.journeys
    # Milled from 09:10 for 125 minutes; fetched at once; 20 minutes to load and unload, and 13 km
    # by road: the first ten at 18 km/h, three more at 30.
    assert milled.lots[0].promise.end_p90_ms == tokyo("2026-11-19 11:15")
    assert journey.leg.depart_ms == tokyo("2026-11-19 11:15")
    assert journey.leg.distance_km == pytest.approx(13.0, rel=1e-3)
    minutes = 20 + 60 * (10 / 18 + 3 / 30)
    assert journey.leg.arrive_ms - journey.leg.depart_ms == pytest.approx(minutes * MIN, abs=5000)
    assert coated.lots[0].promise.start_ms >= journey.leg.arrive_ms
    # 50 kg in a light lorry of 350 kg that is 41 % full on average (METI notice 66 of 2006).
    litres_per_ton_km = 2.718281828 ** (2.67 - 0.927 * -0.891598 - 0.648 * 5.857933)
    assert journey.leg.emission.method == "improved-ton-km"
    assert journey.leg.emission.co2_kg == pytest.approx(
        0.05 * journey.leg.distance_km * litres_per_ton_km * 2.32, rel=1e-3
    )


def test_goods_that_are_ready_in_the_evening_are_fetched_the_next_morning(region):
    region.site("mill", north_of_home(10), shift("08:00", "20:00"))
    region.machine("mill")
    region.site("coat", HOME, shift())
    region.machine("coat", "bath", Capability("anodizing", cycle_s=30.0))

    (offer,) = region.find(parts(400), parts(400, process="anodizing")).offers

    assert offer.chain.stages[0].lots[0].promise.end_p90_ms == tokyo("2026-11-19 17:30")
    assert offer.chain.stages[1].journeys[0].leg.depart_ms == tokyo("2026-11-20 09:00")


def test_a_chain_within_one_site_is_carried_and_needs_no_lorry(region):
    region.site("a", HOME, shift())
    region.machine("a")
    region.machine("a", "bath", Capability("anodizing", cycle_s=30.0))

    (offer,) = region.find(parts(50), parts(50, process="anodizing")).offers

    (journey,) = offer.chain.stages[1].journeys
    assert journey.leg.arrive_ms - journey.leg.depart_ms == 10 * MIN
    assert (journey.leg.emission.method, journey.leg.emission.co2_kg) == ("on-foot", 0.0)


def test_a_chain_chooses_shops_that_are_near_each_other_when_distance_counts(region):
    for km in (2, 30):
        region.site(f"mill{km}", north_of_home(km), shift())
        region.machine(f"mill{km}")
        region.site(f"coat{km}", north_of_home(km + 1), shift())
        region.machine(f"coat{km}", "bath", Capability("anodizing", cycle_s=30.0))

    found = region.find(
        parts(50),
        parts(50, process="anodizing"),
        deliver_to=north_of_home(30),
        weights=weights(distance=1.0),
    )

    assert machines_of(found)[0] == ["mill30/mc-1", "coat30/bath"]


def test_a_chain_is_held_as_a_whole(region):
    region.site("mill", north_of_home(10), shift())
    region.machine("mill")
    region.site("coat", HOME, shift())
    region.machine("coat", "bath", Capability("anodizing", cycle_s=30.0))
    (offer,) = region.find(parts(100), parts(100, process="anodizing")).offers

    held = region.hold(offer)

    assert [(step.site, step.machine) for step in held.steps] == [
        ("mill", "mc-1"),
        ("coat", "bath"),
    ]


# -- offers ------------------------------------------------------------------------------------


def test_every_offer_can_be_held_until_it_ends_and_not_afterwards(region):
    five_sites(region)
    found = region.find(parts(50), max_offers=5)
    region.clock.now_ms = found.offers[0].valid_until_ms - 1

    for offer in found.offers[:-1]:
        assert region.hold(offer).status == "held"
    region.clock.now_ms += 1
    with pytest.raises(UnknownError):
        region.hold(found.offers[-1])


def test_of_two_who_want_the_same_one_is_told_what_else_there_is(region):
    five_sites(region)
    (offer, *_) = region.find(parts(50)).offers
    region.hold(offer)

    with pytest.raises(ConflictError) as refused:
        region.hold(offer)

    alternatives = refused.value.alternatives
    assert 1 <= len(alternatives) <= 3
    for other in alternatives:
        (step,) = other.steps
        length = sum(end - start for start, end in step.segments)
        assert length == sum(end - start for start, end in offer.steps[0].segments)
        taken = (step.site, step.machine) == (offer.steps[0].site, offer.steps[0].machine)
        assert not (taken and intersect(list(step.segments), list(offer.steps[0].segments)))


def test_a_broken_machine_is_no_alternative(region):
    five_sites(region)
    (offer, *_) = region.find(parts(50)).offers
    for n in range(1, 5):
        region.say(f"s{n}", "mc-1", "down")

    others = region.context.capacity.instead(offer.steps, View("all", everything=True))

    assert {step.site for other in others for step in other.steps} == {"s5"}


# -- who may see what --------------------------------------------------------------------------


def view_of(**levels):
    granted = {Group(name): level for name, level in levels.items()}
    return View.of([], {"a": [Grant(granted)]}, NOW)


def test_what_is_not_shared_is_as_if_it_were_not_there(region):
    one(region)

    for view in (
        view_of(presence=Level.FULL, capability=Level.FULL),
        view_of(presence=Level.FULL, capacity_calendar=Level.FULL),
        view_of(capability=Level.AGGREGATE, capacity_calendar=Level.AGGREGATE),
        View.of([], {}, NOW),
    ):
        found = region.find(parts(), view=view)
        assert (found.offers, found.rejected, found.rejected_total) == ((), (), 0)


def test_who_may_not_see_the_state_is_not_told_it_by_a_refusal(region):
    one(region, state="down")
    view = view_of(presence=Level.FULL, capability=Level.FULL, capacity_calendar=Level.FULL)

    late = region.find(parts(60), view=view, due_ms=tokyo("2026-11-19 12:00"))
    live = region.find(parts(60), view=view, terms=Terms(require_live=True))

    assert why(late) == {"a/mc-1": "after-due"}
    assert why(live) == {"a/mc-1": "no-window"}


def test_who_is_shown_half_days_can_hold_what_is_offered_and_name_no_times(region):
    one(region)
    view = view_of(presence=Level.FULL, capability=Level.FULL, capacity_calendar=Level.COARSE)
    planner = Caller("p", "key", roles=frozenset({Role.PLANNER}))
    (offer,) = region.find(parts(60), view=view).offers

    assert region.hold(offer, view, planner).status == "held"
    with pytest.raises(UnknownError):
        region.context.reservations.hold(HoldRequest(offer.steps, 60), planner, view, "own-times")


def test_an_offer_made_for_one_view_is_none_for_another(region):
    one(region)
    view = view_of(presence=Level.FULL, capability=Level.FULL, capacity_calendar=Level.FULL)
    (offer,) = region.find(parts(60), view=view).offers

    with pytest.raises(UnknownError):
        region.hold(offer, View.of(["a"], {}, NOW))


# -- generated orders --------------------------------------------------------------------------


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    quantity=st.integers(1, 900),
    cycle_s=st.floats(1, 400),
    setup_min=st.floats(0, 120),
    splittable=st.booleans(),
    max_lots=st.integers(1, 4),
    due_h=st.one_of(st.none(), st.integers(2, 100)),
)
def test_offers_of_any_order_lie_in_open_hours_fit_and_can_be_held(  # noqa: PLR0917 (drawn)
    region, quantity, cycle_s, setup_min, splittable, max_lots, due_h
):
    if not region.context.directory.machines():
        five_sites(region)
    due_ms = None if due_h is None else region.clock() + due_h * HOUR
    step = parts(
        quantity, cycle_s=cycle_s, setup_min=setup_min, splittable=splittable, max_lots=max_lots
    )

    found = region.find(step, due_ms=due_ms, max_offers=20)

    for offer in found.offers:
        chain = offer.chain
        assert chain.end_p50_ms <= chain.end_p90_ms
        assert due_ms is None or chain.end_p90_ms <= due_ms
        assert sum(lot.quantity for lot in chain.lots) == quantity
        for lot in chain.lots:
            segments = list(lot.promise.segments)
            page = region.context.capacity.ledger.page(
                region.context.directory.machine(lot.candidate.site, lot.candidate.machine)
            )
            assert subtract(segments, [(s, e) for s, e, _ in page.opened]) == []
            taken = [(t.start_ms, t.end_ms) for t in page.taken]
            assert intersect(segments, sorted(taken)) == []
    if found.offers:
        assert region.hold(found.offers[-1]).status == "held"
