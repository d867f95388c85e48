"""HTTP in, answers out: translation only. Decisions live in the rooms that this one asks."""

from hub.api.app import create_app
from hub.api.context import Context

__all__ = ["Context", "create_app"]
