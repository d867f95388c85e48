"""A real broker for tests: mosquitto on a free loopback port, to be killed and started again."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
START_S = 10.0


def free_port():
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what, deadline_s=10.0):
    """Wait for a condition, or fail naming `what` never came about."""
    end = time.monotonic() + deadline_s
    while not (answer := condition()):
        assert time.monotonic() < end, f"waited {deadline_s} s in vain: {what}"
        time.sleep(0.005)
    return answer


class Mosquitto:
    """One broker without persistence. Its port stays the same over kills and restarts."""

    def __init__(self, folder, *settings, port=None):
        assert MOSQUITTO is not None, "mosquitto is not installed"
        self.port = port or free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._config = Path(folder) / f"mosquitto-{self.port}.conf"
        self._log = self._config.with_suffix(".log")
        self._settings = settings or (f"listener {self.port} 127.0.0.1", "allow_anonymous true")
        self._process = None

    def start(self):
        """Start it and wait until it accepts connections."""
        lines = (*self._settings, "persistence false", "max_queued_messages 0")
        if os.geteuid() == 0:
            lines += ("user root",)  # else it gives up root, and with it the test's own folder
        self._config.write_text("\n".join(lines) + "\n")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [MOSQUITTO, "-c", self._config], stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(self._accepts, f"mosquitto to listen: {self._log}", START_S)
        return self

    def kill(self):
        """End it as `kill -9` does: nothing is flushed, no will is sent, sockets are reset."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _accepts(self):
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


@contextlib.contextmanager
def running_mosquitto(*settings, port=None):
    """Run a broker for the time of a block."""
    with tempfile.TemporaryDirectory(prefix="mosquitto-") as folder:
        broker = Mosquitto(folder, *settings, port=port).start()
        try:
            yield broker
        finally:
            broker.kill()
