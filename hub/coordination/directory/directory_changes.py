"""Everything that people change in the directory, one write transaction each.

Every change is in the audit log, tells an event, and is seen by `Directory` once it is committed.
A check that the caller brings (an entity tag, usually) sees the directory as it is inside the
transaction, so nobody can change it in between.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from hub.coordination.directory.directory import Directory, Key
from hub.historian import Historian
from hub.live import Label
from hub.registry import Registry
from hub.store import Store, Tx, audit, directory, erasure, events
from hub.store.entries import (
    Alias,
    Capability,
    Edits,
    MachineEdit,
    Organisation,
    SiteEdit,
)

MACHINES_MAX: Final = 10_000
SITES_MAX: Final = 2_000
ORGANISATIONS_MAX: Final = 2_000

Check = Callable[[Directory], None]
"""Raises when the directory is not as the caller believes."""


class DirectoryError(Exception):
    """A change that cannot be made; `code` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Erased:
    """What a deletion took away."""

    rows: int
    """Rows of coordination."""
    machines: tuple[Key, ...]


class DirectoryChanges:
    """The one way to change the directory. Any thread may call; writes are serial."""

    def __init__(
        self,
        store: Store,
        told: Directory,
        registry: Registry,
        *,
        historian: Historian,
        now_ms: Callable[[], int],
        followers: Sequence[Callable[[], None]] = (),
        hide: Callable[[frozenset[Key]], None] | None = None,
        label: Callable[[Mapping[Key, Label]], None] | None = None,
    ) -> None:
        """`hide` is told which ids are not to be shown, and `label` how the others are called.

        `followers` are called after each commit that moved or deleted rows of other domains.
        """
        self._store = store
        self._directory = told
        self._registry = registry
        self._historian = historian
        self._now_ms = now_ms
        self._followers = tuple(followers)
        self._hide = hide
        self._label = label
        self.reload()

    def reload(self) -> None:
        """Take over what the store holds: at the start, and when another process wrote."""
        with self._store.read() as tx:
            self._take_over(directory.load(tx))

    def put_organisation(self, told: Organisation, *, who: str, check: Check) -> None:
        """Write an organisation."""
        with self._store.write() as tx:
            present = self._present(tx, check)
            _limit(present.edits.organisations, told.organisation, ORGANISATIONS_MAX)
            directory.put_organisation(tx, told)
            self._tell(tx, who, "organisation.changed", organisation=told.organisation)

    def delete_organisation(self, organisation: str, *, who: str, check: Check) -> None:
        """Delete an organisation.

        Raises:
            DirectoryError: ``has-sites`` while sites belong to it.
        """
        with self._store.write() as tx:
            self._present(tx, check)
            if not directory.delete_organisation(tx, organisation):
                raise DirectoryError("has-sites", "Sites belong to this organisation.")
            self._tell(tx, who, "organisation.deleted", organisation=organisation)

    def put_site(self, told: SiteEdit, *, who: str, check: Check) -> None:
        """Write what is told of a site.

        Raises:
            DirectoryError: ``unknown-organisation``, ``too-many``.
        """
        with self._store.write() as tx:
            present = self._present(tx, check)
            _limit(present.edits.sites, told.site, SITES_MAX)
            _known_organisation(told, present.edits.organisations)
            directory.put_site(tx, told)
            self._tell(tx, who, "site.changed", told.site)

    def put_machine(self, told: MachineEdit, *, who: str, check: Check) -> None:
        """Write what is told of a machine, but for its capabilities; a new one is made.

        Raises:
            DirectoryError: ``unknown-site``, ``too-many``, ``moved``.
        """
        key = (told.site, told.machine)
        with self._store.write() as tx:
            present = self._present(tx, check)
            _place_for(key, present)
            before = present.edits.machines.get(key, MachineEdit(*key))
            kept = replace(told, capabilities=before.capabilities, retired_ms=before.retired_ms)
            directory.put_machine(tx, kept)
            self._tell(tx, who, "machine.changed", *key)

    def put_capabilities(
        self, key: Key, told: tuple[Capability, ...] | None, *, who: str, check: Check
    ) -> None:
        """Write what a machine can do; None lets its birth speak again.

        Raises:
            DirectoryError: ``unknown-site``, ``too-many``, ``moved``.
        """
        with self._store.write() as tx:
            present = self._present(tx, check)
            _place_for(key, present)
            before = present.edits.machines.get(key, MachineEdit(*key))
            directory.put_machine(tx, replace(before, capabilities=told))
            self._tell(tx, who, "capabilities.changed", *key)

    def retire(self, key: Key, *, retired: bool, who: str, check: Check) -> None:
        """Take a machine out of service for good, with its history kept; or back into it."""
        with self._store.write() as tx:
            present = self._present(tx, check)
            before = present.edits.machines.get(key, MachineEdit(*key))
            if (before.retired_ms is not None) is retired:
                return
            retired_ms = self._now_ms() if retired else None
            directory.put_machine(tx, replace(before, retired_ms=retired_ms))
            self._tell(tx, who, "machine.retired" if retired else "machine.returned", *key)

    def move(self, key: Key, to: Key, *, who: str, check: Check) -> None:
        """Give a machine another id, maybe at another site. Its rows and its history follow.

        The new id may already have been announced by an agent that was told first. Whatever is
        written or planned under it already refuses the move: it would be another machine's.

        Raises:
            DirectoryError: ``unknown-site``, ``id-in-use``.
        """
        with self._store.write() as tx:
            present = self._present(tx, check)
            if present.site(to[0]) is None:
                raise DirectoryError("unknown-site", "There is no such site to move to.")
            if to == key or to in present.edits.machines or erasure.mentions(tx, to):
                raise DirectoryError("id-in-use", "Another machine is kept under the new id.")
            erasure.rename(tx, key, to)
            directory.put_alias(tx, Alias(*key, *to, self._now_ms()))
            if to not in {(m.site, m.machine) for m in self._registry.machines()}:
                _remember_birth(tx, key, to, present)
            self._tell(tx, who, "machine.moved", *key, to_site=to[0], to_machine=to[1])
            self._tell_followers(tx)

    def erase(self, site: str, machine: str | None, *, who: str, check: Check) -> Erased:
        """Delete everything of a site, or of one machine with its former ids: history and rows.

        What stays is that it was deleted, in the audit log, and the bare id of each machine, so
        that births which keep coming show nothing. History goes first: when the historian cannot
        answer, nothing has changed yet and the call can be made again.

        Raises:
            HistorianUnavailableError: the historian cannot delete now.
        """
        with self._store.read() as tx:
            present = Directory(self._registry, self._directory.taxonomy, directory.load(tx))
            check(present)
        gone = _erased_ids(present, site, machine)
        if machine is None:
            self._historian.erase(site, None)
        for each in gone:
            self._historian.erase(*each)
        with self._store.write() as tx:
            self._present(tx, check)
            rows = sum(erasure.erase(tx, *each) for each in gone)
            rows += erasure.erase(tx, site, None) if machine is None else 0
            for each in gone:
                directory.put_machine(tx, MachineEdit(*each, retired_ms=self._now_ms()))
            action = "site.erased" if machine is None else "machine.erased"
            self._tell(tx, who, action, site, machine, rows=rows)
            self._tell_followers(tx)
        return Erased(rows, tuple(gone))

    def take(self, edits: Edits, *, who: str, check: Check, summary: Mapping[str, Any]) -> None:
        """Write many entries at once, all or none of them.

        Raises:
            DirectoryError: ``too-many``, ``unknown-site``, ``unknown-organisation``, ``moved``.
        """
        with self._store.write() as tx:
            present = self._present(tx, check)
            for organisation in edits.organisations.values():
                _limit(present.edits.organisations, organisation.organisation, ORGANISATIONS_MAX)
                directory.put_organisation(tx, organisation)
            for told in edits.sites.values():
                _limit(present.edits.sites, told.site, SITES_MAX)
                _known_organisation(told, {**present.edits.organisations, **edits.organisations})
                directory.put_site(tx, told)
            for key, machine in edits.machines.items():
                _place_for(key, present, new_sites=edits.sites)
                directory.put_machine(tx, machine)
            touched = {site for site, _ in edits.machines} | set(edits.sites)
            audit.append(
                tx, who=who, action="directory.imported", subject="directory", detail=summary,
                now_ms=self._now_ms(),
            )  # fmt: skip
            for site in sorted(touched):
                self._event(tx, "directory.changed", site, None, {})
            self._follow(tx)

    # -- inside ----------------------------------------------------------------------------

    def _present(self, tx: Tx, check: Check) -> Directory:
        """Give the directory as this transaction sees it, if the caller's check allows."""
        present = Directory(self._registry, self._directory.taxonomy, directory.load(tx))
        check(present)
        return present

    def _tell(
        self, tx: Tx, who: str, action: str, site: str = "", machine: str | None = None, **more: Any
    ) -> None:
        """Write the audit line and the event of one change, and let the directory follow."""
        subject = "/".join(part for part in (site, machine) if part)
        subject = subject or str(more.get("organisation", ""))
        now_ms = self._now_ms()
        audit.append(
            tx, who=who, action=action, subject=subject, detail=more, now_ms=now_ms,
            site=site or None,
        )  # fmt: skip
        self._event(tx, "directory.changed", site, machine, {"action": action, **more})
        self._follow(tx)

    def _event(
        self, tx: Tx, kind: str, site: str, machine: str | None, data: Mapping[str, Any]
    ) -> None:
        subject = site if machine is None else f"{site}/{machine}"
        events.append(
            tx,
            type=kind,
            site=site,
            machine=machine,
            subject=subject[: events.SUBJECT_MAX],
            data=data,
            now_ms=self._now_ms(),
        )

    def _follow(self, tx: Tx) -> None:
        edits = directory.load(tx)
        tx.after_commit(lambda: self._take_over(edits))

    def _take_over(self, edits: Edits) -> None:
        self._directory.load(edits)
        if self._hide is not None:
            self._hide(self._directory.hidden_ids())
        if self._label is not None:
            self._label(self._directory.labels())

    def _tell_followers(self, tx: Tx) -> None:
        for follower in self._followers:
            tx.after_commit(follower)


