"""The hub's parts put together for tests: one place to add a part to."""

import itertools
from functools import partial
from random import Random

from hub.access import EVERYTHING, Access, Passwords
from hub.api import Context
from hub.coordination.alarms.alarm_book import AlarmBook
from hub.coordination.booking.reservations import Reservations
from hub.coordination.capacity.free_capacity import open_free_capacity
from hub.coordination.capacity.offers import OfferBook
from hub.coordination.directory.directory import Directory
from hub.coordination.directory.directory_changes import DirectoryChanges
from hub.coordination.directory.taxonomy import load_taxonomy
from hub.coordination.events import Events
from hub.coordination.hours.calendars import Calendars
from hub.coordination.jobs.jobs import Jobs
from hub.coordination.region.regions import Regions
from hub.coordination.shop_floor.axes import hours_at
from hub.coordination.shop_floor.joined_history import JoinedHistory
from hub.coordination.shop_floor.shop_floor import open_shop_floor
from hub.live import Alarms, Counters
from hub.notice_settings import AlarmRules
from hub.notices.signing import Secrets
from hub.notices.subscriptions import Subscriptions
from hub.notices.target import Reach
from hub.stream import LiveStream


def new_context(*, live, registry, historian, store, now_ms, **others):
    """Make what the routes see, as `hub.service` does; `others` replace parts by name."""
    parts = {
        "live": live,
        "registry": registry,
        "historian": historian,
        "store": store,
        "access": Access(store, now_ms=now_ms, is_open=True, passwords=Passwords(log_n=4)),
        "alarms": Alarms(now_ms=now_ms),
        "counters": Counters(),
        "ready": list,
        "now_ms": now_ms,
    }
    parts |= others
    directory = Directory(registry, load_taxonomy())
    parts.setdefault("directory", directory)
    parts["access"].sharing.follow(
        lambda: {told.site: told.groups for told in directory.sites() if told.groups},
        lambda: directory.version,
    )
    changes = DirectoryChanges(
        store,
        parts["directory"],
        registry,
        historian=historian,
        now_ms=now_ms,
        hide=live.hide,
        label=live.label,
    )
    parts["historian"] = JoinedHistory(historian, parts["directory"].former_ids)
    parts.setdefault("directory_changes", changes)
    regions = Regions(
        store,
        parts["directory"],
        view_of=lambda _: EVERYTHING,
        state_of=lambda *_: "running",
        free_h=lambda *_: 10.0,
        hours_of=lambda *_: None,
        now_ms=now_ms,
    )
    parts.setdefault("regions", regions)
    numbers = Random(7)
    calendars = Calendars(store, parts["directory"], now_ms=now_ms)
    parts.setdefault("calendars", calendars)
    live.keep_hours(partial(hours_at, parts["calendars"]))
    parts["calendars"].follow(live.hours_changed)
    offers = OfferBook(now_ms=now_ms, new_id=lambda: f"offer{numbers.getrandbits(64):x}")
    reservations = Reservations(
        store,
        machines=parts["directory"],
        hours=parts["calendars"],
        now_ms=now_ms,
        random80=lambda: numbers.getrandbits(80),
        offers=offers,
        alternatives=lambda steps, view: capacity.instead(steps, view),  # noqa: PLW0108 (made below)
    )
    parts.setdefault("reservations", reservations)
    parts.setdefault("events", Events(store, now_ms=now_ms))
    parts.setdefault("jobs", new_jobs(store, live, registry, historian, now_ms))
    parts.setdefault("subscriptions", new_subscriptions(store, now_ms))
    rules = AlarmRules()
    book = AlarmBook(store, parts["alarms"], live=live, rules=rules, now_ms=now_ms)
    parts.setdefault("alarm_book", book)
    capacity = open_free_capacity(
        store=store,
        directory=parts["directory"],
        calendars=parts["calendars"],
        reservations=parts["reservations"],
        jobs=parts["jobs"],
        live=live,
        historian=historian,
        offers=offers,
        now_ms=now_ms,
    )
    parts.setdefault("capacity", capacity)
    floor = open_shop_floor(
        historian=parts["historian"],
        live=live,
        calendars=parts["calendars"],
        directory=parts["directory"],
        registry=registry,
        jobs=parts["jobs"],
        store=store,
        now_ms=now_ms,
    )
    parts.setdefault("floor", floor)
    if "stream" not in parts:
        parts["stream"] = LiveStream(live, now_ms=now_ms, board=parts["capacity"].board)
    return Context(**parts)


def new_subscriptions(store, now_ms, reach=None):
    """Make webhooks' keeping, with a key that everybody knows."""
    numbers = itertools.count(1)
    return Subscriptions(
        store,
        secrets=Secrets(bytes(32)),
        reach=reach or Reach(),
        now_ms=now_ms,
        new_id=lambda: f"hook{next(numbers)}",
    )


def new_jobs(store, live, registry, historian, now_ms):
    """Make jobs whose ids count up."""
    numbers = itertools.count(1)
    return Jobs(
        store,
        places=registry,
        live=live,
        historian=historian,
        now_ms=now_ms,
        new_id=lambda: f"job{next(numbers)}",
    )
