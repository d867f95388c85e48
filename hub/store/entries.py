"""What people write into the directory: organisations, facts of sites and machines, capabilities.

Plain values, no SQL. A field that nobody has written is None: then a machine's birth or the hub's
settings speak for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Names = Mapping[str, str]
"""A name by language: ``ja``, ``en`` or both."""

Envelope = tuple[float, float, float]
"""The largest workpiece in millimetres, as a box. A cylinder is its diameter twice, and length."""

OrganisationKind = Literal["manufacturer", "coordinator", "municipality", "prefecture", "buyer"]
Evidence = Literal["declared", "proven"]

IT_GRADES: Final = range(1, 19)
"""Standard tolerance grades IT1 to IT18 of ISO 286-1; a smaller number is finer."""


@dataclass(frozen=True, slots=True)
class Certification:
    """A certificate that covers a capability, for example ISO 9001 or a welding qualification."""

    scheme: str
    number: str = ""
    valid_until_ms: int | None = None
    """The first instant at which it no longer holds; None when it does not end."""

    def holds_at(self, time_ms: int) -> bool:
        """Tell whether it is valid at an instant."""
        return self.valid_until_ms is None or time_ms < self.valid_until_ms


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing that a machine can do, and within which limits. None means: not said."""

    process: str
    """A slug of the taxonomy of processes."""
    materials: tuple[str, ...] = ()
    """Slugs of the taxonomy of materials; none means that nothing is said of them."""
    envelope_mm: Envelope | None = None
    """None: whatever the machine's own envelope holds."""
    tolerance_it: int | None = None
    """The finest grade reached, IT1 to IT18 of ISO 286-1."""
    lot_min: int = 1
    lot_max: int | None = None
    setup_min: float | None = None
    """Minutes from the last part of one job to the first of the next."""
    cycle_s: float | None = None
    """Seconds for a typical part; an offer for a given part says its own."""
    certifications: tuple[Certification, ...] = ()
    evidence: Evidence = "declared"
    """``declared`` by its owner, or ``proven`` by finished jobs."""
    attended: bool = True
    """Whether somebody must be there while it works."""


@dataclass(frozen=True, slots=True)
class Organisation:
    """Who runs sites, leads a network of them, or looks after a region."""

    organisation: str
    name: Names
    kind: OrganisationKind = "manufacturer"
    corporate_number: str | None = None
    """Japan's 13-digit number, the first being its check digit (MOF ordinance on the number)."""
    contact: str | None = None


@dataclass(frozen=True, slots=True)
class SiteEdit:
    """What a person wrote about a site."""

    site: str
    organisation: str | None = None
    name: Names | None = None
    time_zone: str | None = None
    location: tuple[float, float] | None = None
    """Latitude and longitude, degrees, WGS 84."""
    municipality: str | None = None
    """JIS X 0402 without check digit: two digits of the prefecture, three of the municipality."""
    groups: tuple[str, ...] | None = None
    day_start_min: int | None = None
    """When the production day begins, in minutes after local midnight."""
    grid_factor_kg_per_kwh: float | None = None
    """kg CO2e per kWh of the site's electricity."""


@dataclass(frozen=True, slots=True)
class MachineEdit:
    """What a person wrote about a machine."""

    site: str
    machine: str
    name: Names | None = None
    kind: str | None = None
    maker: str | None = None
    model: str | None = None
    capacity_units: int | None = None
    rated_power_kw: float | None = None
    envelope_mm: Envelope | None = None
    capabilities: tuple[Capability, ...] | None = None
    """None: what its birth says it does."""
    retired_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """A machine that was called (`site`, `machine`) and is (`to_site`, `to_machine`) now."""

    site: str
    machine: str
    to_site: str
    to_machine: str
    moved_ms: int


@dataclass(frozen=True, slots=True)
class Edits:
    """Everything written, as one snapshot."""

    organisations: Mapping[str, Organisation] = field(default_factory=dict)
    sites: Mapping[str, SiteEdit] = field(default_factory=dict)
    machines: Mapping[tuple[str, str], MachineEdit] = field(default_factory=dict)
    aliases: Mapping[tuple[str, str], Alias] = field(default_factory=dict)
