"""Regions: what municipalities and prefectures are told, with χ where few stand behind a figure."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel
from starlette.responses import Response

from hub.api.context import Context
from hub.api.problems import documented, not_found
from hub.api.times import rfc3339
from hub.coordination.region.region import GROUPS, STATES
from hub.coordination.region.regions import Told
from hub.stream import to_json

CHI: Final = {"suppressed": "χ"}


class Suppressed(BaseModel):
    """χ: one or two establishments stand behind the figure, or it would give such a one away."""

    suppressed: Literal["χ"]


class RegionSummary(BaseModel):
    """What is told of a region, as counted once on the day that `as_of` begins.

    Each machine counts once in `machines_by_process` (in the group of what it does first) and once
    in `machines_by_state`. `free_hours` are machine-hours of the seven days ahead;
    `allocation_efficiency` is AUBT/PBT of the day before (χ also when nothing was planned).
    """

    code: str
    level: Literal["prefecture", "municipality"]
    as_of: str
    establishments: int | Suppressed
    machines: int | Suppressed
    machines_by_process: dict[str, int | Suppressed]
    machines_by_state: dict[str, int | Suppressed]
    free_hours: float | Suppressed
    allocation_efficiency: float | Suppressed


class RegionItem(BaseModel):
    """A region of which something is known."""

    code: str
    level: Literal["prefecture", "municipality"]
    establishments: int | Suppressed


class RegionList(BaseModel):
    """Regions, by code."""

    items: list[RegionItem]


Code = Annotated[str, Path(pattern="^[0-9]{2}([0-9]{3})?$", max_length=5)]


def routes(context: Context) -> APIRouter:
    """Make the routes of regions."""
    router = APIRouter(tags=["regions"])

    @router.get("/regions", response_model=RegionList, responses=documented(503))
    def regions() -> Response:
        """Give the prefectures and municipalities with establishments."""
        items = [
            {
                "code": told.summary.code,
                "level": _level(told.summary.code),
                "establishments": _cell(told.summary.establishments),
            }
            for told in context.regions.all()
        ]
        return Response(to_json({"items": items}), media_type="application/json")

    @router.get(
        "/regions/{code}/summary", response_model=RegionSummary, responses=documented(404, 422, 503)
    )
    def summary(code: Code) -> Response:
        """Give what is told of a region: two digits for a prefecture, five for a municipality.

        The dimensions are fixed and the figures change once a day, so that no two questions can be
        subtracted from each other.
        """
        told = context.regions.get(code)
        if told is None:
            raise not_found("such region")
        return Response(to_json(_summary(told)), media_type="application/json")

    return router


def _summary(told: Told) -> dict[str, Any]:
    summary = told.summary
    return {
        "code": summary.code,
        "level": _level(summary.code),
        "as_of": rfc3339(told.day_ms),
        "establishments": _cell(summary.establishments),
        "machines": _cell(summary.machines),
        "machines_by_process": _cells(GROUPS, summary.by_process),
        "machines_by_state": _cells(STATES, summary.by_state),
        "free_hours": _cell(summary.free_hours),
        "allocation_efficiency": _cell(summary.allocation_efficiency),
    }


def _level(code: str) -> str:
    return "prefecture" if len(code) == 2 else "municipality"  # noqa: PLR2004 (digits)


def _cell(value: float | None) -> float | dict[str, str]:
    return CHI if value is None else value


def _cells(names: tuple[str, ...], told: Any) -> dict[str, float | dict[str, str]]:
    return {name: _cell(None if told is None else told[name]) for name in names}
