"""The demo with its real parts: every machine comes to life, and nothing is left behind."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 90
WORDS = ("--port", "0", "--limit-s", "60")
"""Patient, for a computer that runs other tests at the same time."""

pytestmark = pytest.mark.system


@contextmanager
def demo(directory, *words):
    """Run a demo in a directory of its own; whatever is left of it is ended afterwards."""
    program = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "demo", *WORDS, "--data", directory, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield program
    finally:
        if program.poll() is None:
            program.terminate()
            with suppress(subprocess.TimeoutExpired):
                program.wait(20)
        for process in processes_of(directory):
            os.killpg(process.pid, signal.SIGKILL)
        program.stdout.close()


def processes_of(directory):
    """Find living programs that the demo of this directory has started."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = process.cmdline()
            own = any(word.startswith(f"{directory}/") for word in words)
            if own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def read_until(program, pattern):
    """Read the demo's lines until one matches; give the match and all the lines."""
    seen = []
    for line in program.stdout:
        seen.append(line)
        if found := re.search(pattern, line):
            return found, "".join(seen)
    pytest.fail(f"the demo ended without {pattern!r}:\n{''.join(seen)}")


def test_a_check_brings_sixteen_machines_of_four_sites_to_life(tmp_path):
    with demo(tmp_path, "--check", "--sites", "4", "--machines", "4") as program:
        said, _ = program.communicate(timeout=LIMIT_S)

        assert program.returncode == 0, said
        assert len(re.findall(r" online$", said, re.MULTILINE)) == 16
        assert " unknown " not in said
        assert "had to be killed" not in said
        assert processes_of(tmp_path) == []


def test_a_visitor_sees_live_machines_and_ctrl_c_leaves_no_orphan(tmp_path):
    with demo(tmp_path, "--sites", "2", "--machines", "2") as program:
        found, _ = read_until(program, r"Open http://127\.0\.0\.1:(\d+)/")
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
        connection.request("GET", "/api/v1/availability")
        items = json.loads(connection.getresponse().read())["items"]
        connection.close()
        started = [process.pid for process in processes_of(tmp_path)]
        parts = [psutil.Process(pid) for pid in started]
        children = [child for part in parts for child in part.children(recursive=True)]
        program.send_signal(signal.SIGINT)
        said, _ = program.communicate(timeout=LIMIT_S)

        assert len(items) == 4
        assert {item["connectivity"] for item in items} == {"online"}
        assert len(started) >= 5
        assert program.returncode == 0, said
        assert processes_of(tmp_path) == []
        assert not any(child.is_running() for child in children)


def test_a_second_run_in_the_same_directory_goes_on_with_its_history(tmp_path):
    for _ in range(2):
        with demo(tmp_path, "--check", "--sites", "1", "--machines", "2") as program:
            said, _ = program.communicate(timeout=LIMIT_S)
            assert program.returncode == 0, said
