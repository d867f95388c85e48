"""Jobs that machines start themselves: a signal says which number is on the machine.

The number changes: what ran is finished when its quantity is made, held when it is not, and the
new one starts. The number goes: what ran ends the same way. Only a change of the signal acts, so
what a person does meanwhile is not undone a second later.
"""

import logging
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from gateway.model import Quality
from hub.access import Caller, Role
from hub.coordination.jobs.job_rules import IllegalTransitionError
from hub.coordination.jobs.jobs import Jobs, MachineBusyError
from hub.live import Alarms, Live, LiveMachine
from hub.store import Store
from hub.store import jobs as rows
from hub.store.jobs import Job, Step, StepStatus

log = logging.getLogger(__name__)

UNKNOWN: Final = "unknown-job"
"""Raised once while a machine shows a number that its site has no job for."""
NUMBER_MAX: Final = 64
SIGNAL: Final = Caller("job-signal", "local", "a machine", roles=frozenset({Role.HUB_ADMIN}))

Key = tuple[str, str]


class JobSignals:
    """Follows the signals named in `signals`, by ``site/machine`` or a pattern of it."""

    def __init__(
        self, store: Store, jobs: Jobs, live: Live, alarms: Alarms, signals: Mapping[str, str]
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._live = live
        self._alarms = alarms
        self._signals = signals
        self._last: dict[Key, str] = {}

    def turn(self) -> None:
        """Look at every machine that says what it makes; to be called every second."""
        for machine in self._live.machines() if self._signals else ():
            name = signal_of(self._signals, machine.site, machine.machine)
            if name is not None:
                self._look(machine, name)

    def _look(self, machine: LiveMachine, name: str) -> None:
        number = _number(machine, name)
        key = (machine.site, machine.machine)
        if number is None or self._last.get(key) == number:
            return
        running = self._jobs.running(*key)
        first = key not in self._last
        if running is not None and running.job == number:
            self._clear(key)
        else:
            self._change(key, number, was_there=first and running is None)
        self._last[key] = number

    def _change(self, key: Key, number: str, *, was_there: bool) -> None:
        """Let go of what was on a machine, and put on it what its signal says.

        What `was_there` before the hub's start is no change: somebody may have held it meanwhile.
        """
        self._jobs.leave(SIGNAL, *key)
        self._clear(key)
        if not number:
            return
        with self._store.read() as tx:
            job = rows.numbered(tx, key[0], number)
        if job is None:
            text = f"{key[0]}/{key[1]} says that it makes {number}, which is no job of the site"
            self._alarms.raise_(UNKNOWN, "/".join(key), text)
            return
        step = step_for(job, *key)
        begun = any(s.status is not StepStatus.WAITING and s.machine == key[1] for s in job.steps)
        if was_there and begun:
            return
        try:
            self._jobs.start_by_signal(SIGNAL, job.id, step, key[1])
        except (IllegalTransitionError, MachineBusyError) as error:
            text = f"{key[0]}/{key[1]} says that it makes {number}: {error}"
            self._alarms.raise_(UNKNOWN, "/".join(key), text)

    def _clear(self, key: Key) -> None:
        self._alarms.clear(UNKNOWN, "/".join(key))


def signal_of(signals: Mapping[str, str], site: str, machine: str) -> str | None:
    """Give the signal of a machine that holds its job number: the exact name wins."""
    exact = signals.get(f"{site}/{machine}")
    if exact is not None:
        return exact
    place = f"{site}/{machine}"
    return next((s for pattern, s in signals.items() if fnmatchcase(place, pattern)), None)


def step_for(job: Job, site: str, machine: str) -> Step | None:
    """Choose the step that a machine works on: planned on it, else on none yet at its site."""
    open_steps = [s for s in job.steps if s.status is not StepStatus.DONE and s.site == site]
    for wanted in (machine, None):
        for step in open_steps:
            if step.machine == wanted:
                return step
    return None


def _number(machine: LiveMachine, name: str) -> str | None:
    """Read the number; None when the signal cannot be believed now, "" for no job."""
    signal = machine.signals.get(name)
    if signal is None or signal.quality is Quality.BAD or signal.value is None:
        return None
    value = signal.value
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else value
    text = str(value).strip().strip("\0")[:NUMBER_MAX]
    return "" if text == "0" else text
