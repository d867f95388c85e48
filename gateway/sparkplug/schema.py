"""The protobuf messages of Sparkplug B, built from field numbers; the only door to protobuf.

The numbers are those of "Google Protocol Buffer Schema", Sparkplug 3.0 specification, section 6.4.
The messages follow proto2, which tells "zero" from "not there": a value of 0 is not a missing one.
"""

from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, EncodeError
from google.protobuf.message_factory import GetMessageClass

__all__ = ["DataSet", "DecodeError", "EncodeError", "Metric", "Payload", "Template"]

_PACKAGE: Final = "machikoba.sparkplug"
_REPEATED: Final = "*"
_ONEOF: Final = "?"

_SCALARS: Final = {
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}

_BASIC_VALUES: Final = ("uint32", "uint64", "float", "double", "bool", "string")
_VALUE_NAMES: Final = (
    "int_value",
    "long_value",
    "float_value",
    "double_value",
    "boolean_value",
    "string_value",
)


def _basic_values(first: int) -> dict[int, tuple[str, str]]:
    """Return the six alternatives that every value in Sparkplug has, numbered from `first`."""
    pairs = zip(_VALUE_NAMES, _BASIC_VALUES, strict=True)
    return {first + at: (name, kind + _ONEOF) for at, (name, kind) in enumerate(pairs)}


# message -> field number -> (name, type), where "?" marks the alternatives of one oneof.
_MESSAGES: Final[dict[str, dict[int, tuple[str, str]]]] = {
    "DataSetValue": _basic_values(1),
    "Row": {1: ("elements", "DataSetValue*")},
    "DataSet": {
        1: ("num_of_columns", "uint64"),
        2: ("columns", "string*"),
        3: ("types", "uint32*"),
        4: ("rows", "Row*"),
    },
    "PropertyValue": {
        1: ("type", "uint32"),
        2: ("is_null", "bool"),
        **_basic_values(3),
        9: ("propertyset_value", "PropertySet?"),
        10: ("propertysets_value", "PropertySetList?"),
    },
    "PropertySet": {1: ("keys", "string*"), 2: ("values", "PropertyValue*")},
    "PropertySetList": {1: ("propertyset", "PropertySet*")},
    "Parameter": {1: ("name", "string"), 2: ("type", "uint32"), **_basic_values(3)},
    "Template": {
        1: ("version", "string"),
        2: ("metrics", "Metric*"),
        3: ("parameters", "Parameter*"),
        4: ("template_ref", "string"),
        5: ("is_definition", "bool"),
    },
    "MetaData": {
        1: ("is_multi_part", "bool"),
        2: ("content_type", "string"),
        3: ("size", "uint64"),
        4: ("seq", "uint64"),
        5: ("file_name", "string"),
        6: ("file_type", "string"),
        7: ("md5", "string"),
        8: ("description", "string"),
    },
    "Metric": {
        1: ("name", "string"),
        2: ("alias", "uint64"),
        3: ("timestamp", "uint64"),
        4: ("datatype", "uint32"),
        5: ("is_historical", "bool"),
        6: ("is_transient", "bool"),
        7: ("is_null", "bool"),
        8: ("metadata", "MetaData"),
        9: ("properties", "PropertySet"),
        **_basic_values(10),
        16: ("bytes_value", "bytes?"),
        17: ("dataset_value", "DataSet?"),
        18: ("template_value", "Template?"),
    },
    "Payload": {
        1: ("timestamp", "uint64"),
        2: ("metrics", "Metric*"),
        3: ("seq", "uint64"),
        4: ("uuid", "string"),
        5: ("body", "bytes"),
    },
}


def _add_field(message: DescriptorProto, number: int, name: str, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.endswith(_REPEATED):
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if kind.endswith(_ONEOF):
        field.oneof_index = 0
    bare = kind.rstrip(_REPEATED + _ONEOF)
    if bare in _SCALARS:
        field.type = _SCALARS[bare]
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{bare}"


def _build() -> DescriptorPool:
    file = FileDescriptorProto(name="sparkplug_b", package=_PACKAGE, syntax="proto2")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        if any(kind.endswith(_ONEOF) for _, kind in fields.values()):
            message.oneof_decl.add(name="value")
        for number, (name, kind) in fields.items():
            _add_field(message, number, name, kind)
    pool = DescriptorPool()
    pool.Add(file)
    return pool


_POOL: Final = _build()


def _message(name: str) -> Any:
    """Return the class of a message. Its fields exist at run time only, hence Any."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


Payload: Final = _message("Payload")
Metric: Final = _message("Metric")
DataSet: Final = _message("DataSet")
Template: Final = _message("Template")
