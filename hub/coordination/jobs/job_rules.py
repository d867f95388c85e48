"""What may become of a job, and what each word does to it (pure).

    draft ─plan─► planned ─queue─► queued ─start─► running ─finish─► completed ─close─► closed
                     └────────start────────────────►│  ▲
                                              hold  ▼  │ start
                                                   held

A job runs while one of its steps does; it is held while none runs and one is held; it goes back to
queued when a step is done and others are still to come. Cancelling ends it from anywhere before
completed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from hub.store.jobs import Job, JobStatus, Step, StepStatus


class Action(StrEnum):
    """What somebody can do with a job."""

    PLAN = "plan"
    QUEUE = "queue"
    START = "start"
    HOLD = "hold"
    FINISH = "finish"
    CLOSE = "close"
    CANCEL = "cancel"


DONE: Final[Mapping[Action, str]] = {
    Action.PLAN: "planned",
    Action.QUEUE: "queued",
    Action.START: "started",
    Action.HOLD: "held",
    Action.FINISH: "finished",
    Action.CLOSE: "closed",
    Action.CANCEL: "cancelled",
}
"""How an event calls what was done: ``job.started``."""

FROM: Final[Mapping[Action, frozenset[JobStatus]]] = {
    Action.PLAN: frozenset({JobStatus.DRAFT}),
    Action.QUEUE: frozenset({JobStatus.DRAFT, JobStatus.PLANNED}),
    Action.START: frozenset(
        {JobStatus.PLANNED, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.HELD}
    ),
    Action.HOLD: frozenset({JobStatus.RUNNING}),
    Action.FINISH: frozenset({JobStatus.RUNNING, JobStatus.HELD}),
    Action.CLOSE: frozenset({JobStatus.COMPLETED}),
    Action.CANCEL: frozenset(
        {
            JobStatus.DRAFT,
            JobStatus.PLANNED,
            JobStatus.QUEUED,
            JobStatus.RUNNING,
            JobStatus.HELD,
        }
    ),
}
"""From which status each action may be taken."""

STEP_FROM: Final[Mapping[Action, Sequence[StepStatus]]] = {
    Action.START: (StepStatus.HELD, StepStatus.WAITING),
    Action.HOLD: (StepStatus.RUNNING,),
    Action.FINISH: (StepStatus.RUNNING, StepStatus.HELD),
}
"""From which status of a step; without a step named, the first of the earliest status is meant."""

EDITABLE: Final = frozenset(JobStatus) - {
    JobStatus.COMPLETED,
    JobStatus.CLOSED,
    JobStatus.CANCELLED,
}


class IllegalTransitionError(Exception):
    """The job, or its step, is not in a status in which this can be done."""


class NoSuchStepError(Exception):
    """The job has no step of this number."""


class NoMachineError(Exception):
    """Nobody said on which machine the step is made."""


@dataclass(frozen=True, slots=True)
class Done:
    """A job after an action, and the step that it was about."""

    job: Job
    step: Step | None = None


def act(job: Job, action: Action, *, step: int | None, machine: str | None, now_ms: int) -> Done:
    """Give the job after an action.

    Raises:
        IllegalTransitionError: not from this status.
        NoSuchStepError: there is no such step.
        NoMachineError: the step that starts has no machine.
    """
    if job.status not in FROM[action]:
        raise IllegalTransitionError(f"a {job.status} job cannot {_verb(action)}")
    if action in STEP_FROM:
        return _act_on_step(job, action, step, machine, now_ms)
    status = _TARGET[action]
    if action in {Action.PLAN, Action.QUEUE} and not job.steps:
        raise IllegalTransitionError("a job without steps stays a draft")
    steps = _stopped(job.steps) if action is Action.CANCEL else job.steps
    return Done(_next(job, status, steps, now_ms))


def edit(job: Job, changed: Job, now_ms: int) -> Job:
    """Give the job with the facts of `changed`; steps that were begun stay as they are.

    Raises:
        IllegalTransitionError: the job is over, or a step that was begun would change or go.
    """
    if job.status not in EDITABLE:
        raise IllegalTransitionError(f"a {job.status} job cannot be changed any more")
    new = {each.seq: each for each in changed.steps}
    for begun in (each for each in job.steps if each.status is not StepStatus.WAITING):
        after = new.get(begun.seq)
        if after is None or _place(after) != _place(begun):
            raise IllegalTransitionError(f"step {begun.seq} has begun and cannot change")
        new[begun.seq] = replace(
            after, status=begun.status, good=begun.good, scrap=begun.scrap, machine=begun.machine
        )
    if not changed.steps and job.status is not JobStatus.DRAFT:
        raise IllegalTransitionError("a job without steps stays a draft")
    steps = tuple(new[seq] for seq in sorted(new))
    status = job.status
    if status not in {JobStatus.DRAFT, JobStatus.PLANNED}:
        status = status_of(steps)
        if status is JobStatus.COMPLETED:
            raise IllegalTransitionError("the steps left are all done; finish the job instead")
    return replace(
        _next(job, status, steps, now_ms),
        part=changed.part,
        quantity=changed.quantity,
        due_ms=changed.due_ms,
        external_ref=changed.external_ref,
        note=changed.note,
    )


def status_of(steps: Sequence[Step]) -> JobStatus:
    """Give the status of a released job by its steps."""
    found = {step.status for step in steps}
    if StepStatus.RUNNING in found:
        return JobStatus.RUNNING
    if StepStatus.HELD in found:
        return JobStatus.HELD
    return JobStatus.QUEUED if StepStatus.WAITING in found else JobStatus.COMPLETED


def remaining(job: Job, step: Step, made: float) -> int:
    """Tell how many parts are still to be made in a step; never less than none."""
    return max(0, job.quantity - int(step.good + made))


def _act_on_step(
    job: Job, action: Action, seq: int | None, machine: str | None, now_ms: int
) -> Done:
    chosen = _choose(job, action, seq)
    if action is Action.START:
        place = machine or chosen.machine
        if place is None:
            raise NoMachineError(f"step {chosen.seq} has no machine yet: say which")
        after = replace(chosen, status=StepStatus.RUNNING, machine=place)
    elif action is Action.HOLD:
        after = replace(chosen, status=StepStatus.HELD)
    else:
        after = replace(chosen, status=StepStatus.DONE)
    steps = tuple(after if each.seq == chosen.seq else each for each in job.steps)
    return Done(_next(job, status_of(steps), steps, now_ms), after)


def _choose(job: Job, action: Action, seq: int | None) -> Step:
    allowed = STEP_FROM[action]
    if seq is not None:
        named = next((each for each in job.steps if each.seq == seq), None)
        if named is None:
            raise NoSuchStepError(f"the job has no step {seq}")
        if named.status not in allowed:
            raise IllegalTransitionError(f"step {seq} is {named.status} and cannot {action}")
        return named
    for status in allowed:
        for each in job.steps:
            if each.status is status:
                return each
    raise IllegalTransitionError(f"no step of the job can {action} now")


def _next(job: Job, status: JobStatus, steps: tuple[Step, ...], now_ms: int) -> Job:
    return replace(job, status=status, steps=steps, version=job.version + 1, changed_ms=now_ms)


def _verb(action: Action) -> str:
    return f"{action}" if action in {Action.START, Action.FINISH} else f"be {DONE[action]}"


def _place(step: Step) -> tuple[str, str]:
    return (step.process, step.site)


def _stopped(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """What runs is held when its job is cancelled: nothing stays on a machine."""
    return tuple(
        replace(each, status=StepStatus.HELD) if each.status is StepStatus.RUNNING else each
        for each in steps
    )


_TARGET: Final[Mapping[Action, JobStatus]] = {
    Action.PLAN: JobStatus.PLANNED,
    Action.QUEUE: JobStatus.QUEUED,
    Action.CLOSE: JobStatus.CLOSED,
    Action.CANCEL: JobStatus.CANCELLED,
}
