"""A simulated machine lives the same life for the same seed, however often it is looked at.

Promises: the life depends on the seed and the clock only; counters never go back except by
rolling over or by a restart; energy is power times time; what is shown agrees with what is done.
"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.machine import KINDS, Machine, Phase, signals_of

HOUR_MS = 3_600_000
ALL_KINDS = sorted(KINDS)
kinds = st.sampled_from(ALL_KINDS)
seeds = st.integers(0, 2**64)


def born(slug="machining-centre", seed=1, **more):
    return Machine(KINDS[slug], seed=seed, start_ms=1_000_000, **more)


def truth(machine):
    return (
        machine.phase,
        machine.parts_good,
        machine.parts_scrap,
        machine.steps,
        dict(machine.values()) | {"energy": None, "drive_temperature": None},
    )


@given(
    slug=kinds.filter(lambda slug: slug != "press"),
    seed=seeds,
    looks=st.lists(st.integers(0, 20 * HOUR_MS), min_size=1, max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_looking_often_changes_nothing(slug, seed, looks):
    watched, left_alone = born(slug, seed), born(slug, seed)
    for look_ms in sorted(looks):
        watched.advance(1_000_000 + look_ms)
    left_alone.advance(1_000_000 + max(looks))

    assert truth(watched) == truth(left_alone)
    assert watched.energy_kwh == pytest.approx(left_alone.energy_kwh, rel=1e-9)


def test_two_seeds_lead_two_lives():
    lives = set()
    for seed in range(5):
        machine = born(seed=seed)
        machine.advance(1_000_000 + 50 * HOUR_MS)
        lives.add((machine.parts_good, round(machine.energy_kwh, 3)))

    assert len(lives) == 5


@given(slug=kinds, seed=seeds, steps_ms=st.lists(st.integers(1, 600_000), max_size=40))
@settings(max_examples=60, deadline=None)
def test_true_counters_never_go_back(slug, seed, steps_ms):
    machine, now_ms = born(slug, seed, time_scale=3.0), 1_000_000
    before = (0, 0, 0, 0.0)
    for step_ms in steps_ms:
        now_ms += step_ms
        machine.advance(now_ms)
        now = (machine.parts_good, machine.parts_scrap, machine.steps, machine.energy_kwh)
        assert all(new >= old for new, old in zip(now, before, strict=True))
        before = now


def test_a_clock_set_back_changes_nothing():
    machine = born()
    machine.advance(1_000_000 + HOUR_MS)
    before = truth(machine)

    machine.advance(1_000_000 + HOUR_MS // 2)

    assert truth(machine) == before


@pytest.mark.parametrize("slug", ALL_KINDS)
def test_every_kind_makes_parts_at_its_own_pace_and_visits_every_phase(slug):
    machine = born(slug, time_scale=50.0)
    phases, running_ms = set(), 0
    for now_ms in range(1_000_000, 1_000_000 + 2 * HOUR_MS, 1_000):
        machine.advance(now_ms)
        phases.add(machine.phase)
        running_ms += 50_000 if machine.phase is Phase.RUNNING else 0
    parts = machine.parts_good + machine.parts_scrap

    assert phases == set(Phase)
    assert running_ms / 1000 / parts == pytest.approx(KINDS[slug].cycle_s, rel=0.1)
    assert 0 < machine.parts_scrap < parts * 0.1


@pytest.mark.parametrize("slug", ALL_KINDS)
def test_energy_lies_between_rest_and_full_load(slug):
    machine, kind = born(slug), KINDS[slug]
    machine.advance(1_000_000 + 30 * HOUR_MS)

    assert 0.3 * kind.power_rest_kw * 30 < machine.energy_kwh < kind.power_cut_kw * 30


def test_energy_of_a_known_phase_is_power_times_time():
    machine, kind = born(), KINDS["machining-centre"]
    machine.force(Phase.IDLE, 1_000_000, for_ms=10 * HOUR_MS)
    machine.advance(1_000_000 + 4 * HOUR_MS)

    assert machine.energy_kwh == pytest.approx(4 * kind.power_rest_kw)


def test_the_drive_warms_under_load_and_cools_at_rest():
    machine = born()
    machine.force(Phase.RUNNING, 1_000_000, for_ms=2 * HOUR_MS)
    machine.advance(1_000_000 + HOUR_MS)
    warm_c = machine.values()["drive_temperature"]
    machine.force(Phase.IDLE, 1_000_000 + HOUR_MS, for_ms=2 * HOUR_MS)
    machine.advance(1_000_000 + 3 * HOUR_MS - 1)

    assert warm_c > 40
    assert machine.values()["drive_temperature"] < 26


def test_a_narrow_part_counter_rolls_over_and_the_truth_does_not():
    machine = born("nc-lathe", parts_start=2**16 - 3, time_scale=60.0)
    shown = []
    for now_ms in range(1_000_000, 1_000_000 + HOUR_MS, 500):
        machine.advance(now_ms)
        shown.append(machine.values()["parts_good"])

    assert shown[0] == 2**16 - 3
    assert 2**16 - 1 in shown
    assert 0 in shown
    assert machine.parts_good == 2**16 + shown[-1]


def test_a_restart_may_take_the_part_counters_back_to_zero():
    machine = born(parts_start=100)
    machine.restart(reset_counters=False)
    assert machine.values()["parts_good"] == 100

    machine.restart(reset_counters=True)

    assert machine.values()["parts_good"] == 0
    assert machine.parts_good == 100


def test_steps_count_by_the_clock_whatever_the_time_scale():
    machine = born(time_scale=100.0, step_interval_ms=250)
    machine.advance(1_000_000 + 10_000)

    assert machine.steps == 40


def test_steps_without_a_clock_count_only_when_told():
    machine = born(step_interval_ms=None)
    machine.advance(1_000_000 + HOUR_MS)
    assert machine.steps == 0

    assert [machine.count_step(), machine.count_step()] == [1, 2]


@pytest.mark.parametrize(
    ("phase", "flag"),
    [
        (Phase.DOWN, "alarm"),
        (Phase.SETUP, "setup_mode"),
        (Phase.WAITING, "waiting_material"),
    ],
)
def test_a_forced_phase_shows_its_flag_alone_and_ends_in_time(phase, flag):
    machine = born(time_scale=10.0)
    machine.force(Phase.RUNNING, 1_000_000, for_ms=1)
    machine.force(phase, 1_000_000, for_ms=60_000)
    machine.advance(1_000_000 + 59_999)
    flags = {name: machine.values()[name] for name in ("alarm", "setup_mode", "waiting_material")}

    assert flags == {name: name == flag for name in flags}
    assert bool(machine.values()["alarm_code"]) is (phase is Phase.DOWN)
    machine.advance(1_000_000 + 60_001)
    assert not machine.values()["alarm"]
    assert machine.values()["alarm_code"] == 0


def test_what_a_forced_phase_interrupted_goes_on_for_the_time_that_was_left():
    disturbed, calm = born("wire-edm", seed=4), born("wire-edm", seed=4)
    pause_ms = 500_000
    disturbed.force(Phase.IDLE, 1_000_000, for_ms=pause_ms)
    for span_ms in range(0, 20 * HOUR_MS, 700_000):
        disturbed.advance(1_000_000 + pause_ms + span_ms)
        calm.advance(1_000_000 + span_ms)
        assert disturbed.phase is calm.phase
        assert disturbed.parts_good == calm.parts_good


@pytest.mark.parametrize("slug", ALL_KINDS)
def test_exactly_the_described_signals_are_shown_with_plain_finite_values(slug):
    machine = born(slug, time_scale=20.0)
    names = [signal.name for signal in signals_of(KINDS[slug])]
    flags = {signal.name for signal in signals_of(KINDS[slug]) if signal.nature == "flag"}
    assert len(names) == len(set(names)) == 20
    for now_ms in range(1_000_000, 1_000_000 + HOUR_MS, 10_000):
        machine.advance(now_ms)
        values = machine.values()
        assert sorted(values) == sorted(names)
        assert {name for name, value in values.items() if isinstance(value, bool)} == flags
        assert all(
            math.isfinite(value) for value in values.values() if isinstance(value, int | float)
        )


def test_the_drive_turns_only_while_running():
    machine, kind = born("nc-lathe", time_scale=30.0), KINDS["nc-lathe"]
    turning = dict.fromkeys(Phase, 0.0)
    for now_ms in range(1_000_000, 1_000_000 + 4 * HOUR_MS, 1_000):
        machine.advance(now_ms)
        speed = machine.values()[kind.drive]
        turning[machine.phase] = max(turning[machine.phase], speed)

    assert turning.pop(Phase.RUNNING) > 0.9 * kind.drive_nominal
    assert set(turning.values()) == {0.0}


def test_a_leap_of_years_is_slept_over_and_life_goes_on():
    machine, years_ms = born("press", time_scale=1_000.0), 20 * 365 * 24 * HOUR_MS
    machine.advance(1_000_000 + years_ms)
    parts = machine.parts_good
    machine.force(Phase.RUNNING, 1_000_000 + years_ms, for_ms=1)
    machine.advance(1_000_000 + years_ms + 100_000)

    assert 100_000 < parts < 200_000
    assert parts < machine.parts_good < parts + 100_000
    assert machine.steps == (years_ms + 100_000) // 1000
