"""Conditions are read safely and written back unchanged; states follow holds and never guess.

Promises: `parse` raises nothing but ExpressionError, with a column and a remedy; an unknown input
makes a rule unknown; holds and releases agree with a direct reading of the whole past.
"""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.model import Quality, Reason, Sample, State
from gateway.states import (
    INPUTS_UNKNOWN,
    LENGTH_MAX,
    NO_RULE,
    SETTLING,
    BitTest,
    Comparison,
    Constant,
    ExpressionError,
    Junction,
    Negation,
    Rule,
    Signal,
    StateJudge,
    Truth,
    evaluate,
    explain,
    parse,
    signals,
    write,
)

NAMES = st.sampled_from(["rpm", "axis/x.load", "spindle speed", "3d-print", "not", "bit", "_a1"])
NUMBERS = (
    st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, 1, 50, 0.5])
)
TEXTS = st.text(st.characters(exclude_characters="\"'\n", exclude_categories=["Cs"]), max_size=8)


@st.composite
def comparisons(draw):
    constant = Constant(draw(NUMBERS | st.booleans() | TEXTS))
    names = ["==", "!="] if isinstance(constant.value, str) else ["==", "!=", "<", "<=", ">", ">="]
    sides = draw(st.permutations([Signal(draw(NAMES)), constant]))
    return Comparison(sides[0], draw(st.sampled_from(names)), sides[1])


def junctions(children):
    parts = st.lists(children, min_size=2, max_size=3).map(tuple)
    return st.builds(Junction, st.sampled_from(["and", "or"]), parts)


EXPRESSIONS = st.recursive(
    comparisons()
    | st.builds(BitTest, st.builds(Signal, NAMES), st.integers(0, 63))
    | st.builds(Truth, st.builds(Signal, NAMES)),
    lambda children: st.builds(Negation, children) | junctions(children),
    max_leaves=8,
)


def good(**values):
    return {name: Sample(name, value, 0) for name, value in values.items()}


@given(EXPRESSIONS)
@settings(max_examples=1_000, deadline=None)
def test_a_condition_written_down_is_read_back_as_the_same_tree(expression):
    text = write(expression)
    if len(text) <= LENGTH_MAX:
        assert parse(text) == expression


WORDS = st.sampled_from(
    ["rpm", "`a b`", "and", "or", "not", "bit", "(", ")", "==", "<", "=", "&&", "3", "-1e999",
     "0x", "0xff", "'x'", '"', "`", "true", "ü", " ", "\x00", "\uff11", "1e5", "9" * 40]
)  # fmt: skip


@given(st.text(max_size=60) | st.lists(WORDS, max_size=30).map(" ".join))
@settings(max_examples=20_000, deadline=None)
@example("(" * 400)
@example("not " * 120)
@example("a or " * 100 + "a")
@example("a" * 501)
@example("a bit " + "9" * 300)
@example("²")
def test_no_text_raises_anything_but_an_expression_error(text):
    answer = parsed(text)

    if isinstance(answer, ExpressionError):
        assert answer.cause
        assert answer.remedy
        assert 1 <= answer.column <= len(text) + 1
    else:
        assert parse(write(answer)) == answer


def parsed(text):
    try:
        return parse(text)
    except ExpressionError as error:
        return error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 1: a signal or a value should stand before the end. Add one"),
        ("rpm >", "column 6: a signal or a value should stand before the end. Add one"),
        ("rpm = 3", "column 5: '=' is not known. Write `==`"),
        ("a && b", "column 3: '&&' is not known. Write `and`"),
        ("!a", "column 1: '!' is not known. Write `not`"),
        ("1 < rpm < 3", "column 9: a comparison has two sides. Join two comparisons by `and`"),
        ("rpm 3", "column 5: '3' is not expected here. Join conditions by and / or"),
        ("5", "column 1: a constant is no condition. Compare a signal with it"),
        ("1 == 1", "column 1: two constants are compared. Compare a signal with one of them"),
        ("(a", "column 3: a bracket is not closed. Add )"),
        ("mode == 'auto", "column 9: a quote is not closed. Add '"),
        ("mode > 'auto'", "column 6: texts have no order. Compare texts with == or !="),
        ("status bit 64", "column 12: the number of a bit is missing. Write 0…63 after `bit`"),
        ("rpm > 1e999", "column 7: this number is too large. Give a smaller one"),
    ],
)
def test_a_mistake_is_told_with_its_column_and_remedy(text, message):
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_and_binds_closer_than_or_and_not_closest():
    assert parse("not a or b and c > 1") == Junction(
        "or",
        (
            Negation(Truth(Signal("a"))),
            Junction("and", (Truth(Signal("b")), Comparison(Signal("c"), ">", Constant(1)))),
        ),
    )


