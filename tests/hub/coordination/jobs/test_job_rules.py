"""A job is only ever where its rules lead, whatever is done to it in whatever order."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.coordination.jobs.job_rules import (
    Action,
    IllegalTransitionError,
    NoMachineError,
    NoSuchStepError,
    act,
    edit,
    remaining,
    status_of,
)
from hub.store.jobs import Job, JobStatus, Step, StepStatus

S = JobStatus
ENDED = {S.CLOSED, S.CANCELLED}


def job(*machines, status=S.DRAFT):
    steps = tuple(Step(n, "milling", "ota", m) for n, m in enumerate(machines, 1))
    return Job("j1", "ota", "A-1", "bracket", 10, status, steps)


def after(start, *actions, now_ms=0):
    for action in actions:
        start = act(start, Action(action), step=None, machine=None, now_ms=now_ms).job
    return start


@pytest.mark.parametrize(
    ("actions", "status"),
    [
        (["plan"], S.PLANNED),
        (["plan", "queue"], S.QUEUED),
        (["queue"], S.QUEUED),
        (["plan", "start"], S.RUNNING),
        (["queue", "start", "hold"], S.HELD),
        (["queue", "start", "hold", "start"], S.RUNNING),
        (["queue", "start", "finish"], S.QUEUED),
        (["queue", "start", "start", "hold"], S.RUNNING),
        (["queue", "start", "finish", "start", "finish"], S.COMPLETED),
        (["queue", "start", "finish", "start", "finish", "close"], S.CLOSED),
        (["queue", "start", "hold", "finish", "start", "finish"], S.COMPLETED),
        (["cancel"], S.CANCELLED),
        (["queue", "start", "cancel"], S.CANCELLED),
    ],
)
def test_a_job_goes_the_way_of_its_steps(actions, status):
    assert after(job("mc-1", "mc-2"), *actions).status is status


@pytest.mark.parametrize(
    "actions",
    [
        ["start"],
        ["hold"],
        ["finish"],
        ["close"],
        ["plan", "plan"],
        ["queue", "plan"],
        ["queue", "close"],
        ["queue", "start", "finish", "finish"],
        ["queue", "start", "start", "start"],
        ["cancel", "start"],
        ["cancel", "cancel"],
        ["queue", "start", "finish", "start", "finish", "cancel"],
    ],
)
def test_no_other_way_is_open(actions):
    before = after(job("mc-1", "mc-2"), *actions[:-1])
    with pytest.raises(IllegalTransitionError):
        after(before, actions[-1])


def test_a_step_is_started_on_a_machine_or_not_at_all():
    with pytest.raises(NoMachineError):
        act(job(None, status=S.QUEUED), Action.START, step=None, machine=None, now_ms=0)
    started = act(job(None, status=S.QUEUED), Action.START, step=1, machine="mc-9", now_ms=0)
    assert started.step.machine == "mc-9"
    with pytest.raises(NoSuchStepError):
        act(job("mc-1", status=S.QUEUED), Action.START, step=2, machine=None, now_ms=0)


def test_a_job_without_steps_stays_a_draft():
    for action in (Action.PLAN, Action.QUEUE):
        with pytest.raises(IllegalTransitionError):
            act(job(), action, step=None, machine=None, now_ms=0)


ORDERS = st.lists(
    st.tuples(st.sampled_from(Action), st.none() | st.integers(1, 4), st.none() | st.just("mc-9")),
    max_size=25,
)


@given(st.lists(st.none() | st.sampled_from(["mc-1", "mc-2"]), max_size=4), ORDERS)
def test_whatever_is_done_the_job_and_its_steps_agree(machines, orders):
    now = job(*machines)
    for action, step, machine in orders:
        try:
            then = act(now, action, step=step, machine=machine, now_ms=5).job
        except (IllegalTransitionError, NoMachineError, NoSuchStepError):
            continue
        assert now.status not in ENDED
        assert (then.version, then.changed_ms) == (now.version + 1, 5)
        assert [s.seq for s in then.steps] == [s.seq for s in now.steps]
        for old, new in zip(now.steps, then.steps, strict=True):
            assert old.status is not StepStatus.DONE or new.status is StepStatus.DONE
            assert new.status is not StepStatus.RUNNING or new.machine
        found = [s.status for s in then.steps]
        assert (then.status is S.RUNNING) == (StepStatus.RUNNING in found)
        if then.status in {S.QUEUED, S.HELD, S.COMPLETED}:
            assert then.status is status_of(then.steps)
        if then.status is S.CLOSED:
            assert set(found) == {StepStatus.DONE}
        now = then


def test_what_has_begun_cannot_be_edited_away():
    running = after(job("mc-1", "mc-2"), "queue", "start")
    fine = replace(running, part="other", quantity=20, steps=(*running.steps, Step(3, "x", "ota")))

    changed = edit(running, fine, 7)
    assert (changed.part, changed.quantity, changed.status) == ("other", 20, S.RUNNING)
    assert [s.status for s in changed.steps][:2] == [StepStatus.RUNNING, StepStatus.WAITING]
    for steps in (running.steps[1:], (replace(running.steps[0], process="y"), running.steps[1])):
        with pytest.raises(IllegalTransitionError):
            edit(running, replace(running, steps=steps), 7)


def test_an_edit_cannot_change_whose_job_it_is_or_where_it_stands():
    running = after(job("mc-1"), "queue", "start")
    sly = replace(
        running,
        id="j2",
        site="suwa",
        number="B",
        status=S.CLOSED,
        version=99,
        steps=(replace(running.steps[0], status=StepStatus.DONE, good=99.0, machine="mc-7"),),
    )

    assert edit(running, sly, 7) == replace(running, version=running.version + 1, changed_ms=7)


@pytest.mark.parametrize("status", [S.COMPLETED, S.CLOSED, S.CANCELLED])
def test_what_is_over_cannot_be_changed(status):
    with pytest.raises(IllegalTransitionError):
        edit(job("mc-1", status=status), job("mc-1"), 0)


@given(st.integers(1, 10**9), st.floats(0, 1e9), st.floats(0, 1e9))
def test_never_less_than_nothing_remains(quantity, before, made):
    left = remaining(
        replace(job("mc-1"), quantity=quantity), Step(1, "x", "ota", good=before), made
    )

    assert 0 <= left <= quantity
    assert (left == 0) == (int(before + made) >= quantity)
