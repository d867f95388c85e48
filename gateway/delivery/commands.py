"""The hub's commands to an agent: acknowledgements and requests for a rebirth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

from gateway.delivery.messages import Outgoing
from gateway.sparkplug import (
    DataType,
    Metric,
    MetricValue,
    Payload,
    SparkplugError,
    encode,
    format_topic,
    typed,
)
from gateway.sparkplug.names import (
    ACK_EPOCH,
    ACK_HOST,
    ACK_OFFSET,
    ACK_RANGES,
    ACK_SESSION,
    REBIRTH,
)

ACK_METRICS: Final = (
    (ACK_HOST, DataType.STRING),
    (ACK_SESSION, DataType.UINT64),
    (ACK_EPOCH, DataType.UINT64),
    (ACK_OFFSET, DataType.UINT64),
    (ACK_RANGES, DataType.UINT64_ARRAY),
)
"""Declared, null, in every NBIRTH: a host may only command what a birth announced."""

RANGES_MAX: Final = 64
"""Pairs in one acknowledgement; the lowest come first, so the rest follows as the mark moves."""


class CommandError(Exception):
    """The command claims to acknowledge but cannot be obeyed."""


@dataclass(frozen=True, slots=True)
class Ack:
    """What a host has settled of one epoch.

    ``offset`` and everything below is settled, and so are the inclusive ``ranges`` above it.
    ``session`` is the bdSeq of the birth that this acknowledgement answers, None otherwise.
    """

    host: str
    epoch: int
    offset: int
    ranges: tuple[tuple[int, int], ...] = ()
    session: int | None = None


def ack_command(site: str, agent: str, ack: Ack, time_ms: int) -> Outgoing:
    """Encode `ack` as an NCMD."""
    values: dict[str, MetricValue] = {
        ACK_HOST: ack.host,
        ACK_EPOCH: ack.epoch,
        ACK_OFFSET: ack.offset,
        ACK_RANGES: [bound for run in ack.ranges for bound in run],
    }
    if ack.session is not None:
        values[ACK_SESSION] = ack.session
    metrics = [
        Metric(name=name, datatype=datatype, value=values[name])
        for name, datatype in ACK_METRICS
        if name in values
    ]
    return _command(site, agent, metrics, time_ms)


def rebirth_command(site: str, agent: str, time_ms: int) -> Outgoing:
    """Encode a request for a full rebirth as an NCMD."""
    metric = Metric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
    return _command(site, agent, [metric], time_ms)


def asks_rebirth(payload: Payload) -> bool:
    """Tell whether a command asks for a rebirth."""
    return any(metric.name == REBIRTH and metric.value is True for metric in payload.metrics)


def read_ack(payload: Payload) -> Ack | None:
    """Read the acknowledgement in a command, None when there is none.

    Raises CommandError when there is one that no honest hub sends.
    """
    values = _ack_values(payload)
    if ACK_EPOCH not in values:
        return None
    host, session = values.get(ACK_HOST), values.get(ACK_SESSION)
    epoch, offset = values[ACK_EPOCH], values.get(ACK_OFFSET)
    if not isinstance(host, str) or not host:
        raise CommandError("the acknowledgement names no host")
    if not _whole(epoch) or not _whole(offset):
        raise CommandError("the acknowledgement has no epoch or no offset")
    if session is not None and not _whole(session):
        raise CommandError("the acknowledgement's session is not a number")
    ranges = _read_ranges(values.get(ACK_RANGES), above=offset)
    return Ack(host, epoch, offset, ranges, session)


def _ack_values(payload: Payload) -> dict[str, MetricValue]:
    """Give the metrics of an acknowledgement the types that the birth declared."""
    datatypes = dict(ACK_METRICS)
    try:
        return {
            metric.name: typed(metric, datatypes[metric.name])
            for metric in payload.metrics
            if metric.name in datatypes
        }
    except SparkplugError as error:
        raise CommandError(f"the acknowledgement cannot be read: {error}") from error


def _read_ranges(value: object, above: int) -> tuple[tuple[int, int], ...]:
    """Check that the pairs ascend, do not overlap and lie above the mark."""
    if value is None:
        return ()
    if not isinstance(value, Sequence) or len(value) % 2 or len(value) > 2 * RANGES_MAX:
        raise CommandError("the acknowledged ranges are no list of pairs")
    if not all(_whole(bound) for bound in value):
        raise CommandError("the acknowledged ranges hold something that is no offset")
    pairs = tuple(zip(value[::2], value[1::2], strict=True))
    lows = [above, *(last for _, last in pairs)]
    if any(first > last for first, last in pairs) or any(
        first <= low for low, (first, _) in zip(lows, pairs, strict=False)
    ):
        raise CommandError("the acknowledged ranges do not ascend")
    return pairs


def _command(site: str, agent: str, metrics: list[Metric], time_ms: int) -> Outgoing:
    payload = encode(Payload(time_ms=time_ms, metrics=metrics), datatypes=False)
    return Outgoing(format_topic("NCMD", site, agent), payload, qos=0, retain=False)


def _whole(value: object) -> TypeGuard[int]:
    """Tell whether `value` is a non-negative integer (a bool is not)."""
    return type(value) is int and value >= 0
