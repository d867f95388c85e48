"""The whole directory as one document: YAML, JSON or a table, out and in.

A document holds what people wrote, never what births say. Reading one writes every entry that it
names whole, and leaves the others alone; a document that was written out changes nothing when it
is read back.
"""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from gateway import settings
from gateway.model import ID_PATTERN
from hub.api.directory_models import (
    CAPABILITIES_MAX,
    YEARS,
    CapabilityIn,
    Id,
    MachineIn,
    OrganisationIn,
    SiteIn,
    capability_fields,
    context,
    given,
    machine_fields,
    organisation_fields,
    site_fields,
)
from hub.api.directory_tables import read_table, write_table
from hub.api.times import rfc3339, to_ms
from hub.coordination.directory.directory import Directory
from hub.coordination.directory.directory_changes import MACHINES_MAX, ORGANISATIONS_MAX, SITES_MAX
from hub.coordination.directory.taxonomy import Taxonomy
from hub.store.entries import Edits, MachineEdit

BYTES_MAX: Final = 2 * 1024 * 1024
YAML_BYTES_MAX: Final = 256 * 1024
"""YAML takes its time to read: a larger directory is sent as a table or as JSON."""
MISTAKES_MAX: Final = 50
VERSION: Final = 1
Place = tuple[str | int, ...]


