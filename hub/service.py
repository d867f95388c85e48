"""The hub as one program: every part is made here, started in order and stopped in reverse."""

import asyncio
import contextlib
import logging
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn
import uvloop
from fastapi import FastAPI

from gateway import settings
from gateway.delivery import Outgoing
from gateway.journal import JournalError
from hub.access import EVERYTHING, Access, open_access
from hub.api import Context, create_app
from hub.columns import SeriesIndex
from hub.config import HubConfig
from hub.coordination.alarms.alarm_book import AlarmBook, free_percent
from hub.coordination.booking.booking import Alternatives
from hub.coordination.booking.holding import Bounds
from hub.coordination.booking.reservations import Reservations
from hub.coordination.capacity.board import Board
from hub.coordination.capacity.free_capacity import FreeCapacity, open_free_capacity
from hub.coordination.capacity.offers import OfferBook
from hub.coordination.directory.directory import Directory
from hub.coordination.directory.directory_changes import DirectoryChanges
from hub.coordination.directory.taxonomy import load_taxonomy
from hub.coordination.events import Events
from hub.coordination.hours.calendars import Calendars
from hub.coordination.jobs.job_signals import JobSignals
from hub.coordination.jobs.jobs import Jobs
from hub.coordination.lookout import Lookout, backs
from hub.coordination.region.regions import DAY_MS, Regions, hours_of
from hub.coordination.shop_floor.axes import hours_at
from hub.coordination.shop_floor.figures import Figures
from hub.coordination.shop_floor.joined_history import JoinedHistory
from hub.coordination.shop_floor.shop_floor import ShopFloor, open_shop_floor
from hub.coordination.watch import Watch
from hub.dashboard import build_id, dashboard_routes, lite_routes
from hub.historian import Historian, HistorianUnavailableError, Span, open_historian
from hub.ingest.pipeline import Pipeline, State, open_inbox
from hub.live import Alarms, Counters, Live
from hub.notices.desk import Desk, open_desk
from hub.notices.signing import KeyFileError
from hub.notices.subscriptions import Subscriptions
from hub.registry import Registry
from hub.store import Store, StoreError
from hub.stream import LiveStream

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 6000
CONNECTIONS_WAITING: Final = 2048
GRACE_S: Final = 1
PASSWORD_VARIABLE: Final = "MACHIKOBA_HUB_BROKER_PASSWORD"  # noqa: S105 (a name, no secret)
STORE_PASSWORD_VARIABLE: Final = "MACHIKOBA_HUB_STORE_PASSWORD"  # noqa: S105 (a name, no secret)
BLOCKING_ALARMS: Final = ("broker-lost", "inbox-full", "inbox-failing", "historian-unavailable")
"""Alarms that mean: not ready."""


class HubError(Exception):
    """The hub cannot start; the message says why and what to do."""


def run_hub(config: HubConfig, ready_file: Path | None = None) -> None:
    """Run the hub until SIGINT or SIGTERM; `ready_file` gets the port once it listens.

    Raises:
        HubError: a port is taken, a store cannot be opened or a secret cannot be read.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(config))
        state = _new_state(config)
        historian = _open_historian(config, state)
        stack.callback(historian.close)
        store = _open_store(config)
        stack.callback(store.close)
        pipeline = _new_pipeline(config, state, historian, stack)
        access = _new_access(config, store)
        access.start()
        stack.callback(access.stop)
        events = Events(store, now_ms=now_ms, keep_days=config.retention.event_days)
        jobs = _new_jobs(store, state, historian)
        book = _new_alarm_book(config, state, store)
        shown = JobSignals(store, jobs, state.live, state.alarms, config.job_signals)
        desk = _new_desk(config, state, pipeline, store=store, events=events, access=access)
        directory = Directory(state.registry, load_taxonomy())
        access.sharing.follow(
            lambda: {told.site: told.groups for told in directory.sites() if told.groups},
            lambda: directory.version,
        )
        calendars = _new_calendars(config, store, directory)
        state.live.keep_hours(partial(hours_at, calendars))
        calendars.follow(state.live.hours_changed)
        offers = OfferBook(now_ms=now_ms, new_id=lambda: secrets.token_urlsafe(16))
        reservations = _new_reservations(
            config,
            store,
            directory,
            calendars,
            offers=offers,
            alternatives=lambda steps, view: capacity.instead(steps, view),  # noqa: PLW0108 (made below)
        )
        capacity = open_free_capacity(
            store=store,
            directory=directory,
            calendars=calendars,
            reservations=reservations,
            jobs=jobs,
            live=state.live,
            historian=historian,
            offers=offers,
            now_ms=now_ms,
        )
        lookout = Lookout(
            reservations,
            directory=directory,
            hours=calendars,
            live=state.live,
            back_ms=backs(directory, state.live, capacity),
            alternatives=capacity.instead,
            now_ms=now_ms,
        )
        floor = open_shop_floor(
            historian=JoinedHistory(historian, directory.former_ids),
            live=state.live,
            calendars=calendars,
            directory=directory,
            registry=state.registry,
            jobs=jobs,
            store=store,
            now_ms=now_ms,
        )
        changes = DirectoryChanges(
            store,
            directory,
            state.registry,
            historian=historian,
            now_ms=now_ms,
            followers=[calendars.reload, reservations.refresh, floor.entries.reload],
            hide=state.live.hide,
            label=state.live.label,
        )
        stream = LiveStream(state.live, now_ms=now_ms, board=capacity.board, build=build_id())
        pages = [
            *dashboard_routes(),
            *lite_routes(state.live, state.registry, now_ms, capacity.board),
        ]
        context = _context(
            state,
            JoinedHistory(historian, directory.former_ids),
            store=store,
            access=access,
            pipeline=pipeline,
            stream=stream,
            events=events,
            subscriptions=desk.subscriptions,
            alarm_book=book,
            jobs=jobs,
            directory=directory,
            changes=changes,
            regions=_new_regions(
                store,
                directory,
                access,
                state=state,
                board=capacity.board,
                figures=floor.figures,
            ),
            calendars=calendars,
            reservations=reservations,
            capacity=capacity,
            floor=floor,
        )
        app = create_app(context, pages)
        desk.errands.start()
        stack.callback(desk.errands.stop)
        for part in (
            events,
            Watch(
                {
                    "jobs": jobs.turn,
                    "job signals": shown.turn,
                    "alarms": book.watch,
                    "alarm book": book.write,
                    "reservations": reservations.turn,
                    "capacity": capacity.board.refresh,
                    "lookout": lookout.turn,
                }
            ),
            pipeline,
        ):
            part.start()
            stack.callback(part.stop)
        port = listener.getsockname()[1]
        if ready_file is not None:
            tell_port(ready_file, port)
        log.info("the hub answers on http://%s:%d/", config.listen.host, port)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(app, listener, stream))


def tell_port(path: Path, port: int) -> None:
    """Write a port to a file that nobody can read half-written."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(f"{port}\n")
    partial.replace(path)


