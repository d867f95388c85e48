"""Messages that could not be understood: counted, logged at a bounded rate, kept for a person."""

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from hub.live import Counters

log = logging.getLogger(__name__)

BYTES_MAX: Final = 16 * 1024 * 1024
LOG_EVERY_MS: Final = 10_000
CAUSES_MAX: Final = 200
"""Different causes logged apart; a flood of new ones shares one line."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One message as it came, and why it could not be used."""

    time_ms: int
    topic: str
    cause: str
    payload: bytes


class Quarantine:
    """Keeps the newest bad messages, bounded in number and in bytes. Safe from any thread."""

    def __init__(
        self, counters: Counters, *, messages_max: int, bytes_max: int = BYTES_MAX
    ) -> None:
        self._counters = counters
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._kept: deque[Quarantined] = deque()
        self._bytes = 0
        self._quiet: dict[str, tuple[int, int]] = {}  # kind -> log again at, silent since

    def put(self, topic: str, payload: bytes, *, kind: str, cause: str, now_ms: int) -> None:
        """Count, log and keep a message; `kind` is a short stable word, `cause` the whole story."""
        self._counters.rejected[kind] += 1
        self._log(topic, kind, cause, now_ms)
        with self._lock:
            self._kept.append(Quarantined(now_ms, topic, cause, payload))
            self._bytes += len(payload)
            while len(self._kept) > self._messages_max or self._bytes > self._bytes_max:
                self._bytes -= len(self._kept.popleft().payload)

    def list(self, limit: int = 100) -> list[Quarantined]:
        """Give the newest bad messages, newest first."""
        with self._lock:
            return list(self._kept)[: -limit - 1 : -1]

    def _log(self, topic: str, kind: str, cause: str, now_ms: int) -> None:
        again_ms, silent = self._quiet.get(kind, (0, 0))
        if now_ms < again_ms:
            self._quiet[kind] = (again_ms, silent + 1)
            return
        if len(self._quiet) >= CAUSES_MAX:
            self._quiet.clear()
        self._quiet[kind] = (now_ms + LOG_EVERY_MS, 0)
        more = f" ({silent} more like it were not logged)" if silent else ""
        log.warning("a message on %s was not understood: %s%s", topic[:200], cause, more)
