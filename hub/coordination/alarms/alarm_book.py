"""Alarms written down: each beginning, end and acknowledgement is an event and outlives the hub."""

import logging
import shutil
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from hub.access import Caller, Role
from hub.coordination.alarms.alarm_rules import (
    LATCHED,
    OWN,
    DownSince,
    MachineSeen,
    Seen,
    wanted,
)
from hub.coordination.alarms.certificates import CertificateError, ends_ms
from hub.live import Alarm, Alarms, Live
from hub.live.alarms import Change
from hub.notice_settings import AlarmRules
from hub.store import Store, Tx, audit, events
from hub.store import alarms as rows
from hub.store.alarms import AlarmRow

log = logging.getLogger(__name__)

KEPT_MS: Final = 90 * 86_400_000
RESTORED: Final = 500
FORGET_EVERY_MS: Final = 3_600_000
LOOK_EVERY_MS: Final = 60_000
"""How often the disk and the certificates are looked at."""
NOTERS: Final = (Role.OPERATOR, Role.PLANNER, Role.SITE_ADMIN)


class UnknownAlarmError(Exception):
    """There is no such alarm, or it is not shown to this caller."""


class NotYourAlarmError(Exception):
    """The caller may see it, and not acknowledge it."""


class AlarmBook:
    """Keeps `Alarms` in the store. `write` and `watch` are to be called about every second."""

    def __init__(
        self,
        store: Store,
        alarms: Alarms,
        *,
        live: Live,
        rules: AlarmRules,
        now_ms: Callable[[], int],
        disk_free_percent: Callable[[], float | None] = lambda: None,
        inbox_percent: Callable[[], float | None] = lambda: None,
        certificates: Iterable[Path] = (),
    ) -> None:
        self._store = store
        self._alarms = alarms
        self._live = live
        self._rules = rules
        self._now_ms = now_ms
        self._disk_free_percent = disk_free_percent
        self._inbox_percent = inbox_percent
        self._certificates = [*certificates, *rules.certificates]
        self._hold_ms = {"agent-offline": rules.agent_gone_after_s * 1000}
        self._held: dict[str, Alarm] = {}
        self._down_since = DownSince()
        self._writing = threading.Lock()
        self._forget_due_ms = 0
        self._look_due_ms = 0
        self._looked = Seen()

    def restore(self) -> None:
        """Bring back what was on, and who had taken note of it."""
        with self._store.read() as tx:
            found = rows.recent(tx, RESTORED)
        self._alarms.restore(_alarm(row) for row in found)
        for row in found:
            if not row.told and row.until_ms is None:
                self._held[row.id] = _alarm(row)

    def acknowledge(self, caller: Caller, id_: str, note: str | None) -> Alarm:
        """Note that somebody has taken note; an alarm about a single event ends by that.

        Raises:
            UnknownAlarmError, NotYourAlarmError: see there.
        """
        alarm = self._alarms.get(id_)
        if alarm is None or not caller.owns(alarm.site):
            raise UnknownAlarmError(id_)
        if not caller.acts_at(alarm.site, *NOTERS):
            raise NotYourAlarmError
        ends = alarm.code in LATCHED
        noted = self._alarms.acknowledge(id_, who=caller.id, note=note, ends=ends)
        if noted is None:
            raise UnknownAlarmError(id_)
        self.write()
        return noted

    def write(self) -> None:
        """Write down what has changed; what cannot be written now is kept for later."""
        with self._writing:
            changes = self._alarms.changes()
            due = self._due()
            if changes or due:
                held = dict(self._held)
                with self._store.write() as tx:
                    for change in changes:
                        self._note(tx, change, held)
                    for alarm in due:
                        if held.pop(alarm.id, None) is not None:
                            self._tell(tx, "raised", alarm)
                            self._put(tx, alarm, told=True)
                self._held = held
                self._alarms.written(len(changes))
            self._forget_sometimes()

    def watch(self) -> None:
        """Look around, and raise and clear the hub's own alarms."""
        now_ms = self._now_ms()
        seen = self._see(now_ms)
        down_since = self._down_since.note(seen.machines, now_ms)
        on = {(a.code, a.subject) for a in self._alarms.active() if a.code in OWN}
        asked = wanted(seen, down_since, on, self._rules, now_ms)
        for key, text in asked.items():
            if key not in on:
                self._alarms.raise_(*key, text)
        for key in on - set(asked):
            self._alarms.clear(*key)

    # -- inside ----------------------------------------------------------------------------

    def _note(self, tx: Tx, change: Change, held: dict[str, Alarm]) -> None:
        alarm = change.alarm
        # A row says how things are now, however many changes there were meanwhile.
        now = self._alarms.latest(alarm)
        match change.what:
            case "raised" if alarm.code in self._hold_ms:
                held[alarm.id] = alarm
            case "cleared" if held.pop(alarm.id, None) is not None:
                self._put(tx, now, told=False)
                return
            case _:
                self._tell(tx, change.what, alarm)
        if change.what == "acknowledged":
            self._audit(tx, alarm)
        self._put(tx, now, told=alarm.id not in held)

    def _due(self) -> list[Alarm]:
        now_ms = self._now_ms()
        return [
            alarm
            for alarm in self._held.values()
            if now_ms - alarm.since_ms >= self._hold_ms.get(alarm.code, 0)
        ]

    def _put(self, tx: Tx, alarm: Alarm, *, told: bool) -> None:
        words = {field.name: getattr(alarm, field.name) for field in fields(Alarm)}
        rows.put(tx, AlarmRow(id=alarm.id, told=told, **words))

    def _tell(self, tx: Tx, what: str, alarm: Alarm) -> None:
        site, _, rest = alarm.subject.partition("/")
        of_machine = bool(alarm.site) and self._live.machine(site, rest) is not None
        data: dict[str, Any] = {
            "alarm": alarm.id,
            "code": alarm.code,
            "subject": alarm.subject,
            "text": alarm.text[:1000],
            "since_ms": alarm.since_ms,
        }
        if what == "cleared":
            data["until_ms"] = alarm.until_ms
        if what == "acknowledged":
            data |= {"by": alarm.acknowledged_by, "note": alarm.note}
        events.append(
            tx,
            type=f"alarm.{what}",
            site=alarm.site[: events.SITE_MAX],
            machine=rest if of_machine else None,
            subject=alarm.subject[: events.SUBJECT_MAX],
            data=data,
            now_ms=self._now_ms(),
        )

    def _audit(self, tx: Tx, alarm: Alarm) -> None:
        audit.append(
            tx,
            who=alarm.acknowledged_by or "",
            action="alarm.acknowledged",
            subject=alarm.subject,
            site=alarm.site or None,
            detail={"alarm": alarm.id, "code": alarm.code, "note": alarm.note},
            now_ms=self._now_ms(),
        )

    def _forget_sometimes(self) -> None:
        now_ms = self._now_ms()
        if now_ms >= self._forget_due_ms:
            with self._store.write() as tx:
                rows.forget(tx, now_ms - KEPT_MS)
            self._forget_due_ms = now_ms + FORGET_EVERY_MS

    def _see(self, now_ms: int) -> Seen:
        if now_ms >= self._look_due_ms:
            self._look_due_ms = now_ms + LOOK_EVERY_MS
            self._looked = Seen(
                disk_free_percent=self._disk_free_percent(),
                certificates=dict(_ends(self._certificates)),
            )
        machines = [
            MachineSeen(m.site, m.machine, m.state_at(now_ms), m.reason)
            for m in self._live.machines()
        ]
        return Seen(
            machines=machines,
            disk_free_percent=self._looked.disk_free_percent,
            inbox_percent=self._inbox_percent(),
            certificates=self._looked.certificates,
        )


def free_percent(folder: Path) -> float | None:
    """Tell how much of the disk below a folder is free; None when it cannot be told."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return 100.0 * usage.free / usage.total if usage.total else None


def _ends(paths: Collection[Path]) -> Iterable[tuple[str, int]]:
    for path in paths:
        try:
            yield path.name, ends_ms(path.read_bytes())
        except (OSError, CertificateError) as error:
            log.debug("certificate %s cannot be watched: %s", path, error)


def _alarm(row: AlarmRow) -> Alarm:
    return Alarm(**{field.name: getattr(row, field.name) for field in fields(Alarm)})
