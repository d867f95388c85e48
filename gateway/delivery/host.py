"""STATE: how a host application tells that it is there (specification 3.0, section 5.14).

The payload is JSON, ``{"online": true, "timestamp": <ms>}``, retained, on
``spBv1.0/STATE/<host id>``. The older ``STATE/<host id>`` with bare words is ignored.
"""

import json
from dataclasses import dataclass
from typing import Final

from gateway.delivery.messages import Outgoing
from gateway.sparkplug import state_topic

STATE_BYTES_MAX: Final = 1_024


@dataclass(frozen=True, slots=True)
class HostState:
    """What a host says of itself; ``time_ms`` is that of its connecting or of its leaving."""

    online: bool
    time_ms: int


def read_state(payload: bytes) -> HostState | None:
    """Read a STATE payload, None when it is not one."""
    if len(payload) > STATE_BYTES_MAX:
        return None
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    match content:
        case {"online": bool(online), "timestamp": int(time_ms)} if time_ms >= 0:
            return HostState(online, time_ms)
        case _:
            return None


class HostSession:
    """The host's own STATE: will, birth and death, and the answer to a death that is not true."""

    def __init__(self, host: str) -> None:
        self._topic = state_topic(host)
        self._connected_ms = 0

    @property
    def topic(self) -> str:
        """The host's STATE topic: to be subscribed, at QoS 1, before the birth is published."""
        return self._topic

    def connecting(self, now_ms: int) -> Outgoing:
        """Return the will for the next CONNECT."""
        self._connected_ms = now_ms
        return self._message(HostState(online=False, time_ms=now_ms))

    def birth(self) -> Outgoing:
        """Return the birth, with the time of this connection's will."""
        return self._message(HostState(online=True, time_ms=self._connected_ms))

    def death(self, now_ms: int) -> Outgoing:
        """Return the death to publish before leaving on purpose."""
        return self._message(HostState(online=False, time_ms=now_ms))

    def received(self, topic: str, payload: bytes) -> Outgoing | None:
        """Answer an offline STATE of our own, as of an earlier connection, with the birth."""
        if topic != self._topic:
            return None
        state = read_state(payload)
        return None if state is None or state.online else self.birth()

    def _message(self, state: HostState) -> Outgoing:
        payload = json.dumps({"online": state.online, "timestamp": state.time_ms}).encode()
        return Outgoing(self._topic, payload, qos=1, retain=True)


class HostWatch:
    """What an edge node knows of the host it looks to.

    A state older than the last online one is stale news and is ignored; the first one after a
    connect is always believed.
    """

    def __init__(self) -> None:
        self.online: bool | None = None
        self._online_ms: int | None = None

    def reset(self) -> None:
        """Forget everything: a new connection, perhaps to another broker."""
        self.online = self._online_ms = None

    def heard(self, payload: bytes) -> bool:
        """Take note of a STATE payload; tell whether it was news worth believing."""
        state = read_state(payload)
        if state is None or (self._online_ms is not None and state.time_ms < self._online_ms):
            return False
        if state.online:
            self._online_ms = state.time_ms
        self.online = state.online
        return True