def test_a_condition_knows_the_signals_it_asks():
    assert signals(parse("a > b or not (`c d` bit 3 and e)")) == {"a", "b", "c d", "e"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rpm > 50", True),
        ("rpm >= 1200 and rpm <= 1200.0", True),
        ("rpm < 1200", False),
        ("alarm", False),
        ("not alarm", True),
        ("alarm == 0", True),
        ("mode == 'auto'", True),
        ("mode != 'auto'", False),
        ("status bit 2", True),
        ("status bit 0", False),
        ("status", True),
        ("mode", None),
        ("mode > rpm", None),
        ("mode == 3", None),
        ("half bit 1", None),
        ("broken > 1", None),
        ("absent", None),
        ("absent or status", None),
        ("absent and alarm", None),
        ("not absent", None),
    ],
)
def test_conditions_are_true_false_or_unknown(text, expected):
    values = {
        "rpm": 1200.0, "alarm": False, "mode": "auto", "status": 4.0, "half": 0.5,
        "broken": float("nan"),
    }  # fmt: skip
    assert evaluate(parse(text), values) is expected


@given(EXPRESSIONS, st.data())
@settings(max_examples=500, deadline=None)
def test_one_missing_input_makes_any_condition_unknown(expression, data):
    values = dict.fromkeys(signals(expression), 1.0)
    values[data.draw(st.sampled_from(sorted(values)))] = None

    assert evaluate(expression, values) is None


SPINDLE = [
    Rule(parse("alarm"), State.DOWN, "machine-alarm"),
    Rule(parse("rpm > 50"), State.RUNNING, hold_ms=5_000),
    Rule(None, State.IDLE),
]


def test_the_first_rule_that_counts_decides():
    judge = StateJudge(SPINDLE)

    report = judge.step(good(alarm=True, rpm=1200), 1_000)

    assert (report.state, report.reason, report.since_ms) == (State.DOWN, "machine-alarm", 1_000)
    assert report.evidence == "alarm true"


def test_a_condition_counts_only_after_its_hold_and_says_when_to_look_again():
    judge = StateJudge(SPINDLE)
    assert judge.step(good(alarm=False, rpm=0), 0).state is State.IDLE
    assert judge.deadline_ms is None

    assert judge.step(good(alarm=False, rpm=1200), 10_000).state is State.IDLE
    assert judge.deadline_ms == 15_000
    assert judge.step(good(alarm=False, rpm=1300), 14_999).state is State.IDLE
    report = judge.step(good(alarm=False, rpm=1300), 15_000)

    assert (report.state, report.since_ms) == (State.RUNNING, 15_000)
    assert report.evidence == "rpm 1300 > 50 for 5 s"
    assert judge.deadline_ms is None


def test_evidence_is_what_held_when_the_state_began():
    judge = StateJudge([Rule(parse("rpm > 50"), State.RUNNING)])
    first = judge.step(good(rpm=100), 0)

    assert judge.step(good(rpm=200), 1_000) is first


def test_a_running_spindle_seen_at_the_start_is_not_called_idle_while_its_hold_passes():
    judge = StateJudge(SPINDLE)

    report = judge.step(good(alarm=False, rpm=1200), 0)

    assert (report.state, report.reason) == (State.UNKNOWN, SETTLING)
    assert report.evidence == "rpm 1200 > 50, not yet for 5 s"
    assert judge.deadline_ms == 5_000
    assert judge.step(good(alarm=False, rpm=1200), 5_000).state is State.RUNNING


def test_a_rule_goes_on_to_count_through_its_release():
    judge = StateJudge(
        [Rule(parse("rpm > 50"), State.RUNNING, release_ms=30_000), Rule(None, State.IDLE)]
    )
    judge.step(good(rpm=100), 0)

    assert judge.step(good(rpm=0), 1_000).state is State.RUNNING
    assert judge.deadline_ms == 31_000
    assert judge.step(good(rpm=100), 20_000).state is State.RUNNING
    assert judge.step(good(rpm=0), 40_000).state is State.RUNNING
    assert judge.step(good(rpm=0), 69_999).state is State.RUNNING
    assert judge.step(good(rpm=0), 70_000).state is State.IDLE


def test_a_bad_input_makes_the_state_unknown_and_is_named():
    judge = StateJudge(SPINDLE)
    judge.step(good(alarm=False, rpm=0), 0)
    lost = Sample("alarm", None, 1, Quality.BAD, Reason.TIMEOUT)

    report = judge.step({**good(rpm=0), "alarm": lost}, 1_000)

    assert (report.state, report.reason) == (State.UNKNOWN, INPUTS_UNKNOWN)
    assert report.evidence == "alarm has no value (timeout)"


def test_an_earlier_rule_that_counts_needs_no_input_of_a_later_one():
    judge = StateJudge(SPINDLE)

    assert judge.step(good(alarm=True), 0).state is State.DOWN


