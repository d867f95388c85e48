"""Reservations never book twice, end by themselves, and say no with a reason that helps.

Every test runs on SQLite and, in the system run, on a real PostgreSQL.
"""

import pytest

from hub.access import EVERYTHING, LOCAL, NOTHING, Grant, Group, Level, View
from hub.coordination.booking.booking import Action, Alternative
from hub.coordination.booking.holding import Bounds, new_id
from hub.coordination.booking.refusals import (
    ConflictError,
    HoldExpiredError,
    IllegalTransitionError,
    InvalidError,
    KeyReusedError,
    NotYoursError,
    StaleError,
    TooManyError,
    UnknownError,
)
from hub.store import erasure, events
from hub.store.reservations import Status, Wanted
from tests.hub.coordination.bookings import DAY, HOUR, MINUTE, T0, Bookings, person, step

BUYER = person("buyer", "planner", organisation="kamata", sites=["kamata-press"])
COLLEAGUE = person("colleague", "planner", organisation="kamata")
OWNER = person("owner", "site-admin", organisation="ota", sites=["ota"])
HAND = person("hand", "operator", organisation="ota", sites=["ota"])
STRANGER = person("stranger", "planner", organisation="suwa", sites=["suwa"])


@pytest.fixture
def bookings(store):
    return Bookings(store)


def told(store):
    with store.read() as tx:
        return [(e.type, e.machine) for e in events.after(tx, 0, limit=500)]


# -- capacity ------------------------------------------------------------------------------------


def test_what_is_held_is_busy_and_cannot_be_held_again(bookings):
    held = bookings.hold((1, 2))

    assert (held.status, held.version, held.hold_expires_ms) == (Status.HELD, 1, T0 + 600_000)
    assert bookings.busy() == [(1, 2, 1)]
    with pytest.raises(ConflictError) as refused:
        bookings.hold((0.5, 1.5))
    [clash] = refused.value.clashes
    assert (clash.start_ms, clash.end_ms) == (T0 + HOUR, T0 + 1.5 * HOUR)


def test_one_may_begin_where_another_ends(bookings):
    bookings.hold((1, 2))
    bookings.hold((2, 3))
    bookings.hold((0.5, 1))

    assert bookings.busy() == [(0.5, 1, 1), (1, 2, 1), (2, 3, 1)]


def test_units_add_up_to_what_the_machine_has(bookings):
    bookings.shop.units["ota", "mc-1"].capacity_units = 3
    bookings.hold((1, 3), units=2)
    bookings.hold((2, 4), units=1)
    with pytest.raises(ConflictError) as refused:
        bookings.hold((0, 5), units=1)
    [clash] = refused.value.clashes
    assert (clash.start_ms, clash.end_ms) == (T0 + 2 * HOUR, T0 + 3 * HOUR)
    bookings.hold((3, 4), units=2)


def test_a_segment_between_the_segments_of_another_is_free(bookings):
    bookings.hold((1, 2), (3, 4))
    bookings.hold((2, 3))
    with pytest.raises(ConflictError):
        bookings.hold((2, 3))


def test_a_chain_is_held_whole_or_not_at_all(bookings):
    bookings.hold((2, 3), machine="b")
    with pytest.raises(ConflictError) as refused:
        bookings.chain(step("a", (1, 2)), step("b", (2, 3)), step("c", (3, 4)))

    assert [clash.machine for clash in refused.value.clashes] == ["b"]
    assert (bookings.busy("a"), bookings.busy("c")) == ([], [])
    held = bookings.chain(step("a", (1, 2)), step("b", (3, 4)), step("c", (4, 5)))
    assert [(s.machine, s.segments) for s in held.steps] == [
        ("a", ((T0 + HOUR, T0 + 2 * HOUR),)),
        ("b", ((T0 + 3 * HOUR, T0 + 4 * HOUR),)),
        ("c", ((T0 + 4 * HOUR, T0 + 5 * HOUR),)),
    ]


def test_steps_of_one_chain_compete_for_their_machine_too(bookings):
    with pytest.raises(ConflictError):
        bookings.chain(step("a", (1, 3)), step("a", (2, 4)))
    bookings.shop.units["ota", "a"].capacity_units = 2
    bookings.chain(step("a", (1, 3)), step("a", (2, 4)))


