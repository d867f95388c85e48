"""What the room of access refuses, as problem documents."""

import math
from typing import Final

from fastapi import FastAPI, Request
from starlette.responses import Response

from hub.access.refusals import (
    ForbiddenError,
    InvalidError,
    NotKnownError,
    RefusedError,
    SlowDownError,
    StaleError,
    TakenError,
    UnprovenError,
)
from hub.api.problems import respond

STATUSES: Final = {
    InvalidError: 422,
    ForbiddenError: 403,
    UnprovenError: 401,
    NotKnownError: 404,
    TakenError: 409,
    StaleError: 412,
    SlowDownError: 429,
}


def install(app: FastAPI) -> None:
    """Let the refusals of access leave as problem documents."""

    @app.exception_handler(RefusedError)
    async def refused(_request: Request, error: RefusedError) -> Response:
        headers: dict[str, str] = {}
        if isinstance(error, SlowDownError):
            headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        if isinstance(error, UnprovenError):
            headers["WWW-Authenticate"] = 'Bearer realm="machikoba"'
        errors = [{"pointer": f"body/{error.pointer}", "detail": str(error)}]
        return respond(
            STATUSES[type(error)],
            error.code,
            str(error),
            headers=headers,
            errors=errors if error.pointer else None,
        )
