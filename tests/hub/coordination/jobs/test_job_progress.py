"""Parts are counted right although counters are reset, go bad, or belong to several."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Quality, Reason
from hub.coordination.jobs.job_progress import CYCLES_MIN, Meter, advance, counters
from hub.live import SignalValue


def signal(value, *, at_ms=0, name="parts", counts="good", quality=Quality.GOOD):
    return SignalValue(name, value, at_ms, at_ms, quality, Reason.NONE, counts=counts)


def read(meter, *values, at_ms=0):
    meter.read(
        {
            v.signal: v
            for v in (
                signal(x, at_ms=at_ms) if not isinstance(x, SignalValue) else x for x in values
            )
        }
    )


@given(st.integers(0, 10**6), st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60))
def test_what_is_made_is_what_the_machine_made_across_resets(first, course):
    """Between two looks a machine makes parts, or is set back to zero and then makes parts.

    One that makes as many parts after being set back as it showed before cannot be told from one
    that made none; nobody could.
    """
    counter, made, meter = first, 0, Meter()
    read(meter, counter)
    for parts, reset in course:
        if reset and counter > 0:
            told = min(parts, counter - 1)
            counter = told
        else:
            told = parts
            counter += told
        made += told
        read(meter, counter)
    assert meter.made == made


@given(st.floats(0, 1e12), st.floats(-1e12, 1e12))
def test_an_advance_is_never_negative(before, now):
    assert advance(before, now) >= 0


def test_the_count_at_the_beginning_is_not_this_job_s():
    meter = Meter()
    read(meter, 5000)
    read(meter, 5003)

    assert meter.made == 3


def test_each_counter_is_followed_by_itself():
    meter = Meter()
    read(meter, signal(100, name="a"), signal(7, name="b"))
    read(meter, signal(102, name="a"), signal(0, name="b"))
    read(meter, signal(103, name="a"), signal(2, name="b"))

    assert meter.made == 5


def test_bad_values_other_sorts_and_words_say_nothing():
    meter = Meter()
    read(meter, 10)
    read(meter, signal(0, quality=Quality.BAD))
    read(meter, signal(99, counts="scrap"))
    read(meter, signal("many"))
    read(meter, signal(None))
    read(meter, 12)

    assert meter.made == 2
    assert counters({"a": signal(1), "b": signal(1, counts="scrap")}, "good") == ["a"]


def test_who_has_counted_more_is_right():
    meter = Meter()
    read(meter, 10)
    meter.at_least(7)
    read(meter, 11)
    meter.at_least(3)

    assert meter.made == 8


def test_the_cycle_is_the_median_of_the_last_ones():
    meter = Meter()
    read(meter, 0, at_ms=0)
    for count, at_s in ((1, 10), (2, 70), (3, 130), (4, 900)):
        assert meter.cycle_s is None
        read(meter, count, at_ms=at_s * 1000)
    assert meter.cycle_s == 60.0
    assert CYCLES_MIN == 3


def test_two_parts_at_once_took_half_the_time_each():
    meter = Meter()
    for count in range(0, 10, 2):
        read(meter, count, at_ms=count * 30_000)

    assert meter.cycle_s == 30.0
