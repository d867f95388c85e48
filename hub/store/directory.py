"""The directory's rows: organisations, sites, machines with their capabilities, former ids."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    and_,
    delete,
    select,
    update,
)

from hub.store.entries import (
    Alias,
    Capability,
    Certification,
    Edits,
    MachineEdit,
    Names,
    Organisation,
    SiteEdit,
)
from hub.store.tables import Count, metadata, word
from hub.store.transaction import Tx

ID_MAX: Final = 64
SITE_MAX: Final = 128
MACHINE_MAX: Final = 400
TEXT_MAX: Final = 200

_organisation: Final = Table(
    "organisation",
    metadata,
    Column("organisation", word(ID_MAX), primary_key=True),
    Column("name_ja", String(TEXT_MAX)),
    Column("name_en", String(TEXT_MAX)),
    Column("kind", word(32), nullable=False),
    Column("corporate_number", word(13)),
    Column("contact", String(TEXT_MAX)),
)
_site: Final = Table(
    "site",
    metadata,
    Column("site", word(SITE_MAX), primary_key=True),
    Column("organisation", word(ID_MAX), ForeignKey("organisation.organisation")),
    Column("name_ja", String(TEXT_MAX)),
    Column("name_en", String(TEXT_MAX)),
    Column("time_zone", word(64)),
    Column("lat", Float),
    Column("lon", Float),
    Column("municipality", word(64)),
    Column("groups", Text),
    Column("day_start_min", Integer),
    Column("grid_factor_kg_per_kwh", Float),
)
_machine: Final = Table(
    "machine",
    metadata,
    Column("site", word(SITE_MAX), primary_key=True),
    Column("machine", word(MACHINE_MAX), primary_key=True),
    Column("name_ja", String(TEXT_MAX)),
    Column("name_en", String(TEXT_MAX)),
    Column("kind", String(TEXT_MAX)),
    Column("maker", String(TEXT_MAX)),
    Column("model", String(TEXT_MAX)),
    Column("capacity_units", Integer),
    Column("rated_power_kw", Float),
    Column("envelope_x_mm", Float),
    Column("envelope_y_mm", Float),
    Column("envelope_z_mm", Float),
    Column("capabilities", Text),
    Column("retired_ms", Count),
)
_alias: Final = Table(
    "machine_alias",
    metadata,
    Column("site", word(SITE_MAX), primary_key=True),
    Column("machine", word(MACHINE_MAX), primary_key=True),
    Column("to_site", word(SITE_MAX), nullable=False),
    Column("to_machine", word(MACHINE_MAX), nullable=False),
    Column("moved_ms", Count, nullable=False),
)
_ENVELOPE: Final = ("envelope_x_mm", "envelope_y_mm", "envelope_z_mm")


def load(tx: Tx) -> Edits:
    """Give everything that is written."""
    rows = {
        table: list(tx.connection.execute(select(table)).mappings())
        for table in (_organisation, _site, _machine, _alias)
    }
    aliases = [Alias(**row) for row in rows[_alias]]
    return Edits(
        organisations={row["organisation"]: _read_org(row) for row in rows[_organisation]},
        sites={row["site"]: _read_site(row) for row in rows[_site]},
        machines={(row["site"], row["machine"]): _read_machine(row) for row in rows[_machine]},
        aliases={(alias.site, alias.machine): alias for alias in aliases},
    )


def put_organisation(tx: Tx, told: Organisation) -> None:
    """Write an organisation."""
    values = {"kind": told.kind, "corporate_number": told.corporate_number}
    values |= {"contact": told.contact, **_names(told.name)}
    tx.put(_organisation, {"organisation": told.organisation}, values)


def delete_organisation(tx: Tx, organisation: str) -> bool:
    """Delete an organisation that no site belongs to; False when one does."""
    mine = select(_site.c.site).where(_site.c.organisation == organisation).limit(1)
    if tx.connection.scalar(mine) is not None:
        return False
    here = _organisation.c.organisation == organisation
    tx.connection.execute(delete(_organisation).where(here))
    return True


def put_site(tx: Tx, told: SiteEdit) -> None:
    """Write what is told of a site; what is None is taken back."""
    lat, lon = told.location or (None, None)
    values = {
        "organisation": told.organisation,
        **_names(told.name),
        "time_zone": told.time_zone,
        "lat": lat,
        "lon": lon,
        "municipality": told.municipality,
        "groups": None if told.groups is None else json.dumps(told.groups),
        "day_start_min": told.day_start_min,
        "grid_factor_kg_per_kwh": told.grid_factor_kg_per_kwh,
    }
    tx.put(_site, {"site": told.site}, values)


def put_machine(tx: Tx, told: MachineEdit) -> None:
    """Write what is told of a machine; what is None is taken back."""
    values = {
        **_names(told.name),
        "kind": told.kind,
        "maker": told.maker,
        "model": told.model,
        "capacity_units": told.capacity_units,
        "rated_power_kw": told.rated_power_kw,
        **dict(zip(_ENVELOPE, told.envelope_mm or (None, None, None), strict=True)),
        "capabilities": None if told.capabilities is None else _write_all(told.capabilities),
        "retired_ms": told.retired_ms,
    }
    tx.put(_machine, {"site": told.site, "machine": told.machine}, values)


def put_alias(tx: Tx, alias: Alias) -> None:
    """Write a former id, and let the ids before it lead to the present one too."""
    now = {"to_site": alias.to_site, "to_machine": alias.to_machine}
    was = and_(_alias.c.to_site == alias.site, _alias.c.to_machine == alias.machine)
    tx.connection.execute(update(_alias).where(was).values(**now))
    key = {"site": alias.site, "machine": alias.machine}
    tx.put(_alias, key, now | {"moved_ms": alias.moved_ms})
    drop_alias(tx, alias.to_site, alias.to_machine)


def drop_alias(tx: Tx, site: str, machine: str) -> None:
    """Forget that an id was somebody's former one: it is in use again."""
    tx.connection.execute(
        delete(_alias).where(and_(_alias.c.site == site, _alias.c.machine == machine))
    )


