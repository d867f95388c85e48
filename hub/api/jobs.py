"""Jobs over HTTP: made, read, changed, started and finished; brought in as a table."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hub.access import Caller
from hub.api.caller import CallerOf, ViewOf
from hub.api.context import Context
from hub.api.problems import RefusalError, documented, not_found
from hub.api.tags import IfMatch, optional_version, required_version, stale, tag
from hub.api.times import Moment, maybe_rfc3339, rfc3339, to_ms
from hub.coordination.jobs.job_import import (
    NOTE_MAX,
    NUMBER_MAX,
    QUANTITY_MAX,
    SLUG,
    STEPS_MAX,
    TEXT_MAX,
    UnreadableError,
    read_jobs,
)
from hub.coordination.jobs.job_rules import (
    Action,
    IllegalTransitionError,
    NoMachineError,
    NoSuchStepError,
)
from hub.coordination.jobs.jobs import (
    MachineBusyError,
    NotYoursError,
    NumberTakenError,
    Order,
    StaleError,
    TooManyJobsError,
    UnknownJobError,
    UnknownPlaceError,
)
from hub.store.jobs import Asked, Job, JobStatus, Step
from hub.stream import to_json

LIMIT_MAX: Final = 500
IMPORT_BYTES_MAX: Final = 2 * 1024 * 1024
CSV: Final = "text/csv"


PLAIN: Final = r"^[^\x00-\x1f\x7f]+$"
"""No control characters, which would spoil lists and files."""
Line = Annotated[str, Field(min_length=1, max_length=TEXT_MAX, pattern=PLAIN)]
Id = Annotated[str, Field(min_length=1, max_length=128, pattern=PLAIN)]
Amount = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StepIn(_Strict):
    """One process at one site. `transport_min` is the way from here to the next step."""

    seq: Annotated[int | None, Field(ge=1, le=1000)] = None
    """Its place; without, the place in the list."""
    process: Annotated[str, Field(pattern=f"^{SLUG.pattern}$")]
    site: Id | None = None
    """Where it is made; without, at the job's own site."""
    machine: Id | None = None
    cycle_s: Annotated[float | None, Field(ge=0, le=1e7, allow_inf_nan=False)] = None
    setup_min: Annotated[float | None, Field(ge=0, le=1e5, allow_inf_nan=False)] = None
    transport_min: Annotated[float | None, Field(ge=0, le=1e5, allow_inf_nan=False)] = None


class JobFacts(_Strict):
    """What may be changed of a job later."""

    part: Line
    quantity: Annotated[int, Field(ge=1, le=QUANTITY_MAX)]
    due: Moment | None = None
    external_ref: Line | None = None
    note: Annotated[str | None, Field(max_length=NOTE_MAX, pattern=r"^[^\x00]*$")] = None
    steps: Annotated[list[StepIn], Field(max_length=STEPS_MAX)] = []

    @model_validator(mode="after")
    def _steps_are_apart(self) -> Self:
        places = [step.seq or at for at, step in enumerate(self.steps, 1)]
        if len(set(places)) < len(places):
            raise ValueError("two steps have the same seq")
        return self


class JobIn(JobFacts):
    """A new job. `site` is whose job it is."""

    site: Id
    number: Annotated[str, Field(min_length=1, max_length=NUMBER_MAX, pattern=PLAIN)]
    status: Annotated[str, Field(pattern="^(draft|planned|queued)$")] = "planned"


class OrderIn(_Strict):
    """How an action is meant. All may be left out when there is no doubt."""

    step: Annotated[int | None, Field(ge=1, le=1000)] = None
    machine: Id | None = None
    good: Amount | None = None
    """Good parts of this run as a person counted them; without, the machine's counters say it."""
    scrap: Amount | None = None


class StepItem(BaseModel):
    """A step and how far it is."""

    seq: int
    process: str
    site: str
    machine: str | None
    cycle_s: float | None
    setup_min: float | None
    transport_min: float | None
    status: str
    good: float
    scrap: float


class ProgressItem(BaseModel):
    """What is on a machine now; `good` counts this step's parts so far."""

    step: int
    site: str
    machine: str
    started: str
    good: float
    remaining: int
    cycle_s: float | None


class JobItem(BaseModel):
    """A job as far as it is shown to the caller."""

    id: str
    site: str
    number: str
    part: str
    quantity: int
    status: str
    due: str | None
    external_ref: str | None
    note: str | None
    steps: list[StepItem]
    running: list[ProgressItem]
    version: int
    created: str
    changed: str


class JobList(BaseModel):
    """Jobs, oldest first."""

    as_of: str
    items: list[JobItem]
    next: str | None


class Imported(BaseModel):
    """What a table holds, and whether it was taken over."""

    dry_run: bool
    jobs: int
    steps: int


JobId = Annotated[str, Path(max_length=32, pattern="^[a-z0-9]+$")]
_TAGGED: Final[dict[str, Any]] = {"headers": {"ETag": {"schema": {"type": "string"}}}}


