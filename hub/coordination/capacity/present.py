"""What a machine is doing now, as far as free capacity may rest on it."""

from gateway.model import State
from hub.coordination.capacity.capacity import Present, Release, release
from hub.coordination.capacity.experience import Experience
from hub.coordination.capacity.ledger import Page
from hub.coordination.directory.directory import MachineEntry
from hub.coordination.jobs.jobs import Jobs
from hub.live import LiveMachine


class Presence:
    """Joins the live state with jobs, bookings and planned maintenance. Any thread may ask."""

    def __init__(self, *, jobs: Jobs, experience: Experience) -> None:
        self._jobs = jobs
        self._experience = experience

    def of(self, entry: MachineEntry, live: LiveMachine | None, page: Page, now_ms: int) -> Present:
        """Tell what a machine does now. One that is not heard from is `unknown`, never free."""
        assumed_ms = self._experience.assumptions.unknown_job_ms
        state = State.UNKNOWN if live is None else live.state_at(now_ms)
        since_ms = None if live is None else live.since_ms
        if state is State.UNKNOWN:
            return Present("unknown")
        if state is State.DOWN:
            return Present("down", since_ms)
        if state is State.MAINTENANCE:
            return Present("maintenance", since_ms, planned_until_ms=page.maintained_until(now_ms))
        job = self._jobs.running(entry.site, entry.machine)
        if job is not None:
            cycle_s = job.cycle_s or job.planned_cycle_s
            cycle_ms = None if cycle_s is None else round(cycle_s * 1000)
            return Present("working", since_ms, job.remaining, cycle_ms, assumed_ms=assumed_ms)
        if state in {State.RUNNING, State.SETUP} and not page.taken_at(now_ms):
            return Present("working", since_ms, assumed_ms=assumed_ms)
        return Present("free", since_ms)

    def release(
        self, entry: MachineEntry, present: Present, ratio_p90: float, now_ms: int
    ) -> Release:
        """Tell when it lets go of that."""
        repairs = self._experience.repairs(entry.site, entry.machine)
        return release(present, repairs, ratio_p90, now_ms)
