"""A receiver of webhooks, real down to the socket, that behaves as it is told to."""

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict
    body: bytes


@dataclass
class Receiver:
    """Answers each request with the next of `answers`; when they run out, with 204."""

    context: ssl.SSLContext | None = None
    answers: list = field(default_factory=list)
    requests: list = field(default_factory=list)

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?x=1"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.down()

    def down(self):
        """Stop listening; whoever connects is refused."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def up(self):
        """Listen again at the same port."""
        self._ended.clear()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self):
        while not self._ended.is_set():
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, ValueError), line:
                line.settimeout(10)
                if self.context is not None:
                    line = self.context.wrap_socket(line, server_side=True)
                self._serve(line)

    def _serve(self, line):
        raw = b""
        while b"\r\n\r\n" not in raw:
            more = line.recv(65_536)
            if not more:
                return
            raw += more
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(each.split(": ", 1) for each in lines)
        headers = {name.lower(): value for name, value in headers.items()}
        while len(body) < int(headers.get("content-length", 0)):
            body += line.recv(65_536)
        answer = self.answers.pop(0) if self.answers else 204
        self.requests.append(Received(first.split(" ")[1], headers, body))
        if callable(answer):
            answer(line, self._ended)
        else:
            line.sendall(response(answer) if isinstance(answer, int) else answer)
        line.close()


def response(status, *lines, body=b""):
    """Write an answer."""
    head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def closes(line, _ended):
    """Hang up without a word."""


def drips(line, ended):
    """Send a head that never ends, a byte at a time."""
    with contextlib.suppress(OSError):
        line.sendall(b"HTTP/1.1 200 OK\r\n")
        while not ended.wait(0.02):
            line.sendall(b"x")


def silent(line, ended):
    """Say nothing until the other side gives up."""
    line.settimeout(0.05)
    while not ended.is_set():
        try:
            if not line.recv(1):
                return
        except TimeoutError:
            continue
        except OSError:
            return


def endless_head(line, ended):
    """Send headers for ever."""
    with contextlib.suppress(OSError):
        line.sendall(b"HTTP/1.1 200 OK\r\n")
        while not ended.is_set():
            line.sendall(b"X-More: 1\r\n" * 100)


def endless_line(line, ended):
    """Send one header for ever."""
    with contextlib.suppress(OSError):
        line.sendall(b"HTTP/1.1 200 OK\r\nX-More: ")
        while not ended.is_set():
            line.sendall(b"y" * 65_536)


def endless_body(line, ended):
    """Accept, and then send a body for ever."""
    with contextlib.suppress(OSError):
        line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        until = time.monotonic() + 10
        while not ended.is_set() and time.monotonic() < until:
            line.sendall(b"z" * 65_536)