def routes(context: Context) -> APIRouter:
    """Make the routes of jobs."""
    router = APIRouter(tags=["jobs"])
    _reading(router, context)
    _changing(router, context)
    _importing(router, context)
    return router


def _reading(router: APIRouter, context: Context) -> None:
    @router.get("/jobs", response_model=JobList, responses=documented(400, 422, 503))
    def jobs(
        *,
        view: ViewOf,
        site: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
        machine: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
        status: JobStatus | None = None,
        number: Annotated[str | None, Query(min_length=1, max_length=NUMBER_MAX)] = None,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_MAX,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
    ) -> Response:
        """Give the jobs that are shown to the caller, oldest first."""
        asked = Asked(
            site=site,
            machine=machine,
            status=status,
            number=number,
            after=_read_cursor(cursor),
            limit=limit + 1,
        )
        found = context.jobs.find(view, asked)
        more = _write_cursor(found[limit - 1]) if len(found) > limit else None
        items = [_item(context, job) for job in found[:limit]]
        return _answer({"as_of": rfc3339(context.now_ms()), "items": items, "next": more})

    @router.get(
        "/jobs/{job}",
        response_model=JobItem,
        responses=documented(404, 422, 503, also={200: _TAGGED}),
    )
    def one_job(job: JobId, view: ViewOf) -> Response:
        """Give one job."""
        with _Refusals():
            return _one(context, context.jobs.get(view, job))


