"""A hub's application served on a real socket, and a link before it that loses answers."""

import contextlib
import socket
import threading

import uvicorn

from tests.brokers import wait_until


class Server(uvicorn.Server):
    """Serves in a thread, which may not take signals."""

    def install_signal_handlers(self):
        """Install none."""


@contextlib.contextmanager
def served(app):
    """Serve an application on loopback; give its port."""
    options = {"http": "httptools", "ws": "none", "lifespan": "off", "log_config": None}
    server = Server(uvicorn.Config(app, timeout_graceful_shutdown=1, **options))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        wait_until(lambda: server.started, "the server to listen", 10)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


class LossyLink:
    """Passes requests on and answers back, except for the next `lose` answers."""

    def __init__(self, port):
        self._to = port
        self.lose = 0
        self.passed = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client:
                    self._pass(client)

    def _pass(self, client):
        client.settimeout(5)
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(65_536)
        head, _, body = request.partition(b"\r\n\r\n")
        lengths = [
            v
            for k, _, v in (h.partition(b":") for h in head.split(b"\r\n"))
            if k.lower() == b"content-length"
        ]
        while lengths and len(body) < int(lengths[0]):
            more = client.recv(65_536)
            body, request = body + more, request + more
        self.passed.append(head.split(b"\r\n")[0].decode())
        with socket.create_connection(("127.0.0.1", self._to), 5) as hub:
            hub.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            answer = b""
            while more := hub.recv(65_536):
                answer += more
        if self.lose:
            self.lose -= 1
            return
        client.sendall(answer)
