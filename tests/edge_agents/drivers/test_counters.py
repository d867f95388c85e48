"""A counter that rolls over is told so that no sum of its steps loses or invents one."""

import json
import logging
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agents.config import AgentConfig, MachineConfig
from edge_agents.drivers import opcua_server, open_drivers
from edge_agents.drivers.counters import Counters
from edge_agents.drivers.driver import Delivery
from edge_agents.drivers.isolation import IsolatedServer, Nursery
from edge_agents.drivers.nodes import as_json, from_json
from edge_agents.drivers.registers import Kind, RegisterSignal, Table
from edge_agents.sampler import Moment, Sampler
from gateway.model import Quality, Reason, Sample


def counter(**more):
    more = {"rolls_over_at": 65_536, **more}
    return RegisterSignal("parts", Table.HOLDING, 0, Kind.UINT16, **more)


def followed(counters, values, every_ms=1_000):
    """Tell a counter's values one after another; return all that was told, in order."""
    told = []
    for place, value in enumerate(values):
        told += counters.followed((Sample("parts", value, place * every_ms),))
    return told


def summed(samples):
    """Add up the steps as the hub does: after a fall a counter has counted from 0."""
    total, last = 0, None
    for sample in samples:
        if sample.quality is Quality.GOOD:
            if last is not None:
                total += sample.value - last if sample.value >= last else sample.value
            last = sample.value
    return total


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ([10, 12, 12], 2),
        ([65_530, 4], 10),
        ([65_535, 0], 1),
        ([60_000, 3], 5_539),
        ([1_000, 3], 3),
        ([65_000, 64_000], 64_000),
    ],
)
def test_steps_add_up_over_a_roll_over_and_begin_anew_after_a_reset(values, steps):
    assert summed(followed(Counters("m", [counter()]), values)) == steps


@given(st.lists(st.integers(0, 32_767), max_size=50), st.integers(0, 65_535))
def test_no_step_of_less_than_half_the_range_is_ever_lost(steps, first):
    values = [first]
    for step in steps:
        values.append(values[-1] + step)
    told = followed(Counters("m", [counter()]), [one % 65_536 for one in values])

    assert summed(told) == sum(steps)
    times = [one.time_ms for one in told]
    assert times == sorted(set(times))


def test_the_end_passed_is_told_just_before_the_new_beginning():
    told = followed(Counters("m", [counter()]), [65_530, 4])

    assert [(one.value, one.time_ms) for one in told] == [(65_530, 0), (65_536, 999), (4, 1_000)]


def test_decimal_counters_roll_over_where_their_digits_end():
    signal = counter(rolls_over_at=1_000_000)

    assert summed(followed(Counters("m", [signal]), [999_990, 5])) == 15


@pytest.mark.parametrize(
    ("scale", "values", "top"),
    [(0.1, [6_553.0, 0.4], 6_553.6), (-1.0, [-65_530.0, -4.0], -65_536.0)],
)
def test_scaled_counters_roll_over_at_their_scaled_end(scale, values, top):
    told = followed(Counters("m", [counter(scale=scale)]), values)

    assert [one.value for one in told] == [values[0], pytest.approx(top), values[1]]


@pytest.mark.parametrize(("later_ms", "rolled"), [(1_000, False), (10_000, True)])
def test_a_step_faster_than_the_counter_can_count_is_a_reset(later_ms, rolled):
    counters = Counters("m", [counter(max_per_s=2.0)])

    told = followed(counters, [65_530, 4], every_ms=later_ms)

    assert (65_536 in [one.value for one in told]) is rolled


def test_a_bad_reading_between_two_good_ones_changes_nothing():
    counters = Counters("m", [counter()])
    bad = Sample("parts", None, 1_000, Quality.BAD, Reason.TIMEOUT)
    told = [
        *counters.followed((Sample("parts", 65_530, 0),)),
        *counters.followed((bad,)),
        *counters.followed((Sample("parts", 4, 2_000),)),
    ]

    assert [one.value for one in told] == [65_530, None, 65_536, 4]


def test_a_counter_of_an_opcua_server_is_followed_beyond_the_life_of_the_process_that_reads_it():
    signals = {"parts": {"node": "i=7", "counts": "good", "counter": {"width": 16}}}
    machine = MachineConfig.model_validate(
        {"id": "m", "opcua": {"url": "opc.tcp://127.0.0.1:1"}, "signals": signals}
    )
    server = opcua_server(
        AgentConfig.model_construct(
            site="s", agent="a", data=Path(), machines=(machine,), opcua_processes=1
        ),
        "opc.tcp://127.0.0.1:1",
    )
    assert from_json(json.loads(json.dumps(as_json(server)))) == server
    driver, told = IsolatedServer(server, Nursery(1, rng=random.Random(1)), now_ms=lambda: 0), []
    driver._presences["m"].begin(lambda delivery: told.extend(delivery.samples))

    driver.take(Delivery("m", 1_000, (Sample("parts", 65_530.0, 1_000),), link=True))
    driver.lose("the child died")
    driver.take(Delivery("m", 2_000, (Sample("parts", 4.0, 2_000),), link=True))

    assert [(one.value, one.time_ms) for one in told if one.quality is Quality.GOOD] == [
        (65_530.0, 1_000), (65_536.0, 1_999), (4.0, 2_000),
    ]  # fmt: skip


def test_other_signals_pass_untouched_and_in_order():
    plain = RegisterSignal("speed", Table.HOLDING, 1, Kind.UINT16)
    counters = Counters("m", [plain, counter()])
    samples = (Sample("speed", 9, 5), Sample("parts", 9, 5), Sample("speed", 1, 6))

    assert counters.followed(samples) == samples
    assert Counters("m", [plain]).followed(samples) is samples


def test_roll_over_and_reset_are_logged_as_what_they_are(caplog):
    caplog.set_level(logging.INFO)
    followed(Counters("m", [counter()]), [65_530, 4, 1])

    assert [one.getMessage() for one in caplog.records] == [
        "m: parts rolled over, from 65530 to 4",
        "m: parts was reset, from 4 to 1",
    ]


def test_a_counter_written_in_the_settings_is_told_whole_by_the_sampler():
    machine = MachineConfig.model_validate(
        {
            "id": "m",
            "modbus": {"tcp": "127.0.0.1"},
            "signals": {"parts": {"register": "input 0", "type": "uint16", "counts": "good"}},
        }
    )
    [signal] = (
        open_drivers(
            AgentConfig.model_construct(machines=(machine,)),
            now_ms=lambda: 0,
            rng=random.Random(1),
        )[0]
        ._machines[0]
        .config.signals
    )
    counters, sampler = Counters("m", [signal]), Sampler(machine)
    told = []
    for at_ms, value in ((1_000, 65_530), (2_000, 4)):
        samples = counters.followed((Sample("parts", value, at_ms),))
        delivery = Delivery("m", at_ms, samples, link=True)
        told += sampler.take(delivery, Moment(at_ms, at_ms))

    parts = [(one.value, one.time_ms) for one in told if one.signal == "parts"]
    assert parts == [(65_530.0, 1_000), (65_536.0, 1_999), (4.0, 2_000)]
