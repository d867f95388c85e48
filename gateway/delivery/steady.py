"""A time that never runs backward, made from a clock that may."""


class SteadyTime:
    """Count the milliseconds that passed, given readings of a wall clock that may step.

    A step back costs no more than the interval in which it happened; a step forward makes what is
    due come due early, which every timer of the protocol can bear.
    """

    __slots__ = ("_read_ms", "now")

    def __init__(self) -> None:
        self.now = 0
        """The steady time of the last reading."""
        self._read_ms: int | None = None

    def at(self, now_ms: int) -> int:
        """Return the steady time of the reading `now_ms`."""
        if self._read_ms is not None and now_ms > self._read_ms:
            self.now += now_ms - self._read_ms
        self._read_ms = now_ms
        return self.now

    def wall(self, steady_ms: int) -> int:
        """Say when, by the clock read last, the steady time `steady_ms` will be (or was)."""
        return (self._read_ms or 0) + steady_ms - self.now
