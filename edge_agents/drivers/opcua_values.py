"""What an OPC UA server says of a value, in the words of the project: value, quality, time. Pure.

Arrays and structures have no place in a signal: one of their elements has, by its path. What
cannot be a signal is refused as such, and said once by name.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Final

from asyncua import ua

from edge_agents.drivers.decoder import Outcome, Step, number_step
from edge_agents.drivers.nodes import NodeSignal
from edge_agents.drivers.opcua_structures import Layouts, unpack
from edge_agents.drivers.presence import Presence
from edge_agents.drivers.registers import Kind
from gateway.model import Quality, Reason, Sample

CLOCK_TOLERANCE_MS: Final = 60_000
TEXT_MAX: Final = 1_000
INT64_MAX: Final = 2**63 - 1
_BAD_SEVERITY: Final = 2
CODE_MASK: Final = 0xFFFF0000
_OVERFLOW_MASK: Final = 0x0C80
_OVERFLOW: Final = 0x0480
"""Bits 'data value' and 'overflow' of a status code (OPC UA part 4, section 7.39.1)."""

_CODES: Final = ua.StatusCodes
REASONS: Final = {
    _CODES.BadNodeIdUnknown: Reason.ADDRESS,
    _CODES.BadNodeIdInvalid: Reason.ADDRESS,
    _CODES.BadAttributeIdInvalid: Reason.ADDRESS,
    _CODES.BadIndexRangeNoData: Reason.ADDRESS,
    _CODES.BadTimeout: Reason.TIMEOUT,
    _CODES.BadRequestTimeout: Reason.TIMEOUT,
    _CODES.BadNoCommunication: Reason.CONNECTION,
    _CODES.BadNotConnected: Reason.CONNECTION,
    _CODES.BadCommunicationError: Reason.CONNECTION,
    _CODES.BadDeviceFailure: Reason.REFUSED,
    _CODES.BadNotReadable: Reason.REFUSED,
    _CODES.BadUserAccessDenied: Reason.REFUSED,
    _CODES.BadIdentityTokenInvalid: Reason.REFUSED,
    _CODES.BadIdentityTokenRejected: Reason.REFUSED,
    _CODES.BadCertificateUntrusted: Reason.REFUSED,
    _CODES.BadCertificateInvalid: Reason.REFUSED,
    _CODES.BadSecurityChecksFailed: Reason.REFUSED,
    _CODES.BadSecurityPolicyRejected: Reason.REFUSED,
    _CODES.BadOutOfRange: Reason.RANGE,
}


@dataclass(slots=True, eq=False)
class Item:
    """One signal, and what became of it in the present connection."""

    presence: Presence
    signal: NodeSignal
    step: Step | None
    node: ua.NodeId | None = None
    seen: bool = False
    """Whether a value came over the present connection."""
    bad: bool = False
    """Whether the last thing said about it is that it is bad."""
    floor_ms: int = 0
    """When it was last said to be lost: no later value may bear an earlier time."""
    complained: bool = False
    """Whether the log says that its values can be no signal."""
    layouts: Layouts = field(default_factory=dict)
    """How the server's own structures are read."""
    watched: int | None = None
    """The server's number for watching it, while the server does."""
    told: ua.DataValue | None = None
    """What the server reported last."""
    told_s: float = 0.0
    """When, by the steady clock."""
    doubtful: bool = False
    """Whether the server showed another value than it had reported."""


def conversion(signal: NodeSignal) -> Step | None:
    """Compile what is done with a number; servers may send a float where integers were said."""
    kind = signal.kind if signal.kind is Kind.FLOAT32 else Kind.FLOAT64
    return number_step(replace(signal, kind=kind))


def lost_some(value: ua.DataValue) -> bool:
    """Tell whether the server's queue ran over before this value."""
    return _status(value) & _OVERFLOW_MASK == _OVERFLOW


def _status(value: ua.DataValue) -> int:
    return 0 if value.StatusCode is None else int(value.StatusCode.value)


def sample_of(item: Item, value: ua.DataValue, time_ms: int, at_ms: int) -> Sample:
    """Turn a value of the server into a sample, with the quality that the server gives it."""
    name = item.signal.name
    status = _status(value)
    severity = status >> 30
    if severity >= _BAD_SEVERITY:
        reason = REASONS.get(status & CODE_MASK, Reason.SOURCE)
        return Sample(name, None, time_ms, Quality.BAD, reason)
    raw = None if value.Value is None else value.Value.Value
    outcome, reason = value_of(item, reach(raw, item.signal.path, item.layouts))
    if reason is not Reason.NONE:
        return Sample(name, None, time_ms, Quality.BAD, reason)
    if severity:
        return Sample(name, outcome, time_ms, Quality.UNCERTAIN, Reason.SOURCE)
    if abs(time_ms - at_ms) > CLOCK_TOLERANCE_MS:
        return Sample(name, outcome, time_ms, Quality.UNCERTAIN, Reason.CLOCK)
    return Sample(name, outcome, time_ms)