def _limit(held: Mapping[Any, Any], key: object, most: int) -> None:
    if key not in held and len(held) >= most:
        raise DirectoryError("too-many", f"The directory holds {most} of these, its most.")


def _known_organisation(told: SiteEdit, known: Mapping[str, Organisation]) -> None:
    if told.organisation is not None and told.organisation not in known:
        raise DirectoryError(
            "unknown-organisation", f"There is no organisation {told.organisation}."
        )


def _place_for(
    key: Key, present: Directory, new_sites: Mapping[str, SiteEdit] | None = None
) -> None:
    """Refuse what cannot be written under an id."""
    if key[0] not in (new_sites or {}) and present.site(key[0]) is None:
        raise DirectoryError("unknown-site", f"There is no site {key[0]}.")
    if present.moved_to(*key) is not None:
        raise DirectoryError("moved", f"{key[0]}/{key[1]} has another id by now.")
    _limit(present.edits.machines, key, MACHINES_MAX)


def _remember_birth(tx: Tx, key: Key, to: Key, present: Directory) -> None:
    """Keep what the old id's birth said, until the agent announces the new one."""
    entry = present.machine(*key)
    if entry is None:
        return
    edit = present.edits.machines.get(key, MachineEdit(*key))
    directory.put_machine(
        tx,
        replace(
            edit,
            site=to[0],
            machine=to[1],
            name=edit.name or entry.name,
            kind=edit.kind or entry.kind or None,
            maker=edit.maker or entry.maker or None,
            model=edit.model or entry.model or None,
            capabilities=edit.capabilities or entry.capabilities or None,
        ),
    )


def _erased_ids(present: Directory, site: str, machine: str | None) -> list[Key]:
    """Name every id whose data goes: the machines, and what they were called before."""
    if machine is None:
        mine = [(m.site, m.machine) for m in present.every_machine() if m.site == site]
    else:
        mine = [(site, machine)]
    former = [each for key in mine for each in present.former_ids(*key)]
    return list(dict.fromkeys([*mine, *former]))
