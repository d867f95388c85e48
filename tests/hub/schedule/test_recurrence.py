"""Recurrence rules: the same days as dateutil finds, and nothing that could keep us busy.

- Every rule made of the parts that are read names the days that `dateutil.rrule` generates.
- What is about hours, unknown or malformed is refused with what may be written.
- A rule that never comes true costs no more than one that does.
"""

import time
from datetime import date, datetime, timedelta
from unittest import mock

import dateutil.rrule
import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.schedule import Recurrence, RecurrenceError

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
HORIZON = 800


def some(values, name, most=3):
    return st.lists(values, min_size=1, max_size=most, unique=True).map(
        lambda chosen: f"{name}=" + ",".join(map(str, chosen))
    )


signed = st.integers(-31, 31).filter(bool)
plain_days = st.sampled_from(WEEKDAYS)
nth_days = st.builds(
    lambda n, day: f"{n}{day}", st.integers(-5, 5).filter(bool), st.sampled_from(WEEKDAYS)
)


@st.composite
def rules(draw):
    frequency = draw(st.sampled_from(("DAILY", "WEEKLY", "MONTHLY", "YEARLY")))
    parts = [f"FREQ={frequency}"]
    if draw(st.booleans()):
        parts.append(f"INTERVAL={draw(st.integers(1, 5))}")
    by = []
    if draw(st.booleans()):
        by.append(draw(some(st.integers(1, 12), "BYMONTH")))
    if frequency != "WEEKLY" and draw(st.booleans()):
        by.append(draw(some(signed, "BYMONTHDAY")))
    if draw(st.booleans()):
        # Not both at once, which dateutil reads as "and" where RFC 5545 says "or".
        numbered = frequency in {"MONTHLY", "YEARLY"} and draw(st.booleans())
        by.append(draw(some(nth_days if numbered else plain_days, "BYDAY")))
    if by and frequency in {"MONTHLY", "YEARLY"} and draw(st.booleans()):
        by.append(draw(some(st.sampled_from((-2, -1, 1, 2, 3)), "BYSETPOS", 2)))
    if draw(st.booleans()):
        by.append(f"WKST={draw(plain_days)}")
    return ";".join(parts + by)


@settings(max_examples=200, deadline=None)
@given(rules(), st.dates(date(2019, 12, 1), date(2024, 12, 31)))
def test_a_rule_names_the_days_that_dateutil_generates(text, begin):
    last = begin + timedelta(days=HORIZON)
    midnight = datetime.combine(begin, datetime.min.time())
    with mock.patch.object(dateutil.rrule.datetime, "MAXYEAR", last.year):  # not to 9999
        expected = {at.date() for at in rrulestr(text, dtstart=midnight) if at.date() <= last}
    found = Recurrence.parse(text, begin).days(begin.toordinal() - 5, last.toordinal())
    assert {date.fromordinal(day) for day in found} == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected NAME=VALUE"),
        ("FREQ=HOURLY", "FREQ must be"),
        ("INTERVAL=2", "FREQ must be"),
        ("FREQ=DAILY;BYHOUR=3", "BYHOUR is not among"),
        ("FREQ=DAILY;COUNT=3", "valid_until"),
        ("FREQ=DAILY;UNTIL=20300101", "valid_until"),
        ("FREQ=DAILY;FREQ=DAILY", "twice"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL"),
        ("FREQ=DAILY;INTERVAL=2,3", "INTERVAL must be one"),
        ("FREQ=DAILY;INTERVAL=99999999999999999999", "INTERVAL"),
        ("FREQ=DAILY;INTERVAL=٣", "INTERVAL"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "FREQ=WEEKLY"),
        ("FREQ=WEEKLY;BYDAY=2MO", "numbered BYDAY"),
        ("FREQ=MONTHLY;BYDAY=0MO", "numbered BYDAY"),
        ("FREQ=MONTHLY;BYDAY=MONDAY", "BYDAY must be"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS needs another"),
        ("FREQ=WEEKLY;BYDAY=MO;BYSETPOS=1", "BYSETPOS needs FREQ"),
        ("FREQ=DAILY;WKST=XX", "WKST"),
        ("FREQ=DAILY;" + "X" * 300, "at most"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(text, why):
    with pytest.raises(RecurrenceError, match=why):
        Recurrence.parse(text, date(2026, 1, 1))


def test_a_rule_that_never_comes_true_is_no_work():
    never = Recurrence.parse("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=31;BYSETPOS=-1", date(2000, 1, 1))
    began = time.process_time()
    assert never.days(date(2026, 1, 1).toordinal(), date(2026, 12, 31).toordinal()) == []
    assert time.process_time() - began < 0.5