def test_machines_of_one_name_at_two_sites_are_two(bookings):
    bookings.hold((1, 2), site="ota")
    bookings.hold((1, 2), site="suwa")


def test_a_hold_that_ran_out_is_free_at_that_instant_swept_or_not(bookings):
    bookings.hold((1, 2), ttl_s=60)
    bookings.clock.now_ms += 60_000 - 1
    with pytest.raises(ConflictError):
        bookings.hold((1, 2))
    bookings.clock.now_ms += 1
    assert bookings.busy() == []
    bookings.hold((1, 2))


def test_a_conflict_names_up_to_three_alternatives(store):
    asked = []

    def alternatives(steps, view):
        asked.append((steps, view))
        return [Alternative((step("mc-2", (n, n + 1)),)) for n in range(5)]

    bookings = Bookings(store, alternatives=alternatives)
    bookings.hold((1, 2))
    with pytest.raises(ConflictError) as refused:
        bookings.hold((1, 2), key="k")
    with pytest.raises(ConflictError) as again:
        bookings.hold((1, 2), key="k")

    assert [a.steps[0].machine for a in refused.value.alternatives] == ["mc-2"] * 3
    assert again.value.alternatives == refused.value.alternatives
    assert len(asked) == 1


# -- calendars -----------------------------------------------------------------------------------


def test_where_nobody_told_hours_a_booking_is_taken_and_flagged(bookings):
    assert bookings.hold((1, 2)).steps[0].unscheduled
    bookings.shop.open("mc-2", (T0, T0 + DAY))
    assert not bookings.hold((1, 2), machine="mc-2").steps[0].unscheduled


@pytest.mark.parametrize("span", [(7, 9), (16, 17.5), (12.25, 12.75), (18, 19)])
def test_a_booking_lies_within_working_hours(bookings, span):
    bookings.shop.open("mc-1", (T0 + 8 * HOUR, T0 + 12 * HOUR), (T0 + 13 * HOUR, T0 + 17 * HOUR))
    with pytest.raises(InvalidError) as refused:
        bookings.hold(span)
    assert [m.pointer for m in refused.value.mistakes] == ["/segments"]
    bookings.hold((8, 12), (13, 17))


def test_a_shift_with_fewer_units_takes_fewer(bookings):
    bookings.shop.units["ota", "mc-1"].capacity_units = 2
    bookings.shop.open("mc-1", (T0, T0 + DAY), units=1)
    with pytest.raises(ConflictError):
        bookings.hold((1, 2), units=2)
    bookings.hold((1, 2))


def test_a_calendar_that_changes_between_plan_and_booking_is_looked_at_again(bookings):
    bookings.shop.open("mc-1", (T0, T0 + DAY))
    windows = bookings.shop.windows
    asked = []

    def changing(*words):
        found = windows(*words)
        asked.append(words)
        if len(asked) == 1:
            bookings.shop.open("mc-1", (T0 + 5 * HOUR, T0 + DAY))
        return found

    bookings.shop.windows = changing
    with pytest.raises(ConflictError):
        bookings.hold((1, 2))
    assert len(asked) == 2


# -- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spans", "pointer", "detail"),
    [
        ([(-1, 1)], "/segments/0/start", "past"),
        ([(1, 1 + 59_999 / HOUR)], "/segments/0/end", "minute"),
        ([(2, 1)], "/segments/0/end", "minute"),
        ([(1, 2), (366 * 24, 366 * 24 + 1)], "/segments/1/end", "366"),
        ([(3, 5), (1, 2), (4, 6)], "/segments/2", "overlaps"),
        ([(1, 2), (1, 2)], "/segments/1", "overlaps"),
        ([(n, n + 1) for n in range(201)], "", "200"),
    ],
)
def test_times_that_contradict_clock_or_each_other_are_told_with_their_place(
    bookings, spans, pointer, detail
):
    with pytest.raises(InvalidError) as refused:
        bookings.hold(*spans)
    assert refused.value.mistakes[0].pointer == pointer
    assert detail in refused.value.mistakes[0].detail
    assert bookings.reservations.find(Wanted(), OWNER, 10) == []


