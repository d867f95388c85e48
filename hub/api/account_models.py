"""What is told and asked about accounts: the words that keys, users and screens share."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from hub.store.accounts import Scope

RoleName = Literal["operator", "planner", "site-admin", "region-viewer", "hub-admin"]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
SiteName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00+#/]+$")]
Audience = Annotated[
    str, StringConstraints(pattern=r"^(coordinator|municipality|group:[a-z0-9-]{1,48})$")
]
Login = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._@-]{0,63}$")]
Typed = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[\x20-\x7e]+$")]
"""A code as people type it."""
Secret = Annotated[SecretStr, Field(min_length=1, max_length=256)]


class Strict(BaseModel):
    """A request: fields that nobody knows are mistakes."""

    model_config = ConfigDict(extra="forbid")


class ScopeIn(Strict):
    """What an account may do, and where."""

    roles: list[RoleName] = Field(default=[], max_length=5)
    sites: list[SiteName] = Field(default=[], max_length=500)
    organisation: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    audiences: list[Audience] = Field(default=[], max_length=32)

    def scope(self) -> Scope:
        """Give it as the store keeps it."""
        return Scope(tuple(self.roles), tuple(self.sites), self.organisation, tuple(self.audiences))


class ScopeOut(BaseModel):
    """What an account may do, and where."""

    roles: list[str]
    sites: list[str]
    organisation: str | None
    audiences: list[str]


def scope_out(scope: Scope) -> dict[str, Any]:
    """Write a scope."""
    return {
        "roles": list(scope.roles),
        "sites": list(scope.sites),
        "organisation": scope.organisation,
        "audiences": list(scope.audiences),
    }
