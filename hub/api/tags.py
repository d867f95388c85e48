"""ETags of things that change by version, and the precondition that guards a change (RFC 9110)."""

import re
from typing import Annotated, Final

from fastapi import Header

from hub.api.problems import RefusalError

IfMatch = Annotated[str | None, Header(max_length=200, description="The ETag that was read.")]
"""Header ``If-Match``, as routes ask for it."""

_TAG: Final = re.compile(r'"v([0-9]{1,15})"')


def tag(version: int) -> str:
    """Write a version as a strong ETag."""
    return f'"v{version}"'


def required_version(if_match: str | None) -> int:
    """Read the version that a change is made to.

    Raises:
        RefusalError: 428 when the header is missing, 412 when it names no version.
    """
    if if_match is None:
        text = "Read it first, and send its ETag as If-Match."
        raise RefusalError(428, "precondition-required", text)
    version = optional_version(if_match)
    if version is None:
        raise stale()
    return version


def optional_version(if_match: str | None) -> int | None:
    """Read the version that a change is made to; None for any version.

    Raises:
        RefusalError: 412 when the header is there and names no version.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    found = _TAG.fullmatch(if_match.strip())
    if found is None:
        raise stale()
    return int(found[1])


def stale() -> RefusalError:
    """Make the answer for a change to something that has changed since."""
    return RefusalError(412, "stale", "It has changed since you read it. Read it again.")
