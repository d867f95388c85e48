"""Nobody asks without end, guesses without waiting, or fills the memory by it."""

from hypothesis import given
from hypothesis import strategies as st

from hub.access.limits import BackOff, Buckets
from tests.hub.scenes import Clock


def test_a_bucket_gives_its_burst_and_then_its_rate():
    clock = Clock(0)
    bucket = Buckets(rate_per_s=10, burst=5, now_ms=clock)

    assert [bucket.take("a") for _ in range(5)] == [0.0] * 5
    assert bucket.take("a") == 0.1
    clock.now_ms += 99
    assert bucket.take("a") > 0
    clock.now_ms += 1
    assert bucket.take("a") == 0


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=200))
def test_no_way_of_asking_gets_more_than_rate_and_burst(pauses):
    clock = Clock(0)
    bucket = Buckets(rate_per_s=4, burst=3, now_ms=clock)
    given_ = 0
    for pause in pauses:
        clock.now_ms += pause
        given_ += bucket.take("a") == 0

    assert given_ <= 3 + 4 * clock.now_ms / 1000


def test_one_caller_does_not_use_up_anothers():
    bucket = Buckets(rate_per_s=1, burst=1, now_ms=Clock(0))
    bucket.take("a")

    assert bucket.take("a") > 0
    assert bucket.take("b") == 0


def test_a_clock_that_goes_back_gives_nothing_and_breaks_nothing():
    clock = Clock(10_000)
    bucket = Buckets(rate_per_s=1, burst=1, now_ms=clock)
    bucket.take("a")
    clock.now_ms = 0

    assert bucket.take("a") > 0
    clock.now_ms = 1000
    assert bucket.take("a") == 0


def test_memory_is_bounded_however_many_ask():
    clock = Clock(0)
    bucket = Buckets(rate_per_s=1, burst=1, now_ms=clock, keys_max=100)
    back_off = BackOff(longest_s=60, now_ms=clock, keys_max=100)
    for i in range(1000):
        bucket.take(str(i))
        back_off.failed(str(i))

    assert (len(bucket), len(back_off)) == (100, 100)


def test_waiting_doubles_with_every_failure_and_ends():
    clock = Clock(0)
    back_off = BackOff(longest_s=10, now_ms=clock)
    waits = []
    for _ in range(10):
        back_off.failed("a")
        waits.append(back_off.wait_s("a"))

    assert waits == [0, 0, 0, 2, 4, 8, 10, 10, 10, 10]
    clock.now_ms += 10_000
    assert back_off.wait_s("a") == 0


def test_a_success_and_a_quiet_hour_forget_failures():
    clock = Clock(0)
    back_off = BackOff(longest_s=60, now_ms=clock)
    for _ in range(5):
        back_off.failed("a")
        back_off.failed("b")
    back_off.succeeded("a")
    clock.now_ms += 3_600_000
    for key in "ab":
        back_off.failed(key)

    assert (back_off.wait_s("a"), back_off.wait_s("b")) == (0, 0)


def test_a_year_of_failures_is_still_a_number():
    clock = Clock(0)
    back_off = BackOff(longest_s=60, now_ms=clock)
    for _ in range(3000):
        clock.now_ms += 1000
        back_off.failed("a")

    assert back_off.wait_s("a") == 60
