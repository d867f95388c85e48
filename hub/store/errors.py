"""What can go wrong with the store, in words of the store and not of its engine."""


class StoreError(Exception):
    """The store cannot be used; the message says why and what to do."""


class StoreTooNewError(StoreError):
    """A newer program has written this store, and this one does not know what it means."""


class StoreUnavailableError(StoreError):
    """The store does not answer now. Nothing was changed, or the answer got lost: try again."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
