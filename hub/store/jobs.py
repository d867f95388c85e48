"""Jobs, their steps, and when each step was on which machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    RowMapping,
    Select,
    Table,
    UniqueConstraint,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx


class JobStatus(StrEnum):
    """Where a job stands (after the job order states of OPC 40001-3)."""

    DRAFT = "draft"
    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    HELD = "held"
    COMPLETED = "completed"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """Where one step of a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    HELD = "held"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Step:
    """One process on one machine. `transport_min` is the way from here to the next step.

    `machine` is None until somebody says on which machine of the site it is made.
    """

    seq: int
    process: str
    site: str
    machine: str | None = None
    cycle_s: float | None = None
    setup_min: float | None = None
    transport_min: float | None = None
    status: StepStatus = StepStatus.WAITING
    good: float = 0.0
    """Good parts of all runs that ended."""
    scrap: float = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """So many of a part, until then. `site` is whose job it is, `number` what people call it."""

    id: str
    site: str
    number: str
    part: str
    quantity: int
    status: JobStatus
    steps: tuple[Step, ...] = ()
    due_ms: int | None = None
    external_ref: str | None = None
    note: str | None = None
    version: int = 1
    created_ms: int = 0
    changed_ms: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A step was on a machine in [start_ms, end_ms); an open end is None."""

    id: int
    job_id: str
    seq: int
    site: str
    machine: str
    start_ms: int
    end_ms: int | None = None
    good: float = 0.0
    scrap: float = 0.0


job: Final = Table(
    "job",
    metadata,
    Column("id", word(32), primary_key=True),
    Column("site", word(128), nullable=False),
    Column("number", word(64), nullable=False),
    Column("part", word(200), nullable=False),
    Column("quantity", Count, nullable=False),
    Column("status", word(16), nullable=False),
    Column("due_ms", Count),
    Column("external_ref", word(200)),
    Column("note", word(2000)),
    Column("version", Count, nullable=False),
    Column("created_ms", Count, nullable=False),
    Column("changed_ms", Count, nullable=False),
    UniqueConstraint("site", "number"),
    Index("ix_job_created", "created_ms", "id"),
)
step: Final = Table(
    "job_step",
    metadata,
    Column("job_id", word(32), ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("process", word(64), nullable=False),
    Column("site", word(128), nullable=False),
    Column("machine", word(128)),
    Column("cycle_s", Float),
    Column("setup_min", Float),
    Column("transport_min", Float),
    Column("status", word(16), nullable=False),
    Column("good", Float, nullable=False),
    Column("scrap", Float, nullable=False),
    Index("ix_job_step_place", "site", "machine", "status"),
)
run: Final = Table(
    "job_run",
    metadata,
    Column("id", Count, primary_key=True),
    Column("job_id", word(32), ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("site", word(128), nullable=False),
    Column("machine", word(128), nullable=False),
    Column("start_ms", Count, nullable=False),
    Column("end_ms", Count),
    Column("good", Float, nullable=False),
    Column("scrap", Float, nullable=False),
    Index("ix_job_run_place", "site", "machine", "start_ms"),
    Index("ix_job_run_job", "job_id"),
)

_CHUNK: Final = 500
_JOB_FIELDS: Final = tuple(column.name for column in job.columns)
_STEP_FIELDS: Final = tuple(column.name for column in step.columns if column.name != "job_id")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which jobs somebody asks for; `sites` are those a job must belong to, or be made at."""

    sites: Sequence[str] | None = None
    site: str | None = None
    machine: str | None = None
    status: JobStatus | None = None
    number: str | None = None
    after: tuple[int, str] | None = None
    """Creation and id of the last job of the page before."""
    limit: int = 500


def add(tx: Tx, new: Job) -> None:
    """Add a job with its steps; the caller has seen to it that its number is free."""
    row = {name: getattr(new, name) for name in _JOB_FIELDS}
    tx.connection.execute(insert(job).values(**row | {"status": new.status.value}))
    _add_steps(tx, new)


def replace(tx: Tx, changed: Job) -> None:
    """Write a job and its steps as they are now."""
    row = {name: getattr(changed, name) for name in _JOB_FIELDS if name != "id"}
    row |= {"status": changed.status.value}
    tx.connection.execute(update(job).where(job.c.id == changed.id).values(**row))
    tx.connection.execute(delete(step).where(step.c.job_id == changed.id))
    _add_steps(tx, changed)


def get(tx: Tx, id_: str) -> Job | None:
    """Give one job, or None."""
    found = _jobs(tx, select(job).where(job.c.id == id_))
    return found[0] if found else None


def numbered(tx: Tx, site: str, number: str) -> Job | None:
    """Give the job of a site with this number, or None."""
    found = _jobs(tx, select(job).where(job.c.site == site, job.c.number == number))
    return found[0] if found else None


def count(tx: Tx, site: str) -> int:
    """Tell how many jobs a site has."""
    asked = select(func.count()).select_from(job).where(job.c.site == site)
    return tx.connection.scalar(asked) or 0


