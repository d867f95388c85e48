"""The services start as systemd wants them, and may do no more than they must.

Promises: systemd itself finds no mistake in a unit and judges its exposure as small; readiness,
watchdog, restarts and limits are as the programs need them.
"""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))
EXPOSURE_MAX = 2.5
"""Of 10; systemd calls everything below 5 OK."""
ANALYZE = shutil.which("systemd-analyze")


class Unit(configparser.RawConfigParser):
    """A unit file; keys may come more than once."""

    def __init__(self, path):
        super().__init__(strict=False)
        self.optionxform = str
        self.read(path)


@pytest.fixture(params=UNITS, ids=[one.name for one in UNITS])
def unit(request):
    return request.param


@pytest.fixture
def runnable(unit, tmp_path):
    """The unit with a program and a user that exist on this computer, all else as it is."""
    text = unit.read_text(encoding="utf-8")
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
    text = re.sub(r"^(User|Group)=.*", r"\1=daemon", text, flags=re.MULTILINE)
    path = tmp_path / unit.name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_systemd_finds_no_mistake(runnable):
    told = subprocess.run(
        [ANALYZE, "verify", "--man=no", runnable], capture_output=True, text=True, check=False
    )

    assert (told.returncode, told.stdout + told.stderr) == (0, "")


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_little_is_exposed(runnable):
    told = subprocess.run(
        [ANALYZE, "security", "--offline=yes", runnable],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert float(re.search(r"exposure level for .*: ([\d.]+)", told.stdout)[1]) <= EXPOSURE_MAX


def test_a_service_that_hangs_or_dies_is_started_anew(unit):
    service = Unit(unit)["Service"]

    assert service["Type"] == "notify"
    assert 5 <= int(service["WatchdogSec"]) <= 60
    assert service["Restart"] == "always"
    assert Unit(unit)["Unit"]["StartLimitIntervalSec"] == "0"


def test_nothing_runs_as_root_or_holds_a_secret(unit):
    text = unit.read_text(encoding="utf-8")
    service = Unit(unit)["Service"]

    assert service["User"] not in {"", "root"}
    assert service["NoNewPrivileges"] == "yes"
    assert "Environment=" not in text
    assert not re.search(r"(?i)password|token|secret", text)
