"""A sampler tells what changed, never swallows a real change, and never passes old for new.

Promises: every step beyond the deadband is told, so is every change of quality; unchanged values
are told again only when really read again; link and time of reading come at least once per
freshness promise; what was not read for three promises has no value and makes the state unknown.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agents.config import MachineConfig
from edge_agents.drivers.driver import Delivery
from edge_agents.sampler import Moment, Sampler
from gateway.model import Quality, Reason, Sample
from gateway.sparkplug import names

EPOCH_MS = 1_795_000_000_000
OWN = {
    names.STATE, names.STATE_REASON, names.STATE_EVIDENCE,
    names.LINK, names.READ_AT, names.MAX_AGE,
}  # fmt: skip


def machine(signals=None, **more):
    signals = signals or {"rpm": {}}
    written = {
        name: {"register": f"input {index}", "type": "float64", **config}
        for index, (name, config) in enumerate(signals.items())
    }
    given = {"id": "mc-1", "modbus": {"tcp": "127.0.0.1"}, "signals": written, **more}
    return MachineConfig.model_validate(given)


class Bench:
    """A sampler with a clock that the test moves."""

    def __init__(self, config=None):
        self.sampler = Sampler(config or machine())
        self.steady_ms = 0
        self.utc_ms = EPOCH_MS

    @property
    def now(self):
        return Moment(self.utc_ms, self.steady_ms)

    def wait(self, duration_ms):
        self.steady_ms += duration_ms
        self.utc_ms += duration_ms

    def read(self, link=True, **values):
        samples = tuple(Sample(name, value, self.utc_ms) for name, value in values.items())
        return self.deliver(samples, link=link)

    def lose(self, *signals, reason=Reason.TIMEOUT, link=False):
        samples = tuple(Sample(one, None, self.utc_ms, Quality.BAD, reason) for one in signals)
        return self.deliver(samples, link=link)

    def deliver(self, samples, link=True):
        return self.sampler.take(Delivery("mc-1", self.utc_ms, samples, link=link), self.now)

    def tick(self):
        return self.sampler.tick(self.now)


def values(told, signal="rpm"):
    return [sample.value for sample in told if sample.signal == signal]


def of_machine(told):
    return [sample for sample in told if sample.signal not in OWN]


def test_the_first_value_is_told_with_its_own_time():
    bench = Bench()

    told = bench.read(rpm=5.0)

    assert Sample("rpm", 5.0, EPOCH_MS) in told


def test_an_unchanged_value_is_not_told_again_before_its_maximum_age():
    bench = Bench(machine({"rpm": {"max_age": "30s"}}))
    bench.read(rpm=5.0)
    told = []
    for _ in range(30):
        bench.wait(1_000)
        told += of_machine(bench.read(rpm=5.0))

    assert told == [Sample("rpm", 5.0, EPOCH_MS + 30_000)]


def test_an_old_value_is_never_told_as_new_when_nothing_was_read():
    bench = Bench(machine({"rpm": {"max_age": "2s"}}))
    bench.read(rpm=5.0)
    told = []
    for _ in range(290):
        bench.wait(100)
        told += bench.tick()

    assert of_machine(told) == []


def test_only_steps_beyond_the_deadband_from_the_last_value_told_are_told():
    bench = Bench(machine({"rpm": {"deadband": 5}}))
    told = []
    for value in (100.0, 104.0, 105.0, 106.0, 103.0, 101.0, 100.9):
        bench.wait(1_000)
        told += values(bench.read(rpm=value))

    assert told == [100.0, 106.0, 100.9]


def test_a_deadband_in_percent_follows_the_last_value_told():
    bench = Bench(machine({"rpm": {"deadband": "10%"}}))
    told = []
    for value in (0.0, 0.1, 0.105, 0.12, -1000.0, -1090.0, -1101.0):
        bench.wait(1_000)
        told += values(bench.read(rpm=value))

    assert told == [0.0, 0.1, 0.12, -1000.0, -1101.0]


def test_every_step_of_a_counter_is_told_whatever_the_deadband():
    signals = {
        "parts": {"deadband": 10, "counter": True},
        "good": {"deadband": 9, "counts": "good"},
    }
    bench = Bench(machine(signals))
    told = []
    for value in (1.0, 2.0, 3.0):
        told += of_machine(bench.read(parts=value, good=value))

    assert len(told) == 6


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40),
    st.floats(0, 1e5) | st.integers(0, 100).map("{}%".format),
)
@settings(max_examples=500, deadline=None)
def test_what_was_told_last_is_never_further_off_than_the_deadband(readings, deadband):
    bench = Bench(machine({"rpm": {"deadband": deadband}}))
    last = None
    for value in readings:
        bench.wait(1_000)
        last = (values(bench.read(rpm=value)) or [last])[-1]
        allowed = (
            deadband
            if isinstance(deadband, float)
            else (abs(last) * int(deadband.rstrip("%")) / 100)
        )
        assert abs(value - last) <= allowed


def worth_telling(readings, deadband, max_age_ms):
    """Say which of (time, value or reason) must be told: the promise itself, written again."""
    told, last = [], None
    for time_ms, value in readings:
        if last is not None:
            aged = time_ms - last[0] >= max_age_ms
            both = isinstance(value, float) and isinstance(last[1], float)
            moved = abs(value - last[1]) > deadband if both else value is not last[1]
            if not aged and not moved:
                continue
        last = (time_ms, value)
        told.append(last)
    return told


@given(
    st.lists(
        st.tuples(
            st.integers(1, 9_000),
            st.floats(-50, 50) | st.sampled_from([Reason.TIMEOUT, Reason.ADDRESS]),
        ),
        min_size=1,
        max_size=40,
    ),
    st.floats(0.001, 30),
)
@settings(max_examples=800, deadline=None)
def test_what_is_told_was_read_like_that_and_nothing_worth_telling_is_left_out(steps, deadband):
    bench = Bench(machine({"rpm": {"deadband": deadband, "max_age": "20s"}}))
    told, readings = [], []
    for wait_ms, value in steps:
        bench.wait(wait_ms)
        readings.append((bench.utc_ms, value))
        lost = isinstance(value, Reason)
        told += of_machine(bench.lose("rpm", reason=value) if lost else bench.read(rpm=value))
        told += of_machine(bench.tick())

    said = [(one.time_ms, one.value if one.reason is Reason.NONE else one.reason) for one in told]
    assert said == worth_telling(readings, deadband, 20_000)


COUNTER = {"parts": {"counts": "good", "cycle_time": True}}
CYCLE = "cycle_time_s"


def test_the_time_between_good_parts_is_told_at_every_step_that_was_seen_to_begin():
    bench = Bench(machine(COUNTER))
    told = []
    for wait_ms, count in ((0, 7), (1_000, 8), (29_500, 8), (500, 9), (60_000, 12)):
        bench.wait(wait_ms)
        told += bench.read(parts=float(count))

    assert [(one.value, one.time_ms) for one in told if one.signal == CYCLE] == [
        (30.0, EPOCH_MS + 31_000),
        (20.0, EPOCH_MS + 91_000),
    ]


def test_no_cycle_time_is_told_across_a_loss_or_a_counter_that_began_anew():
    bench = Bench(machine(COUNTER))
    told = []
    for count in (1.0, 2.0, 3.0, None, 4.0, 5.0, 0.0, 1.0, 2.0):
        bench.wait(10_000)
        told += bench.lose("parts") if count is None else bench.read(parts=count)

    cycles = [(one.value, one.reason) for one in told if one.signal == CYCLE]
    assert cycles == [(10.0, Reason.NONE), (None, Reason.TIMEOUT), (10.0, Reason.NONE)]


def test_a_clock_that_is_set_between_two_parts_gives_no_cycle_time():
    bench = Bench(machine(COUNTER))
    told = []
    for count, step_ms in ((1.0, 0), (2.0, 0), (3.0, 3_600_000), (4.0, 0), (5.0, -86_400_000)):
        bench.wait(10_000)
        bench.utc_ms += step_ms
        told += bench.read(parts=count)

    assert values(told, CYCLE) == [10.0]


@given(
    st.lists(st.tuples(st.integers(1, 30_000), st.integers(0, 4)), min_size=1, max_size=30),
)
@settings(max_examples=300, deadline=None)
def test_cycle_times_add_up_to_the_time_between_the_first_and_the_last_part(steps):
    bench = Bench(machine({"parts": {**COUNTER["parts"], "max_age": "1s"}}))
    bench.read(parts=0.0)
    count, edges, cycles_s = 0, [], 0.0
    for wait_ms, made in steps:
        bench.wait(wait_ms)
        count += made
        told = values(bench.read(parts=float(count)), CYCLE)
        assert len(told) == (1 if made and edges else 0)
        cycles_s += sum(told) * made
        if made:
            edges.append(bench.utc_ms)

    if edges:
        assert cycles_s == pytest.approx((edges[-1] - edges[0]) / 1_000)


BY_POWER = {
    "by_power": {
        "signal": "power_kw", "off_below": 0.05, "running_above": 1.2, "hysteresis": 0.02,
        "hold": "3s",
    }
}  # fmt: skip


def test_a_machine_with_only_an_energy_meter_is_off_idle_or_running_by_its_power():
    bench = Bench(machine({"power_kw": {}}, state=BY_POWER))
    told = []
    for power in [0.01] * 5 + [0.5] * 8 + [2.5] * 6 + [1.19] * 6 + [1.1] * 6:
        told += bench.read(power_kw=power)
        bench.wait(1_000)
    told += bench.lose("power_kw")

    assert values(told, names.STATE) == ["unknown", "off", "idle", "running", "idle", "unknown"]
    assert values(told, names.STATE_EVIDENCE) == [
        "power_kw 0.01 < 0.05, not yet for 3 s",
        "power_kw 0.01 < 0.05 for 3 s",
        "no condition holds: power_kw 0.5",
        "power_kw 2.5 > 1.2 for 3 s",
        "no condition holds: power_kw 1.1",
        "power_kw has no value (timeout)",
    ]


@given(st.lists(st.sampled_from(["read", "timeout", "address"]), min_size=1, max_size=30))
@settings(max_examples=300, deadline=None)
def test_every_change_of_quality_is_told_and_nothing_else(events):
    bench = Bench(machine({"rpm": {"deadband": 1000, "max_age": "5m"}}))
    told, expected = [], []
    for event in events:
        bench.wait(1_000)
        if event == "read":
            told += of_machine(bench.read(rpm=1.0))
        else:
            reason = Reason.TIMEOUT if event == "timeout" else Reason.ADDRESS
            told += of_machine(bench.lose("rpm", reason=reason))
        if not expected or expected[-1] != event:
            expected.append(event)

    kinds = {Reason.NONE: "read", Reason.TIMEOUT: "timeout", Reason.ADDRESS: "address"}
    assert [kinds[sample.reason] for sample in told] == expected


def test_a_thousand_values_that_all_change_are_all_told():
    bench = Bench(machine({f"s{index}": {} for index in range(20)}))
    told = 0
    for second in range(50):
        bench.wait(1_000)
        told += len(of_machine(bench.read(**{f"s{i}": second + 0.5 for i in range(20)})))

    assert told == 1_000


def test_a_silent_machine_says_so_at_once():
    bench = Bench()
    bench.read(rpm=5.0)
    bench.wait(1_000)

    told = bench.lose("rpm")

    assert Sample(names.LINK, value=False, time_ms=bench.utc_ms) in told
    assert Sample("rpm", None, bench.utc_ms, Quality.BAD, Reason.TIMEOUT) in told


@pytest.mark.parametrize("every_ms", [100, 1_000, 7_000, 10_000, 60_000])
def test_time_of_reading_is_told_at_least_once_per_promise_while_the_machine_answers(every_ms):
    bench = Bench(machine({"rpm": {"every": f"{every_ms}ms"}}))
    promise_ms = values(bench.read(rpm=0.0), names.MAX_AGE)[0]
    told_ms = []
    for _ in range(2_000):
        bench.wait(100)
        told = bench.read(rpm=0.0) if bench.steady_ms % every_ms == 0 else []
        if bench.steady_ms % 300 == 0:  # the agent's ticks do not fall on the promise either
            told += bench.tick()
        if values(told, names.READ_AT):
            told_ms.append(bench.steady_ms)

    assert promise_ms == max(10_000, every_ms)
    gaps = [after - before for before, after in zip([0, *told_ms], told_ms, strict=False)]
    assert max(gaps) <= promise_ms
    assert len(told_ms) <= 200_000 / promise_ms * 4  # and it is no flood


def test_time_of_reading_stays_that_of_the_last_answer_while_the_machine_is_silent():
    bench = Bench()
    bench.read(rpm=5.0)
    read_at_ms = bench.utc_ms
    bench.wait(1_000)
    bench.lose("rpm")
    told = []
    for _ in range(400):
        bench.wait(100)
        told += bench.tick()

    assert set(values(told, names.READ_AT)) == {read_at_ms}
    assert values(told, names.LINK) == [False] * 4


def test_before_the_first_answer_the_link_is_down_and_the_state_unknown():
    bench = Bench(machine(state=[{"when": "rpm > 1", "is": "running"}, {"otherwise": "idle"}]))

    told = bench.tick()

    assert values(told, names.LINK) == [False]
    assert values(told, names.STATE) == ["unknown"]
    assert values(told, names.STATE_EVIDENCE) == ["rpm was never read"]
    assert values(told, names.MAX_AGE) == [10_000]
    assert bench.tick() == []


RULES = [{"when": "rpm > 50", "is": "running", "hold": "5s"}, {"otherwise": "idle"}]


def test_the_state_is_told_when_it_changes_and_only_then():
    bench = Bench(machine({"rpm": {}, "load": {}}, state=RULES))
    told = []
    for second in range(30):
        told += bench.read(rpm=100.0 if second >= 10 else 0.0, load=float(second))
        bench.wait(1_000)

    assert values(told, names.STATE) == ["idle", "running"]
    assert values(told, names.STATE_EVIDENCE)[1] == "rpm 100 > 50 for 5 s"
    assert [s.time_ms for s in told if s.signal == names.STATE][1] == EPOCH_MS + 15_000


def test_a_hold_ends_by_time_alone():
    bench = Bench(machine(state=RULES))
    bench.read(rpm=0.0)
    bench.wait(1_000)
    bench.read(rpm=100.0)
    bench.wait(4_999)
    assert values(bench.tick(), names.STATE) == []

    bench.wait(1)

    assert values(bench.tick(), names.STATE) == ["running"]


def test_values_that_nobody_read_for_three_promises_are_withdrawn_and_the_state_is_unknown():
    bench = Bench(machine(state=RULES, max_age="10s"))
    bench.read(rpm=0.0)
    told = []
    for _ in range(299):
        bench.wait(100)
        told += bench.tick()
    assert of_machine(told) == []

    bench.wait(100)
    told = bench.tick()

    assert of_machine(told) == [Sample("rpm", None, bench.utc_ms, Quality.BAD, Reason.STALE)]
    assert values(told, names.STATE) == ["unknown"]
    assert values(bench.read(rpm=0.0)) == [0.0]


def test_a_slow_signal_has_three_of_its_own_readings_before_it_is_stale():
    bench = Bench(machine({"rpm": {}, "hours": {"every": "60s"}}))
    bench.read(rpm=0.0, hours=1.0)
    stale = {}
    for _ in range(1_900):
        bench.wait(100)
        for sample in of_machine(bench.tick()):
            stale[sample.signal] = bench.steady_ms

    assert stale == {"rpm": 30_000, "hours": 180_000}


def test_a_clock_that_is_set_makes_nothing_stale_and_fulfils_no_hold():
    bench = Bench(machine(state=RULES))
    bench.read(rpm=0.0)
    bench.wait(500)
    bench.read(rpm=100.0)
    for step_ms in (86_400_000, -2 * 86_400_000):
        bench.utc_ms += step_ms
        bench.wait(100)
        told = bench.tick()
        assert of_machine(told) == []
        assert values(told, names.STATE) == []


def test_a_quiet_subscription_is_vouched_for_by_its_link():
    config = MachineConfig.model_validate(
        {
            "id": "mc-1",
            "opcua": {"url": "opc.tcp://127.0.0.1", "security": "none"},
            "signals": {"rpm": {"node": "i=1"}},
            "state": [{"when": "rpm > 50", "is": "running"}, {"otherwise": "idle"}],
        }
    )
    bench = Bench(config)
    bench.read(rpm=100.0)
    told = []
    for _ in range(100):
        bench.wait(1_000)
        told += bench.deliver(()) + bench.tick()
    assert of_machine(told) == []
    assert values(told, names.STATE) == []
    assert len(values(told, names.READ_AT)) >= 10

    for _ in range(31):
        bench.wait(1_000)
        told += bench.tick()
    assert [sample.reason for sample in of_machine(told)] == [Reason.STALE]


@pytest.mark.parametrize(
    ("config", "value", "expected", "reason"),
    [
        ({"type": "uint16"}, 7, 7.0, Reason.NONE),
        ({"type": "uint16"}, True, 1.0, Reason.NONE),
        ({"type": "uint16"}, "7", None, Reason.TYPE),
        ({"type": "float32"}, float("nan"), None, Reason.NOT_FINITE),
        ({"type": "float32"}, float("inf"), None, Reason.NOT_FINITE),
        ({"type": "bool"}, 1, True, Reason.NONE),
        ({"type": "bool"}, 2, None, Reason.TYPE),
        ({"type": "bool"}, "x", None, Reason.TYPE),
        ({"type": "int64"}, 2**63 - 1, 2**63 - 1, Reason.NONE),
        ({"type": "uint64"}, 2**63, None, Reason.TYPE),
        ({"type": "int64"}, 1.5, None, Reason.TYPE),
        ({"type": "uint16", "enum": {"1": "auto"}}, "auto", "auto", Reason.NONE),
        ({"type": "string", "length": 4}, 3, None, Reason.TYPE),
        ({"type": "uint16"}, None, None, Reason.UNKNOWN),
    ],
)
def test_a_value_has_the_type_announced_or_none(config, value, expected, reason):
    told = of_machine(Bench(machine({"rpm": config})).read(rpm=value))

    assert [(sample.value, type(sample.value)) for sample in told] == [(expected, type(expected))]
    assert told[0].reason is reason


def test_a_signal_that_nobody_configured_is_left_alone():
    assert of_machine(Bench().read(other=1.0)) == []
