"""Jobs: what is to be made, what is being made where, and how far it is."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from hub.access import Caller, Group, Level, Role, View
from hub.coordination.jobs.job_import import Mistake, UnreadableError
from hub.coordination.jobs.job_rules import DONE, Action, IllegalTransitionError, act, edit
from hub.coordination.jobs.job_runs import RunningJob, Runs
from hub.historian import Historian
from hub.live import Live
from hub.store import Store, Tx, audit, events
from hub.store import jobs as rows
from hub.store.jobs import Asked, Job, JobStatus, Step

JOBS_MAX: Final = 200_000
"""Jobs that one site may have; closed ones count."""
ORDERS_MAX: Final = 10_000
PLANNERS: Final = (Role.PLANNER, Role.SITE_ADMIN)
OPERATORS: Final = (Role.OPERATOR, Role.PLANNER, Role.SITE_ADMIN)


class UnknownJobError(Exception):
    """There is no such job, or it is not shown to this caller."""


class NotYoursError(Exception):
    """The caller may see it, but not do this to it."""


class NumberTakenError(Exception):
    """The site has a job of this number already."""


class TooManyJobsError(Exception):
    """The site has as many jobs as it may have."""


class MachineBusyError(Exception):
    """Another job is on the machine. Its parts and this job's could not be told apart."""


class UnknownPlaceError(Exception):
    """A site or machine is named that nobody knows; `pointer` says where."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.pointer = pointer


class StaleError(Exception):
    """The job has changed since the caller read it."""


@dataclass(frozen=True, slots=True)
class OrderInterval:
    """A job was on a machine in [start_ms, end_ms)."""

    start_ms: int
    end_ms: int
    job: str
    part: str


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody does to a job: at which step, on which machine, with what outcome."""

    action: Action
    step: int | None = None
    machine: str | None = None
    good: float | None = None
    """Parts of this run as a person counted them; without, the machine's counters say it."""
    scrap: float | None = None


class Places(Protocol):
    """Who knows the sites and machines."""

    def site(self, site: str) -> object | None:
        """Give a site, or None."""

    def machine(self, site: str, machine: str) -> object | None:
        """Give a machine, or None."""


