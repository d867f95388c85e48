"""How the agent is doing, in the three forms that are asked for: JSON, health, Prometheus."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from edge_agents.drivers import DriverStatus
from edge_agents.outbox import OutboxStatus
from gateway.delivery import SenderStatus
from gateway.journal import JournalError
from gateway.settings import Problem

MEDIA_METRICS = "text/plain; version=0.0.4"


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """How far the agent's time can be believed."""

    standing: str
    """``sure``, ``hub`` (uncertain) or ``waiting``."""
    waiting: int
    """Samples that wait to be told when they were read."""
    untimed: int
    """Samples that could not wait any longer and were told with an uncertain time."""
    steps: int
    """How often the clock was set while it was believed."""


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """One look at the whole agent."""

    site: str
    agent: str
    version: str
    machines: int
    started_ms: int
    time_ms: int
    disabled: tuple[Problem, ...]
    """What is wrong in the settings, and so not in use; a machine's former stanza may be."""
    outbox: OutboxStatus | JournalError
    clock: ClockStatus
    session: SenderStatus
    lines: Sequence[DriverStatus]

    def healthy(self) -> str | None:
        """Return None, or why somebody should look: values are not kept on disk any more.

        A machine or a hub that is away is normal life and no fault of the agent.
        """
        if isinstance(self.outbox, JournalError):
            return str(self.outbox)
        if not self.outbox.durable:
            return self.outbox.trouble or "the outbox cannot be written"
        return None

    def as_json(self) -> str:
        """Give everything, for `machikoba agent status` and for people with curl."""
        outbox = (
            {"durable": False, "trouble": str(self.outbox)}
            if isinstance(self.outbox, JournalError)
            else asdict(self.outbox)
        )
        return json.dumps(
            {
                "site": self.site,
                "agent": self.agent,
                "version": self.version,
                "started_ms": self.started_ms,
                "time_ms": self.time_ms,
                "healthy": self.healthy() is None,
                "machines": self.machines,
                "disabled": [str(problem) for problem in self.disabled],
                "outbox": outbox,
                "clock": asdict(self.clock),
                "session": asdict(self.session),
                "lines": [asdict(line) for line in self.lines],
            },
            ensure_ascii=False,
        )

    def as_metrics(self) -> str:
        """Give the figures in Prometheus' text format 0.0.4."""
        return "".join(
            f"# HELP {name} {words}\n# TYPE {name} {kind}\n"
            + "".join(f"{name}{labels} {value}\n" for labels, value in values)
            for name, kind, words, values in self._families()
        )

    def _families(self) -> Iterator[tuple[str, str, str, list[tuple[str, float]]]]:
        prefix = "machikoba_agent"
        if not isinstance(self.outbox, JournalError):
            journal = self.outbox.journal
            oldest_s = 0.0
            if journal.oldest_ms is not None:
                oldest_s = max(0.0, (self.time_ms - journal.oldest_ms) / 1000)
            for name, kind, words, value in (
                ("outbox_durable", "gauge", "1 while values are kept on disk", self.outbox.durable),
                ("outbox_buffered_samples", "gauge", "Not on disk yet", self.outbox.buffered),
                ("outbox_unsettled_entries", "gauge", "Not acknowledged", journal.unsettled),
                ("outbox_bytes", "gauge", "Size on disk", journal.bytes),
                ("outbox_free_bytes", "gauge", "Room before drops", journal.bytes_free),
                ("outbox_oldest_seconds", "gauge", "Age of the oldest waiting entry", oldest_s),
                ("dropped_samples_total", "counter", "Given up", journal.dropped_samples),
            ):
                yield f"{prefix}_{name}", kind, words, [("", float(value))]
            left = self.outbox.hours_left
            if left is not None:
                words = "Hours that the hub may stay away before drops"
                yield f"{prefix}_outbox_hours_left", "gauge", words, [("", left)]
        clock = self.clock
        for name, kind, words, count in (
            ("clock_sure", "gauge", "1 while the time is right", clock.standing == "sure"),
            ("clock_waiting_samples", "gauge", "Waiting for the time", clock.waiting),
            ("clock_untimed_samples_total", "counter", "Told without", clock.untimed),
            ("clock_steps_total", "counter", "How often the clock was set", clock.steps),
        ):
            yield f"{prefix}_{name}", kind, words, [("", float(count))]
        session = self.session
        for name, words, yes in (
            ("broker_connected", "1 while connected", session.connected),
            ("hub_answers", "1 while the hub confirms the session", session.answered),
        ):
            yield f"{prefix}_{name}", "gauge", words, [("", float(yes))]
        yield from self._line_families(prefix)

    def _line_families(
        self, prefix: str
    ) -> Iterator[tuple[str, str, str, list[tuple[str, float]]]]:
        for name, kind, words in (
            ("requests", "counter", "Questions asked"),
            ("timeouts", "counter", "Questions without an answer"),
            ("exceptions", "counter", "Questions refused"),
            ("reconnects", "counter", "Connections made again"),
            ("missed_polls", "counter", "Readings left out because the line was busy"),
            ("rtt_ms", "gauge", "Round trip"),
            ("utilisation", "gauge", "Share of time spent waiting for answers"),
        ):
            values = [
                (f'{{line="{_label(line.name)}"}}', float(getattr(line, name)))
                for line in self.lines
            ]
            ending = "_total" if kind == "counter" else ""
            yield f"{prefix}_line_{name}{ending}", kind, words, values
        links = [
            (f'{{machine="{_label(unit.machine)}"}}', float(unit.link))
            for line in self.lines
            for unit in line.units
        ]
        yield f"{prefix}_machine_link", "gauge", "1 while the machine answers", links


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
