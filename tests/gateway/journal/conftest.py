"""A journal that a test can close and open again."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.journal import Budget, Journal, NewEntry

DAY_S = 86_400
MIB = 1024 * 1024


class Clock:
    """A clock that a test moves."""

    def __init__(self, at_ms: int = 1_800_000_000_000) -> None:
        self.at_ms = at_ms

    def __call__(self) -> int:
        return self.at_ms

    def pass_s(self, seconds: float) -> None:
        self.at_ms += int(seconds * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.journal"


@pytest.fixture
def opened(path: Path, clock: Clock) -> Iterator[Callable[..., Journal]]:
    """Open the journal at `path`; whatever is still open at the end is closed."""
    journals: list[Journal] = []
    numbers = random.Random(7)

    def open_journal(path: Path = path, **changes: Any) -> Journal:
        budget = {"bytes_max": 4 * MIB, "age_max_s": 30 * DAY_S, "keep_settled_s": DAY_S}
        options: dict[str, Any] = {
            "when_full": "drop_oldest",
            "now_ms": clock,
            "random64": lambda: numbers.getrandbits(64),
        }
        for name, value in changes.items():
            (budget if name in budget else options)[name] = value
        journal = Journal.open(path, budget=Budget(**budget), **options)
        journals.append(journal)
        return journal

    yield open_journal
    for journal in journals:
        journal.close()


def entry(number: int, *, key: str = "mc-100", size: int = 100, count: int = 1) -> NewEntry:
    """Give an entry whose body tells its number."""
    return NewEntry(key, 1_800_000_000_000, f"{number}:".encode().ljust(size, b"."), count)
