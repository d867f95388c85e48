"""The life of one machine: jobs, cycles, set-ups, pauses and failures, stepped by a clock.

Life is a chain of segments drawn one after another from the machine's own seed, and everything
that is measured follows from the segments exactly. So the same seed lives the same life whether
somebody looks once an hour or a thousand times a second.
"""

import dataclasses
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from simulators.machine.kinds import Kind
from simulators.machine.signals import PROGRAM_BYTES, Value

SHOP_C: Final = 22.0
AIR_MPA: Final = 0.52
DRIVE_TAU_S: Final = 900.0
"""Time constant of the main drive's warming, in seconds."""
COOLANT_TAU_S: Final = 2400.0
ALARM_POWER_SHARE: Final = 0.35
"""Share of the resting power that a machine in alarm still takes."""
HOUR_MS: Final = 3_600_000.0
DAY_MS: Final = 24 * HOUR_MS
LEAP_SEGMENTS_MAX: Final = 200_000
"""What a machine lives through in one call, two days of a fast press; it sleeps over the rest."""


class Phase(StrEnum):
    """What the machine truly does."""

    RUNNING = "running"
    SETUP = "setup"
    WAITING = "waiting"
    IDLE = "idle"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class _Segment:
    """A stretch of time in which nothing changes but the clock and what it drives."""

    phase: Phase
    end_ms: float
    drive: float = 0.0
    """Speed of the main drive as a share of nominal."""
    finishes: bool = False
    """A part is done at the end."""