def test_limits_hold_at_their_very_edge(bookings):
    bookings.hold((0, MINUTE / HOUR))
    bookings.hold((366 * 24 - 1, 366 * 24))
    bookings.hold(*((n, n + 0.5) for n in range(1, 201)))


def test_more_units_than_the_machine_has_is_a_mistake_and_no_conflict(bookings):
    with pytest.raises(InvalidError) as refused:
        bookings.hold((1, 2), units=2)
    assert refused.value.mistakes[0].pointer == "/units"


def test_a_machine_out_of_service_or_unknown_takes_nothing(bookings):
    bookings.shop.units["ota", "mc-1"].retired = True
    with pytest.raises(InvalidError):
        bookings.hold((1, 2))
    with pytest.raises(UnknownError):
        bookings.hold((1, 2), machine="missing")


@pytest.mark.parametrize(
    ("level", "may"), [(Level.FULL, True), (Level.COARSE, False), (Level.NONE, False)]
)
def test_a_machine_of_others_can_be_held_when_its_calendar_is_shared_in_full(bookings, level, may):
    grant = Grant({Group.CAPACITY_CALENDAR: level, Group.PRESENCE: Level.FULL})
    view = View.of(["kamata-press"], {"ota": [grant]}, T0)
    if may:
        bookings.hold((1, 2), caller=BUYER, view=view)
    else:
        with pytest.raises(UnknownError):
            bookings.hold((1, 2), caller=BUYER, view=view)
    bookings.hold((1, 2), caller=BUYER, view=view, site="kamata-press")
    with pytest.raises(UnknownError):
        bookings.hold((1, 2), caller=BUYER, view=NOTHING)


def test_an_offer_is_held_as_it_was_made(store):
    class Offers:
        def get(self, offer_id, view):
            steps = (step("a", (1, 2)), step("b", (3, 4)))
            return steps if offer_id == "o-1" and view is EVERYTHING else None

    bookings = Bookings(store, offers=Offers())
    held = bookings.chain(offer_id="o-1")
    assert [s.machine for s in held.steps] == ["a", "b"]
    with pytest.raises(UnknownError) as refused:
        bookings.chain(offer_id="o-2")
    assert refused.value.pointer == "body/offer_id"


# -- idempotency ---------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_answer_and_books_once(bookings):
    first = bookings.hold((1, 2), key="k")
    bookings.reservations.act(Action.CONFIRM, first.id, LOCAL, 1)
    bookings.clock.now_ms += 3 * HOUR  # by now it would be refused: it lies in the past

    assert bookings.hold((1, 2), key="k") == first
    assert bookings.opened().get(first.id, LOCAL).status is Status.CONFIRMED
    assert len(bookings.reservations.find(Wanted(), LOCAL, 10)) == 1


def test_the_answer_outlives_the_hub_and_a_day_but_not_more(bookings):
    first = bookings.hold((100, 101), key="k")
    bookings.hold((100, 101), key="other", machine="mc-2")
    bookings.clock.now_ms += DAY - 1
    bookings.reservations = bookings.opened()
    assert bookings.hold((100, 101), key="k") == first
    bookings.clock.now_ms += 1
    assert bookings.hold((100, 101), key="k").id != first.id


def test_a_refusal_for_want_of_capacity_is_an_answer_like_any_other(bookings):
    taken = bookings.hold((1, 2))
    with pytest.raises(ConflictError) as refused:
        bookings.hold((1, 2), key="k")
    bookings.reservations.act(Action.RELEASE, taken.id, LOCAL, 1)
    with pytest.raises(ConflictError) as again:
        bookings.hold((1, 2), key="k")
    assert again.value.clashes == refused.value.clashes
    bookings.hold((1, 2), key="k2")


def test_a_request_with_mistakes_uses_no_key_up(bookings):
    with pytest.raises(InvalidError):
        bookings.hold((-1, 1), key="k")
    bookings.hold((1, 2), key="k")


