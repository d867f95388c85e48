"""What people may write into the directory, field by field, and how entries are written out.

The same models read the body of a PUT and each part of an imported file, so both refuse the same.
"""

import re
import unicodedata
import zoneinfo
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.model import ID_PATTERN
from hub.coordination.directory.taxonomy import Taxonomy, Tree
from hub.store.entries import (
    Capability,
    Certification,
    Envelope,
    Evidence,
    MachineEdit,
    Names,
    Organisation,
    OrganisationKind,
    SiteEdit,
)

DAY_MS: Final = 86_400_000
PREFECTURES: Final = 47
CAPABILITIES_MAX: Final = 64
MATERIALS_MAX: Final = 64
CERTIFICATIONS_MAX: Final = 20
GROUPS_MAX: Final = 32
TEXT_MAX: Final = 200
YEARS: Final = (2000, 2100)
_BARRED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, half characters, separators of lines: they spoil lists and files."""
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that turn the direction of writing: with them a name shows as another one."""


def _readable(text: str) -> str:
    if any(unicodedata.category(c) in _BARRED or c in _TURNING for c in text):
        raise ValueError("holds characters that cannot be shown")
    return text


def _an_id(text: str) -> str:
    if not ID_PATTERN.fullmatch(text):
        raise ValueError("expected 1 to 48 of a-z, 0-9 and -")
    return text


def _plain_word(text: str) -> str:
    if set(text) & set(";|,"):
        raise ValueError("may not hold ; | or ,")
    return text


def _a_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("not an IANA time zone, for example Asia/Tokyo") from error
    return name


def _a_municipality(code: str) -> str:
    """Read a code of JIS X 0402; a sixth digit is its check digit and is left out."""
    if not re.fullmatch(r"[0-9]{5,6}", code) or not 1 <= int(code[:2]) <= PREFECTURES:
        raise ValueError("expected a municipality code of JIS X 0402, for example 13111")
    if len(code) > 5 and code[5] != _check_digit(code):  # noqa: PLR2004 (digits)
        raise ValueError("its check digit is wrong: leave out the sixth digit, or correct it")
    return code[:5]


def _check_digit(code: str) -> str:
    """Weights 6 to 2 over the five digits, modulus 11 (JIS X 0402, check digit)."""
    total = sum(int(digit) * weight for digit, weight in zip(code, (6, 5, 4, 3, 2), strict=False))
    return str((11 - total % 11) % 10)


def _a_corporate_number(number: str) -> str:
    """Check the first digit against the twelve others.

    It is 9 minus the remainder by 9 of their sum, from the right, each second one doubled
    (Ordinance of the Ministry of Finance on corporate numbers, 2014, article 2).
    """
    if not re.fullmatch(r"[0-9]{13}", number):
        raise ValueError("expected the 13 digits of a corporate number")
    total = sum(int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(number[1:])))
    if int(number[0]) != 9 - total % 9:
        raise ValueError("its check digit is wrong")
    return number


def _minutes(clock: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", clock):
        raise ValueError("expected a time of day, for example 08:00")
    return clock


def _a_date(value: object) -> object:
    """Refuse what pydantic would take for a date besides one: numbers, and instants."""
    written = isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value)
    if not written and type(value) is not date:
        raise ValueError("expected a date, for example 2027-03-31")
    return value


