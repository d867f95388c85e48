"""Settings: YAML and environment in, validated models out, mistakes told with file and line.

A mistake in a file is normal life, so every problem names its place (``file:line:column``), the
key, the cause and the remedy. Secrets never stand in the file: they come from a file of their own
or from the environment.
"""

import difflib
import os
import re
import stat
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, get_args

import pydantic
import yaml
from pydantic_core import ErrorDetails

FILE_BYTES_MAX: Final = 2 * 1024 * 1024
NODES_MAX: Final = 200_000
DEPTH_MAX: Final = 32
SECRET_BYTES_MAX: Final = 4096
PROBLEMS_MAX: Final = 50

Place = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=pydantic.BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands, which key, why it is wrong and what to do about it."""

    place: str
    key: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        """One readable line."""
        key = f"{self.key}: " if self.key else ""
        return f"{self.place}: {key}{self.cause}. {self.remedy}"


class SettingsError(Exception):
    """The settings cannot be used; `problems` says why, one by one. Programs exit with 2."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems[:PROBLEMS_MAX]
        super().__init__("\n".join(str(problem) for problem in self.problems))


class MistakeError(ValueError):
    """Raised by the validators of models: a cause with its remedy."""

    def __init__(self, cause: str, remedy: str) -> None:
        self.cause = cause
        self.remedy = remedy
        super().__init__(f"{cause}. {remedy}")


@dataclass(slots=True)
class Document:
    """What a settings file says, and where it says it.

    `data` holds plain dictionaries, lists and scalars; `places` gives ``line:column`` by path.
    """

    path: Path
    data: Any
    places: dict[Place, str] = field(default_factory=dict)

    def place(self, at: Place) -> str:
        """Return ``file:line:column`` of the path `at`, or of its nearest parent."""
        for length in range(len(at), -1, -1):
            if (found := self.places.get(at[:length])) is not None:
                return f"{self.path}:{found}"
        return str(self.path)

    def find(self, at: Place) -> Any:
        """Return the value at a path, or None."""
        value = self.data
        for step in at:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value


class _CoreLoader(yaml.SafeLoader):
    """YAML 1.2's plain scalars only, so that ``is: off`` stays the word off."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own shape)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )
_CoreLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
_CoreLoader.add_constructor(
    "tag:yaml.org,2002:int", lambda _loader, node: _integer(str(getattr(node, "value", "")))
)


def _integer(text: str) -> int:
    """Read decimal and hexadecimal integers; a leading zero is no octal here."""
    return int(text, 16) if text.lower().startswith("0x") else int(text)


def read(path: Path) -> Document:
    """Read a YAML file without judging its content.

    Raises:
        SettingsError: the file is missing, unreadable, too large or not YAML.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        cause = f"cannot be read ({error.strerror})"
        raise _refusal(path, cause, "Check the path and its permissions") from error
    if len(raw) > FILE_BYTES_MAX:
        raise _refusal(path, f"is larger than {FILE_BYTES_MAX} bytes", "Split the file")
    try:
        return parse(raw.decode(), path)
    except UnicodeDecodeError as error:
        raise _refusal(path, "is not UTF-8 text", "Save it as UTF-8") from error


def parse(text: str, path: Path) -> Document:
    """Read YAML text; `path` is named in the problems.

    Raises:
        SettingsError: the text is not YAML, or too deep, or repeats a key.
    """
    document = Document(path, None)
    loader: _CoreLoader | None = None
    try:
        loader = _CoreLoader(text)
        node = loader.get_single_node()
        document.data = {} if node is None else _Builder(loader, document).build(node, (), 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        cause = error.problem or "not valid YAML"
        remedy = "Check indentation, colons and quotes around here"
        raise SettingsError([Problem(place, "", cause, remedy)]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _refusal(path, f"is not valid YAML ({error})", "Correct the file") from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(document.data, dict):
        raise _refusal(path, "must hold keys and values", "Start it with `key: value` lines")
    return document


class _CoreDumper(yaml.SafeDumper):
    """Quotes every text that a reader of YAML 1.1 or 1.2 would take for something else."""


_CoreDumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
        *_CoreLoader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {
        *yaml.SafeDumper.yaml_implicit_resolvers,
        *_CoreLoader.yaml_implicit_resolvers,
    }
}


def write(data: Mapping[str, Any]) -> str:
    """Write plain data as YAML that `parse` reads back as it was."""
    return yaml.dump(dict(data), Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=100)


def _refusal(path: Path, cause: str, remedy: str) -> SettingsError:
    return SettingsError([Problem(str(path), "", cause, remedy)])


class _Builder:
    """Turns YAML nodes into plain data and remembers where each value stood."""

    def __init__(self, loader: _CoreLoader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._nodes = 0

    def build(self, node: yaml.Node, at: Place, depth: int) -> Any:
        self._nodes += 1
        self._document.places[at] = _position(node)
        if self._nodes > NODES_MAX or depth > DEPTH_MAX:
            self._refuse(node, at, "is nested too deeply or too large", "Write it flatter")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*at, i), depth + 1) for i, item in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, at: Place, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, at, "has a key that is no plain word", "Use plain words")
            key = str(key_node.value)
            if key in data:
                self._refuse(key_node, (*at, key), "is given twice", "Remove one of the two")
            data[key] = self.build(value_node, (*at, key), depth + 1)
            self._document.places[(*at, key)] = _position(key_node)
        return data

    def _refuse(self, node: yaml.Node, at: Place, cause: str, remedy: str) -> NoReturn:
        place = f"{self._document.path}:{_position(node)}"
        raise SettingsError([Problem(place, _dotted(at), cause, remedy)])


