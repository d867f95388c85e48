"""One retained JSON topic per machine, for everybody who speaks MQTT and not Sparkplug."""

import json
from collections.abc import Callable
from typing import Final

from gateway.delivery import Outgoing
from gateway.model import State
from gateway.sparkplug import quote_level
from hub.live import Live, LiveMachine

PREFIX: Final = "machikoba/v1"
REFRESH_MS: Final = 10_000
"""How often a machine whose state is the same is told again, with its later `valid_until`."""
PER_TURN_MAX: Final = 500
"""Topics published per turn; the rest waits for the next one."""


class StatusTopics:
    """Publishes what changed. It is a mirror and never the way by which data is kept.

    `since` and `valid_until` are milliseconds since 1970 UTC; `seq` grows with every message of
    one machine. A state that ends because its reading expired is told too.
    """

    def __init__(self, live: Live, publish: Callable[[Outgoing], bool]) -> None:
        self._live = live
        self._publish = publish
        self._told: dict[int, tuple[tuple[object, ...], int, int]] = {}

    def tell(self, now_ms: int) -> None:
        """Publish the machines whose status changed, or was told long ago and moved on."""
        room = PER_TURN_MAX
        for machine in self._live.machines():
            if room == 0:
                return
            state = machine.state_at(now_ms)
            shown = (state, machine.since_ms, machine.reason, machine.free_now(now_ms))
            before, at_ms, seq = self._told.get(machine.index, ((), 0, 0))
            moved_on = now_ms - at_ms >= REFRESH_MS and state is not State.UNKNOWN
            if shown == before and not moved_on:
                continue
            if not self._publish(_status(machine, seq + 1, now_ms)):
                return
            self._told[machine.index] = (shown, now_ms, seq + 1)
            room -= 1

    def forget(self) -> None:
        """Tell everything again: the broker may have lost what it retained."""
        self._told = {index: ((), 0, seq) for index, (_, _, seq) in self._told.items()}


def _status(machine: LiveMachine, seq: int, now_ms: int) -> Outgoing:
    status = {
        "state": machine.state_at(now_ms),
        "since": machine.since_ms,
        "valid_until": machine.valid_until_ms,
        "reason": machine.reason,
        "quality": machine.connectivity(now_ms),
        "seq": seq,
    }
    topic = f"{PREFIX}/{quote_level(machine.site)}/{quote_level(machine.machine)}/status"
    return Outgoing(topic, json.dumps(status).encode(), qos=0, retain=True)
