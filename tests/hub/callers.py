"""Callers of every kind at a hub that lets nobody in unproven: ota is theirs, suwa is not."""

import httpx

from hub.access import LOCAL, Access, Passwords
from hub.store.accounts import Scope

OWN, OTHER = "ota", "suwa"
PASSWORD = "a phrase of some length 7"
SCOPES = {
    "operator": Scope(("operator",), (OWN,)),
    "planner": Scope(("planner",), (OWN,)),
    "site-admin": Scope(("site-admin",), (OWN,)),
    "region-viewer": Scope(("region-viewer",), (), None, ("municipality",)),
    "hub-admin": Scope(("hub-admin",)),
    "roleless": Scope((), (OWN,)),
}


def new_access(store, now_ms, **settings):
    """Make access as a real hub has it, but with quick passwords and room for many requests."""
    rates = {"caller_per_s": 1e6, "address_per_s": 1e6, "guesses_per_s": 1e6}
    return Access(store, now_ms=now_ms, passwords=Passwords(log_n=4), **(rates | settings))


def new_keys(access):
    """Make an API key for each kind of caller; give their texts."""
    return {
        name: access.accounts.create_key(LOCAL, name, scope, None)[1]
        for name, scope in SCOPES.items()
    }


def bearer(key):
    """Write the header that shows a key."""
    return {"Authorization": f"Bearer {key}"}


def http_client(app, **settings):
    """Talk to an application without a socket."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://hub", **settings)
