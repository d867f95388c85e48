"""Alarms over HTTP: what an operator must look at, and that somebody does."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hub.access import View
from hub.api.caller import CallerOf, ViewOf
from hub.api.context import Context
from hub.api.machines import answer
from hub.api.problems import RefusalError, documented, not_found
from hub.api.times import maybe_rfc3339, rfc3339
from hub.coordination.alarms.alarm_book import NotYourAlarmError, UnknownAlarmError
from hub.live import Alarm

ALARMS_MAX: Final = 500
NOTE_MAX: Final = 500


class AlarmItem(BaseModel):
    """Something an operator must look at; over when `until` is set."""

    id: str
    code: str
    subject: str
    text: str
    since: str
    last: str
    until: str | None
    count: int
    acknowledged_by: str | None
    acknowledged: str | None
    note: str | None


class AlarmList(BaseModel):
    """Alarms, newest first."""

    as_of: str
    items: list[AlarmItem]


class Acknowledgement(BaseModel):
    """What somebody who takes note of an alarm has to say."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[str | None, Field(max_length=NOTE_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")] = None


AlarmId = Annotated[str, Path(max_length=32, pattern="^[a-z0-9]+$")]


def routes(context: Context) -> APIRouter:
    """Make the routes of alarms."""
    router = APIRouter(tags=["alarms"])

    @router.get("/alarms", response_model=AlarmList, responses=documented(422))
    async def alarms(view: ViewOf, *, active: bool = True) -> Response:
        """Give the alarms of the caller's own sites, all of them to who runs the hub.

        Those that are over are given too when `active` is false.
        """
        found = context.alarms.active() if active else context.alarms.all()
        own = [_item(each) for each in found if _shown(view, each)]
        return answer({"as_of": rfc3339(context.now_ms()), "items": own[:ALARMS_MAX]})

    @router.post(
        "/alarms/{alarm}/acknowledge",
        response_model=AlarmItem,
        responses=documented(400, 403, 404, 422, 503),
    )
    async def acknowledge(
        *, alarm: AlarmId, caller: CallerOf, told: Acknowledgement | None = None
    ) -> Response:
        """Take note of an alarm; one about something that is over by itself ends by that."""
        note = None if told is None else told.note
        try:
            noted = await run_in_threadpool(context.alarm_book.acknowledge, caller, alarm, note)
        except UnknownAlarmError as error:
            raise not_found("such alarm") from error
        except NotYourAlarmError as error:
            text = "Your role does not allow this."
            raise RefusalError(403, "forbidden", text) from error
        return answer(_item(noted))

    return router


def _shown(view: View, alarm: Alarm) -> bool:
    return view.own(alarm.site)


def _item(alarm: Alarm) -> dict[str, Any]:
    return {
        "id": alarm.id,
        "code": alarm.code,
        "subject": alarm.subject,
        "text": alarm.text,
        "since": rfc3339(alarm.since_ms),
        "last": rfc3339(alarm.last_ms),
        "until": maybe_rfc3339(alarm.until_ms),
        "count": alarm.count,
        "acknowledged_by": alarm.acknowledged_by,
        "acknowledged": maybe_rfc3339(alarm.acknowledged_ms),
        "note": alarm.note,
    }
