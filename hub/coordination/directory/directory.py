"""Who is there and what they can do: what people wrote, births said and settings know, as one.

For every field the first that speaks counts: what a person wrote, then the machine's birth, then
(of a site) the hub's settings. So an owner's word is never undone by an agent's restart, and
taking it back lets the birth speak again.
"""

import threading
from dataclasses import dataclass, field
from typing import Final

from hub.coordination.directory.taxonomy import Taxonomy
from hub.live import Label
from hub.registry import MachineRecord, Registry, SiteRecord
from hub.store.entries import (
    Alias,
    Capability,
    Certification,
    Edits,
    Envelope,
    MachineEdit,
    Names,
    Organisation,
    SiteEdit,
)

__all__ = [
    "Alias",
    "Capability",
    "Certification",
    "Directory",
    "Edits",
    "Envelope",
    "MachineEdit",
    "MachineEntry",
    "Organisation",
    "SiteEdit",
    "SiteEntry",
    "merge_machine",
    "merge_site",
]

DAY_START_MIN: Final = 0
"""Production days begin at local midnight unless somebody says otherwise."""
_SITE_FIELDS: Final = (
    "organisation",
    "name",
    "time_zone",
    "location",
    "municipality",
    "groups",
    "day_start_min",
    "grid_factor_kg_per_kwh",
)
_MACHINE_FIELDS: Final = (
    "name",
    "kind",
    "maker",
    "model",
    "capacity_units",
    "rated_power_kw",
    "envelope_mm",
    "capabilities",
)
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SiteEntry:
    """A site as it is shown. `edited` names the fields that a person wrote."""

    site: str
    name: Names
    time_zone: str = "UTC"
    location: tuple[float, float] | None = None
    municipality: str | None = None
    organisation: str | None = None
    groups: tuple[str, ...] = ()
    day_start_min: int = DAY_START_MIN
    grid_factor_kg_per_kwh: float | None = None
    configured: bool = True
    """False for a site that the hub only heard of."""
    edited: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MachineEntry:
    """A machine as it is shown. `edited` names the fields that a person wrote."""

    site: str
    machine: str
    name: Names = field(default_factory=dict)
    kind: str = ""
    maker: str = ""
    model: str = ""
    capacity_units: int = 1
    """How many jobs it takes at once."""
    rated_power_kw: float | None = None
    envelope_mm: Envelope | None = None
    capabilities: tuple[Capability, ...] = ()
    unknown_processes: tuple[str, ...] = ()
    """What its birth calls processes and no taxonomy knows."""
    retired_ms: int | None = None
    announced: bool = True
    """False for a machine without any sensor, which only people tell of."""
    edited: frozenset[str] = frozenset()

    @property
    def retired(self) -> bool:
        """Whether it is out of service for good."""
        return self.retired_ms is not None

    @property
    def processes(self) -> tuple[str, ...]:
        """The slugs of what it can do, each once, in the order told."""
        return tuple(dict.fromkeys(each.process for each in self.capabilities))

    def envelope_for(self, capability: Capability) -> Envelope | None:
        """Give the envelope that holds for one of its capabilities; None when nobody said."""
        return capability.envelope_mm or self.envelope_mm


