"""The past of a machine as one viewer may see it: late where it is shared late, or by half-days."""

from dataclasses import replace

from gateway.model import State
from hub.access import Group, Level, View
from hub.access.coarse import Stretch, prevailing, zone_of
from hub.api.context import Context
from hub.historian import Span, StateInterval


def shown_span(delay_ms: int | None, span: Span, now_ms: int) -> Span | None:
    """Cut a range to what is old enough to be shown; None when no age would be enough."""
    if delay_ms is None:
        return None
    end_ms = min(span.to_ms, now_ms - delay_ms) if delay_ms else span.to_ms
    return Span(min(span.from_ms, end_ms), end_ms)


def shown_states(
    context: Context, view: View, machine: tuple[str, str], span: Span
) -> list[StateInterval] | None:
    """Give the states of a machine as they may be shown; None when they may not be at all."""
    site, now_ms = machine[0], context.now_ms()
    exact = shown_span(view.delay_ms(site, Group.STATUS, Level.FULL), span, now_ms)
    if exact is not None:
        found = (
            []
            if exact.from_ms == exact.to_ms
            else context.floor.timelines.intervals(*machine, exact)
        )
        if exact.to_ms < span.to_ms:
            # How long the last state went on is not old enough to be told.
            found = [_open_at(told, exact.to_ms) for told in found]
        why_age_ms = view.delay_ms(site, Group.STATUS_REASON, Level.FULL)
        if why_age_ms is None:
            return [replace(told, reason="", evidence="") for told in found]
        # A reason that is shared later than the state is left out until then.
        known_ms = now_ms - why_age_ms
        return [
            told
            if (told.end_ms or now_ms) <= known_ms or not why_age_ms
            else replace(told, reason="", evidence="")
            for told in found
        ]
    coarse = shown_span(view.delay_ms(site, Group.STATUS, Level.COARSE), span, now_ms)
    if coarse is None:
        return None
    return _half_days(context, machine, coarse, now_ms)


def _open_at(told: StateInterval, end_ms: int) -> StateInterval:
    ends = told.end_ms is not None and told.end_ms <= end_ms
    return told if ends else replace(told, end_ms=None)


def _half_days(
    context: Context, machine: tuple[str, str], span: Span, now_ms: int
) -> list[StateInterval]:
    record = context.registry.site(machine[0])
    zone = zone_of(record.time_zone if record else "UTC")
    end_ms = min(span.to_ms, now_ms)
    if span.from_ms >= end_ms:
        return []
    found = context.floor.timelines.intervals(*machine, Span(span.from_ms, end_ms))
    stretches = [Stretch(i.start_ms, i.end_ms or end_ms, i.state.value) for i in found]
    return [
        StateInterval(told.start_ms, told.end_ms, State(told.word), "", "", "half-day")
        for told in prevailing(stretches, span.from_ms, end_ms, zone)
    ]
