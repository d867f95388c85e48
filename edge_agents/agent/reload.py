"""Settings that change while the agent runs: what changed starts anew, all else does not notice.

New settings are judged before anything is touched. A file that cannot be used leaves everything as
it is; a machine whose new stanza is wrong keeps running by its former one.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edge_agents.agent.loading import Loaded, load
from edge_agents.config import AgentConfig, MachineConfig, quarrels
from gateway.settings import SettingsError

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
"""How often the file is looked at; it must stay the same from one look to the next."""

Signature = tuple[int, int, int]
"""When a file was written, its size and its place on the disk."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What new settings ask for: the whole agent anew, or some machines."""

    head: bool
    """Whether anything beside the machines changed: broker, outbox, data directory, names."""
    machines: tuple[str, ...]
    """Machines that are new, gone or changed."""

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return self.head or bool(self.machines)


def difference(before: AgentConfig, after: AgentConfig) -> Difference:
    """Compare two configurations, both with their defaults filled in."""
    old, new = _by_id(before), _by_id(after)
    changed = [one for one in {**old, **new} if old.get(one) != new.get(one)]
    return Difference(_head(before) != _head(after), tuple(changed))


def changed_signals(before: AgentConfig, after: AgentConfig) -> dict[str, frozenset[str]]:
    """Name the signals, by machine, that are read elsewhere or mean something else by now."""
    old = _by_id(before)
    return {
        machine.id: frozenset(
            name
            for name, signal in machine.signals.items()
            if former.signals.get(name) != signal or _way(former) != _way(machine)
        )
        for machine in after.machines
        if (former := old.get(machine.id)) is not None and former != machine
    }


def _way(machine: MachineConfig) -> tuple[object, ...]:
    modbus, opcua = machine.modbus, machine.opcua
    return modbus and (modbus.way, modbus.device_id), opcua and opcua.url


def _by_id(config: AgentConfig) -> dict[str, MachineConfig]:
    return {machine.id: machine for machine in config.machines}


def _head(config: AgentConfig) -> dict[str, object]:
    # The defaults stand in the machines already.
    return {key: value for key, value in config if key not in {"machines", "defaults"}}


def rolled_back(fresh: Loaded, running: AgentConfig) -> Loaded:
    """Put back the former stanza of each machine whose new one cannot be used.

    Where its line speaks another way by now, the former stanza is of no use either.
    """
    broken = set(fresh.broken)
    kept = [machine for machine in running.machines if machine.id in broken]
    together = (*fresh.config.machines, *kept)
    lost = {machine.id for machine, _ in quarrels(together)}
    machines = tuple(machine for machine in together if machine.id not in lost)
    if machines == fresh.config.machines:
        return fresh
    config = fresh.config.model_copy(update={"machines": machines})
    return replace(fresh, config=config)


class Follower:
    """Watches the settings of a running agent and brings what changes to the agent.

    Profiles of one's own are part of the settings; those that come along never change.
    """

    def __init__(
        self,
        path: Path,
        running: Loaded,
        *,
        environment: Mapping[str, str] = os.environ,
        look_s: float = LOOK_S,
    ) -> None:
        self.running = running
        """What runs, or is to run when the agent starts anew."""
        self.asked = asyncio.Event()
        """Set it to have the file read at once (SIGHUP)."""
        self._path = path
        self._environment = environment
        self._look_s = look_s
        self._seen = self._look()

    async def follow(self, apply: Callable[[Loaded], Awaitable[None]]) -> None:
        """Apply what changes until the agent must start anew; then return."""
        while True:
            await self._changed()
            fresh = await asyncio.to_thread(self._read)
            found = difference(self.running.config, fresh.config)
            same_password = fresh.password == self.running.password
            self.running = fresh
            self._seen = {**self._look(), **self._seen}  # what was first named now
            if found.head or not same_password:
                log.info("new settings: the agent starts anew")
                return
            if found:
                log.info("new settings: %s", ", ".join(found.machines))
            await apply(fresh)

    def _read(self) -> Loaded:
        """Judge the file; what is wrong is told and changes nothing."""
        try:
            fresh = load(self._path, self._environment)
        except SettingsError as error:
            log.error("the new settings cannot be used, the former ones stay: %s", error)  # noqa: TRY400 (no bug of ours)
            return replace(self.running, problems=tuple(error.problems))
        for problem in fresh.problems:
            log.error("left as it was: %s", problem)
        return rolled_back(fresh, self.running.config)

    async def _changed(self) -> None:
        """Wait until the file is another one and nobody writes it any more, or somebody asks."""
        settling: dict[Path, Signature | None] = {}
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self.asked.wait()
            now = self._look()
            if self.asked.is_set() or (now[self._path] is not None and now == settling):
                self.asked.clear()
                self._seen = now
                return
            settling = {} if all(self._seen.get(one) == now[one] for one in now) else now

    def _look(self) -> dict[Path, Signature | None]:
        return {path: _signature(path) for path in (self._path, *self.running.files)}


def _signature(path: Path) -> Signature | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
