"""What machines did, put together: the history, what nobody read, and what people said.

For each instant the first that knows counts: the history as sensors wrote it, then what somebody
said of a machine without sensors. A label that a person gave replaces the reason and leaves the
state as it was, except where nobody knew it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from gateway.model import Connectivity, State
from hub.coordination.hours.calendars import Calendars
from hub.coordination.jobs.jobs import Jobs
from hub.coordination.shop_floor.axes import Order
from hub.coordination.shop_floor.buckets import OrderSpan, Slice, StateSpan, slices
from hub.coordination.shop_floor.reasons import Catalogue, standard
from hub.historian import Historian, Span, StateInterval
from hub.live import Live
from hub.store import Store, manual_states, reasons
from hub.store.manual_states import ManualState
from hub.store.reasons import Label

NO_DATA: Final = "no-data"
OPERATOR: Final = "operator"
HUB: Final = "hub"


class Timelines:
    """Any thread may ask. The historian's `HistorianUnavailableError` comes through."""

    def __init__(
        self,
        *,
        historian: Historian,
        live: Live,
        calendars: Calendars,
        jobs: Jobs,
        store: Store,
        now_ms: Callable[[], int],
    ) -> None:
        self._historian = historian
        self._live = live
        self._calendars = calendars
        self._jobs = jobs
        self._store = store
        self._now_ms = now_ms

    def intervals(self, site: str, machine: str, span: Span) -> list[StateInterval]:
        """Give the states in `span` in order; the one that lasts until now has no end."""
        now_ms = self._now_ms()
        with self._store.read() as tx:
            said = manual_states.within(tx, site, machine, span.from_ms, span.to_ms)
            labels = reasons.labels(tx, site, machine, span.from_ms, span.to_ms)
        begun = (label.start_ms for label in labels if label.end_ms is None)
        wide = Span(max(0, min((span.from_ms, *begun))), span.to_ms)
        found = self._historian.states(site, machine, wide)
        found = quiet_end(found, self._silent_from_ms(site, machine, now_ms), wide)
        return clipped(relabelled(fill(found, said, wide, now_ms), labels), span)

    def slices(self, site: str, machine: str, span: Span) -> list[Slice]:
        """Cut what lies in the past of `span` into buckets; empty when all lies ahead."""
        to_ms = min(span.to_ms, self._now_ms())
        if to_ms <= span.from_ms:
            return []
        past = Span(span.from_ms, to_ms)
        catalogue = self.catalogue(site)
        states = [_span(i, to_ms, catalogue) for i in self.intervals(site, machine, past)]
        windows = self._calendars.windows(site, machine, *past)
        return slices(states, windows, self._orders(site, machine, past), past)

    def catalogue(self, site: str) -> Catalogue:
        """Give the reasons that a site knows."""
        with self._store.read() as tx:
            return standard().extended(reasons.reasons(tx, site))

    def _silent_from_ms(self, site: str, machine: str, now_ms: int) -> int | None:
        """Tell since when nobody has known what a machine is doing; None when it is heard."""
        known = self._live.machine(site, machine)
        if known is None or known.told is not None or not known.agent:
            return None
        if known.connectivity(now_ms) is Connectivity.ONLINE or known.valid_until_ms is None:
            return None
        return min(known.valid_until_ms + 1, now_ms)

    def _orders(self, site: str, machine: str, span: Span) -> list[OrderSpan] | None:
        """Give when orders ran; None when none did, as where nobody keeps any."""
        found = self._jobs.order_intervals(site, machine, *span)
        spans: list[OrderSpan] = []
        for each in found:
            start_ms = max(each.start_ms, spans[-1].end_ms if spans else span.from_ms)
            if start_ms < each.end_ms:
                spans.append(OrderSpan(start_ms, each.end_ms, Order.RUNNING))
        return spans or None