def now_ms() -> int:
    """Give the wall clock in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


async def _serve(app: FastAPI, listener: socket.socket, stream: LiveStream) -> None:
    """Answer until a signal comes or a part ends."""
    settings_ = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        http="httptools",
        ws="none",
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(settings_)

    def leave() -> None:
        stream.ended.set()
        server.leave()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, leave)
    serving = asyncio.create_task(server.serve([listener]))
    ticking = asyncio.create_task(stream.run())
    try:
        await asyncio.wait((serving, ticking), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leave()
        ticking.cancel()
        await serving
    with contextlib.suppress(asyncio.CancelledError):
        await ticking


class _Server(uvicorn.Server):
    """Leaves signals to us: the server's own way of raising them again skips our farewell."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield

    def leave(self) -> None:
        """Stop accepting and end what is open."""
        self.should_exit = True


@contextmanager
def _listen(config: HubConfig) -> Iterator[socket.socket]:
    """Take the port first: when it is gone, nothing else needs to be started."""
    host, port = config.listen.host, config.listen.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise HubError(
                f"{host}:{port} cannot be listened on ({error.strerror}). "
                "Stop what uses it, or set `listen:` to another port"
            ) from error
        listener.listen(CONNECTIONS_WAITING)
        yield listener


def _new_state(config: HubConfig) -> State:
    index = SeriesIndex()
    return State(
        index=index,
        registry=Registry(config.sites),
        live=Live(index),
        alarms=Alarms(now_ms=now_ms, alarms_max=config.limits.alarms),
        counters=Counters(),
    )


def _new_calendars(config: HubConfig, store: Store, directory: Directory) -> Calendars:
    told = {site: place.calendar for site, place in config.sites.items() if place.calendar}
    return Calendars(store, directory, now_ms=now_ms, configured=told)


def _open_historian(config: HubConfig, state: State) -> Historian:
    try:
        return open_historian(
            config.data,
            state.index,
            memory_mib=config.historian.memory_mib,
            raw_days=config.retention.raw_days,
            rollup_days=config.retention.rollup_days,
        )
    except (HistorianUnavailableError, OSError) as error:
        raise HubError(f"{error}. Is another hub using {config.data}?") from error


def _open_store(config: HubConfig) -> Store:
    url = config.store.url or f"sqlite:///{config.data / 'coordination.sqlite'}"
    try:
        password = settings.secret(config.store.password_file, STORE_PASSWORD_VARIABLE)
        return Store.open(url, password=password, ca_file=config.store.ca_file)
    except (StoreError, settings.SettingsError) as error:
        raise HubError(str(error)) from error


def _new_access(config: HubConfig, store: Store) -> Access:
    try:
        password = settings.secret(config.broker.password_file, PASSWORD_VARIABLE)
        return open_access(
            config, store, now_ms=now_ms, broker_password=password, terminal=sys.stderr
        )
    except (StoreError, settings.SettingsError, OSError) as error:
        raise HubError(str(error)) from error


