"""What is to be read from an OPC UA server. Plain data, because it travels to child processes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from edge_agents.drivers.registers import Kind
from gateway.model import Value

SHOWN_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class NodeSignal:
    """One signal: its node, and what the node's value means (raw * scale + offset)."""

    name: str
    node: str
    """``nsu=<namespace URI>;s=…``: the index of a namespace may change when a server restarts."""
    datatype: Literal["double", "boolean", "string", "int64"] = "double"
    path: tuple[int | str, ...] = ()
    """Where in an array (index from 0) or a structure (name of a field) the value is."""
    kind: Kind = Kind.FLOAT64
    scale: float = 1.0
    offset: float = 0.0
    words_for: tuple[tuple[int, str], ...] = ()
    invalid: tuple[float, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    period_ms: int = 1_000
    rolls_over_at: int | None = None
    """Counters only: the raw number that is shown as 0 again."""
    max_per_s: float | None = None
    """Counters only: the fastest that the raw number can rise."""


@dataclass(frozen=True, slots=True)
class ServerMachine:
    """One machine of a server, and the signals read from it."""

    machine: str
    signals: tuple[NodeSignal, ...]


@dataclass(frozen=True, slots=True)
class Server:
    """How to reach and to trust an OPC UA server, and the machines it speaks for."""

    url: str
    machines: tuple[ServerMachine, ...]
    security: str = "none"
    """A policy, always with Sign&Encrypt, or ``none``."""
    application_uri: str = "urn:machikoba:agent"
    user: str | None = None
    password_file: str | None = None
    """Without one the environment is asked; the password itself never travels."""
    certificate: str | None = None
    """Path of this application's own certificate; made in `identity_dir` when there is none."""
    private_key: str | None = None
    server_certificate: str | None = None
    """Path of the only certificate that the server may show; a person has it put there."""
    pinned_by_settings: bool = False
    """Whether the settings name that path; else the command ``machikoba agent trust`` writes it."""
    identity_dir: str = ""
    timeout_s: float = 4.0
    keep_alive_s: float = 3.0
    """How often the server is asked whether it is there."""
    subscribe: bool = True


class BrowseError(Exception):
    """The server cannot be looked into; the text says why."""


@dataclass(frozen=True, slots=True)
class FoundNode:
    """One node: where it hangs in the tree, how settings name it, and what it holds now."""

    path: tuple[str, ...]
    node: str
    variable: bool
    type: str = ""
    value: Value = None
    readable: bool = True

    @property
    def shown(self) -> str:
        """Its value in one short piece of text."""
        text = str(self.value)
        return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 1]}…"


@dataclass(frozen=True, slots=True)
class Reach:
    """How far to look: levels below the start, nodes in all, and where to start."""

    depth: int = 6
    nodes: int = 2_000
    under: str | None = None
    """Node id to start from; without one the folder Objects."""
    server_too: bool = False
    """Also what the server tells of itself, which is much and the same everywhere."""


def as_json(server: Server) -> dict[str, Any]:
    """Turn a server into what JSON can hold."""
    return asdict(server)


def from_json(data: Mapping[str, Any]) -> Server:
    """Turn it back."""
    machines = tuple(
        ServerMachine(one["machine"], tuple(_signal(signal) for signal in one["signals"]))
        for one in data["machines"]
    )
    return Server(**{**data, "machines": machines})


def _signal(data: Mapping[str, Any]) -> NodeSignal:
    words = tuple((int(number), str(text)) for number, text in data["words_for"])
    given = {
        "kind": Kind(data["kind"]),
        "words_for": words,
        "invalid": tuple(data["invalid"]),
        "path": tuple(data["path"]),
    }
    return NodeSignal(**{**data, **given})