def quiet_end(
    found: Sequence[StateInterval], silent_from_ms: int | None, span: Span
) -> list[StateInterval]:
    """Let what still lasts end where nobody has known any more, and be unknown from there on."""
    if silent_from_ms is None or not found or silent_from_ms >= span.to_ms:
        return list(found)
    last = found[-1]
    if last.end_ms is not None or last.state is State.UNKNOWN:
        return list(found)
    begin_ms = max(silent_from_ms, last.start_ms)
    kept = [*found[:-1], replace(last, end_ms=begin_ms)] if begin_ms > last.start_ms else found[:-1]
    return [*kept, StateInterval(begin_ms, None, State.UNKNOWN, NO_DATA, "", HUB)]


def fill(
    found: Sequence[StateInterval], said: Sequence[ManualState], span: Span, now_ms: int
) -> list[StateInterval]:
    """Put what people said where the history says nothing."""
    filled = list(found)
    free_until_ms = found[0].start_ms if found else span.to_ms
    edge_ms = min(free_until_ms, span.to_ms)
    ordered = sorted(enumerate(said), key=lambda item: (item[1].start_ms, item[0]))
    told = [each for _, each in ordered]
    begun: list[StateInterval] = []
    for place, each in enumerate(told):
        later = told[place + 1].start_ms if place + 1 < len(told) else each.until_ms
        start_ms, end_ms = max(each.start_ms, span.from_ms), min(each.until_ms, later, edge_ms)
        if start_ms < end_ms:
            lasts = end_ms > now_ms
            begun.append(
                StateInterval(
                    start_ms,
                    None if lasts else end_ms,
                    State(each.state),
                    each.reason,
                    "",
                    OPERATOR,
                )
            )
    return begun + filled


def clipped(found: Sequence[StateInterval], span: Span) -> list[StateInterval]:
    """Leave out what is over before the span, and let what goes on begin with it."""
    return [
        replace(each, start_ms=max(each.start_ms, span.from_ms))
        for each in found
        if each.end_ms is None or each.end_ms > span.from_ms
    ]


def relabelled(found: Sequence[StateInterval], labels: Sequence[Label]) -> list[StateInterval]:
    """Put labels over intervals; later ones win, and one without a reason takes others back."""
    parts = [(interval, interval) for interval in found]
    for label in labels:
        parts = [piece for part in parts for piece in _labelled(*part, label)]
    return [shown for _, shown in parts]


def _labelled(
    original: StateInterval, shown: StateInterval, label: Label
) -> list[tuple[StateInterval, StateInterval]]:
    """Cut one part by a label. `original` is as it was before any label."""
    end_ms = shown.end_ms
    if label.end_ms is None and not _contains(original, label.start_ms):
        return [(original, shown)]
    begin = max(label.start_ms, shown.start_ms)
    until = label.end_ms if end_ms is None else min(label.end_ms or end_ms, end_ms)
    if (until is not None and until <= begin) or (end_ms is not None and begin >= end_ms):
        return [(original, shown)]
    inner = replace(original, start_ms=begin, end_ms=until)
    if label.reason is not None:
        inner = replace(inner, reason=label.reason, source=OPERATOR)
    pieces = [(original, inner)]
    if begin > shown.start_ms:
        pieces.insert(0, (original, replace(shown, end_ms=begin)))
    if until is not None and (end_ms is None or until < end_ms):
        pieces.append((original, replace(shown, start_ms=until)))
    return pieces


def _contains(interval: StateInterval, time_ms: int) -> bool:
    return interval.start_ms <= time_ms and (interval.end_ms is None or time_ms < interval.end_ms)


def _span(interval: StateInterval, to_ms: int, catalogue: Catalogue) -> StateSpan:
    by_person = interval.source == OPERATOR
    return StateSpan(
        interval.start_ms,
        to_ms if interval.end_ms is None else min(interval.end_ms, to_ms),
        interval.state,
        interval.reason,
        interval.source,
        catalogue.bucket_of(interval.reason) if by_person and interval.reason else None,
    )
