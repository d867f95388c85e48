"""The directory as one table: a row for each organisation, site, machine and capability.

The first column says which, and which columns count for it; an empty cell says nothing. Several
words in a cell are separated by ``;``, the parts of a certificate by ``|``. Texts that a
spreadsheet would take for a formula get an apostrophe in front, which is taken away again.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

COLUMNS: Final = (
    "record", "organisation", "site", "machine", "name_ja", "name_en", "kind", "corporate_number",
    "contact", "time_zone", "lat", "lon", "municipality", "groups", "production_day_start",
    "grid_factor_kg_per_kwh", "maker", "model", "capacity_units", "rated_power_kw", "envelope_x_mm",
    "envelope_y_mm", "envelope_z_mm", "retired", "capabilities", "process", "materials",
    "tolerance_it", "lot_min", "lot_max", "setup_min", "cycle_s", "certifications", "evidence",
    "attended",
)  # fmt: skip
LISTED: Final = "listed"
"""In `capabilities` of a machine: its capabilities are the rows that follow, be there none."""
ROWS_MAX: Final = 100_000
CELL_MAX: Final = 4000
MISTAKES_MAX: Final = 50
_RISKY: Final = tuple("=+-@'\t\r")
_WHOLE: Final = frozenset({"capacity_units", "tolerance_it", "lot_min", "lot_max"})
_ENVELOPE: Final = ("envelope_x_mm", "envelope_y_mm", "envelope_z_mm")
_DECIMAL: Final = frozenset({
    "lat", "lon", "grid_factor_kg_per_kwh", "rated_power_kw", "setup_min", "cycle_s", *_ENVELOPE
})  # fmt: skip
_LISTS: Final = frozenset({"groups", "materials"})
_KEYS: Final = {
    "organisation": ("organisation",),
    "site": ("site",),
    "machine": ("site", "machine"),
    "capability": ("site", "machine", "process"),
}
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "organisation": frozenset({"name_ja", "name_en", "kind", "corporate_number", "contact"}),
    "site": frozenset({"organisation", "name_ja", "name_en", "time_zone", "lat", "lon",
                       "municipality", "groups", "production_day_start",
                       "grid_factor_kg_per_kwh"}),
    "machine": frozenset({"name_ja", "name_en", "kind", "maker", "model", "capacity_units",
                          "rated_power_kw", *_ENVELOPE, "retired", "capabilities"}),
    "capability": frozenset({"process", "materials", *_ENVELOPE, "tolerance_it", "lot_min",
                             "lot_max", "setup_min", "cycle_s", "certifications", "evidence",
                             "attended"}),
}  # fmt: skip
Place = tuple[str | int, ...]
Places = dict[Place, tuple[int, str]]
Mistakes = list[tuple[int, str, str]]
"""Row, column, what is wrong."""


def write_table(document: Mapping[str, Any]) -> str:
    """Write a document as a table."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="")
    writer.writeheader()
    for row in _rows(document):
        writer.writerow({name: _cell(name, value) for name, value in row.items()})
    return out.getvalue()


def _rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, told in document["organisations"].items():
        yield {"record": "organisation", "organisation": name} | _flat(told)
    for site, told in document["sites"].items():
        facts = {key: value for key, value in told.items() if key != "machines"}
        yield {"record": "site", "site": site} | _flat(facts)
        for machine, each in told.get("machines", {}).items():
            place = {"site": site, "machine": machine}
            facts = {key: value for key, value in each.items() if key != "capabilities"}
            listed = {"capabilities": LISTED} if "capabilities" in each else {}
            yield {"record": "machine"} | place | _flat(facts) | listed
            for able in each.get("capabilities", ()):
                yield {"record": "capability"} | place | _flat(able)


def _flat(told: Mapping[str, Any]) -> dict[str, Any]:
    flat = dict(told)
    if name := flat.pop("name", None):
        flat |= {f"name_{language}": text for language, text in name.items()}
    if place := flat.pop("location", None):
        flat |= place
    if box := flat.pop("envelope_mm", None):
        flat |= dict(zip(_ENVELOPE, box, strict=True))
    return flat


def _cell(column: str, value: Any) -> str:
    if column == "certifications":
        parts = ("scheme", "number", "valid_until")
        text = ";".join("|".join(each.get(part) or "" for part in parts) for each in value)
    elif isinstance(value, (list, tuple)):
        text = ";".join(map(str, value))
    elif isinstance(value, bool):
        return "yes" if value else "no"
    elif isinstance(value, (int, float)):
        return repr(value)
    else:
        text = str(value)
    return f"'{text}" if text.startswith(_RISKY) else text


def read_table(rows: Iterable[list[str]]) -> tuple[dict[str, Any], Places, Mistakes]:
    """Read a table into a document, with the row and column where each part stands."""
    reading = _Reading()
    header: list[str] | None = None
    for number, row in enumerate(rows, 1):
        if number > ROWS_MAX or len(reading.mistakes) >= MISTAKES_MAX:
            reading.mistakes.append((number, "", "there is more than can be read: stopped here"))
            break
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [cell.strip() for cell in row]
            if not reading.takes_header(number, header):
                break
            continue
        reading.take(number, header, row)
    if header is None:
        reading.mistakes.append((1, "", "is empty: begin with the names of the columns"))
    return reading.document, reading.places, reading.mistakes


