"""Who is there: sites, machines with what their births say of them, and who speaks for whom."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hub.config import Site

OWNER_MOVES_AFTER_MS: Final = 600_000
"""A machine's owner must have been gone for so long before another agent may speak for it."""
TEXT_MAX: Final = 200
PROCESSES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class SignalRecord:
    """A signal as its birth declares it. `kind` is double, boolean, integer, int64 or string."""

    name: str
    kind: str = "double"
    unit: str | None = None
    counts: str | None = None
    """``good`` or ``scrap`` when it counts parts."""


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """A machine as its birth declares it."""

    site: str
    machine: str
    agent: str
    foreign: bool = False
    name: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    maker: str = ""
    model: str = ""
    processes: tuple[str, ...] = ()
    signals: tuple[SignalRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """A site; `configured` is false for one that was only heard of."""

    site: str
    name: Mapping[str, str]
    time_zone: str = "UTC"
    location: tuple[float, float] | None = None
    """Latitude and longitude, degrees, WGS 84."""
    municipality: str | None = None
    configured: bool = True


@dataclass(slots=True)
class _Owner:
    agent: str
    gone_since_ms: int | None


class Registry:
    """One thread changes it (ingest), any thread asks."""

    def __init__(self, sites: Mapping[str, Site]) -> None:
        self._lock = threading.Lock()
        self._sites = {site: _configured(site, told) for site, told in sites.items()}
        self._machines: dict[tuple[str, str], MachineRecord] = {}
        self._owners: dict[tuple[str, str], _Owner] = {}
        self.version = 0
        """Grows with every change."""

    def sites(self) -> list[SiteRecord]:
        """Give every site, configured ones first."""
        with self._lock:
            return list(self._sites.values())

    def site(self, site: str) -> SiteRecord | None:
        """Give one site, or None when nobody ever spoke of it."""
        with self._lock:
            return self._sites.get(site)

    def machines(self, site: str | None = None) -> list[MachineRecord]:
        """Give every machine, or those of one site."""
        with self._lock:
            return [m for m in self._machines.values() if site is None or m.site == site]

    def machine(self, site: str, machine: str) -> MachineRecord | None:
        """Give one machine, or None when no birth ever announced it."""
        with self._lock:
            return self._machines.get((site, machine))

    def owner(self, site: str, machine: str) -> str | None:
        """Tell which agent speaks for a machine."""
        with self._lock:
            owner = self._owners.get((site, machine))
            return owner.agent if owner else None

    def claim(self, site: str, machine: str, agent: str, now_ms: int) -> bool:
        """Let an agent speak for a machine; False when another one does.

        A machine whose owner has been gone for ten minutes goes to the first who claims it, and
        its history continues.
        """
        with self._lock:
            owner = self._owners.get((site, machine))
            if owner is None or owner.agent == agent:
                self._owners[site, machine] = _Owner(agent, None)
                return True
            gone = owner.gone_since_ms
            if gone is None or now_ms - gone < OWNER_MOVES_AFTER_MS:
                return False
            self._owners[site, machine] = _Owner(agent, None)
            self.version += 1
            return True

    def adopt(self, site: str, machine: str, agent: str) -> None:
        """Make an agent the owner at once, because an operator says so."""
        with self._lock:
            self._owners[site, machine] = _Owner(agent, None)
            self.version += 1

    def agent_gone(self, site: str, agent: str, now_ms: int) -> None:
        """Start the clock after which others may claim the machines of an agent."""
        with self._lock:
            for (of_site, _), owner in self._owners.items():
                if of_site == site and owner.agent == agent and owner.gone_since_ms is None:
                    owner.gone_since_ms = now_ms

    def agent_back(self, site: str, agent: str) -> None:
        """Stop that clock."""
        with self._lock:
            for (of_site, _), owner in self._owners.items():
                if of_site == site and owner.agent == agent:
                    owner.gone_since_ms = None

    def record(self, record: MachineRecord) -> bool:
        """Remember what a birth says. True when it says something new."""
        key = (record.site, record.machine)
        with self._lock:
            if record.site not in self._sites:
                self._sites[record.site] = _unconfigured(record.site)
            if self._machines.get(key) == record:
                return False
            self._machines[key] = record
            self.version += 1
            return True


def read_description(text: str | None) -> dict[str, Any]:
    """Read the JSON of metric ``Machikoba/Machine`` into keyword arguments of `MachineRecord`.

    Whatever is missing, too long or of the wrong type is left out: a birth is worth having even
    when its description is not.
    """
    try:
        # A lone surrogate can be written as \ud83d in JSON and could never be sent on as UTF-8.
        told = json.loads(text or "{}")
        told = json.loads(json.dumps(told, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    read: dict[str, Any] = {
        key: told[key][:TEXT_MAX]
        for key in ("kind", "maker", "model")
        if isinstance(told.get(key), str)
    }
    name = told.get("name")
    if isinstance(name, dict):
        both = (("en", name.get("en")), ("ja", name.get("ja")))
        read["name"] = {key: text[:TEXT_MAX] for key, text in both if isinstance(text, str)}
    processes = told.get("processes")
    if isinstance(processes, list):
        words = [word[:TEXT_MAX] for word in processes if isinstance(word, str)]
        read["processes"] = tuple(words[:PROCESSES_MAX])
    return read


def _configured(site: str, told: Site) -> SiteRecord:
    return SiteRecord(
        site=site,
        name={key: text for key, text in (("ja", told.name.ja), ("en", told.name.en)) if text},
        time_zone=told.time_zone,
        location=(told.location.lat, told.location.lon) if told.location else None,
        municipality=told.municipality,
    )


def _unconfigured(site: str) -> SiteRecord:
    return SiteRecord(site=site, name={"en": site, "ja": site}, configured=False)
