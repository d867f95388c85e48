"""What a region is told of its factories: sums over municipalities, and χ where few stand behind.

Pure: establishments in, publications out. Three things keep a single factory from showing:

- The dimensions are fixed (municipality and prefecture, group of process, state, one publication a
  day), so nobody can ask two questions whose answers differ by one factory.
- Cells of one or two establishments are closed, and others from which they could be worked out
  (`suppression`). A municipality of one or two is closed whole, with another beside it if needed.
- Who is counted changes by three at least. Newcomers wait until three of a municipality can come
  in at once; when somebody leaves, the figures of the municipality stand still until three changes
  have come together. So the difference of two days never is one factory.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hub.coordination.directory.taxonomy import Tree
from hub.coordination.region.suppression import (
    ESTABLISHMENTS_MIN,
    TOTAL,
    Cell,
    Table,
    suppress,
    suppress_column,
)

PREFECTURE_DIGITS: Final = 2
MUNICIPALITY_DIGITS: Final = 5
OTHER: Final = "other"
GROUPS: Final = (
    "casting",
    "injection-moulding",
    "additive-manufacturing",
    "forming",
    "shearing",
    "turning",
    "milling",
    "cutting-defined-edge",
    "grinding",
    "cutting-undefined-edge",
    "edm",
    "removing",
    "welding",
    "joining",
    "coating",
    "heat-treatment",
    "inspecting",
    OTHER,
)
"""Groups of processes; a machine counts once, in the nearest of these above what it does first."""
STATES: Final = (
    "running", "setup", "idle", "waiting", "down", "maintenance", "off", "closed", "unknown",
)  # fmt: skip
_REST: Final = "~"
"""The row of all municipalities that are closed whole, taken together."""


@dataclass(frozen=True, slots=True)
class Establishment:
    """What one site adds to its region. Machines are counted once by group and once by state."""

    site: str
    municipality: str
    """Five digits of JIS X 0402."""
    groups: Mapping[str, int]
    states: Mapping[str, int]
    free_h: float | None = None
    """Machine-hours free within the next seven days; None when it has no calendar."""
    busy_h: float | None = None
    planned_h: float | None = None
    """Machine-hours busy and planned busy of the day before (AUBT and PBT of ISO 22400)."""


@dataclass(frozen=True, slots=True)
class Share:
    """A sum, and whose it is."""

    value: float = 0
    givers: frozenset[str] = frozenset()

    def plus(self, value: float, giver: str) -> "Share":
        """Add what one establishment gives; nothing is no share."""
        return Share(self.value + value, self.givers | {giver}) if value else self


@dataclass(frozen=True, slots=True)
class Row:
    """One municipality as it was last counted."""

    sites: frozenset[str]
    groups: Mapping[str, Share] = field(default_factory=dict)
    states: Mapping[str, Share] = field(default_factory=dict)
    hours: Mapping[str, Share] = field(default_factory=dict)
    """free, busy, planned."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is told of a region. None is χ; a table that is None is χ in all its cells."""

    code: str
    establishments: int | None
    machines: int | None
    by_process: Mapping[str, int | None] | None
    by_state: Mapping[str, int | None] | None
    free_hours: float | None
    allocation_efficiency: float | None
    """AUBT/PBT, two digits; also None when nothing was planned."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What is told of a prefecture and its municipalities, and what the next one must know."""

    rows: Mapping[str, Row]
    """By municipality, whoever is counted."""
    closed: frozenset[Cell]
    """Cells of the table by process that are χ; they stay so while the same are counted."""
    summaries: Mapping[str, Summary]


def group_of(processes: Sequence[str], tree: Tree) -> str:
    """Give the group in which a machine counts, by the first process told of it."""
    above = tree.ancestry(processes[0]) if processes else ()
    return next((slug for slug in above if slug in GROUPS), OTHER)


def publish(
    prefecture: str, present: Sequence[Establishment], before: Publication | None
) -> Publication:
    """Count the establishments of a prefecture and close what must be closed."""
    counted = before.rows if before is not None else {}
    rows = _rows(present, counted)
    same = {code: row.sites for code, row in rows.items()} == {
        code: row.sites for code, row in counted.items()
    }
    keep = before.closed if before is not None and same else frozenset[Cell]()
    everybody = {each.municipality for each in present} | set(rows)
    hidden = {code: _nothing(code) for code in (prefecture, *sorted(everybody))}
    whole = _closed_whole(rows)
    if whole is None:
        return Publication(rows, keep, hidden)
    open_rows = {code: row for code, row in rows.items() if code not in whole}
    if whole:
        open_rows[_REST] = _joined([rows[code] for code in whole])
    told, closed = _summaries(prefecture, open_rows, keep)
    return Publication(rows, closed, hidden | told)


def _rows(present: Sequence[Establishment], counted: Mapping[str, Row]) -> dict[str, Row]:
    """Decide who is counted, and count them."""
    here: dict[str, list[Establishment]] = {}
    for each in present:
        here.setdefault(each.municipality, []).append(each)
    if not counted:
        # Nothing was told yet, so nothing can be subtracted; but three must begin.
        enough = len({each.site for each in present}) >= ESTABLISHMENTS_MIN
        return {code: _count(found) for code, found in sorted(here.items())} if enough else {}
    rows: dict[str, Row] = {}
    for code in sorted(set(here) | set(counted)):
        old, found = counted.get(code, Row(frozenset())), here.get(code, [])
        sites = {each.site for each in found}
        if len(sites ^ old.sites) >= ESTABLISHMENTS_MIN:
            rows[code] = _count(found)
        elif old.sites <= sites:
            rows[code] = _count([each for each in found if each.site in old.sites])
        else:
            rows[code] = old
    return {code: row for code, row in rows.items() if row.sites}


