"""Why access says no; each class is one kind of answer."""


class RefusedError(Exception):
    """Nothing was changed. `code` is stable and meant for programs."""

    def __init__(self, code: str, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.pointer = pointer
        """The field that is wrong, if it is one."""


class InvalidError(RefusedError):
    """What was asked for cannot be."""


class ForbiddenError(RefusedError):
    """The caller may not do this."""


class UnprovenError(RefusedError):
    """What the caller showed is wrong, or used, or over; which of them is not told."""


class NotKnownError(RefusedError):
    """There is no such thing, or it is not shown to the caller."""


class TakenError(RefusedError):
    """There is one by that name already."""


class StaleError(RefusedError):
    """It has changed since the caller read it."""


class SlowDownError(RefusedError):
    """Too much at once; it may be tried again later."""

    def __init__(self, code: str, detail: str, retry_after_s: float) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s
