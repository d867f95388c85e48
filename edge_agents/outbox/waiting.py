"""Where samples wait while nobody knows what time it is. Pure.

They have provisional times, which are moved once the right time is known. Room is bounded: what
has waited longest then goes on as it is, marked as of uncertain time, rather than be lost.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from gateway.model import Quality, Reason, Sample
from gateway.sparkplug import names

WAITING_MAX: Final = 40_000
"""Samples that wait: some 12 MiB, or 40 s at 1,000 samples per second."""

Held = tuple[str, list[Sample]]
"""A machine and its samples."""


class Waiting:
    """Samples in the order of their arrival, with the machines they belong to."""

    def __init__(self, samples_max: int = WAITING_MAX) -> None:
        self._samples_max = samples_max
        self._held: deque[Held] = deque()
        self.samples = 0
        self.untimed = 0
        """Samples that could not wait any longer."""

    def add(self, machine: str, samples: Sequence[Sample]) -> list[Held]:
        """Keep samples; return those that there is no room for, marked."""
        self._held.append((machine, list(samples)))
        self.samples += len(samples)
        out: list[Held] = []
        while self.samples > self._samples_max:
            oldest, some = self._held.popleft()
            self.samples -= len(some)
            self.untimed += len(some)
            out.append((oldest, uncertain(some)))
        return out

    def give_up(self, machines: Collection[str]) -> list[Held]:
        """Return what waits of these machines, marked; that of all others goes on waiting."""
        out = [(machine, uncertain(some)) for machine, some in self._held if machine in machines]
        self._held = deque(one for one in self._held if one[0] not in machines)
        given = sum(len(some) for _, some in out)
        self.samples -= given
        self.untimed += given
        return out

    def release(self, by_ms: int) -> Iterator[Held]:
        """Give back everything, moved by `by_ms`."""
        held, self._held, self.samples = self._held, deque(), 0
        for machine, samples in held:
            yield machine, [_moved(one, by_ms) for one in samples]


def uncertain(samples: Iterable[Sample]) -> list[Sample]:
    """Mark what was read as of uncertain time; the agent's own words are none of the machine's."""
    return [
        replace(one, quality=Quality.UNCERTAIN, reason=Reason.CLOCK)
        if one.quality is Quality.GOOD and not one.signal.startswith(names.RESERVED)
        else one
        for one in samples
    ]


def _moved(sample: Sample, by_ms: int) -> Sample:
    value = sample.value
    if sample.signal == names.READ_AT and isinstance(value, int):
        value += by_ms  # it is a time itself
    return replace(sample, value=value, time_ms=sample.time_ms + by_ms)
