"""From a hub that nobody may use to its first admin, keys for programs, and an audit that holds."""

import argparse
import http.client
import io
import sqlite3
import subprocess
import sys
from typing import NamedTuple

import pytest

from hub import letting_in
from hub.commands import read_config
from tests.brokers import wait_until

HUB = [sys.executable, "-m", "gateway.cli", "hub"]
PASSWORD = "a phrase of some length 7"

pytestmark = pytest.mark.system


class Ran(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command as `machikoba hub` would, within this process: starting one takes seconds."""

    def run_(*words, typed="", **environment):
        for name in ("MACHIKOBA_HUB_URL", "MACHIKOBA_HUB_KEY_FILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        parser = argparse.ArgumentParser()
        letting_in.add_commands(parser.add_subparsers(), read_config)
        code = letting_in.run(parser.parse_args([str(word) for word in words]))
        told = capsys.readouterr()
        return Ran(code, told.out, told.err)

    return run_


@pytest.fixture
def hub(tmp_path):
    """Run a hub as it comes: nobody may use it. Gives its URL, its log and its settings."""
    config, ready, log = tmp_path / "hub.yaml", tmp_path / "ready", tmp_path / "log"
    config.write_text(
        f"data: {tmp_path / 'data'}\nlisten: 0\nbroker: {{url: 'mqtt://127.0.0.1:1'}}\n"
    )
    words = [*HUB, "run", "--config", str(config), "--ready-file", str(ready)]
    with log.open("wb") as out, subprocess.Popen(words, stdout=out, stderr=out) as process:
        wait_until(lambda: ready.exists() or process.poll() is not None, "the hub to listen", 30)
        try:
            yield f"http://127.0.0.1:{int(ready.read_text())}", log, config
        finally:
            process.terminate()
            process.wait(20)


def status(url, path, key=None):
    link = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    link.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
    found = link.getresponse().status
    link.close()
    return found


def test_a_new_hub_lets_its_installer_in_and_then_whom_they_let_in(hub, run, tmp_path):
    url, log, config = hub
    secret_file = tmp_path / "data" / "first-admin-secret"
    secret = secret_file.read_text().strip()
    assert secret_file.stat().st_mode & 0o077 == 0
    assert secret not in log.read_text()
    assert str(secret_file) in log.read_text()
    lists = "/api/v1/availability"
    assert (status(url, lists), status(url, "/healthz")) == (401, 200)

    wrong = run("setup", "--url", url, typed=f"AAAA-AAAA\n{PASSWORD}\n")
    assert (wrong.code, wrong.stdout) == (4, "")
    key_file = tmp_path / "key"
    made = run("setup", "--url", url, "--key-file", key_file, typed=f"{secret}\n{PASSWORD}\n")
    assert made.code == 0, made.stderr
    assert key_file.stat().st_mode & 0o077 == 0
    assert run("setup", "--url", url, typed=f"{secret}\n{PASSWORD}\n").code == 4

    mine = {"MACHIKOBA_HUB_KEY_FILE": str(key_file), "MACHIKOBA_HUB_URL": url}
    created = run("key", "create", "erp", "--role", "planner", "--site", "ota", **mine)
    key = created.stdout.strip()
    assert status(url, lists, key) == 200
    listed = run("key", "list", **mine).stdout
    assert "planner  ota  no end" in listed
    assert key not in listed
    assert run("key", "revoke", key, **mine).code == 0
    assert status(url, lists, key) == 401
    assert run("key", "list", MACHIKOBA_HUB_URL=url).code == 4
    for each in (PASSWORD, key, key_file.read_text().strip()):
        assert each not in log.read_text()

    whole = run("audit", "verify", "--config", config)
    assert (whole.code, whole.stdout.startswith("the audit holds: ")) == (0, True)
    noted = whole.stdout.split()[-1]
    assert run("audit", "verify", "--config", config, "--expect", noted).code == 0
    assert run("audit", "verify", "--config", config, "--expect", "x").code == 2
    with sqlite3.connect(tmp_path / "data" / "coordination.sqlite", timeout=10) as raw:
        raw.execute("UPDATE audit SET who = 'somebody else' WHERE action = 'key.revoked'")
    broken = run("audit", "verify", "--config", config)
    assert (broken.code, "does not hold" in broken.stderr) == (1, True)
    other = noted.split(":")[0] + ":" + "0" * 64
    assert run("audit", "verify", "--config", config, "--expect", other).code == 1


def test_secrets_are_not_sent_in_clear_over_a_network(run):
    sent = run("key", "list", "--url", "http://hub.example")

    assert (sent.code, "use https://" in sent.stderr) == (1, True)


def test_a_hub_that_does_not_answer_is_told_in_one_line():
    words = [*HUB, "key", "list", "--url", "http://127.0.0.1:1"]
    asked = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    assert (asked.returncode, asked.stderr.count("\n")) == (1, 1)
