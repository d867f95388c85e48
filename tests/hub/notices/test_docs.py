"""What docs/events.md tells receivers works as it stands there."""

import re
from pathlib import Path

import yaml

from hub.coordination.events import SHARED_AS, Event, as_cloud_event
from hub.coordination.jobs.job_rules import DONE
from hub.notice_settings import Notices
from hub.notices.retry import FAILURES_MAX, FIRST_S, KEPT_MS, LONGEST_S, REFUSALS_MAX
from hub.notices.signing import Secrets

PAGE = Path(__file__).parents[3].joinpath("docs/events.md").read_text(encoding="utf-8")


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def test_the_verification_on_the_page_accepts_ours_and_nothing_else():
    names = {}
    exec(block("python"), names)  # noqa: S102 (the page's own words are what is tested)
    secrets, body = Secrets(bytes(32)), b'{"a":1}'
    secret = secrets.secret("hook1", 1)
    head = secrets.headers("hook1", 1, message="7-abc", time_s=1000, body=body)

    assert names["verify"](secret, head, body, now=lambda: 1100)
    assert not names["verify"](secret, head, body, now=lambda: 1400)
    assert not names["verify"](secret, head, body + b" ", now=lambda: 1100)
    assert not names["verify"](secrets.secret("hook2", 1), head, body, now=lambda: 1100)


def test_the_settings_on_the_page_are_settings():
    told = yaml.safe_load(block("yaml"))

    assert len(Notices.model_validate(told["notices"]).mail.recipients) == 2


def test_the_example_has_the_fields_of_an_event():
    told = as_cloud_event(Event(4711, "reservation.at_risk", 0, "a", "b", "c", {}), "/x")
    found = yaml.safe_load(block("json"))

    assert set(found) == set(told)


def test_figures_and_words_of_the_page_are_those_of_the_program():
    assert (KEPT_MS, FIRST_S, LONGEST_S) == (3 * 86_400_000, 1.0, 900.0)
    assert f"5xx: {FAILURES_MAX} times" in PAGE
    assert f"redirects too: {REFUSALS_MAX} times" in PAGE
    assert f"`job.created changed {' '.join(DONE.values())}`" in PAGE
    assert all(f"`{family}`" in PAGE for family in SHARED_AS)