def test_after_a_gap_a_hold_begins_again():
    judge = StateJudge(SPINDLE)
    judge.step(good(alarm=False, rpm=0), 0)
    judge.step(good(alarm=False, rpm=100), 1_000)
    assert judge.step(good(alarm=False, rpm=100), 6_000).state is State.RUNNING
    judge.step(good(alarm=False), 7_000)

    assert judge.step(good(alarm=False, rpm=100), 8_000).reason == SETTLING
    assert judge.step(good(alarm=False, rpm=100), 12_999).reason == SETTLING
    assert judge.step(good(alarm=False, rpm=100), 13_000).state is State.RUNNING


def test_without_rules_nothing_is_claimed():
    report = StateJudge([]).step(good(rpm=1), 5)

    assert (report.state, report.reason, report.since_ms) == (State.UNKNOWN, NO_RULE, 5)


def test_another_reason_for_the_same_state_keeps_its_beginning():
    judge = StateJudge(
        [Rule(parse("a"), State.DOWN, "alarm-a"), Rule(parse("b"), State.DOWN, "alarm-b")]
    )
    judge.step(good(a=1, b=1), 1_000)

    report = judge.step(good(a=0, b=1), 2_000)

    assert (report.reason, report.since_ms, report.evidence) == ("alarm-b", 1_000, "b 1")


def test_a_clock_set_back_does_not_stretch_a_hold():
    judge = StateJudge(SPINDLE)
    judge.step(good(alarm=False, rpm=0), 100_000)
    judge.step(good(alarm=False, rpm=100), 101_000)

    judge.step(good(alarm=False, rpm=100), 1_000)

    assert judge.deadline_ms == 6_000
    assert judge.step(good(alarm=False, rpm=100), 6_000).state is State.RUNNING


def counting(history, hold_ms, release_ms):
    """Say from the whole past whether a rule counts, step by step: the definition, slowly."""
    counts = False
    answers = []
    for end, (now_ms, truth) in enumerate(history):
        if truth is None:
            counts = False
            answers.append("unknown")
            continue
        begin = end
        while begin > 0 and history[begin - 1][1] is truth:
            begin -= 1
        lasted_ms = now_ms - history[begin][0]
        if truth and lasted_ms >= hold_ms:
            counts = True
        if not truth and lasted_ms >= release_ms:
            counts = False
        watched = begin > 0 and history[begin - 1][1] is not None
        if counts:
            answers.append("counts")
        else:
            answers.append("settling" if truth and not watched else "not")
    return answers


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([True, False, True, False, None])),
        min_size=1,
        max_size=25,
    ),
    st.integers(0, 60),
    st.integers(0, 60),
)
@settings(max_examples=2_000, deadline=None)
def test_holds_and_releases_agree_with_a_direct_reading_of_the_past(steps, hold_ms, release_ms):
    now_ms, history = 0, []
    for wait_ms, truth in steps:
        now_ms += wait_ms
        history.append((now_ms, truth))
    judge = StateJudge(
        [Rule(parse("a"), State.RUNNING, "", hold_ms, release_ms), Rule(None, State.IDLE)]
    )

    reports = [
        judge.step({} if truth is None else good(a=truth), moment) for moment, truth in history
    ]

    said = {
        (State.RUNNING, ""): "counts",
        (State.IDLE, ""): "not",
        (State.UNKNOWN, SETTLING): "settling",
        (State.UNKNOWN, INPUTS_UNKNOWN): "unknown",
    }
    answers = [said[report.state, report.reason] for report in reports]
    assert answers == counting(history, hold_ms, release_ms)
    for (before, after), (left, right) in zip(pairwise(reports), pairwise(answers), strict=True):
        assert (after is before) == (left == right)


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=15))
@settings(max_examples=500, deadline=None)
def test_stepping_only_at_changes_and_deadlines_misses_no_state(steps):
    rules = [Rule(parse("a"), State.RUNNING, "", 25, 35), Rule(None, State.IDLE)]
    eager, lazy = StateJudge(rules), StateJudge(rules)
    now_ms = 0
    for lasting_ms, truth in steps:
        inputs = good(a=truth)
        told = lazy.step(inputs, now_ms)
        for moment_ms in range(now_ms, now_ms + lasting_ms):
            if lazy.deadline_ms == moment_ms:
                told = lazy.step(inputs, moment_ms)
            assert eager.step(inputs, moment_ms) == told
        now_ms += lasting_ms


PUMP = [
    Rule(
        parse("power > 1.2"), State.RUNNING, hold_ms=5_000, release_ms=2_000,
        until=parse("power < 0.8"),
    ),
    Rule(None, State.IDLE),
]  # fmt: skip


