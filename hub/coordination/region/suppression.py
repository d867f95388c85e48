"""Which cells of a table must stay closed, so that nothing of one or two establishments shows.

Japan's factory statistics write χ for a cell that one or two establishments make up, and for
others from which it could be worked out ("complementary suppression"). Here a table is rows
(municipalities) and columns (kinds), with the total of each row told and the totals of the columns
in one more row, TOTAL.

What somebody can work out from the open cells is exact here, not a rule of thumb. A table with
its totals is a network: each cell is a pipe from its row to its column, TOTAL drains the columns,
totals are what flows in and out. Another table fits the same open cells if and only if something
can be sent round a circle of closed cells. So a closed cell can take another value exactly when
it lies on a circle along which no cell falls below what is known of it at least.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

ESTABLISHMENTS_MIN: Final = 3
"""So many must share a figure before it is told (METI's rule)."""
TOTAL: Final = ""
"""The row that holds the totals of the columns."""

Cell = tuple[str, str]
"""Row and column."""
_Node = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """Counts by row and column, and which establishments each is made of; without totals.

    Of `untold` rows no cell is ever told: what can be worked out of them is what remains when the
    others are taken from the totals.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Mapping[Cell, int]
    givers: Mapping[Cell, frozenset[str]]
    untold: frozenset[str] = frozenset()

    def with_totals(self) -> "Table":
        """Add the row of totals."""
        values, givers = dict(self.values), dict(self.givers)
        for column in self.columns:
            mine = [(row, column) for row in self.rows]
            values[TOTAL, column] = sum(self.values.get(cell, 0) for cell in mine)
            givers[TOTAL, column] = frozenset[str]().union(
                *(self.givers.get(cell, frozenset()) for cell in mine)
            )
        return Table((*self.rows, TOTAL), self.columns, values, givers, self.untold)


@dataclass(slots=True)
class _Closing:
    """A table with its totals, and the cells closed so far."""

    table: Table
    closed: set[Cell] = field(default_factory=set)

    def value(self, cell: Cell) -> int:
        return self.table.values.get(cell, 0)

    def givers(self, cells: Iterable[Cell]) -> int:
        told = (self.table.givers.get(cell, frozenset()) for cell in cells)
        return len(frozenset[str]().union(*told))

    def sensitive(self, cell: Cell) -> bool:
        return self.value(cell) > 0 and self.givers([cell]) < ESTABLISHMENTS_MIN

    def least(self, cell: Cell) -> int:
        """Give what everybody knows of a closed cell: χ is written for no zero."""
        return 0 if cell[0] in self.table.untold else 1

    def may_fall(self, cell: Cell) -> bool:
        return self.value(cell) > self.least(cell)

    def cells(self) -> Iterable[Cell]:
        return ((row, column) for row in self.table.rows for column in self.table.columns)

    def circle(self, start: Cell, *, rising: bool, opening: bool) -> tuple[int, list[Cell]] | None:
        """Find the cheapest circle on which a cell rises or falls by one.

        `opening` also goes through open cells, at the cost of what is lost by closing them; else
        only through closed ones, and the cost is zero.
        """
        if not rising and not self.may_fall(start):
            return None
        tail, head = _ends(start)
        source, goal = (head, tail) if rising else (tail, head)
        arcs = self._arcs(start, opening=opening)
        queue: list[tuple[int, _Node, list[Cell]]] = [(0, source, [])]
        done: set[_Node] = set()
        while queue:
            cost, node, way = heapq.heappop(queue)
            if node == goal:
                return cost, way
            if node in done:
                continue
            done.add(node)
            for further, cell, price in arcs.get(node, ()):
                if further not in done:
                    heapq.heappush(queue, (cost + price, further, [*way, cell]))
        return None

    def free(self, cell: Cell) -> bool:
        """Tell whether another value of a closed cell fits everything that is told."""
        return any(
            self.circle(cell, rising=rising, opening=False) is not None for rising in (True, False)
        )

    def _arcs(self, start: Cell, *, opening: bool) -> dict[_Node, list[tuple[_Node, Cell, int]]]:
        arcs: dict[_Node, list[tuple[_Node, Cell, int]]] = {}
        for cell in self.cells():
            closed = cell in self.closed
            if cell == start or not (closed or (opening and self.value(cell) > 0)):
                continue
            price = 0 if closed else self.value(cell)
            tail, head = _ends(cell)
            arcs.setdefault(tail, []).append((head, cell, price))
            if self.may_fall(cell):
                arcs.setdefault(head, []).append((tail, cell, price))
        return arcs


def suppress(table: Table, keep: frozenset[Cell] = frozenset()) -> frozenset[Cell] | None:
    """Choose the cells to close, TOTAL's among them; None when the whole table must be.

    `keep` are cells that were closed before: opening them while others close would let two
    publications be subtracted.
    """
    closing = _Closing(table.with_totals())
    closing.closed = {
        cell
        for cell in closing.cells()
        if cell[0] in table.untold
        or closing.sensitive(cell)
        or (cell in keep and closing.value(cell) > 0)
    }
    while True:
        more = _exposed(closing)
        if more is None:
            more = _too_few(closing)
        if more is None:
            return frozenset(cell for cell in closing.closed if cell[0] not in table.untold)
        if not more:
            return None
        closing.closed |= more


def _exposed(closing: _Closing) -> set[Cell] | None:
    """Find a sensitive cell that could be worked out, and what to close against it.

    Nothing in the answer means that nothing helps; no answer, that no cell could be.
    """
    for cell in sorted(closing.closed):
        if not closing.sensitive(cell) or closing.free(cell):
            continue
        ways = [closing.circle(cell, rising=rising, opening=True) for rising in (True, False)]
        found = min((way for way in ways if way is not None), default=None)
        return set() if found is None else set(found[1])
    return None


def _too_few(closing: _Closing) -> set[Cell] | None:
    """Find closed cells whose sum is known and made up of one or two establishments only."""
    for line in _lines(closing.table):
        shut = [cell for cell in line if cell in closing.closed and closing.value(cell) > 0]
        unknown = [cell for cell in shut if closing.free(cell)]
        if any(cell[0] == TOTAL for cell in unknown) and line[0][1] == line[-1][1]:
            continue  # the total of the column is closed too, so nobody knows the sum
        if not unknown or closing.givers(unknown) >= ESTABLISHMENTS_MIN:
            continue
        rest = [cell for cell in _helpful(closing, line) if closing.value(cell) > 0]
        cheapest = min(rest, key=lambda cell: (closing.value(cell), cell), default=None)
        return set() if cheapest is None else {cheapest}
    return None


def _helpful(closing: _Closing, line: list[Cell]) -> list[Cell]:
    """Give the open cells whose closing adds an unknown to a line."""
    row = line[0][0]
    if row not in closing.table.untold or line[-1][0] != row:
        return [cell for cell in line if cell not in closing.closed]
    # Cells of an untold row cannot be closed; but others of the columns that give them away can.
    given_away = {cell[1] for cell in line if closing.value(cell) and not closing.free(cell)}
    return [c for c in closing.cells() if c[1] in given_away and c not in closing.closed]


def _lines(table: Table) -> Iterable[list[Cell]]:
    """Give the equations: the rows, whose totals are told, and the columns with TOTAL."""
    for row in table.rows:
        yield [(row, column) for column in table.columns]
    for column in table.columns:
        yield [(row, column) for row in table.rows]


def suppress_column(
    values: Mapping[str, float], givers: Mapping[str, frozenset[str]], untold: frozenset[str]
) -> frozenset[str]:
    """Choose the rows to close of one quantity, TOTAL among them, whose rows have no other sum."""
    everybody = frozenset[str]().union(*givers.values())
    rows = [row for row in values if givers.get(row)]
    if len(everybody) < ESTABLISHMENTS_MIN:
        return frozenset({*rows, TOTAL})
    closed = {row for row in rows if row in untold or len(givers[row]) < ESTABLISHMENTS_MIN}
    rest = sorted((row for row in rows if row not in closed), key=lambda row: (values[row], row))
    while closed and not _hides(closed, givers, untold):
        if not rest:
            return frozenset({*closed, TOTAL})
        closed.add(rest.pop(0))
    return frozenset(row for row in closed if row not in untold)


def _hides(closed: set[str], givers: Mapping[str, frozenset[str]], untold: frozenset[str]) -> bool:
    """Tell whether the sum of closed rows says nothing of one or two establishments."""
    together = frozenset[str]().union(*(givers[row] for row in closed))
    sensitive = [row for row in closed if len(givers[row]) < ESTABLISHMENTS_MIN]
    alone = len(closed) == 1 and (bool(sensitive) or not closed <= untold)
    return len(together) >= ESTABLISHMENTS_MIN and not alone


def _ends(cell: Cell) -> tuple[_Node, _Node]:
    """Give where a cell's pipe begins and ends."""
    row, column = ("row", cell[0]), ("column", cell[1])
    return (column, row) if cell[0] == TOTAL else (row, column)
