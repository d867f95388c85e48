"""A tree of programs that live and die together.

Each part is the leader of its own process group and asks the kernel to be told when its parent
dies, so that nothing outlives the demo, not even when the demo itself is killed.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GRACE_S: Final = 5.0
"""How long parts may take to stop before they are killed."""
TAIL_LINES: Final = 15
TAIL_BYTES: Final = 8192

LAUNCHER: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the demo died before this part began")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Run in the child before the program itself: PR_SET_PDEATHSIG is 1 (prctl(2)) and outlives exec.

It is a program of its own because code between fork and exec is unsafe where threads are.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One running program."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    stage: int
    """Parts of a higher stage need those of lower ones, and are stopped before them."""

    def tail(self) -> str:
        """Return the last lines of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-TAIL_LINES:])


class ProcessTree:
    """Starts parts, tells which died first, and stops them all, stage by stage.

    Args:
        logs: directory in which each part gets a log, `<name>.log`.
    """

    def __init__(self, logs: Path, *, grace_s: float = GRACE_S) -> None:
        self._logs = logs
        self._grace_s = grace_s
        self._parts: list[Part] = []
        self._death: asyncio.Future[Part] = asyncio.get_running_loop().create_future()
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self, name: str, argv: Sequence[str], *, stage: int = 0) -> Part:
        """Start one program; its output goes to its log.

        Raises:
            OSError: it cannot be started.
        """
        log = self._logs / f"{name}.log"
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid())]
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *launcher,
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        part = Part(name, process, log, stage)
        self._parts.append(part)
        self._watchers.append(asyncio.create_task(self._watch(part), name=f"watch {name}"))
        return part

    async def _watch(self, part: Part) -> None:
        await part.process.wait()
        if not self._death.done():
            self._death.set_result(part)

    async def first_death(self) -> Part:
        """Wait until a part ends, for whatever reason, and return it."""
        return await asyncio.shield(self._death)

    async def stop(self) -> list[str]:
        """Ask all to stop, highest stage first; kill what does not. Return the killed ones."""
        for stage in sorted({part.stage for part in self._parts}, reverse=True):
            ending = [self._end(part) for part in self._parts if part.stage == stage]
            await asyncio.gather(*ending)
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        return [part.name for part in self._parts if part.process.returncode == -signal.SIGKILL]

    async def _end(self, part: Part) -> None:
        """End one part with everything that it started itself."""
        if part.process.returncode is None:
            _signal_group(part, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(part.process.wait(), self._grace_s)
        # What is left of the group, children that outlived the part included, has had its time.
        _signal_group(part, signal.SIGKILL)
        await part.process.wait()


def _signal_group(part: Part, number: signal.Signals) -> None:
    """Signal a group. Its number cannot have been given to others while members live."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(part.process.pid, number)
