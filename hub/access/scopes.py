"""What an account may be given, and by whom: nobody hands on more than it has (pure)."""

import re
from typing import Final

from hub.access.caller import Caller, Kind, Role
from hub.access.refusals import ForbiddenError, InvalidError
from hub.store.accounts import Scope

AUDIENCE: Final = re.compile(r"coordinator|municipality|group:[a-z0-9-]{1,48}")
"""What an account may look as; everybody looks as the public, too."""
SITE_ROLES: Final = frozenset({Role.OPERATOR, Role.PLANNER, Role.SITE_ADMIN})
"""Roles that a site's admin may give to others, at its own sites."""
SITES_MAX: Final = 500


def checked(scope: Scope) -> Scope:
    """Give a scope in its one written form.

    Raises:
        InvalidError: a role, a site or an audience is none.
    """
    for role in scope.roles:
        if role not in Role._value2member_map_:
            raise InvalidError("unknown-role", f"There is no role {role!r}.", "roles")
    for audience in scope.audiences:
        if not AUDIENCE.fullmatch(audience):
            text = "An audience is coordinator, municipality or group:<id>."
            raise InvalidError("unknown-audience", text, "audiences")
    if len(scope.sites) > SITES_MAX:
        raise InvalidError("too-many-sites", f"At most {SITES_MAX} sites.", "sites")
    return Scope(
        tuple(sorted(set(scope.roles))),
        tuple(sorted(set(scope.sites))),
        scope.organisation,
        tuple(sorted(set(scope.audiences))),
    )


def check_may_grant(by: Caller, scope: Scope) -> None:
    """Let a caller hand on a scope.

    Raises:
        ForbiddenError: it holds more than the caller may give.
    """
    if by.is_hub_admin:
        return
    roles = {Role(role) for role in scope.roles}
    if Role.SITE_ADMIN not in by.roles or not roles <= SITE_ROLES:
        raise ForbiddenError("forbidden", "You may give the roles of your own sites only.")
    if not scope.sites or not set(scope.sites) <= by.sites:
        raise ForbiddenError("forbidden", "You may give access to your own sites only.")
    if scope.audiences:
        raise ForbiddenError("forbidden", "Audiences are given by who runs the hub.")
    if scope.organisation not in {None, by.organisation}:
        raise ForbiddenError("forbidden", "You may give access for your organisation only.")


def may_grant(by: Caller, scope: Scope) -> bool:
    """Tell whether a caller could have given a scope: then it may look after its account, too."""
    try:
        check_may_grant(by, scope)
    except ForbiddenError:
        return False
    return True


def caller_of(caller_id: str, kind: Kind, name: str, scope: Scope) -> Caller:
    """Make the caller that an account stands for. A screen has no roles: it only looks."""
    roles = () if kind == "screen" else scope.roles
    return Caller(
        caller_id,
        kind,
        name,
        organisation=scope.organisation,
        roles=frozenset(Role(role) for role in roles if role in Role._value2member_map_),
        sites=frozenset(scope.sites),
        audiences=frozenset(scope.audiences),
    )
