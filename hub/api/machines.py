"""Machines: everything known of one of them now."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from gateway.model import Quality, Reason
from hub.access import Group, Level, View
from hub.access.masks import shown
from hub.api.availability import LIMIT_MAX, Filter, Item, item, read_cursor, select, write_cursor
from hub.api.caller import ViewOf
from hub.api.context import Context
from hub.api.problems import documented, not_found
from hub.api.times import maybe_rfc3339, rfc3339
from hub.live import LiveMachine, SignalValue
from hub.stream import to_json


class Signal(BaseModel):
    """The last value of one signal, when it was read and when it last changed."""

    signal: str
    value: float | int | bool | str | None
    unit: str | None
    time: str
    changed: str
    quality: str
    reason: str | None
    counts: str | None


class MachineJob(BaseModel):
    """The job that is on a machine now; `done` and `remaining` count its parts in this step."""

    id: str
    number: str
    part: str
    step: int
    quantity: int
    done: float
    remaining: int
    started: str
    due: str | None
    cycle_s: float | None
    planned_cycle_s: float | None


class Machine(Item):
    """A machine with its signals, its evidence and its three links."""

    as_of: str
    maker: str | None
    model: str | None
    evidence: str | None
    agent: str | None
    agent_online: bool | None
    link: bool | None
    parts_good: float | None
    parts_scrap: float | None
    job: MachineJob | None
    signals: list[Signal]


class Machines(BaseModel):
    """Machines, by site and id."""

    as_of: str
    items: list[Item]
    next: str | None


def routes(context: Context) -> APIRouter:
    """Make the routes of machines."""
    router = APIRouter(tags=["machines"])

    @router.get("/machines", response_model=Machines, responses=documented(400, 422))
    async def machines(
        view: ViewOf,
        site: Annotated[str | None, Query(max_length=128)] = None,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_MAX,
        cursor: Annotated[str | None, Query(max_length=512)] = None,
    ) -> Response:
        """Give the machines, by site and id."""
        now_ms = context.now_ms()
        wanted = Filter(site=site, limit=limit, after=read_cursor(cursor))
        found = select(context, wanted, now_ms, view)
        more = write_cursor(found[limit - 1]) if len(found) > limit else None
        items = [item(context, machine, view, now_ms) for machine in found[:limit]]
        return answer({"as_of": rfc3339(now_ms), "items": items, "next": more})

    @router.get(
        "/machines/{site}/{machine}", response_model=Machine, responses=documented(404, 422)
    )
    async def one_machine(site: str, machine: str, view: ViewOf) -> Response:
        """Give everything known of one machine now, as far as it is shown to the caller."""
        whole = context.live.machine(site, machine)
        found = None if whole is None else shown(whole, view)
        if found is None:
            raise not_found("such machine")
        return answer(_machine(context, found, view, context.now_ms()))

    return router


def answer(content: dict[str, Any]) -> Response:
    """Answer with JSON that holds what machines said, which may be anything."""
    return Response(to_json(content), media_type="application/json")


def _machine(context: Context, machine: LiveMachine, view: View, now_ms: int) -> dict[str, Any]:
    return item(context, machine, view, now_ms) | {
        "as_of": rfc3339(now_ms),
        "maker": machine.maker or None,
        "model": machine.model or None,
        "evidence": machine.evidence or None,
        "agent": machine.agent or None,
        "agent_online": machine.agent_online,
        "link": machine.link,
        "parts_good": machine.parts_good,
        "parts_scrap": machine.parts_scrap,
        "job": _job(context, machine, view),
        "signals": [_signal(signal) for _, signal in sorted(machine.signals.items())],
    }


def _job(context: Context, machine: LiveMachine, view: View) -> dict[str, Any] | None:
    if view.level(machine.site, Group.JOB_DETAIL) is not Level.FULL:
        return None
    job = context.jobs.running(machine.site, machine.machine)
    if job is None:
        return None
    return {
        "id": job.job_id,
        "number": job.job,
        "part": job.part,
        "step": job.step,
        "quantity": job.quantity,
        "done": job.done,
        "remaining": job.remaining,
        "started": rfc3339(job.started_ms),
        "due": maybe_rfc3339(job.due_ms),
        "cycle_s": job.cycle_s,
        "planned_cycle_s": job.planned_cycle_s,
    }


def _signal(signal: SignalValue) -> dict[str, Any]:
    return {
        "signal": signal.signal,
        "value": signal.value,
        "unit": signal.unit,
        "time": rfc3339(signal.time_ms),
        "changed": rfc3339(signal.changed_ms),
        "quality": quality_word(signal.quality),
        "reason": reason_word(signal.reason),
        "counts": signal.counts,
    }


def quality_word(quality: int) -> str:
    """Write a quality as the word of the contract."""
    return Quality(quality).name.lower()


def reason_word(reason: int) -> str | None:
    """Write a reason as a word, None when there is none; unknown numbers stay unknown."""
    if reason == Reason.NONE:
        return None
    known = reason in Reason._value2member_map_
    return Reason(reason).name.lower().replace("_", "-") if known else "unknown"