@pytest.mark.parametrize(
    "other",
    [
        {"ttl_s": 601},
        {"units": 2},
        {"machine": "mc-2"},
        {"site": "suwa"},
        {"reference": "A-1"},
    ],
)
def test_a_key_is_good_for_one_request_only(bookings, other):
    bookings.hold((1, 2), key="k")
    with pytest.raises(KeyReusedError):
        bookings.hold((1, 2), key="k", **other)
    with pytest.raises(KeyReusedError):
        bookings.hold((1, 3), key="k")


def test_keys_of_two_callers_have_nothing_to_do_with_each_other(bookings):
    one = bookings.hold((1, 2), key="k", caller=BUYER)
    other = bookings.hold((2, 3), key="k", caller=STRANGER)
    assert one.id != other.id
    assert bookings.hold((2, 3), key="k", caller=STRANGER) == other


# -- the life of a reservation -------------------------------------------------------------------


def test_confirmed_it_runs_and_ends_by_the_clock(bookings, store):
    held = bookings.hold((1, 2), (3, 4))
    confirmed = bookings.reservations.act(Action.CONFIRM, held.id, LOCAL, held.version)
    assert (confirmed.status, confirmed.version) == (Status.CONFIRMED, 2)
    assert bookings.reservations.sweep() == 0
    statuses = []
    for hours in (1, 2, 3.5, 4):
        bookings.clock.now_ms = T0 + round(hours * HOUR)
        bookings.reservations.sweep()
        statuses.append(bookings.reservations.get(held.id, LOCAL).status)

    assert statuses == ["running", "running", "running", "done"]
    assert bookings.busy() == []
    assert [kind for kind, _ in told(store)] == [
        "reservation.held",
        "reservation.confirmed",
        "reservation.running",
        "reservation.done",
    ]


def test_after_a_long_stop_nothing_is_left_out(bookings, store):
    held = bookings.hold((1, 2))
    bookings.reservations.act(Action.CONFIRM, held.id, LOCAL, 1)
    bookings.hold((1, 2), machine="b")
    bookings.clock.now_ms += DAY
    assert bookings.reservations.sweep() == 2
    assert {kind for kind, machine in told(store) if machine == "b"} == {
        "reservation.held",
        "reservation.expired",
    }
    assert [kind for kind, machine in told(store) if machine == "mc-1"][2:] == [
        "reservation.running",
        "reservation.done",
    ]


def test_a_hold_that_ran_out_is_swept_once_and_told(bookings, store):
    held = bookings.hold((1, 2), ttl_s=60)
    bookings.clock.now_ms += 60_000
    assert (bookings.reservations.sweep(), bookings.reservations.sweep()) == (1, 0)
    assert bookings.reservations.get(held.id, LOCAL).status is Status.EXPIRED
    assert told(store)[-1] == ("reservation.expired", "mc-1")


def test_a_hold_ends_with_what_it_holds(bookings):
    assert bookings.hold((1, 2), ttl_s=86_400).hold_expires_ms == T0 + 2 * HOUR


def test_an_extended_hold_lasts_from_now_but_never_beyond_a_week(bookings):
    held = bookings.hold((500, 501), ttl_s=86_400)
    for day in range(1, 8):
        bookings.clock.now_ms = T0 + day * (DAY - 1000)
        held = bookings.reservations.act(Action.EXTEND, held.id, LOCAL, held.version, ttl_s=86_400)
        assert held.hold_expires_ms == min(bookings.clock() + DAY, T0 + 7 * DAY)


@pytest.mark.parametrize("action", [Action.CONFIRM, Action.EXTEND, Action.RELEASE])
@pytest.mark.parametrize("swept", [True, False])
def test_what_ran_out_is_gone_and_that_is_noted(bookings, store, action, swept):
    held = bookings.hold((1, 2), ttl_s=60)
    bookings.clock.now_ms += 60_000
    if swept:
        bookings.reservations.sweep()
    with pytest.raises(HoldExpiredError):
        bookings.reservations.act(action, held.id, LOCAL, held.version, ttl_s=60)
    assert bookings.reservations.get(held.id, LOCAL).status is Status.EXPIRED
    assert told(store)[-1][0] == "reservation.expired"


