"""Sparkplug B 3.0: topics, payloads and the layout of journal entries."""

from gateway.sparkplug.datatypes import DataType, MetricValue
from gateway.sparkplug.entry import (
    ALIAS_FIRST,
    ALIAS_LAST,
    data_message,
    encode_body,
    entry_point,
    read_entry,
)
from gateway.sparkplug.errors import SparkplugError
from gateway.sparkplug.payload import Limits, Metric, Payload, decode, encode, typed, value_metric
from gateway.sparkplug.quality import WireQuality, quality_of, quality_properties
from gateway.sparkplug.topics import (
    Topic,
    format_topic,
    parse_topic,
    quote_level,
    state_topic,
    unquote_level,
)

__all__ = [
    "ALIAS_FIRST",
    "ALIAS_LAST",
    "DataType",
    "Limits",
    "Metric",
    "MetricValue",
    "Payload",
    "SparkplugError",
    "Topic",
    "WireQuality",
    "data_message",
    "decode",
    "encode",
    "encode_body",
    "entry_point",
    "format_topic",
    "parse_topic",
    "quality_of",
    "quality_properties",
    "quote_level",
    "read_entry",
    "state_topic",
    "typed",
    "unquote_level",
    "value_metric",
]