class Jobs:
    """Safe to use from any thread. `turn` is to be called about every second."""

    def __init__(
        self,
        store: Store,
        *,
        places: Places,
        live: Live,
        historian: Historian,
        now_ms: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._places = places
        self._now_ms = now_ms
        self._new_id = new_id
        self._runs = Runs(store, live=live, historian=historian, now_ms=now_ms)

    # -- what others ask -------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Grows with every change to any job, after its commit."""
        return self._runs.version

    def running(self, site: str, machine: str) -> RunningJob | None:
        """Give what is on a machine now."""
        return self._runs.running(site, machine)

    def queued(self, site: str, machine: str) -> bool:
        """Tell whether a released job waits for a machine."""
        return self._runs.queued(site, machine)

    def turn(self) -> None:
        """Read the counters of the machines on which jobs are; to be called every second."""
        self._runs.turn()

    def order_intervals(
        self, site: str, machine: str, from_ms: int, to_ms: int
    ) -> list[OrderInterval]:
        """Give when jobs were on a machine, clipped to [from_ms, to_ms), in order."""
        now_ms = self._now_ms()
        with self._store.read() as tx:
            found = rows.runs(tx, site, machine, from_ms=from_ms, to_ms=to_ms, limit=ORDERS_MAX)
        clipped = [
            OrderInterval(
                max(run.start_ms, from_ms),
                min(now_ms if run.end_ms is None else run.end_ms, to_ms),
                job.number,
                job.part,
            )
            for run, job in found
        ]
        return [each for each in clipped if each.start_ms < each.end_ms]

    def find(self, view: View, asked: Asked) -> list[Job]:
        """Give the jobs that a view shows, oldest first, each as far as it shows it."""
        if not view.everything:
            asked = replace(asked, sites=_shown_sites(view))
        with self._store.read() as tx:
            found = rows.find(tx, asked)
        return [shown for job in found if (shown := show(view, job)) is not None]

    def get(self, view: View, id_: str) -> Job:
        """Give one job as far as a view shows it.

        Raises:
            UnknownJobError: there is none, or it is not shown.
        """
        with self._store.read() as tx:
            job = _found(view, rows.get(tx, id_))
        return show(view, job) or job

    # -- what people do --------------------------------------------------------------------

    def create(self, caller: Caller, new: Job) -> Job:
        """Add a job; id, version and times of `new` are given here.

        Raises:
            NotYoursError: the caller does not plan at the job's site, or names a foreign machine.
            NumberTakenError: the site has this number already.
        """
        with self._store.write() as tx:
            return self.add(tx, caller, new)

    def add(self, tx: Tx, caller: Caller, new: Job) -> Job:
        """Do what `create` does, inside a transaction of the caller's."""
        _must_plan(caller, new)
        self._must_exist(new)
        if rows.count(tx, new.site) >= JOBS_MAX:
            raise TooManyJobsError(f"{new.site} has {JOBS_MAX} jobs, the most there may be")
        if rows.numbered(tx, new.site, new.number) is not None:
            raise NumberTakenError(f"{new.site} has a job {new.number} already")
        job = self._stamped(new)
        rows.add(tx, job)
        self._tell(tx, caller, job, None, "created")
        return job

    def import_all(
        self, caller: Caller, found: Sequence[tuple[int, Job]], *, dry_run: bool
    ) -> None:
        """Add the jobs of a table of one site, each with its line: all, or none of them.

        Raises:
            UnreadableError: what stands in the way, by line and column.
            NotYoursError, TooManyJobsError: see there.
        """
        site = found[0][1].site
        with self._store.write() as tx:
            taken = rows.taken(tx, site, [job.number for _, job in found])
            mistakes = [m for line, job in found for m in self._objections(line, job, taken)]
            if mistakes:
                raise UnreadableError(mistakes)
            if rows.count(tx, site) + len(found) > JOBS_MAX:
                raise TooManyJobsError(f"{site} may have {JOBS_MAX} jobs at most")
            for _, job in found:
                _must_plan(caller, job)
                if not dry_run:
                    rows.add(tx, self._stamped(job))
            if not dry_run:
                self._tell_import(tx, caller, site, len(found))

    def change(self, caller: Caller, view: View, changed: Job, version: int) -> Job:
        """Give a job other facts; `version` is the one that the caller has read.

        Raises:
            UnknownJobError, NotYoursError, StaleError, IllegalTransitionError: see there.
        """
        with self._store.write() as tx:
            job = _found(view, rows.get(tx, changed.id))
            if not caller.acts_at(job.site, *PLANNERS):
                raise NotYoursError(f"you do not plan at {job.site}")
            if job.version != version:
                raise StaleError
            new = edit(job, changed, self._now_ms())
            _must_plan(caller, new, before=job)
            self._must_exist(new)
            rows.replace(tx, new)
            self._tell(tx, caller, new, None, "changed")
        return new

    def order(
        self, caller: Caller, view: View, id_: str, order: Order, version: int | None = None
    ) -> Job:
        """Start, hold, finish … a job; `version` is checked when given.

        Raises:
            UnknownJobError, NotYoursError, StaleError, MachineBusyError: see there.
            IllegalTransitionError, NoSuchStepError, NoMachineError: see `job_rules`.
        """
        self._runs.count_now(id_)
        with self._store.write() as tx:
            job = _found(view, rows.get(tx, id_))
            if version is not None and job.version != version:
                raise StaleError
            after = self.carry_out(tx, caller, job, order)
        self._runs.begin(id_)
        return show(view, after) or after

    def carry_out(self, tx: Tx, caller: Caller, job: Job, order: Order) -> Job:
        """Do what `order` says to a job, inside a transaction of the caller's.

        What was made is what the meters say: `Runs.count_now` before the transaction.
        """
        now_ms = self._now_ms()
        done = act(job, order.action, step=order.step, machine=order.machine, now_ms=now_ms)
        _must_act(caller, job, done.step)
        after = done.job
        if order.action is Action.START and done.step is not None:
            self._begin(tx, after, done.step, now_ms)
        elif order.action in {Action.HOLD, Action.FINISH, Action.CANCEL}:
            after = self._end(tx, after, done.step, order, now_ms)
        rows.replace(tx, after)
        self._tell(tx, caller, after, done.step, DONE[order.action])
        return after

    # -- what machines say -----------------------------------------------------------------

    def leave(self, caller: Caller, site: str, machine: str) -> None:
        """Take what is on a machine off it: finished when its quantity is made, else held."""
        running = self.running(site, machine)
        if running is None:
            return
        self._runs.count_now(running.job_id)
        now = self.running(site, machine) or running
        action = Action.HOLD if now.remaining else Action.FINISH
        with self._store.write() as tx:
            job = rows.get(tx, running.job_id)
            if job is not None:
                self.carry_out(tx, caller, job, Order(action, step=running.step))

    def start_by_signal(self, caller: Caller, id_: str, step: Step | None, machine: str) -> None:
        """Put a job on a machine because the machine says so; a draft or a plan is released.

        Raises:
            IllegalTransitionError, MachineBusyError: see there.
        """
        with self._store.write() as tx:
            job = rows.get(tx, id_)
            if job is None:
                return
            if step is None:
                raise IllegalTransitionError("it has no step for this machine")
            if job.status is JobStatus.DRAFT:
                job = self.carry_out(tx, caller, job, Order(Action.QUEUE))
            self.carry_out(tx, caller, job, Order(Action.START, step=step.seq, machine=machine))
        self._runs.begin(id_)

    # -- inside ----------------------------------------------------------------------------

    def _stamped(self, new: Job) -> Job:
        now_ms = self._now_ms()
        return replace(new, id=self._new_id(), version=1, created_ms=now_ms, changed_ms=now_ms)

    def _must_exist(self, job: Job) -> None:
        for pointer, detail in self._unknown(job):
            raise UnknownPlaceError(f"body/{pointer}", detail)

    def _unknown(self, job: Job) -> Iterator[tuple[str, str]]:
        """Name the places of a job that nobody knows, with the field that names each."""
        if self._places.site(job.site) is None:
            yield "site", f"there is no site {job.site}"
        for at, step in enumerate(job.steps):
            if self._places.site(step.site) is None:
                yield f"steps/{at}/site", f"there is no site {step.site}"
            elif step.machine and self._places.machine(step.site, step.machine) is None:
                yield f"steps/{at}/machine", f"there is no machine {step.machine} at {step.site}"

    def _objections(self, line: int, job: Job, taken: Collection[str]) -> Iterator[Mistake]:
        if job.number in taken:
            yield Mistake(line, "number", f"{job.site} has a job {job.number} already")
        for pointer, detail in self._unknown(job):
            yield Mistake(line, pointer.rpartition("/")[2], detail)

    def _begin(self, tx: Tx, job: Job, step: Step, now_ms: int) -> None:
        for run in rows.open_runs(tx):
            if (run.site, run.machine) == (step.site, step.machine):
                raise MachineBusyError(f"another job is on {step.site}/{step.machine}")
        rows.begin_run(tx, job.id, step, now_ms)

    def _end(self, tx: Tx, job: Job, step: Step | None, order: Order, now_ms: int) -> Job:
        """Close the open runs that an order ends, and add what was made to their steps."""
        steps = {each.seq: each for each in job.steps}
        for run in rows.open_runs(tx, job.id):
            if step is not None and run.seq != step.seq:
                continue
            good, scrap = self._runs.made(run)
            good = good if order.good is None else order.good
            scrap = scrap if order.scrap is None else order.scrap
            rows.end_run(tx, run.id, end_ms=now_ms, good=good, scrap=scrap)
            before = steps[run.seq]
            steps[run.seq] = replace(before, good=before.good + good, scrap=before.scrap + scrap)
        return replace(job, steps=tuple(steps[seq] for seq in sorted(steps)))

    def _tell(self, tx: Tx, caller: Caller, job: Job, step: Step | None, done: str) -> None:
        """Write what happened, for the audit and for everybody who follows."""
        now_ms = self._now_ms()
        data: dict[str, Any] = {
            "job": job.id,
            "number": job.number,
            "part": job.part,
            "quantity": job.quantity,
            "status": job.status.value,
            "job_site": job.site,
            "version": job.version,
        }
        if step is not None:
            now = next(each for each in job.steps if each.seq == step.seq)
            data["step"] = {"seq": now.seq, "process": now.process, "status": now.status.value}
            data["step"] |= {"good": now.good, "scrap": now.scrap}
        events.append(
            tx,
            type=f"job.{done}",
            site=step.site if step else job.site,
            machine=step.machine if step else None,
            subject=job.id,
            data=data,
            now_ms=now_ms,
        )
        audit.append(
            tx,
            who=caller.id,
            action=f"job.{done}",
            subject=f"{job.site}/{job.number}",
            site=step.site if step else job.site,
            detail={"job": job.id, "step": step.seq if step else None, "version": job.version},
            now_ms=now_ms,
        )
        tx.after_commit(self._runs.changed)

    def _tell_import(self, tx: Tx, caller: Caller, site: str, count: int) -> None:
        now_ms = self._now_ms()
        detail = {"jobs": count, "job_site": site}
        events.append(
            tx,
            type="job.imported",
            site=site,
            machine=None,
            subject=site,
            data=detail,
            now_ms=now_ms,
        )
        audit.append(
            tx,
            who=caller.id,
            action="job.imported",
            subject=site,
            site=site,
            detail=detail,
            now_ms=now_ms,
        )
        tx.after_commit(self._runs.changed)


def show(view: View, job: Job) -> Job | None:
    """Give a job as far as a view shows it: whole to its owner, own steps to who makes them."""
    if view.level(job.site, Group.JOB_DETAIL) is Level.FULL:
        return job
    steps = tuple(s for s in job.steps if view.level(s.site, Group.JOB_DETAIL) is Level.FULL)
    return replace(job, steps=steps, note=None) if steps else None


def _found(view: View, job: Job | None) -> Job:
    """Give the whole job, when the view shows anything of it."""
    if job is None or show(view, job) is None:
        raise UnknownJobError
    return job


def _shown_sites(view: View) -> Sequence[str]:
    full = (s for s in view.sites if view.level(s, Group.JOB_DETAIL) is Level.FULL)
    return sorted(full)


def _must_plan(caller: Caller, new: Job, before: Job | None = None) -> None:
    """See that the caller plans at the job's site, and reserves no machine of somebody else."""
    if not caller.acts_at(new.site, *PLANNERS):
        raise NotYoursError(f"you do not plan at {new.site}")
    known = {(s.seq, s.site, s.machine) for s in before.steps} if before else set()
    for step in new.steps:
        foreign = step.machine is not None and not caller.owns(step.site)
        if foreign and (step.seq, step.site, step.machine) not in known:
            raise NotYoursError(f"step {step.seq} names a machine of {step.site}: leave it out")


def _must_act(caller: Caller, job: Job, step: Step | None) -> None:
    """Steps are worked on where they are made; the job itself is its owner's matter."""
    if step is not None:
        if not caller.acts_at(step.site, *OPERATORS):
            raise NotYoursError(f"you do not work at {step.site}")
    elif not caller.acts_at(job.site, *PLANNERS):
        raise NotYoursError(f"you do not plan at {job.site}")
