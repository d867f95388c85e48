"""Why machines stood still: reasons, labels that people give, losses; and states that they say."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.model import State
from hub.access import Group, Level, View
from hub.api.caller import CallerOf, ViewOf
from hub.api.context import Context
from hub.api.kpis import read_range, shown
from hub.api.problems import RefusalError, documented, not_found
from hub.api.times import Instant, Moment, in_reach, maybe_rfc3339, rfc3339, to_ms
from hub.coordination.shop_floor.downtime import pareto
from hub.coordination.shop_floor.operator_entries import (
    HasSensorsError,
    NothingKnownError,
    TooManyReasonsError,
    UnknownReasonError,
    WrongTimeError,
)
from hub.store.reasons import CODE_MAX, NOTE_MAX, TEXT_MAX, SiteReason

CODE: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_SiteId = Annotated[str, Path(max_length=128)]
_MachineId = Annotated[str, Path(max_length=400)]


Code = Annotated[str, Field(min_length=1, max_length=CODE_MAX, pattern=CODE)]
PLAIN: Final = r"^[^\x00-\x1f\x7f]+$"
Words = Annotated[str, Field(min_length=1, max_length=TEXT_MAX, pattern=PLAIN)]
_KEPT: Final[dict[int | str, dict[str, Any]]] = {204: {"description": "Kept"}}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RelabelIn(_Strict):
    """Why the machine was as it was. Null takes earlier labels back."""

    reason: Code | None
    end: Moment | None = None
    """Until when, within that state; without it as long as the state lasts."""
    note: Annotated[str, Field(max_length=NOTE_MAX, pattern=r"^[^\x00]*$")] = ""


class LabelItem(BaseModel):
    """A label as it was kept. `before` is the reason that stood there."""

    start: str
    end: str | None
    reason: str | None
    before: str | None
    said_by: str


class StateIn(_Strict):
    """What a machine without sensors is doing, as somebody who stands before it sees it."""

    state: Literal["running", "setup", "idle", "waiting", "down", "maintenance", "off"]
    reason: Code | None = None
    since: Moment | None = None
    """When it began, at most a day ago; without it now."""
    valid_for_s: Annotated[int | None, Field(ge=60, le=7 * 86_400)] = None
    """How long it is believed; without it to the end of the shift, or for twelve hours."""


class SaidItem(BaseModel):
    """What was said, and until when it is believed; from then on the machine is `unknown`."""

    state: str
    reason: str | None
    since: str
    valid_until: str


class ReasonIn(_Strict):
    """A reason of a site's own."""

    group: Code
    ja: Words
    en: Words
    bucket: Literal["AUST", "ADET", "ADOT", "APMT", "PDT", "CLOSED", "UNKNOWN"]


class ReasonItem(BaseModel):
    """A reason; `own` when the site wrote it."""

    code: str
    group: str
    name: dict[str, str]
    bucket: str
    own: bool


class GroupItem(BaseModel):
    """The upper level of the catalogue."""

    code: str
    name: dict[str, str]


class Reasons(BaseModel):
    """The catalogue of a site."""

    groups: list[GroupItem]
    reasons: list[ReasonItem]


class LossItem(BaseModel):
    """What one reason cost; without a reason it goes by the state."""

    reason: str | None
    state: str | None
    name: dict[str, str] | None
    duration_s: float
    stops: int
    machines: int
    share: float


class Downtime(BaseModel):
    """Losses of a site, the greatest first."""

    total_s: float
    losses: list[LossItem]


def routes(context: Context) -> APIRouter:
    """Make the routes of reasons, labels, losses and states that people say."""
    router = APIRouter(tags=["downtime"])
    _add_catalogue(router, context)
    _add_losses(router, context)
    _add_words(router, context)
    return router


def _add_catalogue(router: APIRouter, context: Context) -> None:
    @router.get(
        "/sites/{site}/reasons", response_model=Reasons, responses=documented(404, 422, 503)
    )
    def catalogue(site: _SiteId, view: ViewOf) -> dict[str, Any]:
        """Give the reasons for standing still that a site knows."""
        _require_site(context, site, view)
        found = context.floor.entries.reasons(site)
        return {
            "groups": [{"code": g.code, "name": g.name} for g in found.groups],
            "reasons": [
                {
                    "code": r.code,
                    "group": r.group,
                    "name": r.name,
                    "bucket": r.bucket.value,
                    "own": r.own,
                }
                for r in found.reasons.values()
            ],
        }

    @router.put(
        "/sites/{site}/reasons/{code}",
        status_code=204,
        responses=documented(
            403, 404, 409, 411, 413, 422, 503, also={204: {"description": "Kept"}}
        ),
    )
    def write(
        site: _SiteId,
        code: Annotated[str, Path(max_length=CODE_MAX, pattern=CODE)],
        told: ReasonIn,
        caller: CallerOf,
    ) -> Response:
        """Add a reason to a site's catalogue, or word one differently."""
        if context.directory.site(site) is None:
            raise not_found("such site")
        reason = SiteReason(site, code, told.group, told.ja, told.en, told.bucket)
        with _explained("body/group"):
            context.floor.entries.put_reason(reason, who=caller.id)
        return Response(status_code=204)

    @router.delete(
        "/sites/{site}/reasons/{code}",
        status_code=204,
        responses=documented(403, 404, 422, 503, also={204: {"description": "Gone"}}),
    )
    def remove(
        site: _SiteId,
        code: Annotated[str, Path(max_length=CODE_MAX, pattern=CODE)],
        caller: CallerOf,
    ) -> Response:
        """Take a reason of the site's own away; labels that were given keep it."""
        if not context.floor.entries.remove_reason(site, code, who=caller.id):
            raise not_found("such reason of the site's own")
        return Response(status_code=204)


