"""The hub as other programs ask it: typed, with time-outs, repeated safely, errors as exceptions.

Nothing but the standard library is needed, and nothing else of the hub: the folder can be copied.
What it sends and reads is held against the hub's OpenAPI document by a test.
"""

from hub.client.client import (
    OPERATIONS,
    ClientError,
    MachikobaClient,
    Operation,
    ProblemError,
    UnreachableError,
)

__all__ = [
    "OPERATIONS",
    "ClientError",
    "MachikobaClient",
    "Operation",
    "ProblemError",
    "UnreachableError",
]
