"""The demo itself: machines, broker, hub and agents, started in order and watched until live."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from simulators.demo.processes import Part, ProcessTree
from simulators.demo.watch import Key, NoAnswerError, Seen, availability, missing, table
from simulators.region import (
    Region,
    Whereabouts,
    to_yaml,
    write_agent_configs,
    write_hub_config,
    write_whole,
)

GOOD: Final = 0
FAILED: Final = 1
CHECK_LIMIT_S: Final = 30.0
LOOK_EVERY_S: Final = 0.25
REMIND_EVERY_S: Final = 15.0
MACHINES, BROKER, HUB, AGENTS = range(4)
"""Stages: each part may need those before it while it stops."""
NAMED_MAX: Final = 8
"""Missing machines named one by one; beyond it only their number is told."""

Command = Callable[[Sequence[str]], Sequence[str]]
"""Turns words such as ``hub run`` into the full command line that runs them."""


class NotLiveError(Exception):
    """Something did not come to life in time; the text says what."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What one demo is to be."""

    region: Region
    directory: Path
    """Where configuration, data and logs lie."""
    http_port: int
    check: bool
    check_limit_s: float = CHECK_LIMIT_S

    @property
    def machines(self) -> list[Key]:
        """All machines, by site and machine id."""
        return [(site.id, one.id) for site in self.region.sites for one in site.machines]


class Demo:
    """One run of the demo.

    Args:
        command: how the words of a subcommand become a command line.
        say: tells the user a line.
    """

    def __init__(self, setting: Setting, *, command: Command, say: Callable[[str], None]) -> None:
        self._setting = setting
        self._command = command
        self._say_line = say
        self._began_s = time.monotonic()

    async def run(self, stopping: asyncio.Event) -> int:
        """Run until told to stop, until a part dies, or until the check is done."""
        logs = self._setting.directory / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        tree = ProcessTree(logs)
        life = asyncio.create_task(self._live(tree))
        death = asyncio.create_task(tree.first_death())
        told = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({life, death, told}, return_when=asyncio.FIRST_COMPLETED)
            if death.done():
                self._mourn(death.result())
                return FAILED
            if not life.done():
                self._say("stopping")
                return GOOD
            return life.result()
        except NotLiveError as error:
            self._say_line(f"Not everything came to life: {error}")
            self._say_line(f"The logs are in {logs}")
            return FAILED
        except OSError as error:
            self._say_line(f"A part cannot be started: {error}")
            return FAILED
        finally:
            for task in (life, death, told):
                task.cancel()
            await asyncio.gather(life, death, told, return_exceptions=True)
            for name in await tree.stop():
                self._say(f"{name} had to be killed")

    async def _live(self, tree: ProcessTree) -> int:
        setting = self._setting
        await self._start_all(tree)
        seen = await self._until_live()
        self._say(f"{len(setting.machines)} of {len(setting.machines)} machines are live")
        if setting.check:
            self._say_line(table(setting.machines, seen))
            return GOOD
        self._say_line(f"\nOpen http://127.0.0.1:{setting.http_port}/")
        self._say_line("It is open: everybody on this computer may see and do everything.")
        self._say_line("Nobody else can reach it. Ctrl-C stops it all.")
        await asyncio.Event().wait()
        return GOOD

    async def _start_all(self, tree: ProcessTree) -> None:
        """Start each part as soon as what it must be told is known."""
        setting, directory = self._setting, self._setting.directory
        region, machines, broker = (
            directory / name for name in ("region.yaml", "machines.json", "broker.port")
        )
        for ready in (machines, broker):
            ready.unlink(missing_ok=True)
        write_whole(region, to_yaml(setting.region))
        self._say("machines and broker are starting")
        sim_run = ("sim", "run", str(region), "--ready-file", str(machines))
        await self._start(tree, "machines", MACHINES, *sim_run)
        hub_broker = ("hub", "broker", "--port", "0", "--ready-file", str(broker))
        await self._start(tree, "broker", BROKER, *hub_broker)

        url = f"mqtt://127.0.0.1:{int(await self._appears(broker, 'the broker'))}"
        self._say(f"broker is ready at {url}, the hub is starting")
        listen = f"127.0.0.1:{setting.http_port}"
        hub = write_hub_config(setting.region, broker_url=url, listen=listen, out=directory)
        await self._start(tree, "hub", HUB, "hub", "run", "--config", str(hub))

        whereabouts = Whereabouts.from_json(await self._appears(machines, "the machines"))
        self._say(f"{len(whereabouts.machines)} machines answer, the agents are starting")
        agents = write_agent_configs(setting.region, whereabouts, broker_url=url, out=directory)
        for path in agents:
            await self._start(tree, path.stem, AGENTS, "agent", "run", "--config", str(path))

    async def _start(self, tree: ProcessTree, name: str, stage: int, *words: str) -> None:
        await tree.start(name, self._command(words), stage=stage)

    async def _appears(self, path: Path, what: str) -> str:
        """Wait for a file that another program writes when it is ready."""
        while (text := _whole(path)) is None:
            if self._elapsed_s > self._setting.check_limit_s:
                raise NotLiveError(f"{what} did not get ready in {self._elapsed_s:.0f} s")
            await asyncio.sleep(0.05)
        return text

    async def _until_live(self) -> dict[Key, Seen]:
        """Look until all machines are live; a check gives up in time, a demo only reminds."""
        reminder_s = REMIND_EVERY_S
        while True:
            seen, why = await self._look()
            if not why:
                return seen
            if self._setting.check and self._elapsed_s > self._setting.check_limit_s:
                raise NotLiveError(why)
            if self._elapsed_s > reminder_s:
                self._say(f"still waiting: {why}")
                reminder_s = self._elapsed_s + REMIND_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> tuple[dict[Key, Seen], str]:
        wanted = self._setting.machines
        try:
            seen = await availability(self._setting.http_port)
        except NoAnswerError as error:
            return {}, f"the hub does not answer ({error})"
        gaps = missing(wanted, seen)
        named = [f"{site}/{machine}: {why}" for (site, machine), why in gaps.items()]
        if len(named) > NAMED_MAX:
            named[NAMED_MAX:] = [f"and {len(gaps) - NAMED_MAX} more"]
        return seen, "; ".join(named)

    def _mourn(self, part: Part) -> None:
        self._say_line(
            f"{part.name} ended by itself with code {part.process.returncode}, so all stops. "
            f"The end of {part.log}:"
        )
        with suppress(OSError):
            self._say_line(part.tail() or "(the log is empty)")

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def _say(self, text: str) -> None:
        self._say_line(f"{self._elapsed_s:5.1f} s  {text}")


def _whole(path: Path) -> str | None:
    """Return what a ready file says; None while it is missing or half-written."""
    with suppress(FileNotFoundError):
        text = path.read_text(encoding="utf-8")
        return text if text.endswith("\n") else None
    return None
