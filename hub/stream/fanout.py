"""One ticking channel per scope, any number of viewers on it.

A tick compares rows with what was sent before and makes one frame of what is new. A viewer that
falls behind loses frames, not truth: it gets a fresh snapshot. One that comes back with the last
id it saw gets the newest row of everything that changed since, when the ring still reaches there.
"""

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Self

from gateway.model import State
from hub.access import EVERYTHING, View
from hub.access.masks import shown, visible_signals
from hub.coordination.capacity.board import Board, Free
from hub.live import Live, LiveMachine
from hub.stream.frames import Frame, frame, joined
from hub.stream.rows import COLUMNS, NOT_TOLD, Key, Row, Rows, must_resend, signal_row

TICK_MS: Final = 250
HEARTBEAT_MS: Final = 1000
RING_TICKS: Final = 300
QUEUE_FRAMES: Final = 8
SCOPES_MAX: Final = 256
VIEWS_MAX: Final = 256
VIEWERS_MAX: Final = 5000
_STATE: Final = COLUMNS.index("state") - 1
_SINCE: Final = COLUMNS.index("since") - 1
_REASON: Final = COLUMNS.index("reason") - 1


class ScopeError(ValueError):
    """The scope is not one of ``region``, ``site:<site>``, ``machine:<site>/<machine>``."""


class TooManyScopesError(Exception):
    """More different scopes or viewers are followed than this hub allows."""


class Scope(NamedTuple):
    """What a viewer follows: everything, a site, or one machine."""

    site: str | None = None
    machine: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a scope as written in the query.

        Raises:
            ScopeError: it is none of the three forms.
        """
        kind, _, rest = text.partition(":")
        site, slash, machine = rest.partition("/")
        if text == "region":
            return cls()
        if kind == "site" and rest:
            return cls(rest)
        if kind == "machine" and slash and site and machine:
            return cls(site, machine)
        raise ScopeError(
            f"{text[:80]!r} is no scope. Use region, site:<site> or machine:<site>/<machine>"
        )


class Viewer:
    """One connection: a short queue of frames that are the same objects for everybody."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[Frame] = asyncio.Queue(QUEUE_FRAMES)
        self.behind = False

    def give(self, item: Frame) -> None:
        """Hand over a frame; when the queue is full all are dropped and a snapshot is due."""
        try:
            self._frames.put_nowait(item)
        except asyncio.QueueFull:
            self.behind = True
            while not self._frames.empty():
                self._frames.get_nowait()

    async def next(self) -> Frame:
        """Wait for the next frame."""
        return await self._frames.get()


class _Seen:
    """The rows of all machines as one view shows them, kept up as little as possible."""

    def __init__(self, view: View, board: Board | None) -> None:
        self.view = view
        self.rows = Rows()
        self.version = -1
        self.board_version = 0
        self.hidden: frozenset[Key] = frozenset()
        self._board = board
        self.channels = 0

    def refresh(self, live: Live, now_ms: int) -> None:
        """Take over what changed."""
        version, hidden = live.version, live.hidden
        if version != self.version:
            if hidden is not self.hidden:
                self.rows.drop(hidden)
                self.hidden = hidden
            self._take(live.changed_since(self.version), now_ms)
            self.version = version
        for key in (*self.rows.expired(now_ms), *self._freed()):
            if (machine := live.machine(*key)) is not None:
                self._take([machine], now_ms)

    def _freed(self) -> list[Key]:
        """Name the machines of which it is now known otherwise when they are free."""
        if self._board is None or self._board.version == self.board_version:
            return []
        since, self.board_version = self.board_version, self._board.version
        return self._board.changed_since(since)

    def signals(self, live: Live, scope: Scope) -> dict[str, Row]:
        """Give the signals of a machine's scope, as far as they are shown."""
        if scope.site is None or scope.machine is None:
            return {}
        machine = live.machine(scope.site, scope.machine)
        if machine is None:
            return {}
        found = visible_signals(machine, self.view)
        return {name: signal_row(signal) for name, signal in found.items()}

    def _take(self, machines: Iterable[LiveMachine], now_ms: int) -> None:
        seen = ((shown(machine, self.view), machine) for machine in machines)
        self.rows.refresh(
            [(part, self._free(whole, now_ms)) for part, whole in seen if part is not None], now_ms
        )

    def _free(self, machine: LiveMachine, now_ms: int) -> Free:
        return NOT_TOLD if self._board is None else self._board.free(machine, self.view, now_ms)


