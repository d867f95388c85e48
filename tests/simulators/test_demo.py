"""The demo starts all its parts, tells the truth about them, and leaves nothing behind.

The parts are stand-ins here (`fake_part.py`); the supervision, the files and the watching are
real. The demo with its real parts is tested in `tests/system`.
"""

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from simulators.demo.command import run
from simulators.demo.processes import ProcessTree
from simulators.demo.region_demo import Demo, Setting
from simulators.region import generated
from tests.simulators.conftest import until

FAKE = Path(__file__).with_name("fake_part.py")
ROOT = FAKE.parents[2]


def stands_in(**behaviours):
    """Return a command table in which named parts behave in a way of their own."""

    def command(words):
        name = "_".join(words[:2])
        return [sys.executable, str(FAKE), behaviours.get(name, "good"), *words]

    return command


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def parts_in(directory):
    """Find every living stand-in that was told of this directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = process.cmdline()
            if str(FAKE) in words and any(str(directory) in word for word in words):
                found.append(process.pid)
    return found


def setting(directory, *, check=True, limit_s=20.0):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    region = generated(sites=2, machines=3)
    return Setting(region, directory, port, check, limit_s)


async def play(wanted, command, stopping=None):
    said = []
    demo = Demo(wanted, command=command, say=said.append)
    code = await asyncio.wait_for(demo.run(stopping or asyncio.Event()), 40)
    return code, "\n".join(said)


async def test_a_check_passes_when_every_machine_is_live_and_shows_them_all(tmp_path):
    wanted = setting(tmp_path)
    code, said = await play(wanted, stands_in())

    assert code == 0
    assert "6 of 6 machines are live" in said
    for site, machine in wanted.machines:
        assert re.search(rf"^{site} +{machine} .* idle +online$", said, re.MULTILINE)
    assert parts_in(tmp_path) == []


async def test_a_check_fails_in_time_and_names_what_is_missing(tmp_path):
    wanted = setting(tmp_path, limit_s=3.0)
    code, said = await play(wanted, stands_in(hub_run="stale"))

    site, machine = wanted.machines[0]
    assert code == 1
    assert f"{site}/{machine}: state idle, connectivity stale" in said
    assert str(tmp_path / "logs") in said
    assert parts_in(tmp_path) == []


@pytest.mark.parametrize(
    ("mute", "words"),
    [("sim_run", "the machines did not get ready"), ("hub_broker", "the broker did not get")],
)
async def test_a_part_that_never_gets_ready_is_named(tmp_path, mute, words):
    code, said = await play(setting(tmp_path, limit_s=1.5), stands_in(**{mute: "mute"}))

    assert code == 1
    assert words in said
    assert parts_in(tmp_path) == []


async def test_a_hub_that_does_not_answer_is_named(tmp_path):
    code, said = await play(setting(tmp_path, limit_s=2.5), stands_in(hub_run="mute"))

    assert code == 1
    assert "the hub does not answer" in said


@pytest.mark.parametrize("part", ["sim_run", "hub_broker", "hub_run", "agent_run"])
async def test_a_part_that_dies_stops_all_and_its_last_words_are_told(tmp_path, part):
    wanted = setting(tmp_path, check=False)
    code, said = await play(wanted, stands_in(**{part: "dies"}))

    assert code == 1
    assert re.search(r"^[a-z0-9-]+ ended by itself with code 1, so all stops", said, re.MULTILINE)
    assert "my last word" in said
    assert parts_in(tmp_path) == []


async def test_a_part_that_cannot_be_started_is_told(tmp_path):
    code, said = await play(setting(tmp_path), lambda _words: ["/no/such/program"])

    assert code == 1
    assert "ended by itself" in said
    assert "No such file" in said


async def test_a_demo_tells_its_address_and_goes_on_until_it_is_stopped(tmp_path):
    stopping, wanted, said = asyncio.Event(), setting(tmp_path, check=False), []
    demo = Demo(wanted, command=stands_in(), say=said.append)
    running = asyncio.create_task(demo.run(stopping))
    await until(lambda: any(f"http://127.0.0.1:{wanted.http_port}/" in one for one in said), 20)
    assert not running.done()
    assert len(parts_in(tmp_path)) == 5
    stopping.set()

    assert await asyncio.wait_for(running, 20) == 0
    assert parts_in(tmp_path) == []


def start_demo(tmp_path, behaviours=None):
    script = (
        "import sys\n"
        "from simulators.demo.command import run\n"
        "from tests.simulators.test_demo import stands_in\n"
        f"sys.exit(run(sys.argv[1:], stands_in(**{behaviours or {}!r})))\n"
    )
    words = [sys.executable, "-c", script, "--sites", "1", "--machines", "2", "--port", "0"]
    return subprocess.Popen(
        [*words, "--data", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def read_until(stream, text):
    seen = []
    for line in stream:
        seen.append(line)
        if text in line:
            return "".join(seen)
    pytest.fail(f"the output ended without {text!r}: {seen}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_and_leaves_no_orphan(tmp_path, number):
    demo = start_demo(tmp_path)
    read_until(demo.stdout, "Open http://127.0.0.1:")
    pids = parts_in(tmp_path)
    demo.send_signal(number)
    rest, _ = demo.communicate(timeout=20)

    assert len(pids) == 4
    assert "stopping" in rest
    assert demo.returncode == 0
    assert not any(alive(pid) for pid in pids)


async def test_not_even_a_killed_demo_leaves_an_orphan(tmp_path):
    demo = start_demo(tmp_path)
    await asyncio.to_thread(read_until, demo.stdout, "Open http://127.0.0.1:")
    pids = parts_in(tmp_path)
    demo.kill()
    demo.communicate()

    assert len(pids) == 4
    await until(lambda: not any(alive(pid) for pid in pids))


def test_a_taken_port_is_told_with_the_remedy(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code = run(["--port", str(port), "--data", str(tmp_path)], stands_in())

    assert code == 2
    assert f"port {port} cannot be used" in capsys.readouterr().err


def test_a_directory_in_use_is_told_with_the_remedy(tmp_path, capsys):
    demo = start_demo(tmp_path)
    read_until(demo.stdout, "machines and broker are starting")
    code = run(["--port", "0", "--data", str(tmp_path)], stands_in())
    demo.terminate()
    demo.communicate(timeout=20)

    assert code == 2
    assert "another demo is running in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--sites", "0"], ["--machines", "99"], ["--time-scale", "-1"], ["--region", "none"]]
)
def test_wrong_use_is_refused(tmp_path, capsys, words):
    try:
        code = run([*words, "--port", "0", "--data", str(tmp_path)], stands_in())
    except SystemExit as error:
        code = error.code

    assert code == 2
    assert capsys.readouterr().err


# -- the tree itself ---------------------------------------------------------------------


async def test_the_output_of_a_part_is_kept_and_its_end_can_be_told(tmp_path):
    tree = ProcessTree(tmp_path)
    script = "print('\\n'.join(f'line {n}' for n in range(5000)))"
    part = await tree.start("talker", [sys.executable, "-c", script])
    dead = await asyncio.wait_for(tree.first_death(), 20)
    await tree.stop()

    assert dead is part
    assert part.log == tmp_path / "talker.log"
    assert part.tail().splitlines()[-1] == "line 4999"
    assert len(part.tail().splitlines()) == 15


async def test_children_of_a_part_end_with_it(tmp_path):
    tree = ProcessTree(tmp_path)
    part = await tree.start("parent", [sys.executable, str(FAKE), "parent", "x", "y"])
    await until(lambda: "this is" in part.tail(), 20)
    child = int(re.search(r"child (\d+)", part.tail())[1])
    assert alive(child)
    await tree.stop()

    await until(lambda: not alive(child))


async def test_parts_of_a_higher_stage_are_stopped_before_those_they_need(tmp_path):
    script = (
        "import signal, sys, time\n"
        "def stop(*_):\n"
        "    time.sleep(0.2); print(time.monotonic(), flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    tree = ProcessTree(tmp_path)
    parts = [
        await tree.start(f"part-{stage}", [sys.executable, "-c", script], stage=stage)
        for stage in (1, 2, 0)
    ]
    await until(lambda: all(part.tail() == "up" for part in parts), 20)
    await tree.stop()
    ends = {part.stage: float(part.tail().splitlines()[-1]) for part in parts}

    assert ends[2] + 0.2 <= ends[1]
    assert ends[1] + 0.2 <= ends[0]


async def test_a_part_that_will_not_stop_is_killed_and_named(tmp_path):
    tree = ProcessTree(tmp_path, grace_s=0.3)
    part = await tree.start("mule", [sys.executable, str(FAKE), "stubborn", "x", "y"])
    await until(lambda: "this is" in part.tail(), 20)

    assert await tree.stop() == ["mule"]
    assert not alive(part.process.pid)
