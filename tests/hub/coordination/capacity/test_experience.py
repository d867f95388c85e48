"""What machines have shown is read from stored history, finished runs and bookings, and no more."""

import pytest

from gateway.model import State
from hub.coordination.capacity.experience import (
    AGAIN_MS,
    PER_TURN,
    Experience,
    FinishedRun,
    observed_of,
    repairs_of,
)
from hub.coordination.directory.directory import MachineEntry
from hub.historian import HistorianUnavailableError
from hub.historian.historian import StateInterval

MIN = 60_000
HOUR = 60 * MIN
NOW = 1_795_000_000_000


def interval(start, end, state=State.DOWN):
    return StateInterval(start, end, state, "", "", "")


class History:
    """Tells of each machine what it is given, and counts who asks."""

    def __init__(self):
        self.stops, self.asked, self.down = {}, [], False

    def states(self, site, machine, _span):
        if self.down:
            raise HistorianUnavailableError("the disk is gone")
        self.asked.append((site, machine))
        return self.stops.get((site, machine), [])


class Clock:
    now_ms = NOW

    def __call__(self):
        return self.now_ms


@pytest.fixture
def history():
    return History()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def experience(history, clock):
    return Experience(
        historian=history,
        runs=lambda *_: [],
        hours=lambda _site, _machine, from_ms, to_ms: [(from_ms, to_ms)],
        booked=lambda *_: 15 * 24 * HOUR,
        now_ms=clock,
    )


def lathe(number, kind="nc-lathe"):
    return MachineEntry("ota", f"nl-{number}", kind=kind)


def test_stops_that_are_over_count_and_the_one_that_lasts_does_not():
    told = [
        interval(0, 10 * MIN),
        interval(10 * MIN, HOUR, State.RUNNING),
        interval(HOUR, HOUR + 5 * MIN),
        interval(2 * HOUR, None),
    ]

    assert repairs_of(told) == (10 * MIN, 5 * MIN)


def test_pieces_of_one_stop_are_one_stop():
    told = [interval(0, MIN), interval(MIN, 3 * MIN), interval(5 * MIN, 6 * MIN)]

    assert repairs_of(told) == (3 * MIN, MIN)
    assert repairs_of([interval(0, MIN), interval(MIN, None)]) == ()


def test_only_working_hours_count_as_work():
    run = FinishedRun("turning", 16 * HOUR, 33 * HOUR, parts=60, planned_cycle_s=60)
    hours = [(8 * HOUR, 17 * HOUR), (32 * HOUR, 41 * HOUR)]

    seen = observed_of([run], hours)["turning"]

    # An hour in the evening and one the next morning for sixty parts of a minute.
    assert seen.cycles_s == (120.0,)
    assert seen.ratios == (2.0,)


def test_the_set_up_is_no_part_of_the_cycle_but_of_the_plan():
    run = FinishedRun("turning", 0, 2 * HOUR, 30, planned_cycle_s=120, planned_setup_s=3600)

    seen = observed_of([run], [])["turning"]

    assert seen.cycles_s == (120.0,)
    assert seen.ratios == (1.0,)


def test_runs_without_parts_or_plan_teach_nothing_that_they_cannot():
    runs = [FinishedRun("turning", 0, HOUR, 0), FinishedRun("turning", 0, HOUR, 10)]

    seen = observed_of(runs, [])["turning"]

    assert (seen.cycles_s, seen.ratios) == ((360.0,), ())


def test_machines_of_one_kind_speak_for_each_other(experience, history):
    history.stops["ota", "nl-1"] = [interval(n * HOUR, n * HOUR + MIN) for n in range(6)]
    machines = [lathe(1), lathe(2), lathe(3, kind="press"), lathe(4, kind="")]

    experience.turn(machines)

    assert experience.repairs("ota", "nl-1").own_ms == (MIN,) * 6
    assert experience.repairs("ota", "nl-2").own_ms == ()
    assert experience.repairs("ota", "nl-2").class_ms == (MIN,) * 6
    assert experience.repairs("ota", "nl-3").class_ms == ()
    assert experience.repairs("ota", "nl-4").class_ms == ()


def test_a_few_machines_are_looked_at_in_each_turn_and_those_that_are_down_first(
    experience, history, clock
):
    machines = [lathe(number) for number in range(10)]

    experience.turn(machines, first=[("ota", "nl-9")])
    assert len(history.asked) == PER_TURN
    assert history.asked[0] == ("ota", "nl-9")
    for _ in range(3):
        experience.turn(machines)
    assert sorted(history.asked) == sorted({(m.site, m.machine) for m in machines})
    clock.now_ms += AGAIN_MS
    experience.turn(machines)
    assert len(history.asked) == 10 + PER_TURN


def test_half_of_what_it_could_take_is_a_load_of_a_half(experience):
    experience.turn([lathe(1)])

    assert experience.load("ota", "nl-1") == 0.5
    assert experience.load("ota", "unknown") == 0.0


def test_while_the_historian_is_away_what_is_known_stays(experience, history, clock):
    history.stops["ota", "nl-1"] = [interval(0, MIN)]
    experience.turn([lathe(1)])
    history.down = True
    clock.now_ms += AGAIN_MS

    experience.turn([lathe(1)])

    assert experience.repairs("ota", "nl-1").own_ms == (MIN,)
