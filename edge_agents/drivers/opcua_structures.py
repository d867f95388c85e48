"""Structures of the maker's own: their fields, as the server describes them.

The library would make Python classes of them, in registers that all conversations of a process
share: two servers that use the same number for different types would read each other's values. So
descriptions are kept per conversation here, and bytes are read by them, with limits (OPC UA
part 6, section 5.2.6: structures, with optional fields, and unions).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary

DEPTH_MAX: Final = 6
FIELDS_MAX: Final = 200
ELEMENTS_MAX: Final = 10_000
BUILT_IN_MAX: Final = 25
"""The identifiers of the built-in types in namespace 0 (OPC UA part 6, section 5.1.2)."""
ENUMERATION: Final = ua.ObjectIds.Enumeration

Ask = Callable[[ua.NodeId, ua.AttributeIds], Awaitable[Any]]
"""Reads one attribute of one node; None when there is none."""
Parent = Callable[[ua.NodeId], Awaitable[ua.NodeId | None]]
"""Finds the type that a type is a kind of."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name, the type of its value, and whether there are several or maybe none."""

    name: str
    kind: "ua.VariantType | Layout"
    several: bool
    optional: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """What a structure consists of, in the order of its bytes."""

    sort: ua.StructureType
    fields: tuple[Field, ...]


Layouts = Mapping[ua.NodeId, Layout]
"""By the node id of the binary encoding, which goes with each value."""


class UnknownTypeError(Exception):
    """A type is not described, or in a way that is not understood here."""


class Types:
    """Learns the types of one server from its descriptions."""

    def __init__(self, ask: Ask, parent: Parent) -> None:
        self._ask = ask
        self._parent = parent
        self._fields = 0
        self.layouts: dict[ua.NodeId, Layout] = {}

    async def learn(self, data_type: ua.NodeId) -> None:
        """Take in the description of a type and of those in it. Raises UnknownTypeError."""
        await self._layout(data_type, 0)

    async def _layout(self, data_type: ua.NodeId, depth: int) -> Layout:
        said = await self._ask(data_type, ua.AttributeIds.DataTypeDefinition)
        if not isinstance(said, ua.StructureDefinition) or depth > DEPTH_MAX:
            raise UnknownTypeError(f"{data_type} is not described")
        sort = ua.StructureType(said.StructureType)
        if sort is ua.StructureType.StructureWithSubtypedValues:
            raise UnknownTypeError(f"{data_type} has fields of changing types")
        self._fields += len(said.Fields)
        if self._fields > FIELDS_MAX:
            raise UnknownTypeError(f"{data_type} has too many fields")
        fields = tuple([await self._field(one, depth) for one in said.Fields])
        layout = self.layouts[said.DefaultEncodingId] = Layout(sort, fields)
        return layout

    async def _field(self, field: ua.StructureField, depth: int) -> Field:
        kind = await self._kind(field.DataType, depth)
        return Field(str(field.Name), kind, field.ValueRank >= 1, bool(field.IsOptional))

    async def _kind(self, data_type: ua.NodeId, depth: int) -> ua.VariantType | Layout:
        """Find what a type is in the end: built in, an enumeration, or a structure itself."""
        kind: ua.NodeId | None = data_type
        for _ in range(DEPTH_MAX):
            if kind is None:
                break
            number = kind.Identifier if kind.NamespaceIndex == 0 else None
            if number == ENUMERATION:
                return ua.VariantType.Int32
            if number == ua.ObjectIds.Structure:
                return await self._layout(data_type, depth + 1)
            if isinstance(number, int) and 0 < number <= BUILT_IN_MAX:
                return ua.VariantType(number)
            kind = await self._parent(kind)
        raise UnknownTypeError(f"{data_type} is a type that leads nowhere")


def unpack(layout: Layout, body: bytes) -> dict[str, object] | None:
    """Read a structure's fields by name; None when its bytes do not fit its description."""
    try:
        return _structure(layout, Buffer(body))
    except Exception:  # noqa: BLE001 (the library's reading of bytes raises what it likes)
        return None


def _structure(layout: Layout, data: Buffer) -> dict[str, object]:
    found: dict[str, object] = {}
    if layout.sort is ua.StructureType.Union:
        which = ua_binary.Primitives.UInt32.unpack(data)
        chosen: Sequence[Field] = layout.fields[which - 1 : which] if which else ()
    elif layout.sort is ua.StructureType.StructureWithOptionalFields:
        mask = ua_binary.Primitives.UInt32.unpack(data)
        chosen = _present(layout.fields, mask)
    else:
        chosen = layout.fields
    for field in chosen:
        found[field.name] = _several(field, data) if field.several else _one(field, data)
    return found


def _present(fields: Sequence[Field], mask: int) -> Sequence[Field]:
    """Choose the fields that are there: each optional one has a bit, in order."""
    bits = {id(one): at for at, one in enumerate(one for one in fields if one.optional)}
    return [one for one in fields if not one.optional or mask >> bits[id(one)] & 1]


def _several(field: Field, data: Buffer) -> list[object]:
    count = ua_binary.Primitives.Int32.unpack(data)
    if count > ELEMENTS_MAX:
        raise ValueError(f"{count} elements")
    return [_one(field, data) for _ in range(max(count, 0))]


def _one(field: Field, data: Buffer) -> object:
    if isinstance(field.kind, Layout):
        return _structure(field.kind, data)
    value: object = ua_binary.unpack_uatype(field.kind, data)
    return value
