"""What the machines did and what people say of it: three parts that are made together."""

from collections.abc import Callable
from dataclasses import dataclass

from hub.coordination.directory.directory import Directory
from hub.coordination.hours.calendars import Calendars
from hub.coordination.jobs.jobs import Jobs
from hub.coordination.shop_floor.figures import Figures
from hub.coordination.shop_floor.operator_entries import OperatorEntries
from hub.coordination.shop_floor.timelines import Timelines
from hub.historian import Historian
from hub.live import Live
from hub.registry import Registry
from hub.store import Store


@dataclass(frozen=True, slots=True)
class ShopFloor:
    """Timelines, the figures made from them, and what people add to them."""

    timelines: Timelines
    figures: Figures
    entries: OperatorEntries


def open_shop_floor(
    *,
    historian: Historian,
    live: Live,
    calendars: Calendars,
    directory: Directory,
    registry: Registry,
    jobs: Jobs,
    store: Store,
    now_ms: Callable[[], int],
) -> ShopFloor:
    """Put the parts together, and show what people said last."""
    timelines = Timelines(
        historian=historian, live=live, calendars=calendars, jobs=jobs, store=store, now_ms=now_ms
    )
    figures = Figures(
        timelines=timelines,
        historian=historian,
        calendars=calendars,
        directory=directory,
        registry=registry,
        store=store,
    )
    entries = OperatorEntries(
        store,
        directory=directory,
        timelines=timelines,
        calendars=calendars,
        live=live,
        now_ms=now_ms,
    )
    entries.reload()
    return ShopFloor(timelines, figures, entries)