def taken(tx: Tx, site: str, numbers: Sequence[str]) -> set[str]:
    """Tell which of these numbers the site has given already."""
    found: set[str] = set()
    for at in range(0, len(numbers), _CHUNK):
        some = list(numbers[at : at + _CHUNK])
        asked = select(job.c.number).where(job.c.site == site, job.c.number.in_(some))
        found.update(tx.connection.scalars(asked))
    return found


def find(tx: Tx, asked: Asked) -> list[Job]:
    """Give jobs, oldest first."""
    query = select(job).order_by(job.c.created_ms, job.c.id).limit(asked.limit)
    if asked.sites is not None:
        query = query.where(_at(list(asked.sites)))
    if asked.site is not None:
        query = query.where(_at([asked.site]))
    if asked.machine is not None:
        here = and_(step.c.job_id == job.c.id, step.c.machine == asked.machine)
        here = here if asked.site is None else and_(here, step.c.site == asked.site)
        query = query.where(exists().where(here))
    if asked.status is not None:
        query = query.where(job.c.status == asked.status.value)
    if asked.number is not None:
        query = query.where(job.c.number == asked.number)
    if asked.after is not None:
        query = query.where(tuple_(job.c.created_ms, job.c.id) > tuple_(*asked.after))
    return _jobs(tx, query)


def begin_run(tx: Tx, job_id: str, on: Step, start_ms: int) -> None:
    """Note that a step is on its machine from now on."""
    row = {"job_id": job_id, "seq": on.seq, "site": on.site, "machine": on.machine}
    tx.connection.execute(insert(run).values(**row, start_ms=start_ms, good=0.0, scrap=0.0))


def end_run(tx: Tx, id_: int, *, end_ms: int, good: float, scrap: float) -> None:
    """Note that a step left its machine, and what was made there."""
    ended = update(run).where(run.c.id == id_).values(end_ms=end_ms, good=good, scrap=scrap)
    tx.connection.execute(ended)


def open_runs(tx: Tx, job_id: str | None = None) -> list[Run]:
    """Give what is on machines now, of one job or of all."""
    query = select(run).where(run.c.end_ms.is_(None)).order_by(run.c.id)
    if job_id is not None:
        query = query.where(run.c.job_id == job_id)
    return [Run(**row) for row in tx.connection.execute(query).mappings()]


def runs(
    tx: Tx, site: str, machine: str, *, from_ms: int, to_ms: int, limit: int
) -> list[tuple[Run, Job]]:
    """Give what was on a machine within [from_ms, to_ms), in order, with its job."""
    query = (
        select(run)
        .where(run.c.site == site, run.c.machine == machine, run.c.start_ms < to_ms)
        .where(or_(run.c.end_ms.is_(None), run.c.end_ms > from_ms))
        .order_by(run.c.start_ms, run.c.id)
        .limit(limit)
    )
    found = [Run(**row) for row in tx.connection.execute(query).mappings()]
    ids = {each.job_id for each in found}
    jobs = {each.id: each for each in _jobs(tx, select(job).where(job.c.id.in_(ids)))}
    return [(each, jobs[each.job_id]) for each in found]


def waiting(tx: Tx, limit: int = 100_000) -> set[tuple[str, str]]:
    """Give the machines for which a step of a released job waits, as (site, machine)."""
    released = (JobStatus.QUEUED.value, JobStatus.RUNNING.value, JobStatus.HELD.value)
    open_steps = (StepStatus.WAITING.value, StepStatus.HELD.value)
    query = (
        select(step.c.site, step.c.machine)
        .join(job, job.c.id == step.c.job_id)
        .where(job.c.status.in_(released), step.c.status.in_(open_steps))
        .where(step.c.machine.is_not(None))
        .distinct()
        .limit(limit)
    )
    return {(site, machine) for site, machine in tx.connection.execute(query)}


def _at(sites: list[str]) -> ColumnElement[bool]:
    made = exists().where(and_(step.c.job_id == job.c.id, step.c.site.in_(sites)))
    return or_(job.c.site.in_(sites), made)


def _add_steps(tx: Tx, of: Job) -> None:
    rows = [
        {name: getattr(each, name) for name in _STEP_FIELDS}
        | {"job_id": of.id, "status": each.status.value}
        for each in of.steps
    ]
    if rows:
        tx.connection.execute(insert(step), rows)


def _jobs(tx: Tx, query: "Select[tuple[object, ...]]") -> list[Job]:
    rows = list(tx.connection.execute(query).mappings())
    steps: dict[str, list[Step]] = {row["id"]: [] for row in rows}
    asked = select(step).where(step.c.job_id.in_(list(steps))).order_by(step.c.job_id, step.c.seq)
    for row in tx.connection.execute(asked).mappings() if steps else ():
        steps[row["job_id"]].append(_step(row))
    return [_job(row, steps[row["id"]]) for row in rows]


def _step(row: RowMapping) -> Step:
    fields = {name: row[name] for name in _STEP_FIELDS}
    return Step(**fields | {"status": StepStatus(row["status"])})


def _job(row: RowMapping, steps: list[Step]) -> Job:
    fields = {name: row[name] for name in _JOB_FIELDS}
    return Job(**fields | {"status": JobStatus(row["status"]), "steps": tuple(steps)})
