"""What a region's YAML file says, and mistakes told with their place in it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from simulators.machine import KINDS, Kind

FILE_BYTES_MAX: Final = 2 * 1024 * 1024
SITES_MAX: Final = 100
MACHINES_MAX: Final = 200
"""Machines of one site."""

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,48}$")]
Hours = Literal["day", "two-shifts", "around-the-clock"]
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where, which key, why, and what to do."""

    place: str
    key: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        """One readable line."""
        key = f"{self.key}: " if self.key else ""
        return f"{self.place}: {key}{self.cause}. {self.remedy}"


class RegionError(Exception):
    """The file cannot be used; `problems` says why."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(_Strict):
    """A name in both languages."""

    en: Annotated[str, Field(min_length=1, max_length=200)]
    ja: Annotated[str, Field(min_length=1, max_length=200)]


class Location(_Strict):
    """Degrees, WGS 84."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]


class MachinePlan(_Strict):
    """One machine and the way to it."""

    id: Identifier
    kind: str
    protocol: Literal["modbus", "opcua"]
    name: Words | None = None
    """Without it the machine goes by the name of its kind."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Modbus: TCP port, 0 for a free one. All machines of one line must say the same."""
    over: Literal["tcp", "rtu_tcp", "serial"] = "tcp"
    """Modbus: TCP, serial frames through TCP, or a serial port made of a pseudo terminal."""
    line: Identifier | None = None
    """Modbus: machines with the same word share one port, as behind a gateway."""
    device_id: Annotated[int, Field(ge=1, le=247)] = 1
    """Modbus: unit on the line."""
    parts_start: Annotated[int, Field(ge=0)] = 0
    """Parts made before the simulation began, so that a roll-over can be near."""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"is no kind of machine. Known: {', '.join(KINDS)}")
        return kind

    @property
    def what(self) -> Kind:
        """The kind itself."""
        return KINDS[self.kind]

    @property
    def shown_name(self) -> Words:
        """The machine's name for people."""
        return self.name or Words(en=self.what.name.en, ja=self.what.name.ja)


class Site(_Strict):
    """One small factory."""

    id: Identifier
    name: Words
    location: Location
    municipality: Annotated[str, Field(pattern=r"^\d{5}$")]
    """Five-digit code of the municipality (JIS X 0402 with the prefecture's two digits)."""
    time_zone: str = "Asia/Tokyo"
    hours: Hours = "day"
    """When people work: by day, in two shifts, or in three around the clock."""
    opcua_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """TCP port of the site's OPC UA server, 0 for a free one."""
    machines: Annotated[tuple[MachinePlan, ...], Field(min_length=1, max_length=MACHINES_MAX)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [machine.id for machine in self.machines]
        for one in ids:
            if ids.count(one) > 1:
                raise ValueError(f"the machine id {one} is used twice")
        lines: dict[str, list[MachinePlan]] = {}
        for machine in self.machines:
            if machine.line is not None:
                lines.setdefault(machine.line, []).append(machine)
        for line, members in lines.items():
            _check_line(line, members)
        return self


def _check_line(line: str, members: list[MachinePlan]) -> None:
    units = [machine.device_id for machine in members]
    if len(set(units)) != len(units):
        raise ValueError(f"two machines of line {line} have the same device_id")
    if len({machine.port for machine in members}) > 1:
        raise ValueError(f"the machines of line {line} name different ports")
    if len({machine.over for machine in members}) > 1:
        raise ValueError(f"the machines of line {line} are not all reached in the same way")
    if any(machine.protocol != "modbus" for machine in members):
        raise ValueError(f"line {line} has a machine that does not speak Modbus")


class Region(_Strict):
    """The whole file."""

    seed: int = 1
    time_scale: Annotated[float, Field(gt=0, le=10_000)] = 1.0
    """How many times faster than the clock the machines live."""
    step: Literal["tick", "on_read"] = "tick"
    """Modbus: whether the step counter counts by the clock or by answered reads."""
    step_interval_ms: Annotated[int, Field(ge=10, le=3_600_000)] = 1000
    """Time between two steps, and between two rounds of an OPC UA server."""
    sites: Annotated[tuple[Site, ...], Field(min_length=1, max_length=SITES_MAX)]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        ids = [site.id for site in self.sites]
        for one in ids:
            if ids.count(one) > 1:
                raise ValueError(f"the site id {one} is used twice")
        return self


def read(path: Path) -> Region:
    """Read a region's file.

    Raises:
        RegionError: the file is missing, no YAML, or says something that cannot be.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
        if len(raw) > FILE_BYTES_MAX:
            raise _refusal(path, f"is larger than {FILE_BYTES_MAX} bytes", "Split the region")
        text = raw.decode()
    except OSError as error:
        cause = f"cannot be read ({error.strerror})"
        raise _refusal(
            path, cause, "Check the path, or make one with: machikoba sim region"
        ) from error
    except UnicodeDecodeError as error:
        raise _refusal(path, "is not UTF-8 text", "Save it as UTF-8") from error
    return parse(text, path)


def parse(text: str, path: Path) -> Region:
    """Understand a region's text; `path` is named in the problems.

    Raises:
        RegionError: it is no YAML, or says something that cannot be.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        cause = error.problem or "not valid YAML"
        raise RegionError([Problem(place, "", cause, "Check indentation and colons")]) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _refusal(path, f"is not valid YAML ({error})", "Correct the file") from error
    if not isinstance(data, dict) or root is None:
        raise _refusal(path, "must hold keys and values", "Start it with `sites:`")
    try:
        return Region.model_validate(data)
    except ValidationError as error:
        found = [
            (tuple(detail["loc"]), detail["type"], detail["msg"])
            for detail in error.errors(include_url=False)
        ]
        # pydantic also misses the items that it has just refused; that would only mislead.
        real = [
            (at, kind, message)
            for at, kind, message in found
            if kind != "too_short"
            or not any(other[: len(at)] == at != other for other, *_ in found)
        ]
        raise RegionError([_explain(path, root, *one) for one in real]) from error


def _refusal(path: Path, cause: str, remedy: str) -> RegionError:
    return RegionError([Problem(str(path), "", cause, remedy)])


def _explain(path: Path, root: yaml.Node, at: Place, kind: str, message: str) -> Problem:
    mark = _mark(root, at)
    key = re.sub(r"\.(\d+)", r"[\1]", ".".join(str(step) for step in at))
    place = f"{path}:{mark.line + 1}:{mark.column + 1}"
    if kind == "missing":
        return Problem(place, key, "is missing", f"Add `{at[-1]}:`")
    if kind == "extra_forbidden":
        return Problem(place, key, "is no key of a region file", "Remove it or check its spelling")
    cause, _, remedy = message.removeprefix("Value error, ").partition(". ")
    return Problem(place, key, cause[:1].lower() + cause[1:], remedy or "Correct the value")


def _mark(node: yaml.Node, at: Place) -> yaml.Mark:
    """Find where a key stands in the text; its nearest parent's place when it is missing."""
    mark = node.start_mark
    for step in at:
        found = _child(node, step)
        if found is None:
            break
        mark, node = found
    return mark


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        pairs = ((key.start_mark, value) for key, value in node.value if key.value == step)
        return next(pairs, None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item: yaml.Node = node.value[step]
        return item.start_mark, item
    return None


def to_yaml(region: Region) -> str:
    """Write a region as its file's text, without what is default anyway."""
    data = region.model_dump(mode="json", exclude_defaults=True)
    return dump(data)


def dump(data: Any) -> str:
    """Write plain data as YAML: block style, keys in the order given, Japanese as it is."""
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=100)
