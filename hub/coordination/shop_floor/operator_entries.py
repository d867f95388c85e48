"""What people at the machines say: why one stood still, and what one without sensors is doing.

Everything said is kept with who said it and what stood there before, is in the audit log, and tells
an event; nothing said is ever deleted, a later word only wins.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final

from gateway.model import State
from hub.coordination.directory.directory import Directory
from hub.coordination.hours.calendars import Calendars
from hub.coordination.shop_floor.reasons import Catalogue, standard
from hub.coordination.shop_floor.timelines import Timelines
from hub.historian import Span
from hub.live import Live, Told
from hub.registry import MachineRecord
from hub.store import Store, Tx, audit, events, manual_states, reasons
from hub.store.manual_states import ManualState
from hub.store.reasons import Label, SiteReason

REASONS_MAX: Final = 200
"""Of one site's own."""
HOUR_MS: Final = 3_600_000
VALID_MS: Final = 12 * HOUR_MS
"""How long a state that somebody said is believed outside of any shift."""
VALID_MS_MAX: Final = 7 * 24 * HOUR_MS
SINCE_MS_MAX: Final = 24 * HOUR_MS
"""How far back somebody may say that a state began."""
RELABEL_MS_MAX: Final = 366 * 24 * HOUR_MS


class NothingKnownError(Exception):
    """There is no state at that time that could be given a reason."""


class UnknownReasonError(Exception):
    """The catalogue of the site has no such reason."""


class HasSensorsError(Exception):
    """An agent speaks for this machine; what people say gives reasons, not states."""


class WrongTimeError(Exception):
    """The time lies ahead, or too far back."""


class TooManyReasonsError(Exception):
    """The site has as many reasons of its own as one may have."""


class OperatorEntries:
    """The one way for people to say something of a machine. Any thread may call."""

    def __init__(
        self,
        store: Store,
        *,
        directory: Directory,
        timelines: Timelines,
        calendars: Calendars,
        live: Live,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._directory = directory
        self._timelines = timelines
        self._calendars = calendars
        self._live = live
        self._now_ms = now_ms

    def reload(self) -> None:
        """Let the live state show what was said last of every machine without sensors."""
        with self._store.read() as tx:
            said = manual_states.latest(tx)
        for each in said:
            self._show(each)

    def relabel(
        self,
        site: str,
        machine: str,
        start_ms: int,
        *,
        end_ms: int | None,
        reason: str | None,
        note: str,
        who: str,
    ) -> Label:
        """Say why a machine was in the state it was in at `start_ms`, from there on.

        Without an end it holds as long as that state does. Without a reason what sensors said
        stands again.

        Raises:
            WrongTimeError: it lies ahead, or more than a year back.
            NothingKnownError: nothing was known of the machine then.
            UnknownReasonError: the site knows no such reason.
        """
        now_ms = self._now_ms()
        if not now_ms - RELABEL_MS_MAX <= start_ms < now_ms or (end_ms or now_ms) <= start_ms:
            raise WrongTimeError
        found = self._timelines.intervals(site, machine, Span(start_ms, now_ms))
        if not found or found[0].start_ms > start_ms:
            raise NothingKnownError
        if reason is not None and reason not in self._timelines.catalogue(site).reasons:
            raise UnknownReasonError
        ends = [at for at in (end_ms, found[0].end_ms) if at is not None]
        label = Label(
            site,
            machine,
            start_ms,
            min(ends, default=None),
            reason,
            note,
            found[0].reason[:200],
            now_ms,
            who,
        )
        with self._store.write() as tx:
            reasons.add_label(tx, label)
            self._tell(tx, who, "state.relabelled", (site, machine), asdict(label))
        return label

    def say_state(
        self,
        site: str,
        machine: str,
        state: State,
        *,
        reason: str,
        since_ms: int | None,
        valid_for_ms: int | None,
        who: str,
    ) -> ManualState:
        """Say what a machine without sensors is doing; believed to the end of the shift.

        Outside of any shift it is believed for twelve hours, or as long as is said.

        Raises:
            HasSensorsError: an agent speaks for this machine.
            WrongTimeError: it began ahead of now, or more than a day ago.
            UnknownReasonError: the site knows no such reason.
        """
        now_ms = self._now_ms()
        known = self._live.machine(site, machine)
        if known is not None and known.agent:
            raise HasSensorsError
        start_ms = now_ms if since_ms is None else since_ms
        if not now_ms - SINCE_MS_MAX <= start_ms <= now_ms:
            raise WrongTimeError
        if reason and reason not in self._timelines.catalogue(site).reasons:
            raise UnknownReasonError
        until_ms = self._until_ms(site, machine, now_ms, valid_for_ms)
        told = ManualState(site, machine, start_ms, until_ms, state.value, reason, now_ms, who)
        with self._store.write() as tx:
            manual_states.add(tx, told)
            self._tell(tx, who, "state.said", (site, machine), asdict(told))
            tx.after_commit(lambda: self._show(told))
        return told

    def reasons(self, site: str) -> Catalogue:
        """Give the reasons that a site knows."""
        return self._timelines.catalogue(site)

    def put_reason(self, told: SiteReason, *, who: str) -> None:
        """Add a reason to a site's catalogue, or change one of its own.

        Raises:
            UnknownReasonError: its group is not in the catalogue.
            TooManyReasonsError: the site has enough.
        """
        if told.group not in {group.code for group in standard().groups}:
            raise UnknownReasonError
        with self._store.write() as tx:
            own = {each.code for each in reasons.reasons(tx, told.site)}
            if told.code not in own and len(own) >= REASONS_MAX:
                raise TooManyReasonsError
            reasons.put_reason(tx, told)
            self._tell(tx, who, "reason.changed", (told.site, None), asdict(told))

    def remove_reason(self, site: str, code: str, *, who: str) -> bool:
        """Take a reason of a site's own away. False when there was none."""
        with self._store.write() as tx:
            if not reasons.remove_reason(tx, site, code):
                return False
            self._tell(tx, who, "reason.removed", (site, None), {"code": code})
        return True

    def _until_ms(self, site: str, machine: str, now_ms: int, valid_for_ms: int | None) -> int:
        if valid_for_ms is not None:
            return now_ms + min(valid_for_ms, VALID_MS_MAX)
        shifts = self._calendars.shifts(site, machine, now_ms, now_ms + 1)
        return max((shift.end_ms for shift in shifts), default=now_ms + VALID_MS)

    def _show(self, said: ManualState) -> None:
        entry = self._directory.machine(said.site, said.machine)
        told = Told(State(said.state), said.reason, said.start_ms, said.said_ms, said.until_ms)
        record = MachineRecord(said.site, said.machine, "")
        if entry is not None:
            record = MachineRecord(
                said.site,
                said.machine,
                "",
                name=entry.name,
                kind=entry.kind,
                maker=entry.maker,
                model=entry.model,
                processes=entry.processes,
            )
        self._live.tell(said.site, said.machine, told, record)

    def _tell(
        self,
        tx: Tx,
        who: str,
        what: str,
        place: tuple[str, str | None],
        detail: Mapping[str, object],
    ) -> None:
        site, machine = place
        subject = (f"{site}/{machine}" if machine else site)[:400]
        now_ms = self._now_ms()
        audit.append(
            tx, who=who, action=what, subject=subject, site=site, detail=detail, now_ms=now_ms
        )
        told = {name: value for name, value in detail.items() if name != "said_by"}
        events.append(
            tx,
            type=what,
            site=site,
            machine=machine,
            subject=subject,
            data=told,
            now_ms=now_ms,
        )
