"""Samples as journal entries and as the metrics of births; pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from edge_agents.outbox.aliases import Alias, MachineBirth
from gateway.journal import Drop, NewEntry
from gateway.model import Quality, Reason, Sample, Value
from gateway.sparkplug import (
    DataType,
    Metric,
    WireQuality,
    encode_body,
    names,
    value_metric,
)

METRICS_MAX: Final = 200
"""Samples in one entry."""
BODY_BYTES_MAX: Final = 200 * 1024
"""What leaves room for the rest of the message under the hub's limit of 256 KiB."""

NODE_KEY: Final = ""
"""Key of entries that speak of the agent, not of a machine."""

Pair = tuple[Alias, Sample]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one machine gave at one time, each sample with the alias that it had then."""

    machine: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples of one machine that go into one entry."""

    machine: str
    pairs: tuple[Pair, ...]
    entry: NewEntry


def chunks(group: Iterable[Batch], time_ms: int, bytes_max: int) -> list[Chunk]:
    """Encode a group as few entries: one machine each, samples in the order of their arrival.

    No body exceeds `bytes_max` less its key, nor the limit of a message.
    """
    by_machine: dict[str, list[Pair]] = {}
    for batch in group:
        by_machine.setdefault(batch.machine, []).extend(batch.pairs)
    return [
        chunk
        for machine, pairs in by_machine.items()
        for start in range(0, len(pairs), METRICS_MAX)
        for chunk in _fitting(
            machine,
            tuple(pairs[start : start + METRICS_MAX]),
            time_ms,
            min(bytes_max - len(machine), BODY_BYTES_MAX),
        )
    ]


def _fitting(
    machine: str, pairs: tuple[Pair, ...], time_ms: int, bytes_max: int
) -> Iterator[Chunk]:
    """Encode pairs as one chunk, or halve them until each half fits."""
    body = encode_body(
        [
            value_metric(sample, alias.datatype, alias=alias.number)
            for alias, sample in untied(pairs)
        ]
    )
    if len(body) <= bytes_max:
        yield Chunk(machine, pairs, NewEntry(machine, time_ms, body, len(pairs)))
    elif len(pairs) > 1:
        middle = len(pairs) // 2
        yield from _fitting(machine, pairs[:middle], time_ms, bytes_max)
        yield from _fitting(machine, pairs[middle:], time_ms, bytes_max)
    else:
        alias, sample = pairs[0]  # A text that no message can carry: say so in its place.
        bad = replace(sample, value=None, quality=Quality.BAD, reason=Reason.RANGE)
        yield from _fitting(machine, ((alias, bad),), time_ms, bytes_max)


def untied(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Move a signal's later samples of the same time by 1 ms each, so that none hides another."""
    taken: set[tuple[int, int]] = set()
    for alias, sample in pairs:
        time_ms = max(sample.time_ms, 0)
        while (alias.number, time_ms) in taken:
            time_ms += 1
        taken.add((alias.number, time_ms))
        yield alias, sample if time_ms == sample.time_ms else replace(sample, time_ms=time_ms)


def announcement(drop: Drop, time_ms: int) -> NewEntry:
    """Put a drop into an entry of the agent: from, to, samples, and the cause, by name."""
    values: tuple[tuple[str, DataType, list[int] | str], ...] = (
        (names.DROPPED, DataType.UINT64_ARRAY, [drop.first, drop.last, drop.samples]),
        (names.DROPPED_CAUSE, DataType.STRING, drop.cause),
    )
    body = encode_body(
        [
            Metric(name=name, datatype=datatype, value=value, time_ms=time_ms)
            for name, datatype, value in values
        ]
    )
    return NewEntry(NODE_KEY, time_ms, body, count=0)


def birth_metrics(
    birth: MachineBirth, aliases: Mapping[str, Alias], latest: Mapping[str, Sample]
) -> Iterator[Metric]:
    """Give every metric of a machine's birth, with the latest values."""
    yield _description_metric(birth)
    properties = {signal.name: signal.properties() for signal in birth.signals}
    for signal, alias in aliases.items():
        if signal == names.MAX_AGE and signal not in latest:
            yield Metric(signal, alias.number, alias.datatype, birth.promise_ms())
        else:
            yield _latest_metric(alias, latest.get(signal), properties.get(signal, {}))


def _description_metric(birth: MachineBirth) -> Metric:
    text = json.dumps(birth.description, ensure_ascii=False, separators=(",", ":"))
    return Metric(name=names.MACHINE, datatype=DataType.STRING, value=text)


def _latest_metric(alias: Alias, sample: Sample | None, properties: Mapping[str, Value]) -> Metric:
    if sample is None:
        stale: dict[str, Value] = {
            names.QUALITY: int(WireQuality.STALE),
            names.QUALITY_REASON: int(Reason.STALE),
        }
        return Metric(
            alias.signal, alias.number, alias.datatype, properties=stale | dict(properties)
        )
    metric = value_metric(sample, alias.datatype, alias=alias.number, name=alias.signal)
    metric.properties |= properties
    return metric


def retired_metric(alias: Alias) -> Metric:
    """Give an alias that only entries not yet settled still use."""
    return Metric(alias.signal, alias.number, alias.datatype, properties={names.RETIRED: True})
