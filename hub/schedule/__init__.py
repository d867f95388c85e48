"""Working hours as people write them, one model for YAML, JSON and the rows of the store."""

from hub.schedule.model import (
    DATE_FIRST,
    DATE_LAST,
    RULES_MAX,
    Calendar,
    Rule,
    RuleKind,
    SpecialDay,
    minutes_of,
)
from hub.schedule.recurrence import Recurrence, RecurrenceError

__all__ = [
    "DATE_FIRST",
    "DATE_LAST",
    "RULES_MAX",
    "Calendar",
    "Recurrence",
    "RecurrenceError",
    "Rule",
    "RuleKind",
    "SpecialDay",
    "minutes_of",
]