WAYS = {
    Status.HELD: [],
    Status.CONFIRMED: [Action.CONFIRM],
    Status.RUNNING: [Action.CONFIRM, "begin"],
    Status.DONE: [Action.CONFIRM, "begin", "finish"],
    Status.RELEASED: [Action.RELEASE],
    Status.CANCELLED: [Action.CANCEL],
}
POSSIBLE = {
    (Status.HELD, Action.CONFIRM),
    (Status.HELD, Action.EXTEND),
    (Status.HELD, Action.RELEASE),
    (Status.HELD, Action.CANCEL),
    (Status.CONFIRMED, Action.RELEASE),
    (Status.CONFIRMED, Action.CANCEL),
    (Status.RUNNING, Action.CANCEL),
}


@pytest.mark.parametrize("status", WAYS)
@pytest.mark.parametrize("action", list(Action))
def test_each_status_allows_its_own_actions_and_no_others(bookings, status, action):
    found = bookings.hold((1, 2))
    for way in WAYS[status]:
        if isinstance(way, Action):
            found = bookings.reservations.act(way, found.id, LOCAL, found.version)
        else:
            assert getattr(bookings.reservations, way)(found.id)
            found = bookings.reservations.get(found.id, LOCAL)
    assert found.status is status
    if (status, action) in POSSIBLE:
        after = bookings.reservations.act(action, found.id, LOCAL, found.version, ttl_s=60)
        assert after.version == found.version + 1
    else:
        with pytest.raises(IllegalTransitionError) as refused:
            bookings.reservations.act(action, found.id, LOCAL, found.version, ttl_s=60)
        assert refused.value.status is status
        assert bookings.reservations.get(found.id, LOCAL) == found


def test_released_or_cancelled_or_done_early_the_time_is_free_at_once(bookings):
    for way in (Action.RELEASE, Action.CANCEL):
        held = bookings.hold((1, 2))
        bookings.reservations.act(way, held.id, LOCAL, 1)
        assert bookings.busy() == []
    held = bookings.hold((1, 2))
    bookings.reservations.act(Action.CONFIRM, held.id, LOCAL, 1)
    assert not bookings.reservations.finish(held.id)
    assert bookings.reservations.begin(held.id)
    assert bookings.busy() == [(1, 2, 1)]
    assert bookings.reservations.finish(held.id)
    bookings.hold((1, 2))


def test_who_read_an_older_version_changes_nothing(bookings):
    held = bookings.hold((1, 2))
    bookings.reservations.act(Action.EXTEND, held.id, LOCAL, 1, ttl_s=900)
    with pytest.raises(StaleError) as refused:
        bookings.reservations.act(Action.CONFIRM, held.id, LOCAL, 1)
    assert refused.value.version == 2


# -- whose it is ---------------------------------------------------------------------------------


@pytest.fixture
def chain(bookings):
    return bookings.chain(
        step("mc-1", (1, 2)), step("press", (3, 4), site="suwa"), caller=BUYER, reference="A-1"
    )


def test_who_booked_and_its_organisation_see_all_of_it(bookings, chain):
    for caller in (BUYER, COLLEAGUE, LOCAL):
        assert bookings.reservations.get(chain.id, caller) == chain
        assert bookings.reservations.find(Wanted(), caller, 10) == [chain]


def test_the_owner_of_a_site_sees_what_is_booked_there_and_not_where_the_chain_goes(
    bookings, chain
):
    seen = bookings.reservations.get(chain.id, OWNER)
    assert [s.machine for s in seen.steps] == ["mc-1"]
    assert [s.machine for s in bookings.reservations.get(chain.id, STRANGER).steps] == ["press"]


def test_others_do_not_even_learn_that_it_is_there(bookings, chain):
    nobody = person("nobody", "planner", organisation="else", sites=["elsewhere"])
    with pytest.raises(UnknownError):
        bookings.reservations.get(chain.id, nobody)
    assert bookings.reservations.find(Wanted(), nobody, 10) == []
    for action in Action:
        with pytest.raises(UnknownError):
            bookings.reservations.act(action, chain.id, nobody, 1)


