"""Who has part in a reservation: what each may see of it, and do with it. Pure.

Who booked it, and its organisation, see all of it. The owner of a site sees what is booked there,
not where else the chain goes. Everybody else sees that capacity is taken, and no names.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hub.access import Caller, Role
from hub.coordination.booking.booking import Action
from hub.coordination.booking.refusals import UnknownError
from hub.store.reservations import Reservation

PLANS: Final = (Role.PLANNER, Role.SITE_ADMIN)
WHOSE: Final[Mapping[Action, str]] = {
    Action.CONFIRM: "who booked it",
    Action.EXTEND: "who booked it",
    Action.RELEASE: "who booked it",
    Action.CANCEL: "the owner of one of its sites",
}
"""Whose right each action is, in words."""


def booked_by(found: Reservation, caller: Caller) -> bool:
    """Tell whether the caller, or its organisation, has booked this."""
    own = caller.organisation is not None and found.organisation == caller.organisation
    return caller.is_hub_admin or found.created_by == caller.id or own


def shown_to(found: Reservation, caller: Caller) -> Reservation | None:
    """Give what a caller may see: all of its own, of others the steps at its sites."""
    if booked_by(found, caller):
        return found
    steps = tuple(step for step in found.steps if caller.owns(step.site))
    return replace(found, steps=steps) if steps else None


def shown(found: Reservation | None, caller: Caller) -> Reservation:
    """Give what a caller may see.

    Raises:
        UnknownError: nothing.
    """
    seen = None if found is None else shown_to(found, caller)
    if seen is None:
        raise UnknownError("such reservation")
    return seen


def may(action: Action, found: Reservation, caller: Caller) -> bool:
    """Tell whether an action is this caller's to do."""
    if action is Action.CANCEL:
        return any(caller.acts_at(step.site, *PLANS) for step in found.steps)
    return booked_by(found, caller) and caller.has_role(*PLANS)