def _add_losses(router: APIRouter, context: Context) -> None:
    @router.get(
        "/sites/{site}/downtime",
        response_model=Downtime,
        responses=documented(400, 404, 422, 503),
    )
    def losses(
        site: _SiteId,
        view: ViewOf,
        *,
        from_: Annotated[Instant | None, Query(alias="from")] = None,
        to: Instant | None = None,
    ) -> dict[str, Any]:
        """Give what stood still within the hours by reason, of the last 24 hours by default."""
        if context.directory.site(site) is None or not shown(view, site):
            raise not_found("such site")
        span = read_range(from_, to, context.now_ms())
        machines = context.directory.machines(site)
        found = pareto(context.floor.figures.slices(site, m.machine, span) for m in machines)
        whole_ms = sum(loss.duration_ms for loss in found)
        names = context.floor.entries.reasons(site).reasons
        items = [
            {
                "reason": loss.reason,
                "state": loss.state.value if loss.state else None,
                "name": names[loss.reason].name if loss.reason and loss.reason in names else None,
                "duration_s": loss.duration_ms / 1000,
                "stops": loss.stops,
                "machines": loss.machines,
                "share": loss.duration_ms / whole_ms,
            }
            for loss in found
        ]
        return {"total_s": whole_ms / 1000, "losses": items}


def _add_words(router: APIRouter, context: Context) -> None:
    @router.put(
        "/machines/{site}/{machine}/timeline/{start}/reason",
        response_model=LabelItem,
        responses=documented(403, 404, 411, 413, 422, 503),
    )
    def relabel(
        site: _SiteId, machine: _MachineId, start: datetime, told: RelabelIn, caller: CallerOf
    ) -> dict[str, Any]:
        """Say why a machine was in the state it was in at `start`, from there on."""
        _require_machine(context, site, machine)
        with _explained("body/reason"):
            label = context.floor.entries.relabel(
                site,
                machine,
                to_ms(_reached(start)),
                end_ms=None if told.end is None else to_ms(told.end),
                reason=told.reason,
                note=told.note,
                who=caller.id,
            )
        return {
            "start": rfc3339(label.start_ms),
            "end": maybe_rfc3339(label.end_ms),
            "reason": label.reason,
            "before": label.before or None,
            "said_by": label.said_by,
        }

    @router.post(
        "/machines/{site}/{machine}/state",
        response_model=SaidItem,
        responses=documented(403, 404, 409, 411, 413, 422, 503),
    )
    def say_state(
        site: _SiteId, machine: _MachineId, told: StateIn, caller: CallerOf
    ) -> dict[str, Any]:
        """Say what a machine that no agent speaks for is doing."""
        _require_machine(context, site, machine)
        valid_ms = None if told.valid_for_s is None else told.valid_for_s * 1000
        with _explained("body/reason", time="body/since"):
            said = context.floor.entries.say_state(
                site,
                machine,
                State(told.state),
                reason=told.reason or "",
                since_ms=None if told.since is None else to_ms(told.since),
                valid_for_ms=valid_ms,
                who=caller.id,
            )
        return {
            "state": said.state,
            "reason": said.reason or None,
            "since": rfc3339(said.start_ms),
            "valid_until": rfc3339(said.until_ms),
        }


def _reached(moment: datetime) -> datetime:
    try:
        return in_reach(moment)
    except ValueError as error:
        raise _wrong("path/start", str(error)) from error


def _require_site(context: Context, site: str, view: View) -> None:
    seen = view.level(site, Group.STATUS_REASON) is Level.FULL
    if context.directory.site(site) is None or not seen:
        raise not_found("such site")


def _require_machine(context: Context, site: str, machine: str) -> None:
    if context.directory.machine(site, machine) is None:
        raise not_found("such machine")


@contextmanager
def _explained(reason: str, time: str = "path/start") -> Iterator[None]:
    """Turn what cannot be said into answers."""
    try:
        yield
    except UnknownReasonError as error:
        raise _wrong(reason, "not in the catalogue of this site") from error
    except WrongTimeError as error:
        raise _wrong(time, "lies ahead of now, behind its end, or too far back") from error
    except NothingKnownError as error:
        raise not_found("known state at that time") from error
    except HasSensorsError as error:
        text = "An agent speaks for this machine: give its stops a reason instead."
        raise RefusalError(409, "has-sensors", text) from error
    except TooManyReasonsError as error:
        raise RefusalError(409, "too-many", "The site has enough reasons of its own.") from error


def _wrong(pointer: str, detail: str) -> RefusalError:
    errors = [{"pointer": pointer, "detail": detail}]
    return RefusalError(422, "invalid-request", "The request has mistakes.", errors=errors)
