"""Reservations over HTTP: held, read, confirmed, extended, released, cancelled."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query
from starlette.responses import Response

from hub.access import Caller, Group, Level
from hub.api.caller import CallerOf, ViewOf
from hub.api.context import Context
from hub.api.problems import MEDIA_TYPE, RefusalError, documented, not_found
from hub.api.reservation_models import (
    BusyList,
    CancelIn,
    Conflict,
    ExtendIn,
    HoldIn,
    Moment,
    ReservationItem,
    ReservationList,
    conflict_json,
    read_request,
    reservation_json,
)
from hub.api.tags import IfMatch, required_version, stale, tag
from hub.api.times import rfc3339, to_ms
from hub.coordination.booking.booking import AHEAD_MS_MAX, Action
from hub.coordination.booking.refusals import (
    ConflictError,
    HoldExpiredError,
    IllegalTransitionError,
    InvalidError,
    KeyReusedError,
    NotYoursError,
    RefusedError,
    StaleError,
    TooManyError,
    UnknownError,
)
from hub.store.reservations import (
    KEY_MAX,
    MACHINE_MAX,
    SITE_MAX,
    Reservation,
    Status,
    Wanted,
)
from hub.stream import to_json

LIMIT_MAX: Final = 500
ULID: Final = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"
Id = Annotated[str, Path(min_length=26, max_length=26, pattern=ULID)]
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=KEY_MAX,
        pattern=r"^[\x21-\x7e]+$",
        description="A new one for each request; the same again when the answer got lost.",
    ),
]


_ETAG: Final = {"ETag": {"schema": {"type": "string"}}}
_TAGGED: Final[dict[str, Any]] = {"headers": _ETAG}
_CREATED: Final[dict[str, Any]] = {"headers": _ETAG | {"Location": {"schema": {"type": "string"}}}}
_CONFLICT: Final[dict[str, Any]] = {
    "description": "Conflict",
    "content": {MEDIA_TYPE: {"schema": Conflict.model_json_schema()}},
}
_ACT: Final = documented(400, 403, 404, 409, 410, 412, 422, 428, 503, also={200: _TAGGED})


def routes(context: Context) -> APIRouter:
    """Make the routes of reservations."""
    router = APIRouter(tags=["reservations"])
    _holding(router, context)
    _reading(router, context)
    _acting(router, context)
    return router


def _holding(router: APIRouter, context: Context) -> None:
    @router.post(
        "/reservations",
        status_code=201,
        response_model=ReservationItem,
        responses=documented(400, 403, 404, 422, 429, 503, also={201: _CREATED, 409: _CONFLICT}),
    )
    def hold(told: HoldIn, key: Key, caller: CallerOf, view: ViewOf) -> Response:
        """Hold capacity: all steps, or nothing. It is yours once you confirm it in time.

        The same request with the same key gives the same answer for a day, whatever happens.
        """
        with _refusals():
            made = context.reservations.hold(read_request(told), caller, view, key)
        answer = _one(made, caller, 201)
        answer.headers["Location"] = f"/api/v1/reservations/{made.id}"
        return answer


def _reading(router: APIRouter, context: Context) -> None:
    @router.get("/reservations", response_model=ReservationList, responses=documented(422, 503))
    def reservations(
        *,
        caller: CallerOf,
        site: Annotated[str | None, Query(min_length=1, max_length=SITE_MAX)] = None,
        machine: Annotated[str | None, Query(min_length=1, max_length=MACHINE_MAX)] = None,
        status: Status | None = None,
        mine: bool = False,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 100,
        cursor: Annotated[str | None, Query(max_length=26, pattern=ULID)] = None,
    ) -> Response:
        """Give the reservations in which the caller has a part, newest first."""
        wanted = Wanted(
            site=_storable(site),
            machine=_storable(machine),
            status=status,
            created_by=caller.id if mine else None,
            organisation=caller.organisation if mine else None,
            before=cursor,
        )
        found = context.reservations.find(wanted, caller, limit + 1)
        more = found[limit - 1].id if len(found) > limit else None
        items = [reservation_json(each, caller) for each in found[:limit]]
        return _answer({"as_of": rfc3339(context.now_ms()), "items": items, "next": more})

    @router.get(
        "/reservations/{reservation}",
        response_model=ReservationItem,
        responses=documented(404, 422, 503, also={200: _TAGGED}),
    )
    def one_reservation(reservation: Id, caller: CallerOf) -> Response:
        """Give one reservation."""
        with _refusals():
            return _one(context.reservations.get(reservation, caller), caller)

    @router.get(
        "/machines/{site}/{machine}/busy",
        response_model=BusyList,
        responses=documented(404, 422),
    )
    def busy(
        site: Annotated[str, Path(max_length=SITE_MAX)],
        machine: Annotated[str, Path(max_length=MACHINE_MAX)],
        view: ViewOf,
        start: Annotated[Moment, Query(alias="from")],
        end: Annotated[Moment, Query(alias="to")],
    ) -> Response:
        """Give what is held, confirmed or running on a machine, without any names."""
        level = view.level(site, Group.CAPACITY_CALENDAR)
        if level is not Level.FULL or context.directory.machine(site, machine) is None:
            raise not_found("such machine")
        from_ms, to_ms = to_ms_range(start, end)
        version = context.reservations.version
        found = context.reservations.busy(site, machine, from_ms, to_ms)
        items = [
            {
                "start": rfc3339(each.start_ms),
                "end": rfc3339(each.end_ms),
                "units": each.units,
                "status": each.status.value,
            }
            for each in found
        ]
        as_of = rfc3339(context.now_ms())
        return _answer({"as_of": as_of, "version": version, "items": items})


def _acting(router: APIRouter, context: Context) -> None:
    @router.post(
        "/reservations/{reservation}/confirm", response_model=ReservationItem, responses=_ACT
    )
    def confirm(reservation: Id, caller: CallerOf, if_match: IfMatch = None) -> Response:
        """Make a hold a booking."""
        return act(Action.CONFIRM, reservation, caller, if_match)

    @router.post(
        "/reservations/{reservation}/extend", response_model=ReservationItem, responses=_ACT
    )
    def extend(
        told: ExtendIn, reservation: Id, caller: CallerOf, if_match: IfMatch = None
    ) -> Response:
        """Let a hold last so long from now; never beyond its end, or a week in all."""
        return act(Action.EXTEND, reservation, caller, if_match, ttl_s=told.ttl_s)

    @router.post(
        "/reservations/{reservation}/release", response_model=ReservationItem, responses=_ACT
    )
    def release(reservation: Id, caller: CallerOf, if_match: IfMatch = None) -> Response:
        """Give back what was held or confirmed."""
        return act(Action.RELEASE, reservation, caller, if_match)

    @router.post(
        "/reservations/{reservation}/cancel", response_model=ReservationItem, responses=_ACT
    )
    def cancel(
        reservation: Id,
        caller: CallerOf,
        told: CancelIn | None = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Call off what is booked at one's own site; a chain is called off as a whole."""
        reason = told.reason if told is not None else None
        return act(Action.CANCEL, reservation, caller, if_match, reason=reason)

    def act(
        action: Action, id_: str, caller: Caller, if_match: str | None, **words: Any
    ) -> Response:
        version = required_version(if_match)
        with _refusals():
            found = context.reservations.act(action, id_, caller, version, **words)
        return _one(found, caller)


