"""When a person wants to be left in peace, by the clock on the wall where that person is (pure).

Only the wall clock is asked, never a sum of hours: when clocks are set forward the night is an hour
shorter, when they are set back an hour longer, as it is for the one who sleeps.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

DAY_MIN: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A window that begins on each of `days` (Monday is 0) and may end on the next day.

    Minutes count from midnight. A window that ends when it begins lasts the whole day.
    """

    days: frozenset[int]
    from_min: int
    to_min: int

    def holds(self, weekday: int, minute: int) -> bool:
        """Tell whether the wall clock stands within the window."""
        if self.from_min < self.to_min:
            return weekday in self.days and self.from_min <= minute < self.to_min
        began_today = weekday in self.days and minute >= self.from_min
        return began_today or ((weekday - 1) % 7 in self.days and minute < self.to_min)


def is_quiet(windows: Iterable[QuietHours], zone: ZoneInfo, time_ms: int) -> bool:
    """Tell whether it is quiet at an instant for somebody in `zone`."""
    local = datetime.fromtimestamp(time_ms / 1000, zone)
    minute = local.hour * 60 + local.minute
    return any(window.holds(local.weekday(), minute) for window in windows)