def _changing(router: APIRouter, context: Context) -> None:
    @router.post(
        "/jobs",
        response_model=JobItem,
        status_code=201,
        responses=documented(400, 403, 409, 422, 503, also={201: _TAGGED}),
    )
    def create(told: JobIn, caller: CallerOf) -> Response:
        """Add a job."""
        new = _job(told, site=told.site, number=told.number, status=JobStatus(told.status))
        with _Refusals():
            job = context.jobs.create(caller, new)
        answer = _one(context, job, 201)
        answer.headers["Location"] = f"/api/v1/jobs/{job.id}"
        return answer

    @router.put(
        "/jobs/{job}",
        response_model=JobItem,
        responses=documented(400, 403, 404, 409, 412, 422, 428, 503, also={200: _TAGGED}),
    )
    def change(
        *, job: JobId, told: JobFacts, caller: CallerOf, view: ViewOf, if_match: IfMatch = None
    ) -> Response:
        """Give a job other facts; steps that were begun stay as they are."""
        version = required_version(if_match)
        with _Refusals():
            site = context.jobs.get(view, job).site
            changed = _job(told, id_=job, site=site)
            return _one(context, context.jobs.change(caller, view, changed, version))

    @router.post(
        "/jobs/{job}/{action}",
        response_model=JobItem,
        responses=documented(400, 403, 404, 409, 412, 422, 503, also={200: _TAGGED}),
    )
    def order(
        *,
        job: JobId,
        action: Action,
        caller: CallerOf,
        view: ViewOf,
        told: OrderIn | None = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Plan, queue, start, hold, finish, close or cancel a job.

        Without `step`, the first step is meant that this can be done to. If-Match is checked when
        it is sent; without it the status alone decides, so that a tap on a machine's page works
        while counters run.
        """
        meant = told or OrderIn()
        wanted = Order(action, meant.step, meant.machine, meant.good, meant.scrap)
        with _Refusals():
            version = optional_version(if_match)
            return _one(context, context.jobs.order(caller, view, job, wanted, version))


def _importing(router: APIRouter, context: Context) -> None:
    body = {"content": {CSV: {"schema": {"type": "string"}}}, "required": True}

    @router.post(
        "/sites/{site}/jobs/import",
        response_model=Imported,
        responses=documented(400, 403, 404, 409, 413, 415, 422, 503),
        openapi_extra={"requestBody": body},
    )
    async def import_jobs(
        request: Request,
        site: Annotated[str, Path(max_length=128)],
        caller: CallerOf,
        *,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Take a table of jobs over, all or none; with `dry_run` only say what is wrong with it.

        CSV in UTF-8 or Shift_JIS, one row per step, first row the names of the columns.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CSV:
            raise RefusalError(415, "unsupported-media-type", "Send the table as text/csv.")
        raw = await request.body()
        if len(raw) > IMPORT_BYTES_MAX:
            raise RefusalError(413, "body-too-large", "The table is larger than 2 MiB.")
        return await run_in_threadpool(_import, context, caller, site, raw, dry_run=dry_run)


def _import(
    context: Context, caller: Caller, site: str, raw: bytes, *, dry_run: bool
) -> dict[str, Any]:
    known = context.registry.site(site)
    if known is None:
        raise not_found("such site")
    with _Refusals():
        found = read_jobs(raw, site, ZoneInfo(known.time_zone))
        context.jobs.import_all(caller, found, dry_run=dry_run)
    steps = sum(len(job.steps) for _, job in found)
    return {"dry_run": dry_run, "jobs": len(found), "steps": steps}


class _Refusals:
    """Says what went wrong with a job as a problem document."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate what was raised."""
        refusal = _refusal(error)
        if refusal is not None:
            raise refusal from error


_CODES: Final[Mapping[type[BaseException], tuple[int, str]]] = {
    NotYoursError: (403, "forbidden"),
    NumberTakenError: (409, "number-taken"),
    TooManyJobsError: (409, "too-many-jobs"),
    MachineBusyError: (409, "machine-busy"),
    IllegalTransitionError: (409, "illegal-transition"),
}
_FIELDS: Final[Mapping[type[BaseException], str]] = {
    NoSuchStepError: "body/step",
    NoMachineError: "body/machine",
}


def _refusal(error: BaseException | None) -> RefusalError | None:
    known = None if error is None else _CODES.get(type(error))
    if known is not None:
        return RefusalError(*known, f"{_sentence(error)}.")
    match error:
        case UnknownJobError():
            return not_found("such job")
        case StaleError():
            return stale()
        case NoSuchStepError() | NoMachineError() | UnknownPlaceError():
            pointer = (
                error.pointer if isinstance(error, UnknownPlaceError) else _FIELDS[type(error)]
            )
            return _mistaken("request", [{"pointer": pointer, "detail": str(error)}])
        case UnreadableError():
            places = ((f"line {m.line}, column {m.column}", m.detail) for m in error.mistakes)
            return _mistaken("table", [{"pointer": p, "detail": d} for p, d in places])
    return None


def _mistaken(what: str, errors: list[dict[str, str]]) -> RefusalError:
    return RefusalError(422, f"invalid-{what}", f"The {what} has mistakes.", errors=errors)


def _sentence(error: BaseException | None) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


def _job(
    told: JobFacts,
    *,
    site: str,
    id_: str = "",
    number: str = "",
    status: JobStatus = JobStatus.PLANNED,
) -> Job:
    steps = tuple(
        Step(
            seq=step.seq or at,
            process=step.process,
            site=step.site or site,
            machine=step.machine,
            cycle_s=step.cycle_s,
            setup_min=step.setup_min,
            transport_min=step.transport_min,
        )
        for at, step in enumerate(told.steps, 1)
    )
    return Job(
        id=id_,
        site=site,
        number=number,
        part=told.part,
        quantity=told.quantity,
        status=status if steps else JobStatus.DRAFT,
        steps=tuple(sorted(steps, key=lambda step: step.seq)),
        due_ms=None if told.due is None else to_ms(told.due),
        external_ref=told.external_ref,
        note=told.note,
    )


def _one(context: Context, job: Job, status: int = 200) -> Response:
    answer = _answer(_item(context, job), status)
    answer.headers["ETag"] = tag(job.version)
    return answer


def _answer(content: dict[str, Any], status: int = 200) -> Response:
    return Response(to_json(content), status, media_type="application/json")


def _item(context: Context, job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "site": job.site,
        "number": job.number,
        "part": job.part,
        "quantity": job.quantity,
        "status": job.status.value,
        "due": maybe_rfc3339(job.due_ms),
        "external_ref": job.external_ref,
        "note": job.note,
        "steps": [_step_item(step) for step in job.steps],
        "running": list(_progress(context, job)),
        "version": job.version,
        "created": rfc3339(job.created_ms),
        "changed": rfc3339(job.changed_ms),
    }


def _step_item(step: Step) -> dict[str, Any]:
    return {
        "seq": step.seq,
        "process": step.process,
        "site": step.site,
        "machine": step.machine,
        "cycle_s": step.cycle_s,
        "setup_min": step.setup_min,
        "transport_min": step.transport_min,
        "status": step.status.value,
        "good": step.good,
        "scrap": step.scrap,
    }


def _progress(context: Context, job: Job) -> list[dict[str, Any]]:
    found = []
    for step in job.steps:
        if step.machine is None or step.status != "running":
            continue
        running = context.jobs.running(step.site, step.machine)
        if running is not None and running.job_id == job.id:
            found.append(
                {
                    "step": step.seq,
                    "site": step.site,
                    "machine": step.machine,
                    "started": rfc3339(running.started_ms),
                    "good": running.done,
                    "remaining": running.remaining,
                    "cycle_s": running.cycle_s,
                }
            )
    return found


def _read_cursor(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    try:
        created_ms, id_ = json.loads(base64.urlsafe_b64decode(cursor))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        created_ms, id_ = None, None
    if not isinstance(created_ms, int) or not isinstance(id_, str) or abs(created_ms) > 2**53:
        raise RefusalError(400, "bad-cursor", "This cursor was not given by this hub.")
    return created_ms, id_


def _write_cursor(job: Job) -> str:
    return base64.urlsafe_b64encode(json.dumps([job.created_ms, job.id]).encode()).decode()