class Machine:
    """One simulated machine. Nothing happens between two calls of `advance`.

    Args:
        kind: what it is.
        seed: what life it leads.
        start_ms: the instant of its birth, the clock of the caller.
        time_scale: how many times faster than the clock it lives.
        step_interval_ms: how often the step counter counts by the clock (never scaled); None:
            it counts only when `count_step` is called.
        parts_start: the part counter's value at birth, so that a roll-over can be near.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        seed: int,
        start_ms: int,
        time_scale: float = 1.0,
        step_interval_ms: int | None = 1000,
        parts_start: int = 0,
    ) -> None:
        self.kind = kind
        self._rng = random.Random(seed)
        self._salt = self._rng.getrandbits(32)
        self._start_ms = start_ms
        self._time_scale = time_scale
        self.step_interval_ms = step_interval_ms
        self._age_ms = 0.0
        self._slept_ms = 0.0
        self._good = parts_start
        self._scrap = 0
        self._counters_from = (0, 0)
        self._energy_kwh = 0.0
        self._run_ms = 0.0
        self._drive_c = SHOP_C
        self._coolant_c = SHOP_C
        self._last_cycle_s = 0.0
        self._cycle_ms = 0.0
        self._alarm_code = 0
        self._batch_left = 0
        self._program = ""
        self._to_failure_ms = self._exponential_ms(kind.mtbf_s)
        self._resume: _Segment | None = None
        self._steps = 0
        self._segment = self._mid_life()

    # -- what the truth is -------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """What it does now."""
        return self._segment.phase

    @property
    def steps(self) -> int:
        """The ledger's truth: how often the step counter has counted."""
        return self._steps

    @property
    def parts_good(self) -> int:
        """Good parts ever made, without roll-over."""
        return self._good

    @property
    def parts_scrap(self) -> int:
        """Scrap parts ever made, without roll-over."""
        return self._scrap

    @property
    def energy_kwh(self) -> float:
        """Energy ever taken."""
        return self._energy_kwh

    def count_step(self) -> int:
        """Count the ledger one further."""
        self._steps += 1
        return self._steps

    # -- time --------------------------------------------------------------------------

    def advance(self, now_ms: int) -> None:
        """Live until `now_ms`. Going back in time is ignored.

        After a leap of many days, as when the clock is set, part of it is slept over, for a server
        must answer in time.
        """
        if self.step_interval_ms is not None:
            self._steps = max(self._steps, (now_ms - self._start_ms) // self.step_interval_ms)
        target_ms = (now_ms - self._start_ms) * self._time_scale - self._slept_ms
        for _ in range(LEAP_SEGMENTS_MAX):
            if self._segment.end_ms > target_ms:
                self._live_until(target_ms)
                return
            self._live_until(self._segment.end_ms)
            self._segment = self._next_segment()
        self._slept_ms += target_ms - self._age_ms

    def force(self, phase: Phase, now_ms: int, for_ms: int) -> None:
        """Make the machine do `phase` for a while of the caller's clock, then go on as before."""
        self.advance(now_ms)
        if self._resume is None:
            left_ms = self._segment.end_ms - self._age_ms
            self._resume = dataclasses.replace(self._segment, end_ms=left_ms)
        end_ms = self._age_ms + for_ms * self._time_scale
        if phase is Phase.DOWN:
            self._alarm_code = self._rng.choice(self.kind.alarms)
        drive = 1.0 if phase is Phase.RUNNING else 0.0
        self._segment = _Segment(phase, end_ms, drive)

    def restart(self, *, reset_counters: bool) -> None:
        """Switch the controller off and on: a volatile part counter begins again at zero."""
        if reset_counters:
            self._counters_from = (self._good, self._scrap)

    def _live_until(self, end_ms: float) -> None:
        span_ms = end_ms - self._age_ms
        if span_ms <= 0.0:
            return
        segment = self._segment
        self._age_ms = end_ms
        self._energy_kwh += self._mean_kw() * span_ms / HOUR_MS
        producing = segment.phase is Phase.RUNNING
        if producing:
            self._run_ms += span_ms
        load = segment.drive
        target_c = SHOP_C + self.kind.heat_k * load
        self._drive_c = _approach(self._drive_c, target_c, span_ms, DRIVE_TAU_S)
        self._coolant_c = _approach(
            self._coolant_c, SHOP_C + 0.35 * self.kind.heat_k * load, span_ms, COOLANT_TAU_S
        )

    def _mean_kw(self) -> float:
        kind, segment = self.kind, self._segment
        if segment.phase is Phase.DOWN:
            return kind.power_rest_kw * ALARM_POWER_SHARE
        return kind.power_rest_kw + (kind.power_cut_kw - kind.power_rest_kw) * segment.drive

    # -- the chain of segments ---------------------------------------------------------

    def _mid_life(self) -> _Segment:
        """Begin somewhere in a life, or all machines of a region would start in step."""
        self._new_job()
        self._batch_left = self._rng.randint(1, self._batch_left)
        first = self._rng.choices(
            (Phase.RUNNING, Phase.SETUP, Phase.IDLE, Phase.WAITING), (70, 12, 12, 6)
        )[0]
        if first is Phase.RUNNING:
            return self._load_or_cut()
        span_s = self.kind.setup_s if first is Phase.SETUP else self.kind.gap_s
        return _Segment(first, self._rng.uniform(0.2, 1.0) * span_s * 1000.0)

    def _next_segment(self) -> _Segment:
        done = self._segment
        if self._resume is not None:
            resume, self._resume = self._resume, None
            return self._resumed(resume)
        if done.phase is not Phase.RUNNING:
            return self._after_pause(done.phase)
        if not done.finishes:
            return self._cut()
        self._finish_part()
        if self._to_failure_ms <= 0.0:
            return self._fail()
        return self._load_or_cut() if self._batch_left > 0 else self._pause()

    def _resumed(self, resume: _Segment) -> _Segment:
        """Go on with what a forced phase interrupted, for the time that was left of it."""
        if resume.phase is not Phase.DOWN:
            self._alarm_code = 0
        return dataclasses.replace(resume, end_ms=self._age_ms + resume.end_ms)

    def _after_pause(self, phase: Phase) -> _Segment:
        if phase is Phase.DOWN:
            self._alarm_code = 0
            self._to_failure_ms = self._exponential_ms(self.kind.mtbf_s)
        elif phase is not Phase.SETUP:
            self._new_job()
            return self._for(Phase.SETUP, self.kind.setup_s)
        return self._load_or_cut() if self._batch_left > 0 else self._pause()

    def _load_or_cut(self) -> _Segment:
        kind = self.kind
        cycle_s = kind.cycle_s * self._rng.uniform(1 - kind.spread, 1 + kind.spread)
        self._cycle_ms = cycle_s * 1000.0
        load_ms = self._cycle_ms * kind.load_share
        if load_ms <= 0.0:
            return self._cut()
        return _Segment(Phase.RUNNING, self._age_ms + load_ms)

    def _cut(self) -> _Segment:
        cut_ms = self._cycle_ms * (1.0 - self.kind.load_share)
        drive = self._rng.uniform(0.8, 1.0)
        return _Segment(Phase.RUNNING, self._age_ms + cut_ms, drive, finishes=True)

    def _finish_part(self) -> None:
        if self._rng.random() < self.kind.scrap_share:
            self._scrap += 1
        else:
            self._good += 1
        self._batch_left -= 1
        self._last_cycle_s = self._cycle_ms / 1000.0
        self._to_failure_ms -= self._cycle_ms

    def _fail(self) -> _Segment:
        self._alarm_code = self._rng.choice(self.kind.alarms)
        return self._for(Phase.DOWN, self.kind.mttr_s)

    def _pause(self) -> _Segment:
        phase = self._rng.choices((Phase.IDLE, Phase.WAITING), (65, 35))[0]
        return self._for(phase, self.kind.gap_s)

    def _for(self, phase: Phase, mean_s: float) -> _Segment:
        """Draw a duration: lognormal, as times of human work are."""
        span_ms = mean_s * 1000.0 * self._rng.lognormvariate(-0.08, 0.4)
        return _Segment(phase, self._age_ms + span_ms)

    def _new_job(self) -> None:
        self._batch_left = self._rng.randint(*self.kind.batch)
        self._program = f"O{self._rng.randint(1000, 9999)}-{self._rng.choice('ABCD')}"

    def _exponential_ms(self, mean_s: float) -> float:
        return self._rng.expovariate(1.0 / (mean_s * 1000.0))

    # -- what the controller shows -----------------------------------------------------

    def values(self) -> Mapping[str, Value]:
        """Return what the controller shows now, by signal name, counters rolled over."""
        modulus = 1 << self.kind.counter_bits
        good, scrap = self._counters_from
        return {
            "step": self._steps % (1 << 32),
            "parts_good": (self._good - good) % modulus,
            "parts_scrap": (self._scrap - scrap) % modulus,
            "energy": self._rolled(self._energy_kwh),
            "run_time": self._rolled(self._run_ms / HOUR_MS),
            "alarm_code": self._alarm_code,
            "program": self._program[:PROGRAM_BYTES],
            "cycle_time": round(self._last_cycle_s, 1),
            **self._flags(),
            **self._measured(),
        }

    def _flags(self) -> Mapping[str, Value]:
        segment = self._segment
        resting = segment.drive == 0.0
        return {
            "alarm": segment.phase is Phase.DOWN,
            "setup_mode": segment.phase is Phase.SETUP,
            "waiting_material": segment.phase is Phase.WAITING,
            "door_open": resting and segment.phase in {Phase.SETUP, Phase.RUNNING},
        }

    def _measured(self) -> Mapping[str, Value]:
        kind, drive = self.kind, self._segment.drive
        wobble = self._wobble
        shop_k = 1.5 * math.sin(2.0 * math.pi * self._age_ms / DAY_MS)
        return {
            kind.drive: round(kind.drive_nominal * drive * (1 + 0.004 * wobble(1)), 1),
            "load": round(85.0 * drive * (1 + 0.12 * wobble(2)), 1),
            "power": round(self._mean_kw() * (1 + 0.04 * wobble(3)), 2),
            "feed_rate": round(1200.0 * drive * (1 + 0.05 * wobble(4)), 0),
            "drive_temperature": round(self._drive_c + shop_k, 1),
            "coolant_temperature": round(self._coolant_c + shop_k, 1),
            "vibration": round(0.15 + 1.6 * drive * (1 + 0.3 * wobble(5)), 2),
            "air_pressure": round(AIR_MPA - 0.03 * drive + 0.002 * wobble(6), 3),
        }

    @staticmethod
    def _rolled(total: float) -> float:
        """Show a running total as a counter of 32 bits in hundredths does."""
        return (int(total * 100.0) % (1 << 32)) / 100.0

    def _wobble(self, channel: int) -> float:
        """Return a value of -1…1 that is fixed for each second of the machine's life."""
        mixed = (int(self._age_ms // 1000.0) * 0x9E3779B1 + channel * 0x85EBCA77) ^ self._salt
        mixed = ((mixed ^ (mixed >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
        return ((mixed ^ (mixed >> 13)) & 0xFFFF) / 32767.5 - 1.0


def _approach(value: float, target: float, span_ms: float, tau_s: float) -> float:
    """Move `value` towards `target` as a first-order body does within `span_ms`."""
    return target + (value - target) * math.exp(-span_ms / (tau_s * 1000.0))
