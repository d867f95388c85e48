"""From a one-time code to the first value: the real command, hub and broker, as an owner does it.

Promises: a code becomes a login that the broker accepts and that the agent's settings use as they
were written; with it values reach the hub and are confirmed; a code works once; without a login
nobody gets in.
"""

import json
import os
import signal
import subprocess
import urllib.request

import pytest
import yaml

from tests.brokers import Mosquitto, free_port, wait_until
from tests.system.plant import MACHIKOBA, Program

pytestmark = pytest.mark.system


def machikoba(*words, check=True):
    return subprocess.run(
        [*MACHIKOBA, *map(str, words)], check=check, capture_output=True, text=True
    )


class Yard:
    """One site with one machine, a hub that lets agents join, and a broker that knows nobody."""

    def __init__(self, folder):
        self.folder = folder
        self.programs = []
        port = free_port()
        files = folder / "hub-data" / "broker"
        self.broker = Mosquitto(
            folder,
            f"listener {port} 127.0.0.1",
            "allow_anonymous false",
            f"password_file {files / 'passwords'}",
            f"acl_file {files / 'acl'}",
            port=port,
        )
        self._files = files

    def open(self):
        self._start_machine()
        self._start_hub(self._files)
        self.broker.start()

    def _start_machine(self):
        region = machikoba("sim", "region", "--sites", 1, "--machines", 1).stdout
        (self.folder / "region.yaml").write_text(region)
        self.site = yaml.safe_load(region)["sites"][0]["id"]
        ready = self.folder / "sim.json"
        self.start("sim", "run", self.folder / "region.yaml", "--ready-file", ready)
        wait_until(lambda: ready.exists() and ready.read_text(), "the machine to start", 30)
        words = ("--ready", ready, "--broker", self.broker.url, "--out", self.folder / "made")
        machikoba("sim", "configs", self.folder / "region.yaml", *words)

    def _start_hub(self, files):
        secret = self.folder / "hub-password"
        secret.write_text("the hub's own password")
        secret.chmod(0o600)
        made = yaml.safe_load((self.folder / "made" / "hub.yaml").read_text())
        settings = made | {
            "data": str(self.folder / "hub-data"),
            "listen": "127.0.0.1:0",
            "access": "open",
            "broker": {
                "url": self.broker.url,
                "username": "hub",
                "password_file": str(secret),
            },
            "enrolment": {"broker_url": self.broker.url},
        }
        path, ready = self.folder / "hub.yaml", self.folder / "hub.port"
        path.write_text(yaml.safe_dump(settings, allow_unicode=True))
        hub = self.start("hub", "run", "--config", path, "--ready-file", ready)
        wait_until(ready.exists, f"the hub to listen\n{hub.log()[-2000:]}", 30)
        self.url = f"http://127.0.0.1:{int(ready.read_text())}"
        wait_until((files / "acl").exists, "the broker's files", 10)

    def start(self, *words):
        program = Program(words[0], words, self.folder)
        self.programs.append(program)
        program.start()
        return program

    def ask(self, path, told=None):
        body = None if told is None else json.dumps(told).encode()
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1{path}", body, head)  # noqa: S310 (our own hub)
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 (as above)
            return json.load(answer)

    def join(self, code):
        words = ("--hub", self.url, "--agent", "line-1", "--folder", self.folder / "etc")
        return machikoba("agent", "join", code, *words, check=False)

    def begin_reading(self):
        """Put the real machine into the settings that joining wrote, and change nothing else."""
        path = self.folder / "etc" / "edge.yaml"
        (made,) = (self.folder / "made").glob("agent-*.yaml")
        settings = yaml.safe_load(path.read_text())
        settings["machines"] = yaml.safe_load(made.read_text())["machines"]
        settings["data"] = str(self.folder / "agent-data")
        path.write_text(yaml.safe_dump(settings, allow_unicode=True))
        return self.start("agent", "run", "--config", path)

    def status(self):
        asked = machikoba(
            "agent", "status", "--json", "--config", self.folder / "etc" / "edge.yaml", check=False
        )
        return json.loads(asked.stdout) if asked.returncode == 0 else None

    def close(self):
        for program in self.programs:
            program.kill()
        self.broker.kill()


@pytest.fixture
def yard(tmp_path):
    yard = Yard(tmp_path)
    try:
        yard.open()
        yield yard
    finally:
        yard.close()


def test_a_one_time_code_is_all_that_an_agent_needs(yard):
    code = yard.ask(f"/sites/{yard.site}/enrolments", {"hours": 1})["code"]

    joined = yard.join(code)

    assert joined.returncode == 0, joined.stderr
    password = yard.folder / "etc" / "password"
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.read_text().strip() not in joined.stdout + joined.stderr
    os.kill(yard.broker._process.pid, signal.SIGHUP)  # as the unit beside the broker does

    agent = yard.begin_reading()
    wait_until(
        lambda: [one["connectivity"] for one in yard.ask("/availability")["items"]] == ["online"],
        f"the machine to be seen\n{agent.log()[-2000:]}", 30,
    )  # fmt: skip
    session = wait_until(
        lambda: (said := yard.status()) and said["session"]["answered"] and said["session"],
        "the hub to confirm", 30,
    )  # fmt: skip
    assert session["connected"]
    (told,) = yard.ask(f"/sites/{yard.site}/enrolments")["items"]
    assert (told["agent"], told["username"]) == ("line-1", f"{yard.site}.line-1")

    again = yard.join(code)
    assert again.returncode == 1
    assert "the hub refuses" in again.stderr
