"""Who may do and see what: callers, the rules of the routes, and what the owners of sites share.

This room knows nothing of HTTP. `hub.api.gate` asks it about every request, once.
"""

from hub.access.access import Access
from hub.access.caller import ANONYMOUS, LOCAL, Caller, Role
from hub.access.enrolment import BrokerPlace
from hub.access.opening import open_access
from hub.access.passwords import Passwords
from hub.access.recognition import Credential
from hub.access.rules import RULES, At, Door, Rule, rule_of
from hub.access.view import EVERYTHING, NOTHING, Grant, Group, Level, View

__all__ = [
    "ANONYMOUS",
    "EVERYTHING",
    "LOCAL",
    "NOTHING",
    "RULES",
    "Access",
    "At",
    "BrokerPlace",
    "Caller",
    "Credential",
    "Door",
    "Grant",
    "Group",
    "Level",
    "Passwords",
    "Role",
    "Rule",
    "View",
    "open_access",
    "rule_of",
]
