"""One POST to a receiver that may be slow, hostile or gone.

The connection goes to an address that was judged, not to a name that could mean something else a
moment later. Redirects are not followed. What is received is bounded in bytes, and the whole
exchange in time, however the receiver drips.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from hub.notices.target import Address, Reach, Target, TargetError, read_target

TIMEOUT_S: Final = 10.0
"""For everything: name, connection, handshake, request and answer."""
ADDRESSES_MAX: Final = 16
HEAD_BYTES_MAX: Final = 16 * 1024
HEADERS_MAX: Final = 100
BODY_BYTES_MAX: Final = 2 * 1024
"""What is read of an answer, to show a person why it was refused."""
_EXCERPT: Final = 200
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: .*)?")
_RETRY_S_MAX: Final = 7 * 24 * 3600

Resolve = Callable[[str, int], Awaitable[list[Address]]]


class UnreachableError(Exception):
    """Nobody answered in time, or not in HTTP; the message says what happened."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said. `excerpt` is the beginning of the body, printable."""

    status: int
    retry_after_s: int | None
    excerpt: str


class Poster:
    """Sends bodies to targets. `resolve` and `context` are the outside world."""

    def __init__(
        self,
        reach: Reach,
        *,
        context: ssl.SSLContext,
        resolve: Resolve | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._reach = reach
        self._context = context
        self._resolve = resolve or resolve_name
        self._timeout_s = timeout_s

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a body and give the answer.

        Raises:
            TargetError: the target may not be reached.
            UnreachableError: it was not reached, or did not answer in HTTP in time.
        """
        target = read_target(url)
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._addresses(target)
                reader, writer = await self._connect(target, addresses)
                try:
                    writer.write(_request(target, headers, body))
                    await writer.drain()
                    return await _answer(reader)
                finally:
                    writer.close()
        except TimeoutError as error:
            raise UnreachableError(f"no answer within {self._timeout_s:g} s") from error
        except ssl.SSLError as error:
            raise UnreachableError(f"no secure connection ({error.reason or error})") from error
        except asyncio.LimitOverrunError as error:
            raise UnreachableError("the answer is too large") from error
        except (OSError, EOFError) as error:
            text = "the connection ended early" if isinstance(error, EOFError) else str(error)
            raise UnreachableError(text) from error

    async def _addresses(self, target: Target) -> list[Address]:
        try:
            literal = ipaddress.ip_address(target.host)
        except ValueError:
            found = await self._resolve(target.host, target.port)
            return self._reach.choose(target, found[:ADDRESSES_MAX])
        return self._reach.choose(target, [literal])

    async def _connect(
        self, target: Target, addresses: Sequence[Address]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = self._context if target.scheme == "https" else None
        last: OSError = OSError("no address")
        for address in addresses:
            try:
                return await asyncio.open_connection(
                    str(address),
                    target.port,
                    ssl=tls,
                    server_hostname=target.host if tls else None,
                    limit=HEAD_BYTES_MAX,
                )
            except OSError as error:
                last = error
        raise last


async def resolve_name(host: str, port: int) -> list[Address]:
    """Ask the system for the addresses of a name.

    Raises:
        TargetError: the answer holds what is no address (a scope that names an interface).
        OSError: there is no answer.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise TargetError(f"{host[:80]} is no host name") from error
    return [ipaddress.ip_address(each[4][0]) for each in found]


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"POST {target.path} HTTP/1.1", f"Host: {target.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii") + body


async def _answer(reader: asyncio.StreamReader) -> Answer:
    """Read the head, and as much of the body as a person would want to see."""
    while True:
        line = (await _line(reader)).rstrip(b"\r\n")
        status = _STATUS.fullmatch(line)
        if status is None:
            raise UnreachableError("the answer is not HTTP")
        retry_after_s = await _headers(reader)
        code = int(status[1])
        if code >= 200:  # noqa: PLR2004 (1xx announces the real answer)
            break
    body = b""
    with suppress(OSError, TimeoutError):  # The answer is known; its text is a courtesy.
        async with asyncio.timeout(1):
            body = await reader.read(BODY_BYTES_MAX)
    text = body.decode(errors="replace")[:_EXCERPT]
    return Answer(code, retry_after_s, "".join(c if c.isprintable() else " " for c in text))


async def _headers(reader: asyncio.StreamReader) -> int | None:
    """Read headers to the empty line; only one of them is of interest."""
    retry_after_s, size = None, 0
    for _ in range(HEADERS_MAX):
        line = await _line(reader)
        size += len(line)
        if size > HEAD_BYTES_MAX:
            break
        name, _, value = line.partition(b":")
        if not line.strip():
            return retry_after_s
        if name.strip().lower() == b"retry-after":
            retry_after_s = _seconds(value.strip())
    raise UnreachableError("the answer's head is too large")


async def _line(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\n")


def _seconds(value: bytes) -> int | None:
    """Read the delay form of Retry-After; its date form would trust the receiver's clock."""
    digits = value.isdigit() and len(value) <= 9  # noqa: PLR2004 (no sane delay is longer)
    return min(int(value), _RETRY_S_MAX) if digits else None