@pytest.mark.parametrize("caller", [OWNER, HAND, STRANGER])
@pytest.mark.parametrize("action", [Action.CONFIRM, Action.EXTEND, Action.RELEASE])
def test_only_who_booked_confirms_extends_and_releases(bookings, chain, caller, action):
    with pytest.raises(NotYoursError):
        bookings.reservations.act(action, chain.id, caller, 1)
    bookings.reservations.act(action, chain.id, COLLEAGUE, 1, ttl_s=60)


@pytest.mark.parametrize("caller", [BUYER, COLLEAGUE, HAND])
def test_only_those_who_plan_at_a_site_call_off_what_is_booked_there(bookings, chain, caller):
    with pytest.raises(NotYoursError):
        bookings.reservations.act(Action.CANCEL, chain.id, caller, 1)
    cancelled = bookings.reservations.act(Action.CANCEL, chain.id, OWNER, 1, reason="fire")
    assert (cancelled.status, cancelled.reason) == (Status.CANCELLED, "fire")
    assert bookings.busy("press", "suwa") == []


def test_events_tell_each_site_of_its_own_machine_and_name_nobody(store, chain):
    with store.read() as tx:
        found = events.after(tx, 0, limit=10)
    assert [(e.type, e.site, e.machine, e.subject) for e in found] == [
        ("reservation.held", "ota", "mc-1", chain.id),
        ("reservation.held", "suwa", "press", chain.id),
    ]
    for event in found:
        assert not {"buyer", "kamata", "A-1"} & set(map(str, event.data.values()))


def test_asking_for_a_site_does_not_tell_where_else_a_chain_goes(bookings, chain):
    find = bookings.reservations.find
    assert [r.id for r in find(Wanted(site="ota"), OWNER, 10)] == [chain.id]
    assert find(Wanted(site="suwa"), OWNER, 10) == []
    assert find(Wanted(machine="press"), OWNER, 10) == []
    assert [r.id for r in find(Wanted(site="suwa"), BUYER, 10)] == [chain.id]


def test_lists_narrow_and_page_from_the_newest_on(bookings):
    made = []
    for hour in range(1, 6):
        bookings.clock.now_ms += 1
        made.append(bookings.hold((hour, hour + 1), machine=f"m-{hour % 2}", caller=BUYER))
    bookings.reservations.act(Action.CONFIRM, made[0].id, BUYER, 1)
    find = bookings.reservations.find

    def ids(caller=BUYER, limit=10, **words):
        return [made.index(one) for one in find(Wanted(**words), caller, limit) if one in made]

    assert ids(limit=2) == [4, 3]
    assert ids(limit=2, before=made[3].id) == [2, 1]
    assert ids(machine="m-1") == [4, 2]
    assert ids(status=Status.HELD) == [4, 3, 2, 1]
    assert ids(site="suwa") == []
    assert ids(created_by="somebody") == []
    assert ids(created_by="somebody", organisation="kamata") == [4, 3, 2, 1]
    assert ids(OWNER) == [4, 3, 2, 1]


# -- bounds --------------------------------------------------------------------------------------


def test_a_caller_holds_only_so_much_at_once(store):
    bookings = Bookings(store, bounds=Bounds(open_holds=2))
    held = [bookings.hold((n, n + 1), caller=BUYER) for n in (1, 2)]
    with pytest.raises(TooManyError):
        bookings.hold((3, 4), caller=BUYER)
    bookings.hold((3, 4), caller=OWNER)
    bookings.reservations.act(Action.CONFIRM, held[0].id, BUYER, 1)
    bookings.hold((4, 5), caller=BUYER)
    bookings.clock.now_ms += 600_000
    bookings.hold((5, 6), caller=BUYER)


def test_a_caller_uses_only_so_many_keys_in_a_day(store):
    bookings = Bookings(store, bounds=Bounds(keys=3))
    first = bookings.hold((100, 101), key="k", caller=BUYER)
    bookings.reservations = bookings.opened()
    for _ in range(2):
        with pytest.raises(ConflictError):
            bookings.hold((100, 101), caller=BUYER)
    with pytest.raises(TooManyError):
        bookings.hold((102, 103), caller=BUYER)
    assert bookings.hold((100, 101), key="k", caller=BUYER) == first
    bookings.clock.now_ms += DAY
    bookings.reservations.forget()
    bookings.hold((102, 103), caller=BUYER)