def _new_pipeline(
    config: HubConfig, state: State, historian: Historian, stack: ExitStack
) -> Pipeline:
    try:
        password = settings.secret(config.broker.password_file, PASSWORD_VARIABLE)
        inbox = open_inbox(
            config.data, config.limits, now_ms=now_ms, random64=lambda: secrets.randbits(64)
        )
    except (JournalError, settings.SettingsError, OSError) as error:
        raise HubError(str(error)) from error
    stack.callback(inbox.close)
    try:
        return Pipeline(
            config,
            state=state,
            inbox=inbox,
            historian=historian,
            password=password,
            now_ms=now_ms,
            rng=random.Random(secrets.randbits(64)),  # noqa: S311 (jitter, not secrets)
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise HubError(str(error)) from error


def _context(
    state: State,
    historian: Historian,
    *,
    store: Store,
    access: Access,
    pipeline: Pipeline,
    stream: LiveStream,
    events: Events,
    jobs: Jobs,
    subscriptions: Subscriptions,
    alarm_book: AlarmBook,
    directory: Directory,
    changes: DirectoryChanges,
    regions: Regions,
    calendars: Calendars,
    reservations: Reservations,
    capacity: FreeCapacity,
    floor: ShopFloor,
) -> Context:
    def trouble() -> list[str]:
        found = [a.text for a in state.alarms.active() if a.code in BLOCKING_ALARMS]
        if not pipeline.connected and not found:
            found.append("not connected to the broker yet")
        return found

    return Context(
        live=state.live,
        registry=state.registry,
        historian=historian,
        store=store,
        access=access,
        alarms=state.alarms,
        counters=state.counters,
        stream=stream,
        ready=trouble,
        now_ms=now_ms,
        events=events,
        subscriptions=subscriptions,
        alarm_book=alarm_book,
        jobs=jobs,
        directory=directory,
        directory_changes=changes,
        regions=regions,
        calendars=calendars,
        reservations=reservations,
        capacity=capacity,
        floor=floor,
    )


def _new_regions(
    store: Store,
    directory: Directory,
    access: Access,
    *,
    state: State,
    board: Board,
    figures: Figures,
) -> Regions:
    def state_of(site: str, machine: str) -> str:
        found = state.live.machine(site, machine)
        return "unknown" if found is None else found.state_at(now_ms()).value

    return Regions(
        store,
        directory,
        view_of=lambda site: (
            EVERYTHING if access.is_open else access.sharing.preview(site, "municipality")
        ),
        state_of=state_of,
        free_h=lambda site, machine: board.of(site, machine).d7,
        hours_of=lambda site, machine, day_ms: hours_of(
            figures.slices(site, machine, Span(day_ms, day_ms + DAY_MS))
        ),
        now_ms=now_ms,
    )


def _new_reservations(
    config: HubConfig,
    store: Store,
    directory: Directory,
    calendars: Calendars,
    *,
    offers: OfferBook,
    alternatives: Alternatives,
) -> Reservations:
    limits = config.limits
    return Reservations(
        store,
        machines=directory,
        hours=calendars,
        now_ms=now_ms,
        random80=lambda: secrets.randbits(80),
        offers=offers,
        alternatives=alternatives,
        bounds=Bounds(limits.open_holds, limits.idempotency_keys),
    )


def _new_alarm_book(config: HubConfig, state: State, store: Store) -> AlarmBook:
    inbox_bytes_max = config.limits.inbox_mib * 1024 * 1024
    authority = config.broker.ca_file
    book = AlarmBook(
        store,
        state.alarms,
        live=state.live,
        rules=config.notices.alarms,
        now_ms=now_ms,
        disk_free_percent=lambda: free_percent(config.data),
        inbox_percent=lambda: 100.0 * state.counters.inbox_bytes / inbox_bytes_max,
        certificates=[] if authority is None else [authority],
    )
    book.restore()
    return book


def _new_desk(
    config: HubConfig,
    state: State,
    pipeline: Pipeline,
    *,
    store: Store,
    events: Events,
    access: Access,
) -> Desk:
    def publish(topic: str, payload: bytes) -> bool:
        return pipeline.publish(Outgoing(topic, payload, qos=1, retain=False))

    try:
        return open_desk(
            config.notices,
            config.data,
            store=store,
            events=events,
            shared_with=access.sharing.view,
            alarms=state.alarms,
            publish=publish,
            source=f"/machikoba/{config.host}",
            now_ms=now_ms,
        )
    except (KeyFileError, settings.SettingsError, OSError) as error:
        raise HubError(str(error)) from error


def _new_jobs(store: Store, state: State, historian: Historian) -> Jobs:
    return Jobs(
        store,
        places=state.registry,
        live=state.live,
        historian=historian,
        now_ms=now_ms,
        new_id=lambda: secrets.token_hex(8),
    )
