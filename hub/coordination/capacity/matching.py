"""Whether a machine can make something at all, and what it lacks if not. Pure.

What nobody has said of a machine is not promised of it: an order that asks for a tolerance is not
offered on a machine whose tolerance is unknown, and is told so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from hub.coordination.capacity.capacity import Need
from hub.coordination.directory.directory import Capability, Envelope, MachineEntry
from hub.coordination.directory.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on a number of parts, as somebody asks for it. None: does not matter."""

    process: str
    quantity: int
    material: str | None = None
    cycle_s: float | None = None
    """Seconds for one part; without it the machine's own typical one."""
    setup_min: float | None = None
    envelope_mm: Envelope | None = None
    tolerance_it: int | None = None
    """The coarsest grade that is good enough, IT1 to IT18 of ISO 286-1."""
    certifications: tuple[str, ...] = ()
    splittable: bool = False
    """Whether the lot may pause between parts, and be shared out over machines."""
    chunk_min_ms: int = 0
    setup_again: bool = False
    unattended: bool = False
    """Whether the parts may be made with nobody there, on machines that need nobody."""
    units: int = 1
    max_lots: int = 1
    part_mass_kg: float | None = None


class Mismatch(NamedTuple):
    """Why a machine cannot do a step. `code` is stable; greater `near` failed later, so nearer."""

    code: str
    detail: str
    near: int


class Match(NamedTuple):
    """By which of its capabilities a machine can do a step, and until when it may."""

    capability: Capability
    certified_until_ms: int | None
    """The first instant at which a certificate asked for no longer holds; None: no end."""


CODES: Final = (
    "process",
    "material",
    "envelope",
    "tolerance",
    "certification-missing",
    "lot-size",
    "units",
    "no-cycle-time",
    "too-far",
    "location-unknown",
    "not-live",
    "no-calendar",
    "down",
    "no-window",
    "certification-expires",
    "after-due",
)
"""Every reason for which a machine is not offered, those that are checked first before."""


def mismatch(code: str, detail: str) -> Mismatch:
    """Make a reason; the later it is checked, the nearer the machine came."""
    return Mismatch(code, detail, CODES.index(code))


def match(step: Step, entry: MachineEntry, taxonomy: Taxonomy, now_ms: int) -> Match | Mismatch:
    """Find the capability that can do a step, else the reason of the one that comes nearest."""
    nearest = mismatch("process", f"does not do {step.process}")
    for capability in entry.capabilities:
        if not taxonomy.covers(step.process, capability.process):
            continue
        found = _fits(step, entry, capability, taxonomy, now_ms)
        if found is None:
            return Match(capability, _certified_until(step, capability))
        if found.near > nearest.near:
            nearest = found
    return nearest


def _fits(
    step: Step, entry: MachineEntry, capability: Capability, taxonomy: Taxonomy, now_ms: int
) -> Mismatch | None:
    return (
        _material(step, capability, taxonomy)
        or _envelope(step, entry.envelope_for(capability))
        or _tolerance(step, capability)
        or _certified(step, capability, now_ms)
        or _lot(step, capability)
        or _units(step, entry)
    )


def _material(step: Step, capability: Capability, taxonomy: Taxonomy) -> Mismatch | None:
    if step.material is None:
        return None
    if not capability.materials:
        return mismatch("material", "nobody has said which materials it takes")
    if any(taxonomy.covers_material(step.material, each) for each in capability.materials):
        return None
    return mismatch("material", f"takes {', '.join(capability.materials)}, not {step.material}")


def _envelope(step: Step, room: Envelope | None) -> Mismatch | None:
    if step.envelope_mm is None:
        return None
    if room is None:
        return mismatch("envelope", "nobody has said how large a part it takes")
    if fits_inside(step.envelope_mm, room):
        return None
    return mismatch(
        "envelope", f"takes at most {_box(room)} mm, the part is {_box(step.envelope_mm)}"
    )


def fits_inside(part: Iterable[float], room: Iterable[float]) -> bool:
    """Tell whether a box fits into another when turned by right angles, whichever way."""
    return all(a <= b for a, b in zip(sorted(part), sorted(room), strict=True))


def _box(sides: Iterable[float]) -> str:
    return " x ".join(f"{side:g}" for side in sides)


def _tolerance(step: Step, capability: Capability) -> Mismatch | None:
    if step.tolerance_it is None:
        return None
    if capability.tolerance_it is None:
        return mismatch("tolerance", "nobody has said how finely it works")
    if capability.tolerance_it <= step.tolerance_it:
        return None
    return mismatch("tolerance", f"reaches IT{capability.tolerance_it}, not IT{step.tolerance_it}")


def _certified(step: Step, capability: Capability, now_ms: int) -> Mismatch | None:
    held = {_scheme(each.scheme) for each in capability.certifications if each.holds_at(now_ms)}
    lacking = [wanted for wanted in step.certifications if _scheme(wanted) not in held]
    if not lacking:
        return None
    return mismatch("certification-missing", f"holds no valid {', '.join(lacking)}")


def _certified_until(step: Step, capability: Capability) -> int | None:
    """Tell when the first of the certificates asked for ends, each at its longest."""
    ends: list[int] = []
    for wanted in step.certifications:
        held = [e for e in capability.certifications if _scheme(e.scheme) == _scheme(wanted)]
        until = [each.valid_until_ms for each in held]
        if None not in until:
            ends.append(max(end for end in until if end is not None))
    return min(ends, default=None)


def _scheme(text: str) -> str:
    """Read ``ISO 9001``, ``iso9001`` and ``ISO-9001`` as one and the same."""
    return "".join(sign for sign in text.casefold() if sign.isalnum())


def _lot(step: Step, capability: Capability) -> Mismatch | None:
    shared = step.splittable and step.max_lots > 1
    if step.quantity < capability.lot_min:
        return mismatch("lot-size", f"takes lots of {capability.lot_min} parts or more")
    if capability.lot_max is not None and step.quantity > capability.lot_max and not shared:
        return mismatch("lot-size", f"takes lots of {capability.lot_max} parts at most")
    return None


def _units(step: Step, entry: MachineEntry) -> Mismatch | None:
    if step.units <= entry.capacity_units:
        return None
    return mismatch("units", f"takes {entry.capacity_units} at once, not {step.units}")


def need(step: Step, quantity: int, cycle_ms: int, setup_ms: int) -> Need:
    """Tell what a number of parts of a step takes on a machine of a given pace."""
    return Need(quantity, cycle_ms, setup_ms, step.splittable, step.chunk_min_ms, step.setup_again)
