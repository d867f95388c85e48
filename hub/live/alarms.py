"""What an operator must look at: a bounded list, each trouble in it once."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Alarm:
    """One trouble, from when it began to when it ended.

    `code` is stable and for programs (``duplicate-machine``); `text` is for people; `subject`
    says what it is about (``site/machine``, ``site/agent``), and is part of the identity.
    """

    code: str
    subject: str
    text: str
    since_ms: int
    last_ms: int
    count: int = 1
    until_ms: int | None = None


class Alarms:
    """Raises and clears alarms. Safe to use from any thread.

    When full, the alarm that has been over for longest goes; if none is over, the oldest.
    """

    def __init__(self, *, now_ms: Callable[[], int], alarms_max: int = 1000) -> None:
        self._now_ms = now_ms
        self._alarms_max = alarms_max
        self._lock = threading.Lock()
        self._alarms: OrderedDict[tuple[str, str], Alarm] = OrderedDict()
        self.version = 0
        """Grows with every change."""
        self.forgotten = 0
        """Alarms that gave way to newer ones."""

    def raise_(self, code: str, subject: str, text: str) -> bool:
        """Raise an alarm, or count it again. True when it was not already on."""
        now_ms = self._now_ms()
        with self._lock:
            known = self._alarms.get((code, subject))
            fresh = known is None or known.until_ms is not None
            if known is None or fresh:
                self._alarms[code, subject] = Alarm(code, subject, text, now_ms, now_ms)
                self._alarms.move_to_end((code, subject))
            else:
                again = replace(known, text=text, last_ms=now_ms, count=known.count + 1)
                self._alarms[code, subject] = again
            self._make_room()
            self.version += 1
        return fresh

    def clear(self, code: str, subject: str) -> bool:
        """Say that a trouble is over. True when it was on."""
        with self._lock:
            known = self._alarms.get((code, subject))
            if known is None or known.until_ms is not None:
                return False
            self._alarms[code, subject] = replace(known, until_ms=self._now_ms())
            self.version += 1
            return True

    def all(self) -> list[Alarm]:
        """Give every alarm remembered, newest first."""
        with self._lock:
            return list(reversed(self._alarms.values()))

    def active(self) -> list[Alarm]:
        """Give the alarms that are on, newest first."""
        return [alarm for alarm in self.all() if alarm.until_ms is None]

    def _make_room(self) -> None:
        while len(self._alarms) > self._alarms_max:
            over = (key for key, alarm in self._alarms.items() if alarm.until_ms is not None)
            self._alarms.pop(next(over, next(iter(self._alarms))))
            self.forgotten += 1