def test_what_was_over_long_ago_is_forgotten_and_nothing_else(bookings):
    gone = bookings.hold((1, 2), key="k")
    bookings.reservations.act(Action.RELEASE, gone.id, LOCAL, 1)
    bookings.clock.now_ms += 300 * DAY
    later = bookings.clock() // HOUR - T0 // HOUR
    kept = bookings.hold((later + 5000, later + 5001))
    bookings.reservations.act(Action.CONFIRM, kept.id, LOCAL, 1)
    bookings.clock.now_ms += 101 * DAY
    assert bookings.reservations.forget() == 3  # two keys, one reservation
    with pytest.raises(UnknownError):
        bookings.reservations.get(gone.id, LOCAL)
    assert bookings.reservations.get(kept.id, LOCAL).status is Status.CONFIRMED


# -- memory --------------------------------------------------------------------------------------


def test_memory_follows_every_commit_and_a_start_finds_the_same(bookings):
    before = bookings.reservations.version
    held = bookings.hold((1, 2), (5, 6))
    assert bookings.reservations.version > before
    bookings.hold((2, 3), machine="b")
    bookings.reservations.act(Action.CONFIRM, held.id, LOCAL, 1)
    again = bookings.opened()
    for machine in ("mc-1", "b"):
        words = ("ota", machine, 0, T0 + DAY)
        assert again.busy(*words) == bookings.reservations.busy(*words)
    assert again.version == bookings.reservations.version
    assert bookings.reservations.busy("ota", "mc-1", T0 + 2 * HOUR, T0 + 5 * HOUR) == []
    assert len(bookings.reservations.busy("ota", "mc-1", T0 + 2 * HOUR, T0 + 5 * HOUR + 1)) == 1


def test_what_another_process_booked_is_known_after_the_next_sweep(bookings):
    other = bookings.opened()
    bookings.hold((1, 2))
    assert other.busy("ota", "mc-1", 0, T0 + DAY) == []
    other.sweep()
    assert [b.units for b in other.busy("ota", "mc-1", 0, T0 + DAY)] == [1]
    assert other.version == bookings.reservations.version


def test_a_machine_that_gets_another_id_takes_its_bookings_along(bookings, store):
    held = bookings.hold((1, 2))
    with store.write() as tx:
        erasure.rename(tx, ("ota", "mc-1"), ("suwa", "mc-9"))
        tx.after_commit(bookings.reservations.refresh)
    assert bookings.busy() == []
    assert bookings.busy("mc-9", "suwa") == [(1, 2, 1)]
    assert bookings.reservations.get(held.id, STRANGER).steps[0].machine == "mc-9"


def test_a_site_that_is_erased_leaves_the_rest_of_a_chain(bookings, store):
    steps = (step(name, (n, n + 1), site=site) for n, name, site in CHAIN)
    held = bookings.chain(*steps)
    with store.write() as tx:
        erasure.erase(tx, "suwa", None)
        tx.after_commit(bookings.reservations.refresh)
    left = bookings.reservations.get(held.id, LOCAL)
    assert [(s.machine, len(s.segments)) for s in left.steps] == [("a", 1), ("c", 1)]
    assert bookings.busy("b", "suwa") == []
    with store.write() as tx:
        erasure.erase(tx, "ota", None)
    with pytest.raises(UnknownError):
        bookings.reservations.get(held.id, LOCAL)


CHAIN = ((1, "a", "ota"), (2, "b", "suwa"), (3, "c", "ota"))


def test_ids_are_ulids_and_sort_by_time():
    ids = [new_id(T0 + n, random80) for n, random80 in ((0, 2**80 - 1), (1, 0), (2, 5))]
    assert ids == sorted(ids)
    assert {len(each) for each in ids} == {26}
    assert new_id(0x018F_3A2B_4C5D, 0x0123_4567_89AB_CDEF_0123) == "01HWX2PK2X04HMASW9NF6YY093"
