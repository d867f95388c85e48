"""Everything that goes wrong, as problem documents with a stable code (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from hub.historian import HistorianUnavailableError
from hub.store import StoreUnavailableError

MEDIA_TYPE: Final = "application/problem+json"
ERRORS_MAX: Final = 20


class Problem(BaseModel):
    """What went wrong (RFC 9457). `code` is stable and meant for programs."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    errors: list[dict[str, str]] = []


class RefusalError(Exception):
    """Raised by routes: the status, a stable code and a sentence for people."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: dict[str, str] | None = None,
        *,
        errors: list[dict[str, str]] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.errors = errors
        """Each with a `pointer` to the field and a `detail`."""
        self.more = more
        """Members of its own kind of problem."""


def not_found(what: str) -> RefusalError:
    """Make the answer for what is not there, or not shown to this caller."""
    return RefusalError(404, "not-found", f"There is no {what}.")


def documented(
    *statuses: int, also: dict[int | str, dict[str, Any]] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Describe problem answers for OpenAPI, and others that a route names in `also`."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    described: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }
    return described | (also or {})


def respond(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """Write a problem document; `more` holds members of its own kind of problem."""
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if errors:
        problem["errors"] = errors
    problem |= more or {}
    return Response(orjson.dumps(problem), status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Let every error of the application leave as a problem document."""

    @app.exception_handler(RefusalError)
    async def refused(_request: Request, error: RefusalError) -> Response:
        errors = None if error.errors is None else error.errors[:ERRORS_MAX]
        return respond(
            error.status,
            error.code,
            error.detail,
            errors=errors,
            headers=error.headers,
            more=error.more,
        )

    @app.exception_handler(HistorianUnavailableError)
    async def unavailable(_request: Request, error: HistorianUnavailableError) -> Response:
        headers = {"Retry-After": str(max(1, round(error.retry_after_s)))}
        return respond(503, "historian-unavailable", str(error), headers=headers)

    @app.exception_handler(StoreUnavailableError)
    async def no_store(_request: Request, error: StoreUnavailableError) -> Response:
        headers = {"Retry-After": str(max(1, round(error.retry_after_s)))}
        text = "Coordination does not answer now. Try again."
        return respond(503, "store-unavailable", text, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"pointer": "/".join(str(step) for step in item["loc"]), "detail": str(item["msg"])}
            for item in error.errors()[:ERRORS_MAX]
        ]
        return respond(422, "invalid-request", "The request has mistakes.", errors=errors)

    @app.exception_handler(Exception)
    async def failed(_request: Request, _error: Exception) -> Response:
        # The server logs the error itself; its text is no business of the caller.
        return respond(500, "internal-error", "The hub failed to answer. Its log says why.")

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> Response:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        headers = dict(error.headers or {})
        return respond(error.status_code, code, str(error.detail), headers=headers)