def _in_reach(day: date) -> date:
    if not YEARS[0] <= day.year < YEARS[1]:
        raise ValueError(f"must lie within {YEARS[0]} and {YEARS[1]}")
    return day


Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=TEXT_MAX),
    AfterValidator(_readable),
]
Id = Annotated[str, StringConstraints(max_length=48), AfterValidator(_an_id)]
Word = Annotated[Text, StringConstraints(max_length=64), AfterValidator(_plain_word)]
Whole = Annotated[int, Field(strict=True)]
Decimal = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Length = Annotated[Decimal, Field(gt=0, le=100_000)]
Box = Annotated[list[Length], Field(min_length=3, max_length=3)]
Day = Annotated[date, BeforeValidator(_a_date), AfterValidator(_in_reach)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NamesIn(_Strict):
    """A name in Japanese, English or both."""

    ja: Text | None = None
    en: Text | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.ja is None and self.en is None:
            raise ValueError("give the name in at least one of ja, en")
        return self

    def names(self) -> dict[str, str]:
        """Give the name by language."""
        return {key: text for key, text in (("ja", self.ja), ("en", self.en)) if text}


class LocationIn(_Strict):
    """Degrees, WGS 84."""

    lat: Annotated[Decimal, Field(ge=-90, le=90)]
    lon: Annotated[Decimal, Field(ge=-180, le=180)]


class OrganisationIn(_Strict):
    """Who runs sites, leads a network of them, or looks after a region."""

    name: NamesIn
    kind: OrganisationKind = "manufacturer"
    corporate_number: Annotated[str, AfterValidator(_a_corporate_number)] | None = Field(
        default=None, description="Japan's corporate number, 13 digits with its check digit."
    )
    contact: Text | None = None

    def organisation(self, organisation: str) -> Organisation:
        """Give it under its id."""
        return Organisation(
            organisation, self.name.names(), self.kind, self.corporate_number, self.contact
        )


class SiteIn(_Strict):
    """Facts of a site. What is left out is taken from the hub's settings."""

    organisation: Id | None = None
    name: NamesIn | None = None
    time_zone: Annotated[Text, StringConstraints(max_length=64), AfterValidator(_a_zone)] | None = (
        None
    )
    location: LocationIn | None = None
    municipality: Annotated[str, AfterValidator(_a_municipality)] | None = Field(
        default=None, description="JIS X 0402, five digits; a sixth is checked and left out."
    )
    groups: Annotated[list[Id], Field(max_length=GROUPS_MAX)] | None = None
    production_day_start: Annotated[str, AfterValidator(_minutes)] | None = Field(
        default=None, description="Local time at which the production day begins, HH:MM."
    )
    grid_factor_kg_per_kwh: Annotated[Decimal, Field(ge=0, le=5)] | None = Field(
        default=None, description="kg CO2e per kWh of electricity."
    )

    def edit(self, site: str) -> SiteEdit:
        """Give it as what is written of a site."""
        place = self.location
        start = self.production_day_start
        return SiteEdit(
            site=site,
            organisation=self.organisation,
            name=self.name.names() if self.name else None,
            time_zone=self.time_zone,
            location=(place.lat, place.lon) if place else None,
            municipality=self.municipality,
            groups=tuple(dict.fromkeys(self.groups)) if self.groups else None,
            day_start_min=int(start[:2]) * 60 + int(start[3:]) if start else None,
            grid_factor_kg_per_kwh=self.grid_factor_kg_per_kwh,
        )


class CertificationIn(_Strict):
    """A certificate; `valid_until` is the last day on which it holds, in UTC."""

    scheme: Word
    number: Word | None = None
    valid_until: Day | None = None

    def certification(self) -> Certification:
        """Give it with its end as an instant."""
        return Certification(self.scheme, self.number or "", _end_of(self.valid_until))


class CapabilityIn(_Strict):
    """One thing that a machine can do. Processes and materials are words of the taxonomies."""

    process: Text
    materials: Annotated[list[Text], Field(max_length=MATERIALS_MAX)] = []
    envelope_mm: Box | None = None
    tolerance_it: Annotated[Whole, Field(ge=1, le=18)] | None = Field(
        default=None, description="Finest standard tolerance grade, IT1 to IT18 (ISO 286-1)."
    )
    lot_min: Annotated[Whole, Field(ge=1, le=10_000_000)] = 1
    lot_max: Annotated[Whole, Field(ge=1, le=10_000_000)] | None = None
    setup_min: Annotated[Decimal, Field(ge=0, le=100_000)] | None = None
    cycle_s: Annotated[Decimal, Field(gt=0, le=10_000_000)] | None = None
    certifications: Annotated[list[CertificationIn], Field(max_length=CERTIFICATIONS_MAX)] = []
    evidence: Evidence = "declared"
    attended: Annotated[bool, Field(strict=True)] = True

    @field_validator("process")
    @classmethod
    def _is_a_process(cls, word: str, info: ValidationInfo) -> str:
        return _known(word, _tree(info, "processes"), "process")

    @field_validator("materials")
    @classmethod
    def _are_materials(cls, words: list[str], info: ValidationInfo) -> list[str]:
        tree = _tree(info, "materials")
        return list(dict.fromkeys(_known(word, tree, "material") for word in words))

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.lot_max is not None and self.lot_max < self.lot_min:
            raise ValueError("lot_max is smaller than lot_min")
        return self

    def capability(self) -> Capability:
        """Give it as it is kept."""
        return Capability(
            process=self.process,
            materials=tuple(self.materials),
            envelope_mm=_box(self.envelope_mm),
            tolerance_it=self.tolerance_it,
            lot_min=self.lot_min,
            lot_max=self.lot_max,
            setup_min=self.setup_min,
            cycle_s=self.cycle_s,
            certifications=tuple(each.certification() for each in self.certifications),
            evidence=self.evidence,
            attended=self.attended,
        )


class CapabilitiesIn(_Strict):
    """What a machine can do; null lets its birth speak again."""

    capabilities: Annotated[list[CapabilityIn], Field(max_length=CAPABILITIES_MAX)] | None


class MachineIn(_Strict):
    """Facts of a machine. What is left out is taken from its birth."""

    name: NamesIn | None = None
    kind: Text | None = None
    maker: Text | None = None
    model: Text | None = None
    capacity_units: Annotated[Whole, Field(ge=1, le=1000)] | None = Field(
        default=None, description="How many jobs it takes at once."
    )
    rated_power_kw: Annotated[Decimal, Field(gt=0, le=100_000)] | None = None
    envelope_mm: Box | None = Field(
        default=None, description="Largest workpiece as a box, in millimetres."
    )

    def edit(self, site: str, machine: str) -> MachineEdit:
        """Give it as what is written of a machine."""
        return MachineEdit(
            site=site,
            machine=machine,
            name=self.name.names() if self.name else None,
            kind=self.kind,
            maker=self.maker,
            model=self.model,
            capacity_units=self.capacity_units,
            rated_power_kw=self.rated_power_kw,
            envelope_mm=_box(self.envelope_mm),
        )


class MoveIn(_Strict):
    """The id that a machine gets, maybe at another site."""

    site: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    machine: Id


def context(taxonomy: Taxonomy) -> dict[str, Tree]:
    """Give what the models need to know, for ``model_validate(…, context=…)``."""
    return {"processes": taxonomy.processes, "materials": taxonomy.materials}


def _tree(info: ValidationInfo, name: str) -> Tree | None:
    told = info.context
    return told[name] if isinstance(told, dict) else None


def _known(word: str, tree: Tree | None, what: str) -> str:
    """Read a word of a taxonomy; without one at hand, whoever reads later must."""
    if tree is None:
        return word
    if (slug := tree.find(word)) is not None:
        return slug
    near = " or ".join(tree.near(word))
    raise ValueError(f"no {what} of the taxonomy" + (f"; did you mean {near}?" if near else ""))


def _box(told: list[float] | None) -> Envelope | None:
    return None if told is None else (float(told[0]), float(told[1]), float(told[2]))


def _end_of(day: date | None) -> int | None:
    if day is None:
        return None
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    return round(midnight.timestamp() * 1000)


# -- out -----------------------------------------------------------------------------------


def last_day(valid_until_ms: int | None) -> str | None:
    """Write the last day on which a certificate holds."""
    if valid_until_ms is None:
        return None
    return datetime.fromtimestamp((valid_until_ms - DAY_MS) // 1000, UTC).date().isoformat()


def clock(minutes: int) -> str:
    """Write minutes after midnight as a time of day."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def organisation_fields(told: Organisation) -> dict[str, Any]:
    """Write an organisation."""
    return {
        "name": dict(told.name),
        "kind": told.kind,
        "corporate_number": told.corporate_number,
        "contact": told.contact,
    }


def site_fields(told: SiteEdit) -> dict[str, Any]:
    """Write what a person wrote of a site, as a PUT would send it."""
    start = told.day_start_min
    return {
        "organisation": told.organisation,
        "name": _names(told.name),
        "time_zone": told.time_zone,
        "location": location_fields(told.location),
        "municipality": told.municipality,
        "groups": None if told.groups is None else list(told.groups),
        "production_day_start": None if start is None else clock(start),
        "grid_factor_kg_per_kwh": told.grid_factor_kg_per_kwh,
    }


def machine_fields(told: MachineEdit) -> dict[str, Any]:
    """Write what a person wrote of a machine, as a PUT would send it."""
    return {
        "name": _names(told.name),
        "kind": told.kind,
        "maker": told.maker,
        "model": told.model,
        "capacity_units": told.capacity_units,
        "rated_power_kw": told.rated_power_kw,
        "envelope_mm": envelope_fields(told.envelope_mm),
    }


def capability_fields(told: Capability) -> dict[str, Any]:
    """Write a capability, as a PUT would send it."""
    return {
        "process": told.process,
        "materials": list(told.materials),
        "envelope_mm": envelope_fields(told.envelope_mm),
        "tolerance_it": told.tolerance_it,
        "lot_min": told.lot_min,
        "lot_max": told.lot_max,
        "setup_min": told.setup_min,
        "cycle_s": told.cycle_s,
        "certifications": [
            {
                "scheme": each.scheme,
                "number": each.number or None,
                "valid_until": last_day(each.valid_until_ms),
            }
            for each in told.certifications
        ],
        "evidence": told.evidence,
        "attended": told.attended,
    }


def location_fields(place: tuple[float, float] | None) -> dict[str, float] | None:
    """Write a place."""
    return None if place is None else {"lat": place[0], "lon": place[1]}


def envelope_fields(box: Envelope | None) -> list[float] | None:
    """Write an envelope."""
    return None if box is None else list(box)


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what nobody wrote."""
    return {name: value for name, value in fields.items() if value is not None}


def _names(told: Names | None) -> dict[str, str] | None:
    return None if told is None else dict(told)
