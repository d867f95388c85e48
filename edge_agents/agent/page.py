"""The status page: what monitoring and `machikoba agent status` ask, on this computer only.

A few fixed answers to GET over a loopback socket; a web server for that would weigh more than the
agent itself.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
PORT_FILE: Final = "status-port"
"""In the data directory: where the running agent answers."""
REQUEST_BYTES_MAX: Final = 8_192
REQUEST_TIMEOUT_S: Final = 2.0
CONNECTIONS_MAX: Final = 16
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_PORT: Final = re.compile(r":\d*$")
_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}

Answer = tuple[int, str, str]
"""Status code, media type, text."""
Page = Callable[[], Answer]


class StatusPage:
    """Answers GET for a few paths until cancelled."""

    def __init__(self, pages: Mapping[str, Page], *, port: int, port_file: Path) -> None:
        self._pages = pages
        self._port = port
        self._port_file = port_file
        self._open = 0

    async def run(self) -> None:
        """Serve; a port that is taken is logged, and the agent works on without its page."""
        try:
            server = await asyncio.start_server(
                self._serve, LOOPBACK, self._port, limit=REQUEST_BYTES_MAX
            )
        except OSError as error:
            log.warning("no status page: port %d cannot be used (%s)", self._port, error)
            return
        port = server.sockets[0].getsockname()[1]
        self._port_file.write_text(f"{port}\n", encoding="ascii")
        try:
            async with server:
                await server.serve_forever()
        finally:
            self._port_file.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_response(*self._answer(head.decode("latin-1"))))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.debug("a request for the status page was not completed")
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: str) -> Answer:
        lines = head.split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3:  # noqa: PLR2004 (method, path, version)
            return 400, "text/plain", "bad request\n"
        if words[0] != "GET":
            return 405, "text/plain", "only GET\n"
        named = (line[5:].strip() for line in lines if line[:5].lower() == "host:")
        # A name that somebody else resolves to this computer is a web page's trick.
        if _PORT.sub("", next(named, LOOPBACK)) not in _HOSTS:
            return 403, "text/plain", "ask by a loopback address\n"
        page = self._pages.get(words[1].partition("?")[0])
        return page() if page else (404, "text/plain", "\n".join(self._pages) + "\n")


def _response(code: int, media_type: str, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {code} {_PHRASES[code]}\r\nContent-Type: {media_type}; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
