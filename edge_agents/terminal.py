"""What commands print: plain lines, tables for the eye, a bar while one waits."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

GOOD: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
"""Exit codes of every command; wrong settings count as wrong use."""

BAR_CHARACTERS: Final = 30


def say(text: str) -> None:
    """Print a line of what was asked for."""
    sys.stdout.write(f"{text}\n")


def complain(text: str, code: int) -> int:
    """Print a line about a trouble and give back the exit code."""
    sys.stderr.write(f"{text}\n")
    return code


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns as wide as their widest cell."""
    cells = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(padded).rstrip())


class Bar:
    """A progress bar on a terminal; nothing where the output is read by a program."""

    def __init__(self, words: str) -> None:
        self._words = words
        self._shown = sys.stderr.isatty()

    def tell(self, done: int, of: int) -> None:
        """Show how many are done."""
        if not self._shown or not of:
            return
        full = BAR_CHARACTERS * done // of
        bar = "█" * full + "░" * (BAR_CHARACTERS - full)
        end = "\n" if done >= of else ""
        sys.stderr.write(f"\r{self._words} {bar} {done}/{of}{end}")
        sys.stderr.flush()
