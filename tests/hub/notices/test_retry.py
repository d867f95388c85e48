"""A receiver that is away is waited for; one notice that it refuses holds the others up briefly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.notices.retry import (
    FAILURES_MAX,
    KEPT_MS,
    LONGEST_S,
    REFUSALS_MAX,
    Attempt,
    Fate,
    back_off_s,
    judge,
)


def fate(status, *, tries=1, age_ms=0, retry_after_s=None):
    return judge(Attempt(status, retry_after_s), tries=tries, age_ms=age_ms, jitter=0.0).fate


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success_is_success_however_late(status):
    assert fate(status, tries=10_000, age_ms=10 * KEPT_MS) is Fate.DELIVERED


@pytest.mark.parametrize("status", [None, 429, 408, 425])
def test_who_is_away_or_busy_is_waited_for_three_days(status):
    assert fate(status, tries=10_000, age_ms=KEPT_MS - 1) is Fate.AGAIN
    assert fate(status, tries=1, age_ms=KEPT_MS) is Fate.DEAD


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 422, 499])
def test_a_refusal_means_this_notice_and_soon_makes_room(status):
    assert fate(status, tries=REFUSALS_MAX - 1) is Fate.AGAIN
    assert fate(status, tries=REFUSALS_MAX) is Fate.DEAD


@pytest.mark.parametrize("status", [500, 502, 503, 599])
def test_a_failure_may_mean_this_notice_and_makes_room_after_hours(status):
    assert fate(status, tries=FAILURES_MAX - 1) is Fate.AGAIN
    assert fate(status, tries=FAILURES_MAX) is Fate.DEAD


def test_gone_is_gone():
    assert fate(410) is Fate.STOP


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_and_are_bounded(tries, jitter):
    pause = back_off_s(tries, jitter)

    assert 0.5 <= pause <= LONGEST_S
    assert back_off_s(tries + 1, 0) >= back_off_s(tries, 0)


@given(st.integers(1, FAILURES_MAX - 1), st.integers(0, 10**9))
def test_a_receiver_that_names_a_time_is_not_asked_before(tries, retry_after_s):
    verdict = judge(Attempt(503, retry_after_s), tries=tries, age_ms=0, jitter=0.0)

    assert verdict.wait_s >= min(retry_after_s, KEPT_MS / 1000)
    assert verdict.wait_s <= max(LONGEST_S, KEPT_MS / 1000)
