"""Writes docs/settings-agent.md from the models that read the settings.

`python -m tests.edge_agents.settings_reference` writes it anew; a test tells when that is due.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edge_agents import config
from gateway.model import EDGE_STATES

FILE = Path(__file__).parents[2] / "docs" / "settings-agent.md"
SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("the file", config.AgentSettings),
    ("broker", config.BrokerConfig),
    ("outbox", config.OutboxConfig),
    ("http", config.HttpConfig),
    ("defaults", config.Defaults),
    ("machines[]", config.MachineConfig),
    ("machines[].name", config.Names),
    ("machines[].modbus", config.ModbusConfig),
    ("machines[].opcua", config.OpcuaConfig),
    ("machines[].signals.<name>", config.SignalConfig),
    ("machines[].signals.<name>.counter", config.CounterConfig),
    ("machines[].state[]", config.StateRule),
    ("machines[].state", config.StateByPower),
    ("machines[].state.by_power", config.PowerStates),
)
HEAD = """# Settings of the agent

Written from the program itself by `python -m tests.edge_agents.settings_reference`. A file to begin
with is [deploy/examples/edge.yaml](../deploy/examples/edge.yaml); `machikoba agent check` judges
yours.

The file is YAML 1.2. Durations have a unit (`500ms`, `1s`, `5m`, `1h`, `30d`), sizes too
(`512MiB`). Relative paths are seen from the file. A key that is not listed here is a mistake. The
environment wins over the file: `MACHIKOBA_AGENT__BROKER__URL` is `broker.url`.
"""
WORDS = {
    "PeriodMs": "duration, 20ms to 1d",
    "DurationMs": "duration",
    "PositiveMs": "duration",
    "TimeoutMs": "duration, 50ms to 1m",
    "PromiseMs": "duration, 1s to 1d",
    "PauseMs": "duration, to 10s",
    "CommitMs": "duration, to 10s",
    "Identifier": "id: a-z, 0-9, hyphen",
    "Words": "text",
    "Number": "number",
    "bool": "true, false",
    "Path": "path",
    "StateRules": "list of rules, or `by_power`",
    "State": ", ".join(sorted(EDGE_STATES)),
    "parse_register": "table and address: `input 30`, `holding 5.3`, `coil 7`",
    "parse_node": "node id, or `path=` and names",
    "parse_path": "index or names: `[2]`, `Pose.X`",
    "parse_type": "type",
    "parse_deadband": "number, or percent: `2%`",
    "parse_endpoint": "host or host:port",
    "parse_url": "mqtt:// or mqtts://",
    "parse_opcua_url": "opc.tcp://",
    "_check_port": "path of a port",
    "_check_baud": "baud rate",
    "_check_parity": "N, E, O",
    "_check_encoding": "utf-8, shift_jis, cp932",
    "_outbox_size": "size, from 4MiB",
    "_one_or_many": "number, or list of numbers",
    "_counter": "true, or keys",
    "dict[int, Words]": "text by number",
    "tuple[Identifier, ...]": "list of ids",
    "tuple[object, ...]": "list",
    "dict[str, SignalConfig]": "keys by name",
    "Annotated[str, StringConstraints(pattern=": "a-z, 0-9, hyphen",
    "Annotated[str": "text",
    "Names": "text, or keys",
    "Config": "keys",
    "Defaults": "keys",
    "PowerStates": "keys",
}
ALIASES = {"Policy": config.Policy, "Order": config.Order}


def reference() -> str:
    """Give the whole page."""
    types = ", ".join(f"`{one}`" for one in config.SignalType)
    parts = [HEAD, *(section(title, model) for title, model in SECTIONS)]
    return "\n".join([*parts, f"Types of signals: {types}.\n"])


def section(title: str, model: type[BaseModel]) -> str:
    """Give one table of keys."""
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in rows_of(model))
    return f"## {title}\n\n| key | what | default | meaning |\n|---|---|---|---|\n{rows}\n"


def rows_of(model: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, form, default and meaning of every field, in the order of the model."""
    told = dict(written(model))
    for name, field in model.model_fields.items():
        annotation, meaning = told[name]
        text = meaning.replace("``", "`").replace("|", "\\|")
        yield f"`{field.alias or name}`", form(annotation), default(name, field), text


def written(model: type[BaseModel]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Read annotations and docstrings of fields from the source."""
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(found, ast.ClassDef)
    for field, after in zip(found.body, [*found.body[1:], ast.Pass()], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            said = text.value if isinstance(text, ast.Constant) else ""
            first = " ".join(str(said).split("\n\n")[0].split())
            yield field.target.id, (ast.unparse(field.annotation), first)


def form(annotation: str) -> str:
    """Say in words what may be written."""
    for alias, literal in ALIASES.items():
        if re.match(rf"(Annotated\[)?{alias}\b", annotation):
            return ", ".join(literal.__args__)
    if (choice := re.match(r"Literal\[(.*?)\]", annotation)) is not None:
        return choice[1].replace("'", "")
    if (low := re.search(r"int, Field\(ge=(\d+), le=([\w* ]+)\)", annotation)) is not None:
        return f"number, {bound(low[1])} to {bound(low[2])}"
    if "Annotated[float" in annotation:
        return "number above 0" if "gt=0" in annotation else "number from 0"
    for part, words in WORDS.items():
        by = f"BeforeValidator({part})" if part.startswith(("parse_", "_")) else part
        if by in annotation if by != part else annotation.startswith(part):
            return words
    return next(words for part, words in WORDS.items() if part in annotation)


def bound(text: str) -> str:
    """Give a limit as a number."""
    power = re.fullmatch(r"(\d+)\s*\*\*\s*(\d+)", text)
    return str(int(power[1]) ** int(power[2]) if power else getattr(config, text, text))


def default(name: str, field: FieldInfo) -> str:
    """Say what counts when the key is left out."""
    if field.is_required():
        return "must be given"
    value = field.default
    if value is None or value in ((), "") or isinstance(value, BaseModel):
        return ""
    if isinstance(value, config.Deadband | float):
        return f"{getattr(value, 'absolute', value):g}"
    if name.endswith("_ms"):
        return config._written_ms(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "512MiB" if value == 512 * 1024**2 else str(value)


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