def _position(node: yaml.Node) -> str:
    return f"{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def override(document: Document, environment: Mapping[str, str], prefix: str) -> None:
    """Let environment variables win over the file: ``<PREFIX>BROKER__URL`` sets ``broker.url``.

    Only variables below `prefix` count, and only names whose parts are words; values are read as
    YAML scalars.
    """
    for name in sorted(environment):
        steps = tuple(name.removeprefix(prefix).lower().split("__"))
        if not name.startswith(prefix) or not all(steps):
            continue
        target = document.data
        for step in steps[:-1]:
            target = target.setdefault(step, {}) if isinstance(target, dict) else None
        if isinstance(target, dict):
            text = f"value: {environment[name]}"
            target[steps[-1]] = parse(text, Path(name)).data["value"]
            document.places[steps] = f"(environment variable {name})"


def validate(document: Document, model: type[ModelT], at: Place = ()) -> ModelT:
    """Turn the document, or the part of it at `at`, into a model.

    Raises:
        SettingsError: with one problem for each mistake.
    """
    try:
        return model.model_validate(document.find(at))
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False)
        raise SettingsError([_explain(document, model, at, detail) for detail in details]) from None


def validate_each(
    document: Document, model: type[ModelT], at: Place
) -> tuple[list[ModelT], list[Problem]]:
    """Validate each item of the list at `at` by itself, so that one bad item stops only itself.

    Returns the good items and the problems of the others.
    """
    items = document.find(at)
    if not isinstance(items, list):
        problem = Problem(document.place(at), _dotted(at), "must be a list", "Begin items with `-`")
        return [], [problem]
    good: list[ModelT] = []
    problems: list[Problem] = []
    for index in range(len(items)):
        try:
            good.append(validate(document, model, (*at, index)))
        except SettingsError as error:
            problems.extend(error.problems)
    return good, problems


def _explain(
    document: Document, model: type[pydantic.BaseModel], at: Place, detail: ErrorDetails
) -> Problem:
    """Say in a person's words what pydantic found."""
    loc = tuple(step for step in detail["loc"] if not _internal(step))
    path = (*at, *loc)
    cause, remedy = _words(model, detail, loc)
    return Problem(document.place(path), _dotted(path), cause, remedy)


def _internal(step: str | int) -> bool:
    """Tell pydantic's own path marks (union members, validators) from keys of the file."""
    return isinstance(step, str) and bool(re.search(r"[\[(]|^(?:str|int|float|bool|none)$", step))


def _words(model: type[pydantic.BaseModel], detail: ErrorDetails, loc: Place) -> tuple[str, str]:
    last_key = str(loc[-1]) if loc else ""
    raised = detail.get("ctx", {}).get("error")
    if isinstance(raised, MistakeError):
        return raised.cause, raised.remedy
    match detail["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(last_key, sorted(_keys_at(model, loc[:-1])), n=1)
            near = near or difflib.get_close_matches(last_key, _all_keys(model), n=1)
            hint = f"Did you mean `{near[0]}`?" if near else "Remove it or check the reference"
            return "unknown key", hint
        case "missing":
            return "is missing", f"Add `{last_key}:`"
        case _:
            shown = str(detail.get("input"))
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."  # noqa: PLR2004 (a line's worth)
            message = detail["msg"].removeprefix("Value error, ")
            return f"{message[:1].lower()}{message[1:]}", f"Found: {shown}"


@lru_cache(maxsize=256)
def _keys_at(model: type[pydantic.BaseModel], at: Place) -> frozenset[str]:
    """The keys that may stand at a path; steps that are no keys of a model lead nowhere else."""
    here = [model]
    for step in at:
        inner = [
            found
            for one in here
            for name, info in one.model_fields.items()
            if step in {name, info.alias}
            for found in _models_in(info.annotation)
        ]
        here = inner or here
    return frozenset(info.alias or name for one in here for name, info in one.model_fields.items())


@lru_cache(maxsize=256)
def _all_keys(model: type[pydantic.BaseModel]) -> tuple[str, ...]:
    return tuple(sorted(set(_keys(model))))


def _keys(
    model: type[pydantic.BaseModel], seen: frozenset[Hashable] = frozenset()
) -> Iterator[str]:
    """Every key that a model and the models inside it know."""
    for name, info in model.model_fields.items():
        yield info.alias or name
        for inner in _models_in(info.annotation):
            if inner not in seen:
                yield from _keys(inner, seen | {model, inner})


def _models_in(annotation: object) -> Iterator[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _dotted(at: Place) -> str:
    text = ""
    for step in at:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def secret(
    file: Path | None, environment_name: str | None, environment: Mapping[str, str] = os.environ
) -> str | None:
    """Fetch a secret from its file or from the environment; None when neither is named.

    Raises:
        SettingsError: the file cannot be read, is empty, or everybody may read it.
    """
    if file is None:
        return environment.get(environment_name) if environment_name else None
    try:
        mode = file.stat().st_mode
        text = file.read_bytes()[:SECRET_BYTES_MAX].decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _refusal(file, f"the secret cannot be read ({error})", "Check the file") from error
    if mode & stat.S_IROTH:
        raise _refusal(file, "everybody may read this secret", f"Run: chmod 600 {file}")
    if not text:
        raise _refusal(file, "holds no secret", "Write the password into it")
    return text
