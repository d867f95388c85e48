"""The part of the OpenAPI document that the gate answers for: the same for every route."""

from typing import Any, Final

from fastapi import FastAPI

from hub.access import At, Door, Rule
from hub.api.gate import SAFE
from hub.api.problems import documented
from hub.api.table import Table

SCHEMES: Final = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, mk_…"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "machikoba",
        "description": "A log-in; changes need its csrf_token as X-CSRF-Token, too.",
    },
}


def describe_access(app: FastAPI, table: Table) -> None:
    """Let the document say who may use each route, and what the gate answers to others."""
    rules = {
        (entry.template.replace(":path}", "}"), method.lower()): (rule, method)
        for entry in reversed(table.entries)
        for method, rule in entry.rules.items()
    }
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = plain()
        document.setdefault("components", {})["securitySchemes"] = SCHEMES
        for path, operations in document.get("paths", {}).items():
            for method, operation in operations.items():
                rule, name = rules.get((path, method), (None, method.upper()))
                _describe(operation, rule, name)
        return document

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way


def _describe(operation: dict[str, Any], rule: Rule | None, method: str) -> None:
    statuses = {401, 403, 429}
    if rule is None or rule.door is not Door.ANYONE:
        operation["security"] = [{"key": []}, {"session": []}]
    elif method in SAFE:
        statuses = {401, 429}  # Even there a key that is none is told so.
    if rule is not None and rule.at is not At.ANYWHERE:
        statuses.add(404)
    if rule is not None and rule.roles:
        operation["x-roles"] = sorted({*rule.roles, "hub-admin"})
    responses = operation.setdefault("responses", {})
    for status, told in documented(*sorted(statuses)).items():
        responses.setdefault(str(status), told)
