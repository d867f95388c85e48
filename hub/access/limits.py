"""How often anybody may ask, and how soon again after a wrong password. Memory is bounded."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

KEYS_MAX: Final = 10_000
FREE_FAILURES: Final = 3
"""People mistype; waiting begins after so many failures."""
FORGET_MS: Final = 3_600_000
"""Failures older than this no longer count."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_ms: int


class Buckets:
    """A token bucket for each key: `rate_per_s` in the long run, `burst` at once.

    The least recently used keys are forgotten first: a full bucket is what they start with again.
    """

    def __init__(
        self,
        *,
        rate_per_s: float,
        burst: float,
        now_ms: Callable[[], int],
        keys_max: int = KEYS_MAX,
    ) -> None:
        self._rate_per_ms = rate_per_s / 1000
        self._burst = burst
        self._now_ms = now_ms
        self._keys_max = keys_max
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one token. Gives 0, or how many seconds to wait until there is one."""
        now_ms = self._now_ms()
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is None:
                bucket = self._buckets[key] = _Bucket(self._burst, now_ms)
                if len(self._buckets) > self._keys_max:
                    self._buckets.popitem(last=False)
            else:
                self._buckets.move_to_end(key)
                gained = max(0, now_ms - bucket.filled_ms) * self._rate_per_ms
                bucket.tokens = min(self._burst, bucket.tokens + gained)
                bucket.filled_ms = now_ms
            if bucket.tokens < 1:
                return (1 - bucket.tokens) / self._rate_per_ms / 1000
            bucket.tokens -= 1
            return 0.0

    def __len__(self) -> int:
        return len(self._buckets)


@dataclass(slots=True)
class _Failures:
    count: int
    last_ms: int
    until_ms: int


class BackOff:
    """Makes who fails wait: twice as long after each failure, up to `longest_s`.

    A success forgets the failures.
    """

    def __init__(
        self,
        *,
        longest_s: float,
        now_ms: Callable[[], int],
        free: int = FREE_FAILURES,
        keys_max: int = KEYS_MAX,
    ) -> None:
        self._free = free
        self._longest_ms = round(longest_s * 1000)
        self._now_ms = now_ms
        self._keys_max = keys_max
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Give how long a key must wait before it may try again; 0 when it may now."""
        with self._lock:
            found = self._failures.get(key)
            return 0.0 if found is None else max(0, found.until_ms - self._now_ms()) / 1000

    def failed(self, key: str) -> None:
        """Count a failure."""
        now_ms = self._now_ms()
        with self._lock:
            found = self._failures.pop(key, None)
            count = found.count if found and now_ms - found.last_ms < FORGET_MS else 0
            # 2**20 s is two weeks: no limit is longer, and the number stays a sane one.
            doubled = 1000 * 2 ** min(max(0, count - self._free + 1), 20)
            wait_ms = min(self._longest_ms, doubled) if count >= self._free else 0
            self._failures[key] = _Failures(count + 1, now_ms, now_ms + wait_ms)
            if len(self._failures) > self._keys_max:
                self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""
        with self._lock:
            self._failures.pop(key, None)

    def __len__(self) -> int:
        return len(self._failures)
