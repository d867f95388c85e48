"""What was: values and states over time, as JSON or CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from gateway.model import State
from hub.access import Group, Level
from hub.access.masks import group_of
from hub.api.caller import ViewOf
from hub.api.context import Context
from hub.api.machines import answer, quality_word, reason_word
from hub.api.problems import RefusalError, documented, not_found
from hub.api.shown_past import shown_span, shown_states
from hub.api.times import TIME_MS_MAX, Instant, maybe_rfc3339, rfc3339, to_ms
from hub.historian import Range, Span, StateInterval

HOUR_MS: Final = 3_600_000
POINTS_MAX: Final = 5000
RANGE_DAYS_MAX: Final = 3660
_CSV: Final[dict[str, Any]] = {"text/csv": {"schema": {"type": "string"}}}


class History(BaseModel):
    """One signal over time. `bucket_s` 0 is raw; a row of nulls is a gap; `next` continues."""

    signal: str
    unit: str | None
    bucket_s: float
    columns: list[str]
    rows: list[list[Any]]
    next: str | None


class Interval(BaseModel):
    """A state and what made it so; `end` is null while it lasts."""

    start: str
    end: str | None
    state: State
    reason: str | None
    evidence: str | None
    source: str


class Timeline(BaseModel):
    """The states of a machine in order; the first is clipped to the start of the range."""

    intervals: list[Interval]


def routes(context: Context) -> APIRouter:
    """Make the routes of history and timeline."""
    router = APIRouter(tags=["history"])

    @router.get(
        "/machines/{site}/{machine}/signals/{signal:path}/history",
        response_model=History,
        responses=documented(400, 404, 422, 503, also={200: {"content": _CSV}}),
    )
    async def history(
        site: str,
        machine: str,
        signal: str,
        view: ViewOf,
        *,
        from_: Annotated[Instant | None, Query(alias="from")] = None,
        to: Instant | None = None,
        max_points: Annotated[int, Query(ge=1, le=POINTS_MAX)] = 500,
        agg: Literal["auto", "raw"] = "auto",
        accept: Annotated[str, Header(include_in_schema=False)] = "application/json",
    ) -> Response:
        """Give a signal's values in [from, to), the last hour by default."""
        span = read_span(from_, to, context.now_ms())
        known = context.live.signals(site, machine).get(signal)
        group = Group.JOB_DETAIL if known is None else group_of(known)
        shown = shown_span(view.delay_ms(site, group, Level.FULL), span, context.now_ms())

        def ask() -> Range | None:
            if shown is None or shown.from_ms == shown.to_ms:
                return None
            raw = agg == "raw"
            return context.historian.range(
                site, machine, signal, shown, points_max=max_points, raw=raw
            )

        found = await run_in_threadpool(ask)
        if shown is None or (found is None and known is None):
            raise not_found("such signal")
        told = found or Range(None, 0, ("t", "value", "quality", "reason"), [])
        rows = [_row(row, raw=told.bucket_ms == 0) for row in told.rows]
        if "text/csv" in accept:
            return csv_response(f"{machine}-{signal}", told.columns, rows)
        content = {
            "signal": signal,
            "unit": told.unit,
            "bucket_s": told.bucket_ms / 1000,
            "columns": told.columns,
            "rows": rows,
            "next": maybe_rfc3339(told.next_ms),
        }
        return answer(content)

    @router.get(
        "/machines/{site}/{machine}/timeline",
        response_model=Timeline,
        responses=documented(400, 404, 422, 503, also={200: {"content": _CSV}}),
    )
    async def timeline(
        site: str,
        machine: str,
        view: ViewOf,
        *,
        from_: Annotated[Instant | None, Query(alias="from")] = None,
        to: Instant | None = None,
        accept: Annotated[str, Header(include_in_schema=False)] = "application/json",
    ) -> Response:
        """Give the states of a machine in [from, to), the last 24 hours by default.

        To whom they are shared coarsely: whole half-days, each with the state that prevailed.
        """
        now_ms = context.now_ms()
        span = read_span(from_, to, now_ms, default_ms=24 * HOUR_MS)
        if context.live.machine(site, machine) is None or not view.sees(site):
            raise not_found("such machine")
        found = await run_in_threadpool(shown_states, context, view, (site, machine), span)
        if found is None:
            raise not_found("such timeline")
        intervals = [_interval(told) for told in found]
        if "text/csv" in accept:
            columns = ("start", "end", "state", "reason", "evidence", "source")
            rows = [[interval[column] for column in columns] for interval in intervals]
            return csv_response(f"{machine}-timeline", columns, rows)
        return answer({"intervals": intervals})

    return router


def _interval(told: StateInterval) -> dict[str, Any]:
    return {
        "start": rfc3339(told.start_ms),
        "end": maybe_rfc3339(told.end_ms),
        "state": told.state.value,
        "reason": told.reason or None,
        "evidence": told.evidence or None,
        "source": told.source,
    }


def read_span(
    from_: datetime | None, to: datetime | None, now_ms: int, *, default_ms: int = HOUR_MS
) -> Span:
    """Make the range asked for.

    Raises:
        RefusalError: it is empty, or longer than anybody's history.
    """
    to_ms_ = now_ms if to is None else to_ms(to)
    from_ms = to_ms_ - default_ms if from_ is None else to_ms(from_)
    if not 0 <= from_ms < to_ms_ <= TIME_MS_MAX:
        raise RefusalError(400, "bad-range", "from must lie before to, both after 1970.")
    if to_ms_ - from_ms > RANGE_DAYS_MAX * 24 * HOUR_MS:
        raise RefusalError(400, "bad-range", f"The range is longer than {RANGE_DAYS_MAX} days.")
    return Span(from_ms, to_ms_)


def _row(row: Sequence[Any], *, raw: bool) -> list[Any]:
    """Write times and qualities as words of the contract."""
    if raw:
        return [rfc3339(row[0]), row[1], quality_word(row[2]), reason_word(row[3])]
    return [rfc3339(row[0]), *row[1:]]


def csv_response(name: str, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Write rows as a CSV file: UTF-8 with a mark, which Excel needs to see Japanese."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    file = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in name)
    headers = {"Content-Disposition": f'attachment; filename="{file}.csv"'}
    body = b"\xef\xbb\xbf" + out.getvalue().encode()
    return Response(body, media_type="text/csv; charset=utf-8", headers=headers)


def _harmless(cell: object) -> object:
    """Keep spreadsheets from taking foreign text for a formula."""
    if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{cell}"
    return cell
