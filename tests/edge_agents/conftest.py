"""A factory of two simulated machines, and an agent beside them: real processes on loopback."""

import json
import logging
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
import yaml

from tests.brokers import Mosquitto, wait_until

MACHIKOBA = [sys.executable, "-m", "gateway.cli"]


class Program:
    """A `machikoba …` process of this test."""

    def __init__(self, log, *words):
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*MACHIKOBA, *map(str, words)], stdout=out, stderr=subprocess.STDOUT
            )

    def end(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.process.wait(10)


@pytest.fixture(autouse=True)
def _logs_as_they_were():
    """Take back what a command did to the logs: its stream ends with its test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def machines(tmp_path_factory):
    """Two simulated machines, one Modbus and one OPC UA, and what `sim run` says of them."""
    folder = tmp_path_factory.mktemp("machines")
    region = subprocess.run(
        [*MACHIKOBA, "sim", "region", "--sites", "1", "--machines", "2"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    (folder / "region.yaml").write_bytes(region)
    ready = folder / "ready.json"
    words = ("sim", "run", folder / "region.yaml", "--ready-file", ready)
    program = Program(folder / "sim.log", *words)
    wait_until(lambda: ready.exists() and ready.read_text(), "the machines to be ready", 30)
    yield folder
    program.end(signal.SIGTERM)


@pytest.fixture
def broker(tmp_path):
    one = Mosquitto(tmp_path)
    yield one
    one.kill()


@pytest.fixture
def site(machines, broker, tmp_path):
    """A factory's folder with an agent's settings in it."""
    subprocess.run(
        [*MACHIKOBA, "sim", "configs", machines / "region.yaml", "--ready", machines / "ready.json",
         "--broker", broker.url, "--out", tmp_path / "out"],
        check=True, capture_output=True,
    )  # fmt: skip
    (written,) = (tmp_path / "out").glob("agent-*.yaml")
    site = Site(tmp_path, yaml.safe_load(written.read_text()))
    yield site
    site.kill()


class Site:
    def __init__(self, folder, settings):
        self.folder = folder
        self.settings = settings | {"data": "data"}
        self.path = folder / "edge.yaml"
        self.agent = None

    def write(self):
        self.path.write_text(yaml.safe_dump(self.settings, allow_unicode=True))

    def start(self):
        self.write()
        self.agent = Program(self.folder / "agent.log", "agent", "run", "--config", self.path)

    def kill(self):
        if self.agent is not None:
            self.agent.end()

    def ask(self, path):
        """Ask the agent's status page; None while there is none."""
        try:
            port = int((self.folder / "data" / "status-port").read_text())
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
                return answer.read().decode()
        except (OSError, ValueError):
            return None

    def status(self):
        answer = self.ask("/status.json")
        return json.loads(answer) if answer else None

    def committed(self):
        """Return (epoch, next offset) of the journal, once the agent runs."""
        session = wait_until(self.status, "the agent to answer")["session"]
        return session["epoch"], session["next"]