def test_a_rule_with_an_end_of_its_own_does_not_flicker_between_the_two_thresholds():
    judge = StateJudge(PUMP)
    judge.step(good(power=0.1), 0)
    judge.step(good(power=1.3), 1_000)
    assert judge.step(good(power=1.3), 6_000).state is State.RUNNING

    for moment_ms, power in ((7_000, 1.0), (20_000, 1.3), (30_000, 0.81)):
        assert judge.step(good(power=power), moment_ms).state is State.RUNNING
    assert judge.step(good(power=0.79), 31_000).state is State.RUNNING
    assert judge.deadline_ms == 33_000
    assert judge.step(good(power=0.79), 33_000).state is State.IDLE
    assert judge.step(good(power=1.1), 60_000).state is State.IDLE


def test_between_the_thresholds_the_evidence_is_that_the_end_is_not_reached():
    rules = [Rule(parse("alarm"), State.DOWN), *PUMP]
    judge = StateJudge(rules)
    judge.step(good(power=0.1, alarm=0), 0)
    judge.step(good(power=1.3, alarm=0), 1_000)
    assert judge.step(good(power=1.3, alarm=1), 6_000).state is State.DOWN

    assert judge.step(good(power=1.0, alarm=0), 7_000).evidence == "not power 1 < 0.8"
    assert judge.step(good(power=0.5, alarm=1), 8_000).state is State.DOWN
    report = judge.step(good(power=0.5, alarm=0), 9_000)
    assert (report.state, report.evidence) == (
        State.RUNNING,
        "power 0.5 < 0.8, not yet for 2 s",
    )


def test_the_end_of_a_rule_is_one_of_its_inputs():
    rule = Rule(parse("a > 1"), State.RUNNING, until=parse("b < 1"))
    judge = StateJudge([rule])

    report = judge.step(good(a=5), 0)

    assert rule.signals == {"a", "b"}
    assert (report.reason, report.evidence) == (INPUTS_UNKNOWN, "b was never read")


class Past:
    """What a rule with two thresholds says of a power curve: the definition, read off the past."""

    def __init__(self, curve, begins, ends, hold):
        self._known = [power is not None for power in curve]
        self._begins = [power is not None and begins(power) for power in curve]
        self._ends = [power is not None and ends(power) for power in curve]
        self._hold = hold

    def _throughout(self, told, first, last):
        return all(told[first : last + 1])

    def counts(self, now):
        """Some span as long as the hold fulfilled it, and none as long has ended it since."""
        for first in range(now - self._hold, -1, -1):
            begun = first + self._hold
            if not self._throughout(self._known, first, now):
                return False
            if self._throughout(self._begins, first, begun):
                return not any(
                    self._throughout(self._ends, at, at + self._hold)
                    for at in range(begun + 1, now - self._hold + 1)
                )
        return False

    def settles(self, now):
        """It is fulfilled ever since somebody looked, which is not as long as the hold."""
        first = now
        while first > 0 and self._begins[first - 1]:
            first -= 1
        return self._begins[now] and (first == 0 or not self._known[first - 1])


def by_power(curve, now, off, runs):
    if curve[now] is None:
        return State.UNKNOWN
    for past, state in ((off, State.OFF), (runs, State.RUNNING)):
        if past.counts(now):
            return state
        if past.settles(now):
            return State.UNKNOWN
    return State.IDLE


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 3, 5, 7, 8, 9, 10, None]), st.integers(1, 9)),
        min_size=1,
        max_size=14,
    ),
    st.integers(0, 6),
    st.integers(0, 3),
)
@settings(max_examples=1_500, deadline=None)
def test_a_power_curve_is_judged_as_a_reading_of_its_whole_past_would(pieces, hold, hysteresis):
    curve = [power for power, lasting in pieces for _ in range(lasting)]
    judge = StateJudge(
        [
            Rule(parse("p < 2"), State.OFF, "", hold, hold, parse(f"p >= {2 + hysteresis}")),
            Rule(parse("p > 8"), State.RUNNING, "", hold, hold, parse(f"p <= {8 - hysteresis}")),
            Rule(None, State.IDLE),
        ]
    )
    off = Past(curve, lambda p: p < 2, lambda p: p >= 2 + hysteresis, hold)
    runs = Past(curve, lambda p: p > 8, lambda p: p <= 8 - hysteresis, hold)

    for now, power in enumerate(curve):
        inputs = {} if power is None else good(p=power)
        assert judge.step(inputs, now).state is by_power(curve, now, off, runs), (curve, now)


def test_evidence_is_written_for_people():
    condition = parse("load > 0.1")

    assert explain(condition, {"load": 0.1 + 0.2}) == "load 0.3 > 0.1"
    assert explain(condition, {"load": 1234.5678}) == "load 1234.57 > 0.1"
