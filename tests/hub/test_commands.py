"""`machikoba hub …` starts, answers, leaves in order, and tells mistakes in one readable line."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.brokers import wait_until

HUB = [sys.executable, "-m", "gateway.cli", "hub"]


@pytest.fixture
def started():
    """Start programs that end with the test."""
    programs = []

    def start(*words):
        program = subprocess.Popen(
            [*HUB, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.kill()
        program.communicate()


def port_in(path, program):
    wait_until(lambda: path.exists() and path.read_text().strip(), f"{program.args} to listen", 20)
    return int(path.read_text())


def run(*words):
    return subprocess.run(
        [*HUB, *map(str, words)], capture_output=True, text=True, timeout=30, check=False
    )


def settings(tmp_path, text):
    path = tmp_path / "hub.yaml"
    path.write_text(f"data: {tmp_path / 'data'}\n{text}\naccess: open\n")
    return path


def ask(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return json.load(answer)


def test_hub_and_broker_find_each_other_and_leave_when_told(tmp_path, started):
    broker = started("broker", "--port", 0, "--ready-file", tmp_path / "broker")
    url = f"mqtt://127.0.0.1:{port_in(tmp_path / 'broker', broker)}"
    config = settings(tmp_path, f"listen: 0\nbroker: {{url: '{url}'}}\n")
    hub = started("run", "--config", config, "--ready-file", tmp_path / "hub")
    port = port_in(tmp_path / "hub", hub)

    wait_until(lambda: ready(port), "the hub to be ready", 20)
    assert ask(port, "/api/v1/availability")["items"] == []
    for program in (hub, broker):
        program.send_signal(signal.SIGTERM)
        assert program.wait(15) == 0


def test_a_hub_with_many_viewers_leaves_within_seconds_and_without_complaint(tmp_path, started):
    config = settings(tmp_path, "listen: 0\nbroker: {url: 'mqtt://127.0.0.1:1'}\n")
    hub = started("run", "--config", config, "--ready-file", tmp_path / "hub")
    port = port_in(tmp_path / "hub", hub)
    lines = [follow(port) for _ in range(50)]

    hub.send_signal(signal.SIGTERM)
    said, _ = hub.communicate(timeout=5)

    assert hub.returncode == 0
    assert "Traceback" not in said
    assert "ASGI" not in said
    for line in lines:
        rest = b"".join(iter(lambda line=line: line.recv(65_536), b""))
        assert rest.endswith(b"0\r\n\r\n")
        line.close()


def follow(port):
    line = socket.create_connection(("127.0.0.1", port), timeout=5)
    line.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: hub\r\n\r\n")
    assert line.recv(65_536).startswith(b"HTTP/1.1 200 ")
    return line


def ready(port):
    try:
        return ask(port, "/readyz")["status"] == "ready"
    except OSError:
        return False


def test_a_hub_without_a_broker_answers_and_says_what_is_missing(tmp_path, started):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"mqtt://127.0.0.1:{unused.getsockname()[1]}"
        config = settings(tmp_path, f"listen: 0\nbroker: {{url: '{url}'}}\n")
        hub = started("run", "--config", config, "--ready-file", tmp_path / "hub")
        port = port_in(tmp_path / "hub", hub)

        assert ask(port, "/healthz") == {"status": "ok"}
        assert not ready(port)
        hub.send_signal(signal.SIGINT)
        assert hub.wait(15) == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("listne: 0\n", ":2:1: listne: unknown key. Did you mean `listen`?"),
        ("listen: 0.0.0.0:8080\n", "allow_remote"),
        ("broker: {url: 'http://x'}\n", ":2:10: broker.url: expected mqtt://host[:port]"),
        ("sites: {ota: {name: {en: Ota}, time_zone: Asia/Tokio}}\n", "not an IANA time zone"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line_and_exit_code_2(tmp_path, text, told):
    result = run("run", "--config", settings(tmp_path, text))

    assert result.returncode == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_settings_file_is_told(tmp_path):
    result = run("run", "--config", tmp_path / "none.yaml")

    assert (result.returncode, "cannot be read" in result.stderr) == (2, True)


def test_a_port_that_is_taken_is_told_with_the_remedy(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        hub = run("run", "--config", settings(tmp_path, f"listen: {port}\n"))
        broker = run("broker", "--port", port)

    assert (hub.returncode, broker.returncode) == (1, 1)
    assert f"127.0.0.1:{port} cannot be listened on" in hub.stderr
    assert "Choose another with --port" in broker.stderr
    assert "Traceback" not in hub.stderr + broker.stderr


def test_a_second_hub_on_the_same_data_is_refused(tmp_path, started):
    config = settings(tmp_path, "listen: 0\nbroker: {url: 'mqtt://127.0.0.1:1'}\n")
    first = started("run", "--config", config, "--ready-file", tmp_path / "hub")
    port_in(tmp_path / "hub", first)

    second = run("run", "--config", config)

    assert second.returncode == 1
    assert "Is another hub using" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_secret_that_everybody_may_read_stops_the_hub(tmp_path):
    password = tmp_path / "password"
    password.write_text("hush")
    password.chmod(0o644)
    text = f"listen: 0\nbroker: {{username: hub, password_file: {password}}}\n"

    result = run("run", "--config", settings(tmp_path, text))

    assert result.returncode == 1
    assert "chmod 600" in result.stderr
    assert "hush" not in result.stderr
