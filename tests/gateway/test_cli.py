"""The command finds its subcommands by name and says what is missing."""

import subprocess
import sys
from importlib.metadata import EntryPoint, version

import pytest

from gateway import cli


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0

    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in ("demo", "agent", "hub", "sim"))


def test_the_version_is_that_of_the_distribution(capsys):
    assert cli.main(["--version"]) == 0

    assert capsys.readouterr().out == f"machikoba {version('machikoba')}\n"


def test_an_unknown_command_is_told_with_those_that_are_known(capsys):
    assert cli.main(["fly"]) == 2

    told = capsys.readouterr().err
    assert "there is no command `fly`" in told
    assert "demo" in told


def test_a_missing_extra_is_named(capsys, monkeypatch):
    point = EntryPoint("hub", "package_that_is_not_there.commands:main", cli.COMMAND_GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [point] if group else [])

    assert cli.main(["hub", "run"]) == 2

    told = capsys.readouterr().err
    assert "`package_that_is_not_there` is not installed" in told
    assert "pip install 'machikoba[hub]'" in told


@pytest.mark.parametrize("room", ["edge_agents.commands", "gateway.cli"])
def test_what_a_pi_runs_needs_nothing_of_the_hub(room):
    script = (
        "import sys\n"
        f"import {room}\n"
        "heavy = {'duckdb', 'fastapi', 'numpy', 'uvicorn', 'asyncua', 'hub', 'simulators'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )

    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert told.stdout == "[]\n"