def to_ms_range(start: datetime, end: datetime) -> tuple[int, int]:
    """Read a range of at most a year.

    Raises:
        RefusalError: it is empty, reversed or longer.
    """
    from_ms, to_ms_ = to_ms(start), to_ms(end)
    if not 0 < to_ms_ - from_ms <= AHEAD_MS_MAX:
        errors = [{"pointer": "query/to", "detail": "1 ms to 366 days after `from`."}]
        raise RefusalError(422, "invalid-range", "The range is empty or too long.", errors=errors)
    return from_ms, to_ms_


def _storable(text: str | None) -> str | None:
    """Look for nothing instead of asking a database for text that it cannot hold."""
    return text if text is None else text.replace("\0", "\ufffd")


def _one(found: Reservation, caller: Caller, status: int = 200) -> Response:
    answer = _answer(reservation_json(found, caller), status)
    answer.headers["ETag"] = tag(found.version)
    return answer


def _answer(content: dict[str, Any], status: int = 200) -> Response:
    return Response(to_json(content), status, media_type="application/json")


@contextmanager
def _refusals() -> Iterator[None]:
    """Say what coordination refuses as a problem document."""
    try:
        yield
    except RefusedError as error:
        raise _refusal(error) from error


def _refusal(error: RefusedError) -> RefusalError:
    text = str(error)
    match error:
        case UnknownError(pointer=str(pointer)):
            errors = [{"pointer": pointer, "detail": text}]
            refusal = RefusalError(404, "not-found", text, errors=errors)
        case UnknownError():
            refusal = not_found(error.what)
        case InvalidError():
            errors = [{"pointer": m.pointer, "detail": m.detail} for m in error.mistakes]
            refusal = RefusalError(422, "invalid-request", text, errors=errors)
        case ConflictError():
            refusal = RefusalError(409, "capacity-conflict", text, more=conflict_json(error))
        case StaleError():
            refusal = stale()
        case TooManyError():
            headers = {"Retry-After": str(error.retry_after_s)}
            refusal = RefusalError(429, "too-many", text, headers)
        case _:
            refusal = RefusalError(*_CODES[type(error)], text)
    return refusal


_CODES: Final[Mapping[type[RefusedError], tuple[int, str]]] = {
    NotYoursError: (403, "forbidden"),
    HoldExpiredError: (410, "hold-expired"),
    IllegalTransitionError: (409, "illegal-transition"),
    KeyReusedError: (422, "idempotency-mismatch"),
}