def source_ms(item: Item, value: ua.DataValue, at_ms: int) -> int:
    """Choose the time of a reported value: its source's, but for the first of a connection.

    That one may be as old as the machine's last change, or older than the loss told before.
    """
    stamp = value.SourceTimestamp or value.ServerTimestamp
    if stamp is None:
        return at_ms
    stamp_ms = int(_utc(stamp).timestamp() * 1_000)
    if not item.seen and stamp_ms <= max(item.floor_ms, at_ms - CLOCK_TOLERANCE_MS):
        return at_ms
    return stamp_ms


def age_ms(value: ua.DataValue, published: datetime) -> int:
    """Tell by the server's clock alone how old a value is: ours is not to be trusted."""
    stamp = value.SourceTimestamp or value.ServerTimestamp or published
    old_ms = int((_utc(published) - _utc(stamp)).total_seconds() * 1_000)
    return old_ms if 0 <= old_ms <= CLOCK_TOLERANCE_MS else 0


def _utc(stamp: datetime) -> datetime:
    return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp


def value_of(item: Item, raw: object) -> Outcome:
    """Turn what the server sent into what the birth announced, or say why not."""
    datatype = item.signal.datatype
    if raw is None or raw is _NOWHERE:
        return None, Reason.SOURCE if raw is None else Reason.ADDRESS
    if datatype == "boolean":
        return (raw != 0, Reason.NONE) if isinstance(raw, int | float) else (None, Reason.TYPE)
    if datatype == "string" and not item.signal.words_for:
        return _text(raw)
    if not isinstance(raw, int | float):
        return None, Reason.TYPE
    number = int(raw) if isinstance(raw, int) else float(raw)
    if datatype == "int64" and (isinstance(number, float) or abs(number) > INT64_MAX):
        return None, Reason.TYPE
    return (number, Reason.NONE) if item.step is None else item.step(number)


class _Nowhere:
    """What a path leads to that leads nowhere."""


_NOWHERE: Final = _Nowhere()


def reach(raw: object, path: Sequence[int | str], layouts: Layouts) -> object:
    """Follow a path into arrays (by index from 0) and structures (by the name of a field)."""
    for step in path:
        raw = _inner(raw, layouts)
        if isinstance(step, int):
            elements = raw if isinstance(raw, list | tuple) else ()
            raw = elements[step] if step < len(elements) else _NOWHERE
        elif isinstance(raw, Mapping):
            raw = raw.get(step, _NOWHERE)
        elif is_dataclass(raw) and step in {one.name for one in fields(raw)}:
            raw = getattr(raw, step)
        else:
            raw = _NOWHERE
    return _inner(raw, layouts) if path else raw


def _inner(raw: object, layouts: Layouts) -> object:
    """Take a value out of the boxes that arrays of any type have it in."""
    while isinstance(raw, ua.Variant | ua.DataValue):
        raw = raw.Value
    if isinstance(raw, ua.ExtensionObject):
        layout = layouts.get(raw.TypeId)
        if layout is not None and isinstance(raw.Body, bytes):
            return unpack(layout, raw.Body)
    return raw


def shape(raw: object) -> str | None:
    """Say of a value that is no single one what it is and what to do; None for any other."""
    if isinstance(raw, list | tuple):
        return f'it is an array of {len(raw)}: choose one element, e.g. path: "[0]"'
    if isinstance(raw, ua.ExtensionObject):
        return "it is a structure of the maker's own, which cannot be read"
    if isinstance(raw, Mapping):
        return _of_fields([str(name) for name in raw])
    simple = isinstance(raw, ua.LocalizedText | ua.QualifiedName | ua.XmlElement | ua.StatusCode)
    if is_dataclass(raw) and not simple and not isinstance(raw, ua.NodeId):
        return _of_fields([one.name for one in fields(raw)])
    return None


def _of_fields(names: Sequence[str]) -> str:
    few = 6
    return f"it is a structure: choose a field by path:, of {', '.join(names[:few])}"


def _text(raw: object) -> Outcome:
    match raw:
        case ua.LocalizedText():
            raw = raw.Text or ""
        case ua.QualifiedName():
            raw = raw.Name or ""
        case ua.XmlElement():
            raw = raw.Value or ""
        case uuid.UUID():
            raw = str(raw)
        case datetime():
            raw = _utc(raw).isoformat()
        case bool() | int() | float():
            raw = str(raw)
    if not isinstance(raw, str):
        return None, Reason.TYPE
    return (raw, Reason.NONE) if len(raw) <= TEXT_MAX else (None, Reason.RANGE)
