"""An attacker who reads everything that is told of a region and works out what is not.

It knows the rules: tables add up, counts are whole and not negative, χ is written for no zero in a
municipality of which anything is told, and closed municipalities have something. It uses all
publications together: Gaussian elimination over exact fractions, then bounds, to the end.
"""

from fractions import Fraction

MUCH = 10**6


class Attacker:
    """Everything known about one table of one prefecture: bounds of every cell, and equations."""

    def __init__(self, prefecture, summaries, table, columns):
        self.low, self.high, self.equations = {}, {}, []
        codes = [code for code in summaries if code != prefecture]
        for code, summary in summaries.items():
            self._read(code, summary, getattr(summary, table), columns)
        for column in (*columns, "machines"):
            parts = [(1, (code, column)) for code in codes]
            self.equations.append([*parts, (-1, (prefecture, column))])
        if table == "by_process":
            for code in summaries:
                self._bound((code, "establishments"), summaries[code].establishments, 1)
            parts = [(1, (code, "establishments")) for code in codes]
            self.equations.append([*parts, (-1, (prefecture, "establishments"))])
        self._eliminate()
        self._narrow()

    def _read(self, code, summary, cells, columns):
        told = summary.machines is not None
        self._bound((code, "machines"), summary.machines, 0)
        for column in columns:
            value = None if cells is None else cells[column]
            self._bound((code, column), value, 1 if told and cells is not None else 0)
        parts = [(1, (code, column)) for column in columns]
        self.equations.append([*parts, (-1, (code, "machines"))])

    def _bound(self, cell, value, least):
        self.low[cell], self.high[cell] = (least, MUCH) if value is None else (value, value)

    def _eliminate(self):
        """Solve the equations for the unknown cells; each row of the result is an equation too."""
        unknown = [cell for cell in self.low if self.low[cell] != self.high[cell]]
        rows = []
        for equation in self.equations:
            row = {}
            right = Fraction(0)
            for factor, cell in equation:
                if self.low[cell] == self.high[cell]:
                    right -= factor * self.low[cell]
                else:
                    row[cell] = row.get(cell, Fraction(0)) + factor
            rows.append((row, right))
        for cell in unknown:
            pivot = next((i for i, (row, _) in enumerate(rows) if row.get(cell)), None)
            if pivot is None:
                continue
            row, right = rows.pop(pivot)
            scale = row[cell]
            row = {name: value / scale for name, value in row.items() if value}
            right /= scale
            rows = [_without(other, cell, row, right) for other in rows]
            rows.append((row, right))
        self.equations = [
            [(factor, cell) for cell, factor in row.items() if factor] + [(-right, None)]
            for row, right in rows
            if any(row.values())
        ]
        self.low[None] = self.high[None] = 1

    def _narrow(self):
        """Push the bounds together until nothing moves."""
        moved = True
        while moved:
            moved = False
            for equation in self.equations:
                for factor, cell in equation:
                    if self.low[cell] == self.high[cell]:
                        continue
                    others = [(f, c) for f, c in equation if c != cell]
                    least = sum(min(f * self.low[c], f * self.high[c]) for f, c in others)
                    most = sum(max(f * self.low[c], f * self.high[c]) for f, c in others)
                    ends = sorted((-least / Fraction(factor), -most / Fraction(factor)))
                    low, high = -(-ends[0] // 1), ends[1] // 1
                    if low > self.low[cell] or high < self.high[cell]:
                        self.low[cell] = max(self.low[cell], low)
                        self.high[cell] = min(self.high[cell], high)
                        moved = True

    def found(self):
        """Give every cell that can have one value only."""
        return {c: self.low[c] for c in self.low if c is not None and self.low[c] == self.high[c]}

    def sums(self):
        """Give groups of cells, unknown one by one, whose sum is known."""
        known = self.found()
        for equation in self.equations:
            cells = [(f, c) for f, c in equation if c is not None and c not in known]
            if cells and len({f for f, _ in cells}) == 1:
                yield [c for _, c in cells]


def _without(other, cell, row, right):
    factor = other[0].get(cell)
    if not factor:
        return other
    rest = {
        name: other[0].get(name, Fraction(0)) - factor * row.get(name, Fraction(0))
        for name in {*other[0], *row}
    }
    return {name: value for name, value in rest.items() if value}, other[1] - factor * right
