"""The alias table: which number stands for which signal, for as long as the journal lives.

An entry must decode after any restart and any change of the configuration, so an alias is never
given to a second signal or a second datatype.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.model import Value
from gateway.sparkplug import ALIAS_FIRST, DataType, names

ALIAS_FACT: Final = "alias/"

DATATYPES: Final = {
    "double": DataType.DOUBLE,
    "boolean": DataType.BOOLEAN,
    "string": DataType.STRING,
    "int64": DataType.INT64,
}

OWN_SIGNALS: Final = {
    names.STATE: DataType.STRING,
    names.STATE_REASON: DataType.STRING,
    names.STATE_EVIDENCE: DataType.STRING,
    names.LINK: DataType.BOOLEAN,
    names.READ_AT: DataType.DATETIME,
    names.MAX_AGE: DataType.UINT32,
    names.CLOCK: DataType.STRING,
}
"""What the agent tells of every machine beside its configured signals."""


@dataclass(frozen=True, slots=True)
class SignalBirth:
    """What a birth tells about a signal.

    `counts` is ``good`` or ``scrap`` for a part counter; `max_age_ms` is how old the value may
    become before the agent tells it again.
    """

    name: str
    datatype: Literal["double", "boolean", "string", "int64"]
    unit: str | None = None
    counts: str | None = None
    max_age_ms: int | None = None

    def properties(self) -> dict[str, Value]:
        """Give the metric properties that describe the signal."""
        said = {names.UNIT: self.unit, names.COUNTS: self.counts}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True)
class MachineBirth:
    """What a birth tells about a machine; `description` goes into it as JSON."""

    machine: str
    description: Mapping[str, object]
    signals: Sequence[SignalBirth] = field(default_factory=tuple)

    def datatypes(self) -> dict[str, DataType]:
        """Give the datatype of every signal, the agent's own ones first."""
        return OWN_SIGNALS | {signal.name: DATATYPES[signal.datatype] for signal in self.signals}

    def promise_ms(self) -> int | None:
        """Give the freshness promise of the machine as a whole, None where nothing is promised."""
        return max((signal.max_age_ms or 0 for signal in self.signals), default=0) or None


@dataclass(frozen=True, slots=True)
class Alias:
    """A number that stands for one signal of one machine, in one datatype."""

    number: int
    machine: str
    signal: str
    datatype: DataType


class Aliases:
    """All aliases that this journal ever gave out; numbers are never used again."""

    def __init__(self, facts: Mapping[str, bytes]) -> None:
        """Read the table from the journal's facts under `ALIAS_FACT`."""
        self._known: dict[tuple[str, str, DataType], Alias] = {}
        for name, value in facts.items():
            machine, signal, datatype = json.loads(value)
            number = int(name.removeprefix(ALIAS_FACT))
            alias = Alias(number, machine, signal, DataType(datatype))
            self._known[alias.machine, alias.signal, alias.datatype] = alias
        numbers = (alias.number for alias in self._known.values())
        self._next = max(numbers, default=ALIAS_FIRST - 1) + 1
        self._unstored: list[Alias] = []

    def give(self, machine: str, signal: str, datatype: DataType) -> Alias:
        """Return the alias of a signal; a signal or datatype not met before gets a new one."""
        known = self._known.get((machine, signal, datatype))
        if known is None:
            known = Alias(self._next, machine, signal, datatype)
            self._next += 1
            self._known[machine, signal, datatype] = known
            self._unstored.append(known)
        return known

    def all(self) -> Iterable[Alias]:
        """Give every alias, in the order in which they were given out."""
        return tuple(self._known.values())

    def unstored(self) -> dict[str, bytes]:
        """Give the facts that must be committed no later than an entry that uses the aliases."""
        return {
            f"{ALIAS_FACT}{alias.number}": json.dumps(
                [alias.machine, alias.signal, int(alias.datatype)], ensure_ascii=False
            ).encode()
            for alias in self._unstored
        }

    def stored(self, facts: Iterable[str]) -> None:
        """Note that these facts of `unstored` are on disk."""
        done = set(facts)
        self._unstored = [
            alias for alias in self._unstored if f"{ALIAS_FACT}{alias.number}" not in done
        ]
