"""Keeps a late reply from being taken for the answer to the next question. Pure.

RTU frames carry no transaction id: a reply that comes after its time-out looks exactly like the
answer to the next request of the same shape, and wrong values would be taken without any error.
So after a time-out such a line stays quiet, and what arrives meanwhile is thrown away. Modbus TCP
numbers its requests and needs no guard.
"""


class LateReplyGuard:
    """Says how long a line must stay quiet before the next request, in monotonic seconds."""

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._until_s = float("-inf")

    def timed_out(self, now_s: float) -> None:
        """Note that a reply may still be on its way."""
        self._until_s = now_s + self._quiet_s

    def heard(self, now_s: float) -> None:
        """Note input that nobody waits for: the line must be quiet anew from here."""
        if now_s < self._until_s:
            self._until_s = now_s + self._quiet_s

    def wait_s(self, now_s: float) -> float:
        """Return the seconds to stay quiet, 0 when the line is free."""
        return max(0.0, self._until_s - now_s)
