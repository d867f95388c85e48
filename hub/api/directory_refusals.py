"""Refusals of the directory, as answers of HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from hub.api.directory_models import context as words
from hub.api.problems import ERRORS_MAX, RefusalError
from hub.coordination.directory.directory_changes import DirectoryError
from hub.coordination.directory.taxonomy import Taxonomy

STATUSES: Final = {
    "has-sites": 409,
    "id-in-use": 409,
    "moved": 409,
    "too-many": 409,
    "unknown-organisation": 422,
    "unknown-site": 422,
}
ModelT = TypeVar("ModelT", bound=BaseModel)


@contextmanager
def explained() -> Iterator[None]:
    """Let what the directory refuses leave as a problem document."""
    try:
        yield
    except DirectoryError as error:
        raise RefusalError(STATUSES[error.code], error.code, str(error)) from error


def in_words(told: ModelT, taxonomy: Taxonomy) -> ModelT:
    """Read the words of a body by the taxonomy, which its first reading did not know.

    Raises:
        RefusalError: with a pointer to each word that means nothing.
    """
    try:
        return type(told).model_validate(told.model_dump(), context=words(taxonomy))
    except ValidationError as error:
        errors = [
            {"pointer": "/".join(("body", *map(str, each["loc"]))), "detail": each["msg"]}
            for each in error.errors(include_url=False)[:ERRORS_MAX]
        ]
        text = "The request has mistakes."
        raise RefusalError(422, "invalid-request", text, errors=errors) from error
