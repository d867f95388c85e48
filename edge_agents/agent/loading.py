"""From the settings file to a configuration that runs, as far as it can."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agents.config import AgentConfig, AgentSettings, MachineConfig, quarrels, repeated_ids
from edge_agents.profiles import fill_in
from gateway import settings
from gateway.settings import Document, MistakeError, Problem, SettingsError

ENVIRONMENT_PREFIX: Final = "MACHIKOBA_AGENT__"
"""``MACHIKOBA_AGENT__BROKER__URL`` wins over ``broker.url`` in the file."""
PASSWORD_VARIABLE: Final = "MACHIKOBA_AGENT_BROKER_PASSWORD"  # noqa: S105 (a name, no secret)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What can run, and what is wrong with the machines that cannot."""

    config: AgentConfig
    problems: tuple[Problem, ...]
    password: str | None
    broken: tuple[str, ...] = ()
    """Ids of the machines whose stanza cannot be used, as far as they have one."""
    files: tuple[Path, ...] = ()
    """What was read beside the settings: profiles of one's own."""


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Loaded:
    """Read the settings; a machine with a mistake in its stanza is left out, the others run.

    Raises:
        SettingsError: nothing can run: the file, its head or all machines are wrong.
    """
    document, files = _document(path, environment)
    head = settings.validate(document, AgentSettings)
    machines, problems = settings.validate_each(document, MachineConfig, ("machines",))
    problems += _twins(document, machines)
    twins = repeated_ids([machine.id for machine in machines])
    machines = [machine for machine in machines if machine.id not in twins]
    out = {machine.id: mistake for machine, mistake in quarrels(machines)}
    problems += [_left_out(document, mistake) for mistake in out.values()]
    usable = tuple(machine for machine in machines if machine.id not in out)
    if not usable:
        # Nothing to run: the strict reading words it best.
        settings.validate(document, AgentConfig)
        raise SettingsError(problems)
    config = AgentConfig.model_construct(
        _fields_set=head.model_fields_set, **{**dict(head), "machines": usable}
    )
    config = config.completed().anchored(path.parent.absolute())
    password = settings.secret(config.broker.password_file, PASSWORD_VARIABLE, environment)
    return Loaded(config, tuple(problems), password, _broken(document, usable), files)


def strict(path: Path, environment: Mapping[str, str] = os.environ) -> AgentConfig:
    """Read the settings and let nothing pass.

    Raises:
        SettingsError: with every mistake.
    """
    document, _ = _document(path, environment)
    config = settings.validate(document, AgentConfig)
    return config.completed().anchored(path.parent.absolute())


def _broken(document: Document, usable: Sequence[MachineConfig]) -> tuple[str, ...]:
    """Name the machines of the file that are not among the usable ones."""
    good = {machine.id for machine in usable}
    written = document.find(("machines",))
    ids = [str(one.get("id")) for one in written if isinstance(one, dict) and "id" in one]
    return tuple(one for one in dict.fromkeys(ids) if one not in good)


def _document(path: Path, environment: Mapping[str, str]) -> tuple[Document, tuple[Path, ...]]:
    document = settings.read(path)
    settings.override(document, environment, ENVIRONMENT_PREFIX)
    return document, fill_in(document)


def _left_out(document: Document, mistake: MistakeError) -> Problem:
    return Problem(document.place(("machines",)), "machines", mistake.cause, mistake.remedy)


def _twins(document: Document, machines: list[MachineConfig]) -> list[Problem]:
    """Say which machines share an id: nobody can tell which of them is meant."""
    return [
        Problem(
            document.place(("machines",)),
            "machines",
            f"the id {one!r} is used more than once, so all of these are left out",
            "Give each its own id",
        )
        for one in sorted(repeated_ids([machine.id for machine in machines]))
    ]
