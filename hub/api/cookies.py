"""The cookie of a session: read from requests, written into answers."""

from collections.abc import Iterable
from typing import Final

from starlette.responses import Response

NAME: Final = "machikoba"
SECURE_NAME: Final = "__Host-machikoba"
"""Over TLS. Browsers take this name only with Secure, Path=/ and without a Domain (RFC 6265bis)."""


def session_token(cookies: Iterable[bytes]) -> str | None:
    """Find the session's token in the Cookie headers; the name that only TLS can set counts more.

    A cookie that is there twice is nobody's: another host of the same domain may have set one.
    """
    found: dict[str, list[str]] = {NAME: [], SECURE_NAME: []}
    for header in cookies:
        for pair in header.decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            if name in found:
                found[name].append(value.strip('" '))
    for name in (SECURE_NAME, NAME):
        if found[name]:
            return found[name][0] if len(found[name]) == 1 else None
    return None


def set_session(answer: Response, token: str, *, secure: bool, age_s: int) -> None:
    """Give the browser its session: out of scripts' reach, and not sent from other sites."""
    answer.set_cookie(
        SECURE_NAME if secure else NAME,
        token,
        max_age=age_s,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def end_session(answer: Response) -> None:
    """Have the browser forget its session."""
    for name in (NAME, SECURE_NAME):
        answer.delete_cookie(
            name, path="/", secure=name == SECURE_NAME, httponly=True, samesite="strict"
        )
