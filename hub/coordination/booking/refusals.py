"""Why coordination says no: each reason with what the caller needs to do better."""

from collections.abc import Sequence

from hub.coordination.booking.booking import Alternative, Clash, Mistake
from hub.store.reservations import Status


class RefusedError(Exception):
    """Nothing was changed."""


class UnknownError(RefusedError):
    """There is no such thing, or it is not shown to the caller."""

    def __init__(self, what: str, pointer: str | None = None) -> None:
        super().__init__(f"There is no {what}.")
        self.what = what
        self.pointer = pointer


class NotYoursError(RefusedError):
    """The caller may see it and not do this with it."""


class InvalidError(RefusedError):
    """The request contradicts the clock, the calendar or itself."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("The request has mistakes.")
        self.mistakes = tuple(mistakes)


class ConflictError(RefusedError):
    """The capacity is not there: when it is short, and what could be had instead."""

    def __init__(self, clashes: Sequence[Clash], alternatives: Sequence[Alternative]) -> None:
        super().__init__("The capacity is taken.")
        self.clashes = tuple(clashes)
        self.alternatives = tuple(alternatives)


class HoldExpiredError(RefusedError):
    """The hold ran out; what it held may be taken by now."""


class StaleError(RefusedError):
    """The reservation has changed since the caller read it."""

    def __init__(self, version: int) -> None:
        super().__init__("The reservation has changed since it was read.")
        self.version = version


class IllegalTransitionError(RefusedError):
    """A reservation in this status does not allow that."""

    def __init__(self, status: Status, action: str) -> None:
        super().__init__(f"A reservation that is {status} cannot be changed by {action}.")
        self.status = status


class KeyReusedError(RefusedError):
    """The idempotency key was used for another request."""


class TooManyError(RefusedError):
    """The caller has too much open, or used too many keys."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