class Directory:
    """The directory in memory. Any thread asks; `load` follows every committed change.

    Retired machines, and machines that have another id by now, are left out of what is listed.
    """

    def __init__(self, registry: Registry, taxonomy: Taxonomy, edits: Edits | None = None) -> None:
        self._registry = registry
        self._taxonomy = taxonomy
        self._lock = threading.Lock()
        self._edits = edits or Edits()
        self._loads = 0
        self._built = -1
        self._machines: dict[Key, MachineEntry] = {}
        self._listed: tuple[MachineEntry, ...] = ()

    @property
    def version(self) -> int:
        """Grows with every change of what the directory says."""
        return self._registry.version + self._loads

    @property
    def edits(self) -> Edits:
        """What people wrote, as last loaded."""
        return self._edits

    @property
    def taxonomy(self) -> Taxonomy:
        """The words for processes and materials."""
        return self._taxonomy

    def load(self, edits: Edits) -> None:
        """Take over what is written now."""
        with self._lock:
            self._edits = edits
            self._loads += 1

    def organisation(self, organisation: str) -> Organisation | None:
        """Give one organisation."""
        return self._edits.organisations.get(organisation)

    def organisations(self) -> list[Organisation]:
        """Give every organisation, by id."""
        return [told for _, told in sorted(self._edits.organisations.items())]

    def site(self, site: str) -> SiteEntry | None:
        """Give one site, or None when nobody ever spoke of it."""
        return merge_site(site, self._registry.site(site), self._edits.sites.get(site))

    def sites(self) -> list[SiteEntry]:
        """Give every site, by id."""
        known = {record.site for record in self._registry.sites()} | set(self._edits.sites)
        return [entry for site in sorted(known) if (entry := self.site(site)) is not None]

    def machines(self, site: str | None = None) -> list[MachineEntry]:
        """Give the machines in service, of all sites or one, by site and id."""
        self._build()
        return [entry for entry in self._listed if site is None or entry.site == site]

    def machine(self, site: str, machine: str) -> MachineEntry | None:
        """Give one machine, a retired one too; None when it is unknown or has another id."""
        self._build()
        return self._machines.get((site, machine))

    def every_machine(self) -> list[MachineEntry]:
        """Give the machines in service and the retired ones, by site and id."""
        self._build()
        return list(self._machines.values())

    def hidden_ids(self) -> frozenset[Key]:
        """Name the ids under which nothing is shown: retired machines, and former ids."""
        edits = self._edits
        retired = {key for key, edit in edits.machines.items() if edit.retired_ms is not None}
        return frozenset(retired | set(edits.aliases))

    def labels(self) -> dict[Key, Label]:
        """Give what people wrote of the machines in service, as the live lists are to show it."""
        return {
            key: Label(edit.name, edit.kind, edit.maker, edit.model, _processes(edit))
            for key, edit in self._edits.machines.items()
            if edit.retired_ms is None and key not in self._edits.aliases
        }

    def hidden(self, site: str, machine: str) -> bool:
        """Tell whether what is heard under this id is no longer shown."""
        if (site, machine) in self._edits.aliases:
            return True
        edit = self._edits.machines.get((site, machine))
        return edit is not None and edit.retired_ms is not None

    def moved_to(self, site: str, machine: str) -> Key | None:
        """Give the present id of a machine that was renamed or moved; None for any other."""
        alias = self._edits.aliases.get((site, machine))
        return None if alias is None else (alias.to_site, alias.to_machine)

    def former_ids(self, site: str, machine: str) -> list[Key]:
        """Give the ids that a machine had before, the latest first."""
        here = (site, machine)
        found = [a for a in self._edits.aliases.values() if (a.to_site, a.to_machine) == here]
        found.sort(key=lambda alias: -alias.moved_ms)
        return [(alias.site, alias.machine) for alias in found]

    def _build(self) -> None:
        """Put everything together again after a change."""
        with self._lock:
            version = self.version
            if version == self._built:
                return
            records = {(m.site, m.machine): m for m in self._registry.machines()}
            known = sorted((set(records) | set(self._edits.machines)) - set(self._edits.aliases))
            self._machines = {
                key: merge_machine(
                    key, records.get(key), self._edits.machines.get(key), self._taxonomy
                )
                for key in known
            }
            self._listed = tuple(m for m in self._machines.values() if not m.retired)
            self._built = version


def merge_site(site: str, heard: SiteRecord | None, edit: SiteEdit | None) -> SiteEntry | None:
    """Join what is known of a site; None when nothing is."""
    if heard is None and edit is None:
        return None
    told = _told(edit, _SITE_FIELDS)
    entry: dict[str, object] = {"site": site, "name": {"ja": site, "en": site}}
    if heard is not None:
        entry |= {
            "name": heard.name,
            "time_zone": heard.time_zone,
            "location": heard.location,
            "municipality": municipality_code(heard.municipality),
            "configured": heard.configured,
        }
    if told:
        entry["configured"] = True
    return SiteEntry(**{**entry, **told}, edited=frozenset(told))  # type: ignore[arg-type]


def merge_machine(
    key: Key, heard: MachineRecord | None, edit: MachineEdit | None, taxonomy: Taxonomy
) -> MachineEntry:
    """Join what is known of a machine."""
    told = _told(edit, _MACHINE_FIELDS)
    entry: dict[str, object] = {"site": key[0], "machine": key[1]}
    if heard is not None:
        capabilities, unknown = _capabilities(heard.processes, taxonomy)
        entry |= {
            "name": heard.name,
            "kind": heard.kind,
            "maker": heard.maker,
            "model": heard.model,
            "capabilities": capabilities,
            "unknown_processes": unknown,
        }
    return MachineEntry(
        **{**entry, **told},  # type: ignore[arg-type]
        retired_ms=None if edit is None else edit.retired_ms,
        announced=heard is not None,
        edited=frozenset(told),
    )


def municipality_code(text: str | None) -> str | None:
    """Read a code of JIS X 0402, with or without its check digit; other words stay as they are."""
    if text is not None and len(text) == 6 and text.isascii() and text.isdigit():  # noqa: PLR2004 (digits)
        return text[:5]
    return text


def _processes(edit: MachineEdit) -> tuple[str, ...] | None:
    told = edit.capabilities
    return None if told is None else tuple(dict.fromkeys(each.process for each in told))


def _told(edit: SiteEdit | MachineEdit | None, names: tuple[str, ...]) -> dict[str, object]:
    values = {} if edit is None else {name: getattr(edit, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _capabilities(
    words: tuple[str, ...], taxonomy: Taxonomy
) -> tuple[tuple[Capability, ...], tuple[str, ...]]:
    """Read what a birth calls its processes, and set aside what no taxonomy knows."""
    found = {word: taxonomy.process(word) for word in words}
    slugs = dict.fromkeys(slug for slug in found.values() if slug is not None)
    unknown = tuple(word for word, slug in found.items() if slug is None)
    return tuple(Capability(slug) for slug in slugs), unknown
