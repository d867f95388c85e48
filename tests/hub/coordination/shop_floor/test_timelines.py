"""What people say is laid over what sensors said: nothing is lost, and nothing is covered up.

- Labels change reasons and sources only: states, their order and the time they cover stay.
- The last label wins at every instant; one without a reason takes the others back.
- What people said of a machine without sensors fills what the history leaves open, and no more.
- The catalogue names every reason in both languages, each once, with a bucket.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import State
from hub.coordination.shop_floor.buckets import Bucket
from hub.coordination.shop_floor.reasons import standard
from hub.coordination.shop_floor.timelines import clipped, fill, quiet_end, relabelled
from hub.historian import Span, StateInterval
from hub.store.manual_states import ManualState
from hub.store.reasons import Label

LAST = 40
WORDS = st.sampled_from((State.RUNNING, State.DOWN, State.IDLE))


@st.composite
def histories(draw):
    """Make contiguous intervals from 0, the last one open."""
    edges = sorted(draw(st.sets(st.integers(1, LAST), max_size=6)))
    starts = [0, *edges]
    return [
        StateInterval(start, end, draw(WORDS), f"r{n}", "e", "edge")
        for n, (start, end) in enumerate(zip(starts, [*edges, None], strict=True))
    ]


def label(start, end, reason):
    return Label("ota", "mc-1", start, end, reason, "", "", 0, "key:a")


labels = st.lists(
    st.builds(
        lambda start, length, reason: label(start, start + length, reason),
        st.integers(0, LAST),
        st.integers(1, 10),
        st.none() | st.sampled_from(("break", "repair")),
    ),
    max_size=6,
)


def at(intervals, time_ms):
    found = [
        i for i in intervals if i.start_ms <= time_ms and (i.end_ms is None or time_ms < i.end_ms)
    ]
    assert len(found) <= 1
    return found[0] if found else None


@settings(max_examples=200, deadline=None)
@given(histories(), labels)
def test_the_last_label_wins_at_every_instant_and_states_stay(history, told):
    made = relabelled(history, told)
    assert made == sorted(made, key=lambda i: i.start_ms)
    for time_ms in range(LAST + 15):
        original, shown = at(history, time_ms), at(made, time_ms)
        assert (shown.state, shown.evidence) == (original.state, original.evidence)
        last = [x for x in told if x.start_ms <= time_ms < x.end_ms][-1:]
        if last and last[0].reason:
            assert (shown.reason, shown.source) == (last[0].reason, "operator")
        else:
            assert (shown.reason, shown.source) == (original.reason, "edge")


def test_a_label_without_an_end_holds_as_long_as_the_state_that_it_is_about():
    history = [
        StateInterval(0, 10, State.DOWN, "", "", "edge"),
        StateInterval(10, None, State.IDLE, "", "", "edge"),
    ]
    made = relabelled(history, [label(4, None, "repair")])
    assert [(i.start_ms, i.end_ms, i.reason) for i in made] == [
        (0, 4, ""),
        (4, 10, "repair"),
        (10, None, ""),
    ]
    lasting = relabelled(history, [label(12, None, "no-order")])
    assert [(i.start_ms, i.end_ms, i.reason) for i in lasting][1:] == [
        (10, 12, ""),
        (12, None, "no-order"),
    ]


def test_what_still_lasts_is_unknown_from_where_nobody_has_heard():
    running = StateInterval(0, None, State.RUNNING, "", "", "edge")
    made = quiet_end([running], 7, Span(0, 20))
    assert [(i.start_ms, i.end_ms, i.state) for i in made] == [
        (0, 7, "running"),
        (7, None, "unknown"),
    ]
    assert quiet_end([running], 0, Span(0, 20))[0].state is State.UNKNOWN
    assert quiet_end([running], None, Span(0, 20)) == [running]
    assert quiet_end([running], 20, Span(0, 20)) == [running]


def said(start, until, state):
    return ManualState("ota", "hand-1", start, until, state, "", start, "key:a")


def test_what_people_said_fills_what_the_history_leaves_open_and_no_more():
    sensors = [StateInterval(30, None, State.DOWN, "", "", "edge")]
    told = [said(0, 20, "running"), said(10, 40, "idle"), said(35, 60, "setup")]
    made = fill(sensors, told, Span(0, 50), now_ms=50)
    assert [(i.start_ms, i.end_ms, i.state.value, i.source) for i in made] == [
        (0, 10, "running", "operator"),
        (10, 30, "idle", "operator"),
        (30, None, "down", "edge"),
    ]
    alone = fill([], told, Span(5, 50), now_ms=45)
    assert [(i.start_ms, i.end_ms) for i in alone] == [(5, 10), (10, 35), (35, None)]


def test_what_is_over_before_a_span_is_left_out():
    history = [
        StateInterval(0, 10, State.DOWN, "", "", "edge"),
        StateInterval(10, None, State.IDLE, "", "", "edge"),
    ]
    assert [i.start_ms for i in clipped(history, Span(10, 20))] == [10]
    assert [i.start_ms for i in clipped(history, Span(5, 20))] == [5, 10]


def test_every_reason_has_both_names_a_group_and_a_bucket():
    catalogue = standard()
    groups = {group.code for group in catalogue.groups}
    assert len(catalogue.reasons) > 30
    for reason in (*catalogue.reasons.values(), *catalogue.groups):
        assert reason.name["ja"], reason
        assert reason.name["en"], reason
        assert not reason.name["ja"].isascii(), reason
    assert {reason.group for reason in catalogue.reasons.values()} == groups
    assert {"machine-alarm", "no-material"} <= set(catalogue.reasons)
    assert catalogue.bucket_of("break") is Bucket.PDT
    assert catalogue.bucket_of("none-such") is None
