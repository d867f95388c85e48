"""A machine, its place and its signals as one viewer may see them.

What is not shown is left out before anything else happens, so that no filter, no sum and no
frame of the stream can give it away.
"""

from dataclasses import replace
from typing import Final

from gateway.model import State
from hub.access.coarse import mesh_centre
from hub.access.view import Group, Level, View
from hub.live import LiveMachine, SignalValue

POWER_UNITS: Final = frozenset({"W", "kW", "MW", "VA", "kVA", "Wh", "kWh", "MWh", "J", "kJ", "MJ"})
"""Signals in these units belong to the group of energy."""


def shown(machine: LiveMachine, view: View) -> LiveMachine | None:
    """Give a machine as it may be shown; None when it may not be shown at all.

    A state that is shared coarsely is not shown live: watching it would tell every minute. The
    timeline has it by half-days.
    """
    if view.everything:
        return machine
    site = machine.site
    if not view.sees(site):
        return None
    if view.own(site):
        return machine
    seen = machine
    if not full(view, site, Group.STATUS):
        unknown = State.UNKNOWN
        seen = replace(seen, state=unknown, known_state=unknown, since_ms=None, link=None)
    if not full(view, site, Group.STATUS) or not full(view, site, Group.STATUS_REASON):
        seen = replace(seen, reason="", evidence="")
    if view.level(site, Group.CAPABILITY) < Level.COARSE:
        seen = replace(seen, processes=(), maker="", model="")
    if not full(view, site, Group.KPI):
        seen = replace(seen, parts_good=None, parts_scrap=None)
    return replace(seen, agent="", read_signals=lambda: visible_signals(machine, view))


def all_shown(machines: list[LiveMachine], view: View) -> list[LiveMachine]:
    """Give the machines that may be shown, each as it may be."""
    if view.everything:
        return machines
    seen = (shown(machine, view) for machine in machines)
    return [machine for machine in seen if machine is not None]


def shows_free(view: View, site: str) -> bool:
    """Tell whether it may be told which machines of a site are free now."""
    return full(view, site, Group.STATUS) or full(view, site, Group.CAPACITY_CALENDAR)


def full(view: View, site: str, group: Group) -> bool:
    """Tell whether a group is shown live and exactly."""
    return view.level(site, group) is Level.FULL


def place(
    view: View, site: str, location: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Give a site's place as it may be shown: exactly, or as the middle of its kilometre."""
    if location is None or not view.sees(site):
        return None
    return location if full(view, site, Group.LOCATION_EXACT) else mesh_centre(*location)


def group_of(signal: SignalValue) -> Group:
    """Tell which group a signal belongs to: by what it counts, by its unit, else job detail."""
    if signal.counts is not None:
        return Group.KPI
    return Group.ENERGY if signal.unit in POWER_UNITS else Group.JOB_DETAIL


def visible_signals(machine: LiveMachine, view: View) -> dict[str, SignalValue]:
    """Give the signals of a machine that may be shown live."""
    signals = machine.signals
    if view.everything or view.own(machine.site):
        return signals
    site = machine.site
    return {name: told for name, told in signals.items() if full(view, site, group_of(told))}
