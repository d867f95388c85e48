"""What the agent has been told about one machine, so that nothing is told twice."""

import logging
from collections.abc import Callable, Iterable

from edge_agents.drivers.driver import Deliver, Delivery, UnitStatus
from gateway.model import Quality, Reason, Sample

log = logging.getLogger(__name__)


class Presence:
    """Delivers the samples of one machine, and says each loss once: to the agent and in the log."""

    def __init__(
        self,
        machine: str,
        names: tuple[str, ...],
        where: str,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self.machine = machine
        self._names = names
        self._where = where
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._deliver: Deliver = _nowhere
        self._lost: set[str] = set()
        self._link = False
        self._reason = Reason.NONE
        self._silent_since_s: float | None = None

    def begin(self, deliver: Deliver) -> None:
        """Deliver to `deliver` from now on."""
        self._deliver = deliver

    @property
    def announced(self) -> bool:
        """Whether the log says that the machine is silent."""
        return self._silent_since_s is not None

    def read(self, at_ms: int, samples: tuple[Sample, ...]) -> None:
        """Deliver what the machine answered; without samples, that it answered."""
        self._remember(samples)
        self._deliver(Delivery(self.machine, at_ms, samples, link=True))

    def lose(
        self, reason: Reason, names: Iterable[str] | None = None, *, link: bool = False
    ) -> tuple[str, ...]:
        """Say at the moment of loss which signals (or all) have no value; return the new ones.

        Signals lost before are not repeated: the delivery then only confirms the link.
        """
        told = self._names if names is None else names
        new = tuple(name for name in told if name not in self._lost)
        self._lost.update(new)
        self._link, self._reason = link, reason
        at_ms = self._now_ms()
        samples = tuple(Sample(name, None, at_ms, Quality.BAD, reason) for name in new)
        self._deliver(Delivery(self.machine, at_ms, samples, link=link))
        return new

    def relay(self, delivery: Delivery) -> None:
        """Pass on a delivery that was made elsewhere, without what was said before.

        There, a loss is said once; but there may be forgotten, with its process, and begun anew.
        """
        told = tuple(one for one in delivery.samples if not self._known_bad(one))
        self._remember(told)
        if delivery.link:
            self.answers()
        self._link = delivery.link
        self._deliver(Delivery(self.machine, delivery.at_ms, told, link=delivery.link))

    def _remember(self, samples: Iterable[Sample]) -> None:
        for one in samples:
            if one.quality is Quality.BAD:
                self._lost.add(one.signal)
            elif self._lost:
                self._lost.discard(one.signal)

    def _known_bad(self, sample: Sample) -> bool:
        return sample.quality is Quality.BAD and sample.signal in self._lost

    def silent(self, cause: str) -> None:
        """Log, once, that the machine does not answer."""
        if self._silent_since_s is None:
            self._silent_since_s = self._monotonic()
            log.warning("%s does not answer: %s (%s)", self.machine, cause, self._where)

    def answers(self) -> None:
        """Log, once, that the machine answers again."""
        self._link, self._reason = True, Reason.NONE
        if self._silent_since_s is not None:
            silent_s = self._monotonic() - self._silent_since_s
            log.info("%s answers again after %.0f s (%s)", self.machine, silent_s, self._where)
            self._silent_since_s = None

    def status(self, *, breaker_open: bool, quarantined: tuple[str, ...]) -> UnitStatus:
        """Tell how the machine is doing."""
        return UnitStatus(self.machine, self._link, breaker_open, self._reason, quarantined)


def listed(names: tuple[str, ...]) -> str:
    """Name a few signals, and how many more there are."""
    few = 3
    more = f" and {len(names) - few} more" if len(names) > few else ""
    return ", ".join(names[:few]) + more


def _nowhere(_: Delivery) -> None:
    """Where deliveries go before the driver runs."""