class _Channel:
    """One scope of one view: what was sent last, and what changed at which tick."""

    def __init__(self, scope: Scope, seen: _Seen, boot: str, ticks: Iterator[int]) -> None:
        self.scope = scope
        self.seen = seen
        self.viewers: set[Viewer] = set()
        self.seq = next(ticks)
        self._ticks = ticks
        self._boot = boot
        self._order: dict[Key, int] = {}
        self._sent: dict[Key, Row] = {}
        self._signals: dict[str, Row] = {}
        self._ring: deque[tuple[int, frozenset[Key], frozenset[str]]] = deque(maxlen=RING_TICKS)
        self._snapshot: Frame | None = None
        self._ticked_ms = 0

    def tick(self, now_ms: int, signals: dict[str, Row]) -> list[Frame]:
        """Make the frames of this tick: nothing, a delta, a snapshot; and alarms."""
        rows = self.seen.rows
        keys = rows.keys(*self.scope)
        if keys != list(self._order):
            return [self._restart(keys, rows, signals, now_ms)]
        changed = [key for key in keys if must_resend(self._sent.get(key), rows[key], now_ms)]
        fresh = {name: row for name, row in signals.items() if self._signals.get(name) != row}
        if not changed and not fresh and now_ms - self._ticked_ms < HEARTBEAT_MS:
            return []
        alarms = [key for key in changed if _went_down(self._sent.get(key), rows[key])]
        self._sent.update((key, rows[key]) for key in changed)
        self._signals.update(fresh)
        self._advance(frozenset(changed), frozenset(fresh), now_ms)
        frames = [self._delta(changed, list(fresh), now_ms)]
        return frames + [_alarm(rows[key], now_ms) for key in alarms]

    def snapshot(self, now_ms: int) -> Frame:
        """Give everything as last sent; cached per tick, so a rush of viewers costs one encode."""
        if self._snapshot is None:
            table = [(i, *self._sent[key]) for key, i in self._order.items()]
            data: dict[str, Any] = {"t": now_ms, "cols": COLUMNS, "m": table}
            if self.scope.machine is not None:
                data["s"] = list(self._signals.values())
            self._snapshot = frame("snapshot", data, boot=self._boot, seq=self.seq)
        return self._snapshot

    def since(self, seq: int, now_ms: int) -> Frame | None:
        """Merge everything after tick `seq` into one delta; None when it is too long ago."""
        if all(at != seq for at, _, _ in self._ring):
            return None  # Too long ago, or the id of another scope.
        keys: set[Key] = set()
        names: set[str] = set()
        for at, changed, fresh in self._ring:
            if at > seq:
                keys |= changed
                names |= fresh
        return self._delta(sorted(keys), sorted(names), now_ms)

    def _restart(self, keys: list[Key], rows: Rows, signals: dict[str, Row], now_ms: int) -> Frame:
        """Machines came or went: everybody starts from a snapshot."""
        self._order = {key: i for i, key in enumerate(keys)}
        self._sent = {key: rows[key] for key in keys}
        self._signals = dict(signals)
        self._ring.clear()
        self._advance(frozenset(), frozenset(), now_ms)
        return self.snapshot(now_ms)

    def _advance(self, changed: frozenset[Key], fresh: frozenset[str], now_ms: int) -> None:
        self.seq = next(self._ticks)
        self._ticked_ms = now_ms
        self._snapshot = None
        self._ring.append((self.seq, changed, fresh))

    def _delta(self, keys: list[Key], names: list[str], now_ms: int) -> Frame:
        rows = [(self._order[key], *self._sent[key]) for key in keys]
        data: dict[str, Any] = {"t": now_ms, "d": rows}
        if self.scope.machine is not None:
            data["s"] = [self._signals[name] for name in names]
        return frame("delta", data, boot=self._boot, seq=self.seq)


def _went_down(sent: Row | None, row: Row) -> bool:
    return sent is not None and row[_STATE] == State.DOWN and sent[_STATE] != State.DOWN


def _alarm(row: Row, now_ms: int) -> Frame:
    data = {"t": now_ms, "site": row[0], "machine": row[1], "state": row[_STATE]}
    return frame("alarm", data | {"reason": row[_REASON], "since": row[_SINCE]})


