"""What an operator must look at: a bounded list, each trouble in it once."""

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

CHANGES_MAX: Final = 20_000


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
    acknowledged_by: str | None = None
    acknowledged_ms: int | None = None
    note: str | None = None

    @property
    def id(self) -> str:
        """Name this alarm: the same trouble at another time has another name."""
        text = f"{self.since_ms}\n{self.code}\n{self.subject}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def site(self) -> str:
        """The site that it is about; "" for the hub itself."""
        site, slash, _ = self.subject.partition("/")
        return site if slash else ""


class Change(NamedTuple):
    """What became of an alarm, and how it is since."""

    what: Literal["raised", "cleared", "acknowledged"]
    alarm: Alarm


class Alarms:
    """Raises and clears alarms. Safe to use from any thread.

    When full, the alarm that has been over for longest goes; if none is over, the oldest.
    """

    def __init__(self, *, now_ms: Callable[[], int], alarms_max: int = 1000) -> None:
        self._now_ms = now_ms
        self._alarms_max = alarms_max
        self._lock = threading.Lock()
        self._alarms: OrderedDict[tuple[str, str], Alarm] = OrderedDict()
        self._changes: deque[Change] = deque(maxlen=CHANGES_MAX)
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
                alarm = Alarm(code, subject, text, now_ms, now_ms)
                self._alarms[code, subject] = alarm
                self._alarms.move_to_end((code, subject))
                self._changes.append(Change("raised", alarm))
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
            over = self._alarms[code, subject] = replace(known, until_ms=self._now_ms())
            self._changes.append(Change("cleared", over))
            self.version += 1
            return True

    def acknowledge(self, id_: str, *, who: str, note: str | None, ends: bool) -> Alarm | None:
        """Note that somebody has taken note; with `ends` that is its end. None if unknown."""
        now_ms = self._now_ms()
        with self._lock:
            known = next((a for a in self._alarms.values() if a.id == id_), None)
            if known is None:
                return None
            until_ms = now_ms if ends and known.until_ms is None else known.until_ms
            noted = replace(
                known, acknowledged_by=who, acknowledged_ms=now_ms, note=note, until_ms=until_ms
            )
            self._alarms[known.code, known.subject] = noted
            self._changes.append(Change("acknowledged", noted))
            if until_ms != known.until_ms:
                self._changes.append(Change("cleared", noted))
            self.version += 1
            return noted

    def restore(self, alarms: Iterable[Alarm]) -> None:
        """Start from the alarms of before, oldest first; none of them is news."""
        with self._lock:
            for alarm in alarms:
                self._alarms[alarm.code, alarm.subject] = alarm
                self._alarms.move_to_end((alarm.code, alarm.subject))
            self._make_room()
            self.version += 1

    def changes(self) -> list[Change]:
        """Give what has changed and was not `written` yet, in order."""
        with self._lock:
            return list(self._changes)

    def written(self, count: int) -> None:
        """Forget the first `count` changes: somebody has written them down."""
        with self._lock:
            for _ in range(min(count, len(self._changes))):
                self._changes.popleft()

    def get(self, id_: str) -> Alarm | None:
        """Give one alarm by its name."""
        return next((alarm for alarm in self.all() if alarm.id == id_), None)

    def latest(self, alarm: Alarm) -> Alarm:
        """Give an alarm as it is now, or as it was when it is not remembered any more."""
        with self._lock:
            now = self._alarms.get((alarm.code, alarm.subject))
        return now if now is not None and now.since_ms == alarm.since_ms else alarm

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