class MachineFile(MachineIn):
    """A machine in a document."""

    capabilities: Annotated[list[CapabilityIn], Field(max_length=CAPABILITIES_MAX)] | None = None
    retired: AwareDatetime | None = None

    @field_validator("retired")
    @classmethod
    def _is_in_reach(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and not YEARS[0] <= moment.year < YEARS[1]:
            raise ValueError(f"must lie within {YEARS[0]} and {YEARS[1]}")
        return moment

    def whole(self, site: str, machine: str) -> MachineEdit:
        """Give all that is written of a machine."""
        listed = self.capabilities
        return replace(
            self.edit(site, machine),
            capabilities=None if listed is None else tuple(each.capability() for each in listed),
            retired_ms=None if self.retired is None else to_ms(self.retired.astimezone(UTC)),
        )


class SiteFile(SiteIn):
    """A site in a document, with its machines."""

    machines: dict[str, MachineFile] = Field(default={}, max_length=MACHINES_MAX)


class DirectoryFile(BaseModel):
    """The document."""

    model_config = ConfigDict(extra="forbid")

    machikoba_directory: Annotated[int, Field(strict=True, ge=VERSION, le=VERSION)] = VERSION
    organisations: Annotated[dict[Id, OrganisationIn], Field(max_length=ORGANISATIONS_MAX)] = {}
    sites: Annotated[dict[str, SiteFile], Field(max_length=SITES_MAX)] = {}


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, and where: a path, and in a text its line and column."""

    pointer: str
    detail: str
    line: str = ""
    column: str = ""

    def written(self) -> dict[str, str]:
        """Write it as an error of a problem document."""
        told = {"pointer": self.pointer, "detail": self.detail}
        return told | {k: v for k, v in (("line", self.line), ("column", self.column)) if v}


class MistakesError(Exception):
    """The document cannot be taken; `mistakes` says why, one by one."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes[:MISTAKES_MAX]


@dataclass(frozen=True, slots=True)
class Text:
    """Plain data, and how to say where something stands in the text it came from."""

    data: Any
    where: Callable[[Place], tuple[str, str]] = field(default=lambda _: ("", ""))


def written(edits: Edits, shown: Callable[[str], bool]) -> dict[str, Any]:
    """Write out what people wrote of the sites that are to be shown, and their organisations."""
    sites = sorted({*edits.sites, *(site for site, _ in edits.machines)})
    told = {site: _site(edits, site) for site in sites if shown(site)}
    named = {site.get("organisation") for site in told.values()}
    organisations = {
        name: given(organisation_fields(each))
        for name, each in sorted(edits.organisations.items())
        if name in named or shown("")
    }
    return {"machikoba_directory": VERSION, "organisations": organisations, "sites": told}


def _site(edits: Edits, site: str) -> dict[str, Any]:
    edit = edits.sites.get(site)
    told = {} if edit is None else given(site_fields(edit))
    machines = {name: _machine(m) for (of, name), m in sorted(edits.machines.items()) if of == site}
    return told | ({"machines": machines} if machines else {})


def _machine(edit: MachineEdit) -> dict[str, Any]:
    told = given(machine_fields(edit))
    if edit.capabilities is not None:
        told["capabilities"] = [_capability(capability_fields(c)) for c in edit.capabilities]
    if edit.retired_ms is not None:
        told["retired"] = rfc3339(edit.retired_ms)
    return told


def _capability(told: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is so by itself, down to the certificates."""
    told["certifications"] = [given(each) for each in told["certifications"]]
    usual = {"materials": [], "certifications": [], "lot_min": 1, "evidence": "declared",
             "attended": True}  # fmt: skip
    return {name: value for name, value in given(told).items() if usual.get(name, ...) != value}


def encode(document: Mapping[str, Any], media_type: str) -> bytes:
    """Write a document as text of a media type."""
    match media_type:
        case "application/yaml":
            return settings.write(document).encode()
        case "text/csv":
            return write_table(document).encode()
        case _:
            return orjson.dumps(document)


def decode(raw: bytes, media_type: str, taxonomy: Taxonomy) -> DirectoryFile:
    """Read a document.

    Raises:
        MistakesError: with line and column of each mistake where the text has lines.
    """
    text = _text(raw, media_type)
    try:
        return DirectoryFile.model_validate(text.data, context=context(taxonomy))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[:MISTAKES_MAX]
        raise MistakesError([_mistake(text, each["loc"], each["msg"]) for each in found]) from None


def _mistake(text: Text, at: Place, detail: str) -> Mistake:
    line, column = text.where(at)
    return Mistake("/".join(map(str, at)), detail.removeprefix("Value error, "), line, column)


def _text(raw: bytes, media_type: str) -> Text:
    try:
        plain = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MistakesError([Mistake("", "is not UTF-8 text")]) from error
    match media_type:
        case "application/yaml":
            return _yaml(plain)
        case "text/csv":
            return _csv(plain)
        case _:
            return _json(plain)


def _json(plain: str) -> Text:
    try:
        return Text(orjson.loads(plain))
    except orjson.JSONDecodeError as error:
        mistake = Mistake("", f"is not JSON: {error.msg}", str(error.lineno), str(error.colno))
        raise MistakesError([mistake]) from error


def _yaml(plain: str) -> Text:
    if len(plain.encode()) > YAML_BYTES_MAX:
        text = f"YAML of more than {YAML_BYTES_MAX // 1024} KiB: send a table (text/csv) or JSON"
        raise MistakesError([Mistake("", text)])
    try:
        document = settings.parse(plain, Path("directory"))
    except settings.SettingsError as error:
        raise MistakesError(
            [Mistake(p.key, f"{p.cause}. {p.remedy}", *_line(p.place)) for p in error.problems]
        ) from error
    return Text(document.data, lambda at: _line(document.place(at)))


def _line(place: str) -> tuple[str, str]:
    _, _, rest = place.partition(":")
    line, _, column = rest.partition(":")
    return line, column


def _csv(plain: str) -> Text:
    try:
        data, places, mistakes = read_table(csv.reader(io.StringIO(plain, newline=""), strict=True))
    except csv.Error as error:
        raise MistakesError([Mistake("", f"is no table: {error}")]) from error
    if mistakes:
        raise MistakesError([Mistake("", text, str(row), column) for row, column, text in mistakes])

    def where(at: Place) -> tuple[str, str]:
        for length in range(len(at), -1, -1):
            if (found := places.get(at[:length])) is not None:
                return str(found[0]), found[1]
        return "", ""

    return Text(data, where)


def edits_of(told: DirectoryFile, present: Directory) -> Edits:
    """Give what a document says as edits, ids checked.

    Raises:
        MistakesError: an id that is new does not fit a topic, or has moved.
    """
    machines = {
        (site, name): machine.whole(site, name)
        for site, each in told.sites.items()
        for name, machine in each.machines.items()
    }
    wrong = [Mistake(f"sites/{s}", _NO_ID) for s in told.sites
             if present.site(s) is None and not ID_PATTERN.fullmatch(s)]  # fmt: skip
    for site, name in machines:
        at = f"sites/{site}/machines/{name}"
        if present.moved_to(site, name) is not None:
            wrong.append(Mistake(at, "has another id by now"))
        elif present.machine(site, name) is None and not ID_PATTERN.fullmatch(name):
            wrong.append(Mistake(at, _NO_ID))
    if wrong:
        raise MistakesError(wrong)
    return Edits(
        organisations={name: each.organisation(name) for name, each in told.organisations.items()},
        sites={site: each.edit(site) for site, each in told.sites.items()},
        machines=machines,
    )


_NO_ID: Final = "a new id must be 1 to 48 of a-z, 0-9 and -"


def difference(before: Edits, after: Edits) -> list[dict[str, Any]]:
    """Name every entry that would be added or changed, with its fields."""
    changes: list[dict[str, Any]] = []
    for kind in ("organisations", "sites", "machines"):
        held, fresh = getattr(before, kind), getattr(after, kind)
        for key, entry in sorted(fresh.items()):
            old = held.get(key)
            name = "/".join(key) if isinstance(key, tuple) else key
            fields = [
                f for f in type(entry).__slots__ if getattr(entry, f) != getattr(old, f, None)
            ]
            if old is None or fields:
                action = "added" if old is None else "changed"
                changes.append({"kind": kind[:-1], "id": name, "action": action, "fields": fields})
    return changes
