"""The bounded queue between the MQTT client's thread and the ingest thread."""

import logging
import threading
from collections import deque
from typing import Final, NamedTuple

from hub.live import Counters

log = logging.getLogger(__name__)

LOG_AGAIN_AFTER: Final = 100_000
"""Messages taken without an overflow after which the next overflow is logged again."""


class Received(NamedTuple):
    """One MQTT message as it came."""

    topic: str
    payload: bytes


class Intake:
    """Messages received and not yet looked at; one thread puts, one takes.

    When it is full, new messages are not taken: nothing of them was acknowledged, so our own
    agents send them again, and it is counted.
    """

    def __init__(self, counters: Counters, *, messages_max: int, bytes_max: int) -> None:
        self._counters = counters
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._queue: deque[Received] = deque()
        self._awake = threading.Event()
        # Each side counts for itself, since adding to a shared number is not atomic.
        self._bytes_in = 0
        self._bytes_out = 0
        self._quiet_until = 0

    def put(self, topic: str, payload: bytes) -> None:
        """Take a message, or drop it when there are too many. Called by the MQTT thread."""
        bytes_in = self._bytes_in + len(payload)
        if len(self._queue) >= self._messages_max or bytes_in - self._bytes_out > self._bytes_max:
            self._overflow()
            return
        self._bytes_in = bytes_in
        self._queue.append(Received(topic, payload))
        if not self._awake.is_set():
            self._awake.set()

    def take(self, messages_max: int, bytes_max: int, timeout_s: float) -> list[Received]:
        """Give what is there, waiting up to `timeout_s` for the first message or `wake`."""
        if not self._queue:
            self._awake.wait(timeout_s)
        self._awake.clear()
        queue, size, taken = self._queue, 0, []
        for _ in range(min(len(queue), messages_max)):
            message = queue.popleft()
            taken.append(message)
            size += len(message.payload)
            if size >= bytes_max:
                break
        self._bytes_out += size
        if queue:
            self._awake.set()
        self._counters.messages += len(taken)
        self._counters.bytes += size
        return taken

    def wake(self) -> None:
        """Let `take` return at once."""
        self._awake.set()

    def __len__(self) -> int:
        return len(self._queue)

    def _overflow(self) -> None:
        self._counters.overflowed += 1
        if self._counters.messages >= self._quiet_until:
            log.warning("messages come faster than they can be stored: some wait at the agents")
            self._quiet_until = self._counters.messages + LOG_AGAIN_AFTER