def _count(found: Iterable[Establishment]) -> Row:
    groups: dict[str, Share] = {}
    states: dict[str, Share] = {}
    hours: dict[str, Share] = {}
    sites: set[str] = set()
    for each in found:
        sites.add(each.site)
        told = {"free": each.free_h, "busy": each.busy_h, "planned": each.planned_h}
        known = {name: value for name, value in told.items() if value is not None}
        for sums, values in ((groups, each.groups), (states, each.states), (hours, known)):
            for name, value in values.items():
                sums[name] = sums.get(name, Share()).plus(value, each.site)
    return Row(frozenset(sites), groups, states, hours)


def _joined(rows: Sequence[Row]) -> Row:
    def sums(parts: Iterable[Mapping[str, Share]]) -> dict[str, Share]:
        found: dict[str, Share] = {}
        for part in parts:
            for name, share in part.items():
                old = found.get(name, Share())
                found[name] = Share(old.value + share.value, old.givers | share.givers)
        return found

    return Row(
        frozenset[str]().union(*(row.sites for row in rows)),
        sums(row.groups for row in rows),
        sums(row.states for row in rows),
        sums(row.hours for row in rows),
    )


def _closed_whole(rows: Mapping[str, Row]) -> set[str] | None:
    """Choose the municipalities of which nothing is told; None when the prefecture is closed too.

    Beside those of one or two establishments others are closed, smallest first, until the closed
    ones together are two or more, have three establishments, and not just one each: then the
    difference to the prefecture tells nothing of one of them.
    """
    size = {code: len(row.sites) for code, row in rows.items()}
    if sum(size.values()) < ESTABLISHMENTS_MIN:
        return None
    whole = {code for code in size if size[code] < ESTABLISHMENTS_MIN}
    rest = sorted((code for code in size if code not in whole), key=lambda code: (size[code], code))
    while whole:
        together = sum(size[code] for code in whole)
        if len(whole) > 1 and together >= ESTABLISHMENTS_MIN and together > len(whole):
            break
        if not rest:
            return None
        whole.add(rest.pop(0))
    return whole


def _summaries(
    prefecture: str, rows: Mapping[str, Row], keep: frozenset[Cell]
) -> tuple[dict[str, Summary], frozenset[Cell]]:
    """Write what is told of the open municipalities and of the prefecture."""
    groups = _table(GROUPS, {code: row.groups for code, row in rows.items()})
    states = _table(STATES, {code: row.states for code, row in rows.items()})
    by_group, by_state = suppress(groups, keep), suppress(states)
    hours = {name: _open_hours(name, rows) for name in ("free", "planned")}
    total = _joined(list(rows.values()))
    told: dict[str, Summary] = {}
    for code, row in ((TOTAL, total), *rows.items()):
        if code == _REST:
            continue
        told[code or prefecture] = Summary(
            code=code or prefecture,
            establishments=len(row.sites),
            machines=round(sum(share.value for share in row.groups.values())),
            by_process=_cells(code, GROUPS, row.groups, by_group),
            by_state=_cells(code, STATES, row.states, by_state),
            free_hours=_hours(row, "free") if code in hours["free"] else None,
            allocation_efficiency=_ratio(row) if code in hours["planned"] else None,
        )
    return told, by_group or frozenset()


def _table(columns: tuple[str, ...], told: Mapping[str, Mapping[str, Share]]) -> Table:
    shares = {(row, name): share for row, sums in told.items() for name, share in sums.items()}
    return Table(
        rows=tuple(told),
        columns=columns,
        values={cell: round(share.value) for cell, share in shares.items()},
        givers={cell: share.givers for cell, share in shares.items()},
        untold=frozenset({_REST} & set(told)),
    )


def _cells(
    code: str,
    columns: tuple[str, ...],
    sums: Mapping[str, Share],
    closed: frozenset[Cell] | None,
) -> dict[str, int | None] | None:
    if closed is None:
        return None
    return {
        name: None if (code, name) in closed else round(sums.get(name, Share()).value)
        for name in columns
    }


def _open_hours(name: str, rows: Mapping[str, Row]) -> frozenset[str]:
    """Give the rows, TOTAL among them, of which hours may be told."""
    shares = {code: row.hours[name] for code, row in rows.items() if name in row.hours}
    if not shares:
        return frozenset()
    closed = suppress_column(
        {code: share.value for code, share in shares.items()},
        {code: share.givers for code, share in shares.items()},
        frozenset({_REST} & set(shares)),
    )
    return frozenset({TOTAL, *shares}) - closed


def _hours(row: Row, name: str) -> float:
    return round(row.hours.get(name, Share()).value, 1)


def _ratio(row: Row) -> float | None:
    planned = row.hours.get("planned", Share()).value
    return round(row.hours.get("busy", Share()).value / planned, 2) if planned else None


def _nothing(code: str) -> Summary:
    return Summary(code, None, None, None, None, None, None)
