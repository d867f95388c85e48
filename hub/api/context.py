"""What every route may ask; put together in `hub.service`."""

from collections.abc import Callable
from dataclasses import dataclass

from hub.access import Access
from hub.coordination.alarms.alarm_book import AlarmBook
from hub.coordination.booking.reservations import Reservations
from hub.coordination.capacity.free_capacity import FreeCapacity
from hub.coordination.directory.directory import Directory
from hub.coordination.directory.directory_changes import DirectoryChanges
from hub.coordination.events import Events
from hub.coordination.hours.calendars import Calendars
from hub.coordination.jobs.jobs import Jobs
from hub.coordination.region.regions import Regions
from hub.coordination.shop_floor.shop_floor import ShopFloor
from hub.historian import Historian
from hub.live import Alarms, Counters, Live
from hub.notices.subscriptions import Subscriptions
from hub.registry import Registry
from hub.store import Store
from hub.stream import LiveStream


@dataclass(frozen=True, slots=True)
class Context:
    """The hub's parts as the routes see them. `ready` names what is not working, if anything."""

    live: Live
    registry: Registry
    historian: Historian
    store: Store
    alarms: Alarms
    counters: Counters
    stream: LiveStream
    ready: Callable[[], list[str]]
    now_ms: Callable[[], int]
    access: Access
    directory: Directory
    directory_changes: DirectoryChanges
    regions: Regions
    events: Events
    jobs: Jobs
    alarm_book: AlarmBook
    subscriptions: Subscriptions
    calendars: Calendars
    floor: ShopFloor
    reservations: Reservations
    capacity: FreeCapacity
