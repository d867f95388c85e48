"""ETags of things that change by version, and the precondition that guards a change (RFC 9110)."""

import hashlib
import re
from typing import Annotated, Any, Final

from fastapi import Header

from hub.api.problems import RefusalError
from hub.stream import to_json

IfMatch = Annotated[str | None, Header(max_length=200, description="The ETag that was read.")]
"""Header ``If-Match``, as routes ask for it."""

IfNoneMatch = Annotated[
    str | None, Header(max_length=200, description="``*`` to make something new only.")
]
"""Header ``If-None-Match`` of a PUT, as routes ask for it."""

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


def content_tag(content: dict[str, Any]) -> str:
    """Make the strong ETag of something whose version is its content."""
    return f'"{hashlib.blake2b(to_json(content), digest_size=12).hexdigest()}"'


def require_unchanged(if_match: str | None, if_none_match: str | None, present: str | None) -> None:
    """Let a change pass that names what is there: its tag, or ``If-None-Match: *`` for nothing.

    Raises:
        RefusalError: 428 when neither header is sent, 412 when what is there is something else.
    """
    if if_match is None and if_none_match is None:
        text = "Send the ETag that you read as If-Match, or If-None-Match: * to make something new."
        raise RefusalError(428, "precondition-required", text)
    if if_match is not None:
        told = {each.strip() for each in if_match.split(",")}
        if present is None or not told & {present, "*"}:
            raise stale()
    if if_none_match is not None and present is not None:
        # Only * is of use here: to ask for any other tag than the present one is to ask for a race.
        raise stale()