class LiveStream:
    """Ticks every scope of every view that somebody follows. Belongs to one event loop."""

    def __init__(
        self,
        live: Live,
        *,
        now_ms: Callable[[], int],
        board: Board | None = None,
        build: str | None = None,
        boot: str | None = None,
    ) -> None:
        """Without a `board` nothing is told of free capacity."""
        self._live = live
        self._board = board
        self._now_ms = now_ms
        self._build = build
        self._boot = boot or secrets.token_hex(4)
        # One count for all scopes: an id of a channel that was closed cannot fit a new one.
        self._ticks = itertools.count(1)
        self._seen: dict[str, _Seen] = {}
        self._channels: dict[tuple[Scope, str], _Channel] = {}
        self.ended = asyncio.Event()
        """Set when the hub leaves: every viewer's connection is to end by itself."""

    @property
    def viewers(self) -> int:
        """How many connections follow anything."""
        # Metrics ask from another thread: the list is made at once, the dict may change meanwhile.
        return sum(len(channel.viewers) for channel in list(self._channels.values()))

    @asynccontextmanager
    async def follow(
        self, scope: Scope, last_id: str | None, view: View = EVERYTHING
    ) -> AsyncIterator[Viewer]:
        """Join a scope; the first frames are hello and either what was missed or a snapshot.

        Viewers who see the same get the same frames.

        Raises:
            TooManyScopesError: the limit of scopes, of views or of viewers is reached.
        """
        if self.viewers >= VIEWERS_MAX:
            raise TooManyScopesError(f"{VIEWERS_MAX} viewers follow this hub already")
        channel = self._channel(scope, view)
        viewer = Viewer()
        now_ms = self._now_ms()
        viewer.give(self._hello(now_ms))
        viewer.give(self._resumed(channel, last_id, now_ms) or channel.snapshot(now_ms))
        channel.viewers.add(viewer)
        try:
            yield viewer
        finally:
            channel.viewers.discard(viewer)
            if not channel.viewers and (scope != Scope() or not view.everything):
                self._close(channel)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self.tick()
            await asyncio.sleep(TICK_MS / 1000)

    def tick(self) -> None:
        """Compare with what was sent and hand out what is new."""
        now_ms = self._now_ms()
        for seen in self._seen.values():
            seen.refresh(self._live, now_ms)
        for channel in self._channels.values():
            told = channel.tick(now_ms, channel.seen.signals(self._live, channel.scope))
            if told:
                item = joined(told)
                for viewer in channel.viewers:
                    self._give(channel, viewer, item, now_ms)

    def _give(self, channel: _Channel, viewer: Viewer, item: Frame, now_ms: int) -> None:
        viewer.give(item)
        if viewer.behind:
            viewer.behind = False
            viewer.give(channel.snapshot(now_ms))

    def _channel(self, scope: Scope, view: View) -> _Channel:
        place = (scope, view.fingerprint)
        channel = self._channels.get(place)
        if channel is None:
            # The region has a place of its own: nobody can lock the wall screens out.
            if scope != Scope() and len(self._channels) >= SCOPES_MAX:
                raise TooManyScopesError(f"{SCOPES_MAX} scopes are followed on this hub already")
            seen = self._seen_by(view)
            seen.channels += 1
            channel = self._channels[place] = _Channel(scope, seen, self._boot, self._ticks)
            now_ms = self._now_ms()
            seen.refresh(self._live, now_ms)
            channel.tick(now_ms, seen.signals(self._live, scope))
        return channel

    def _seen_by(self, view: View) -> _Seen:
        seen = self._seen.get(view.fingerprint)
        if seen is None:
            if not view.everything and len(self._seen) >= VIEWS_MAX:
                raise TooManyScopesError(f"{VIEWS_MAX} views are followed on this hub already")
            seen = self._seen[view.fingerprint] = _Seen(view, self._board)
        return seen

    def _close(self, channel: _Channel) -> None:
        fingerprint = channel.seen.view.fingerprint
        if self._channels.pop((channel.scope, fingerprint), None) is channel:
            channel.seen.channels -= 1
            if not channel.seen.channels:
                del self._seen[fingerprint]

    def _hello(self, now_ms: int) -> Frame:
        return frame(
            "hello",
            {
                "v": 1,
                "build": self._build,
                "boot": self._boot,
                "tick_ms": TICK_MS,
                "server_time": now_ms,
            },
        )

    def _resumed(self, channel: _Channel, last_id: str | None, now_ms: int) -> Frame | None:
        boot, _, seq = (last_id or "").rpartition("-")
        if boot != self._boot or not seq.isdecimal() or len(seq) > 12:  # noqa: PLR2004 (no sane count)
            return None
        return channel.since(int(seq), now_ms)
