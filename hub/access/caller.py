"""Who is asking: a person, a key, a wall screen, this box itself, or nobody known."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal


class Role(StrEnum):
    """What a caller may do, at the sites that it belongs to."""

    OPERATOR = "operator"
    """Works at the machines: tells reasons, starts and finishes jobs, takes note of alarms."""
    PLANNER = "planner"
    """Asks for capacity in the network, holds and confirms it."""
    SITE_ADMIN = "site-admin"
    """Decides for a site: its calendar, its machines, its agents, and what it shares."""
    REGION_VIEWER = "region-viewer"
    """Looks at the region as a coordinator or a municipality does; changes nothing."""
    HUB_ADMIN = "hub-admin"
    """Runs the hub. Sees everything, and every look at a site is told to its owner."""


Kind = Literal["key", "session", "screen", "local", "anonymous"]


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller, as far as its credentials say. `id` names it in logs and never is a secret."""

    id: str
    kind: Kind
    name: str = ""
    organisation: str | None = None
    roles: frozenset[Role] = frozenset()
    sites: frozenset[str] = frozenset()
    """Own sites: everything of them may be seen, and the roles hold there."""
    audiences: frozenset[str] = frozenset()
    """What else it looks as: ``coordinator``, ``municipality``, ``group:<id>``."""

    @property
    def known(self) -> bool:
        """Whether it has shown any credentials."""
        return self.kind != "anonymous"

    @property
    def is_hub_admin(self) -> bool:
        """Whether it runs the hub."""
        return Role.HUB_ADMIN in self.roles

    def has_role(self, *roles: Role) -> bool:
        """Tell whether it has one of these roles; who runs the hub has all of them."""
        return self.is_hub_admin or not self.roles.isdisjoint(roles)

    def owns(self, site: str) -> bool:
        """Tell whether a site is its own; all sites are to who runs the hub."""
        return self.is_hub_admin or site in self.sites

    def acts_at(self, site: str, *roles: Role) -> bool:
        """Tell whether it may act in one of these roles at a site."""
        return self.owns(site) and self.has_role(*roles)


LOCAL: Final = Caller("local", "local", "this box", roles=frozenset({Role.HUB_ADMIN}))
"""Everybody, on a hub that is open: it listens on loopback only."""

ANONYMOUS: Final = Caller("anonymous", "anonymous")