class _Reading:
    """A table as far as it was read."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {"organisations": {}, "sites": {}}
        self.places: Places = {}
        self.mistakes: Mistakes = []

    def takes_header(self, number: int, header: list[str]) -> bool:
        unknown = [name for name in header if name not in COLUMNS]
        twice = [name for name in set(header) if header.count(name) > 1]
        for name in unknown:
            self.mistakes.append((number, name, "no column of the directory"))
        for name in twice:
            self.mistakes.append((number, name, "is there twice"))
        if "record" not in header:
            self.mistakes.append((number, "record", "is missing"))
        return not self.mistakes

    def take(self, number: int, header: list[str], row: list[str]) -> None:
        """Read one row into the document."""
        if len(row) > len(header):
            self.mistakes.append((number, "", "has more cells than there are columns"))
            return
        cells = {name: _plain(cell) for name, cell in zip(header, row, strict=False)}
        cells = {name: cell for name, cell in cells.items() if cell}
        kind = cells.pop("record", "")
        if kind not in _KEYS:
            told = "expected organisation, site, machine or capability"
            self.mistakes.append((number, "record", told))
            return
        for name in _KEYS[kind]:
            if name not in cells:
                self.mistakes.append((number, name, f"is missing for a {kind}"))
                return
        for name in cells:
            if name not in _FIELDS[kind] and name not in _KEYS[kind]:
                self.mistakes.append((number, name, f"does not belong to a {kind}"))
            elif len(cells[name]) > CELL_MAX:
                self.mistakes.append((number, name, f"is longer than {CELL_MAX} characters"))
        self._place(number, kind, cells)

    def _place(self, number: int, kind: str, cells: dict[str, str]) -> None:
        fields = {name: cell for name, cell in cells.items() if name in _FIELDS[kind]}
        at: Place
        if kind == "organisation":
            at = ("organisations", cells["organisation"])
        elif kind == "site":
            at = ("sites", cells["site"])
        else:
            at = ("sites", cells["site"], "machines", cells["machine"])
            if kind == "capability":
                self._add_capability(number, at, fields)
                return
        parent: dict[str, Any] = self.document
        for step in at[:-1]:
            parent = parent.setdefault(step, {})
        if at in self.places:
            self.mistakes.append((number, "", f"the {kind} stood in row {self.places[at][0]}"))
            return
        self.places[at] = (number, "")
        told = self._fields(number, at, fields)
        listed = told.pop("capabilities", None)
        if listed == LISTED:
            told["capabilities"] = []
        elif listed is not None:
            self.mistakes.append((number, "capabilities", f"expected {LISTED} or nothing"))
        parent.setdefault(at[-1], {}).update(told)

    def _add_capability(self, number: int, at: Place, fields: dict[str, str]) -> None:
        site = self.document["sites"].setdefault(at[1], {})
        machine = site.setdefault("machines", {}).setdefault(at[3], {})
        listed = machine.setdefault("capabilities", [])
        here = (*at, "capabilities", len(listed))
        self.places[here] = (number, "")
        listed.append(self._fields(number, here, fields))

    def _fields(self, number: int, at: Place, cells: dict[str, str]) -> dict[str, Any]:
        """Turn the cells of a row into fields, and remember where each stood."""
        told: dict[str, Any] = {}
        for column, cell in cells.items():
            name, inner = _nested(column)
            value = self._value(number, column, cell)
            if inner is None:
                told[name] = value
            else:
                told.setdefault(name, {})[inner] = value
            self.places[(*at, name)] = (number, column)
            self.places[(*at, name, *([] if inner is None else [inner]))] = (number, column)
        if "envelope_mm" in told:
            told["envelope_mm"] = [told["envelope_mm"].get(axis) for axis in range(3)]
        return told

    def _value(self, number: int, column: str, cell: str) -> Any:
        if column in _LISTS:
            return [word.strip() for word in cell.split(";")]
        if column == "certifications":
            return [_certificate(part) for part in cell.split(";")]
        if column == "attended":
            return {"yes": True, "no": False}.get(cell.lower(), cell)
        if column in _WHOLE and re.fullmatch(r"[0-9]{1,12}", cell):
            return int(cell)
        if column in _DECIMAL:
            if re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?", cell):
                return float(cell)
            self.mistakes.append((number, column, "is no number; write 12.5"))
        return cell


def _nested(column: str) -> tuple[str, str | int | None]:
    """Say to which field of a document a column belongs, and to which part of it."""
    if column in _ENVELOPE:
        return "envelope_mm", _ENVELOPE.index(column)
    if column in {"lat", "lon"}:
        return "location", column
    if column.startswith("name_"):
        return "name", column.removeprefix("name_")
    return column, None


def _plain(cell: str) -> str:
    text = cell.strip(" ")
    return text[1:] if text.startswith("'") and text[1:].startswith(_RISKY) else text


def _certificate(text: str) -> dict[str, str]:
    names = ("scheme", "number", "valid_until", "too_many")
    parts = [part.strip() for part in text.split("|", 3)]
    return {name: part for name, part in zip(names, parts, strict=False) if part}
