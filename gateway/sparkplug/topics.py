"""The grammar of Sparkplug topics (specification 3.0, chapter 4).

Ids of foreign nodes are kept exactly as they were sent. Where an id must become one level of
another topic or of a URL it is percent-encoded, which can be undone, never slugged.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from gateway.sparkplug.errors import SparkplugError

NAMESPACE: Final = "spBv1.0"
STATE: Final = "STATE"
NODE_KINDS: Final = frozenset({"NBIRTH", "NDATA", "NDEATH", "NCMD"})
DEVICE_KINDS: Final = frozenset({"DBIRTH", "DDATA", "DDEATH", "DCMD"})

_BYTES_MAX: Final = 65_535  # the length of an MQTT string, MQTT 3.1.1 section 1.5.3
_FORBIDDEN: Final = frozenset("+/#\0")


@dataclass(frozen=True, slots=True)
class Topic:
    """Where a message belongs.

    ``device`` is None for messages of the node itself. A ``STATE`` topic has the id of the host
    as its ``node`` and an empty ``group``.
    """

    kind: str
    group: str
    node: str
    device: str | None = None


def parse_topic(topic: str) -> Topic:
    """Split a Sparkplug topic into its parts, or raise SparkplugError."""
    levels = topic.split("/")
    match levels:
        case ["spBv1.0", "STATE", host]:
            parsed = Topic(STATE, "", host)
        case ["spBv1.0", group, kind, node] if kind in NODE_KINDS:
            parsed = Topic(kind, group, node)
        case ["spBv1.0", group, kind, node, device] if kind in DEVICE_KINDS:
            parsed = Topic(kind, group, node, device)
        case _:
            raise SparkplugError(f"not a Sparkplug B topic: {topic[:100]!r}")
    for level in levels[1:]:
        _check_id(level)
    _check_length(topic)
    return parsed


def format_topic(kind: str, group: str, node: str, device: str | None = None) -> str:
    """Write a topic, or raise SparkplugError when an id cannot be a topic level."""
    if kind not in (NODE_KINDS if device is None else DEVICE_KINDS):
        whose = "node" if device is None else "device"
        raise SparkplugError(f"no message kind {kind!r} of a {whose}")
    if group == STATE:
        raise SparkplugError("a group cannot be called STATE: hosts announce themselves there")
    ids = (group, node) if device is None else (group, node, device)
    for level in ids:
        _check_id(level)
    return _check_length("/".join((NAMESPACE, group, kind, *ids[1:])))


def state_topic(host: str) -> str:
    """Return the topic on which a host application says that it is there."""
    _check_id(host)
    return _check_length(f"{NAMESPACE}/{STATE}/{host}")


def quote_level(level: str) -> str:
    """Percent-encode an id so that it is one level of a topic or of a URL path."""
    return quote(level, safe="")


def unquote_level(text: str) -> str:
    """Undo `quote_level`, or raise SparkplugError when the text was not made by it."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise SparkplugError(f"not a percent-encoded id: {text[:100]!r}") from error


def _check_id(level: str) -> None:
    if not level:
        raise SparkplugError("a Sparkplug id is empty")
    if not _FORBIDDEN.isdisjoint(level):
        raise SparkplugError(f"a Sparkplug id holds '+', '/', '#' or NUL: {level[:100]!r}")


def _check_length(topic: str) -> str:
    try:
        length = len(topic.encode())
    except UnicodeEncodeError as error:
        raise SparkplugError("a Sparkplug id is not valid Unicode text") from error
    if length > _BYTES_MAX:
        raise SparkplugError(f"a topic of {length} bytes is longer than MQTT allows")
    return topic