def _read_org(row: RowMapping) -> Organisation:
    return Organisation(
        row["organisation"],
        _name(row) or {},
        row["kind"],
        row["corporate_number"],
        row["contact"],
    )


def _read_site(row: RowMapping) -> SiteEdit:
    groups = row["groups"]
    return SiteEdit(
        site=row["site"],
        organisation=row["organisation"],
        name=_name(row),
        time_zone=row["time_zone"],
        location=None if row["lat"] is None else (row["lat"], row["lon"]),
        municipality=row["municipality"],
        groups=None if groups is None else tuple(json.loads(groups)),
        day_start_min=row["day_start_min"],
        grid_factor_kg_per_kwh=row["grid_factor_kg_per_kwh"],
    )


def _read_machine(row: RowMapping) -> MachineEdit:
    x, y, z = (row[name] for name in _ENVELOPE)
    told = row["capabilities"]
    return MachineEdit(
        site=row["site"],
        machine=row["machine"],
        name=_name(row),
        kind=row["kind"],
        maker=row["maker"],
        model=row["model"],
        capacity_units=row["capacity_units"],
        rated_power_kw=row["rated_power_kw"],
        envelope_mm=None if x is None else (x, y, z),
        capabilities=None if told is None else tuple(map(_read, json.loads(told))),
        retired_ms=row["retired_ms"],
    )


def _write_all(capabilities: tuple[Capability, ...]) -> str:
    return json.dumps([asdict(each) for each in capabilities], separators=(",", ":"))


def _read(told: Mapping[str, Any]) -> Capability:
    envelope = told["envelope_mm"]
    parts = {
        "materials": tuple(told["materials"]),
        "envelope_mm": None if envelope is None else tuple(envelope),
        "certifications": tuple(Certification(**each) for each in told["certifications"]),
    }
    return Capability(**{**told, **parts})


def _names(name: Names | None) -> dict[str, str | None]:
    told = name or {}
    return {"name_ja": told.get("ja"), "name_en": told.get("en")}


def _name(row: RowMapping) -> dict[str, str] | None:
    both = {"ja": row["name_ja"], "en": row["name_en"]}
    return {language: text for language, text in both.items() if text} or None
