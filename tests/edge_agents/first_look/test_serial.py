"""The first look at a serial line, through a real pseudo terminal, and at gateways to one.

Promises: a scan finds the units of a line at whatever speed they answer, names those it knows and
writes settings that pass `check` and read; a unit that falls silent at questions it does not know
is found all the same; `probe` reads serial lines and transparent gateways; `check` tells how busy
a line is and refuses what it cannot answer; people see a bar while they wait, programs do not.
"""

import asyncio
import contextlib
import json
import os
import pty
import struct
import subprocess
import sys

import pytest

from edge_agents import commands
from edge_agents.agent.loading import strict
from tests.brokers import wait_until
from tests.edge_agents.drivers.bus import Bus
from tests.edge_agents.drivers.plc import Plc
from tests.edge_agents.profiles.dumps import answer, dump, memory

METER = memory(dump("carlo-gavazzi-em340")["registers"])


class MeterBus(Bus):
    """Unit 1 is nobody that one knows, unit 3 an energy meter as its maker describes it."""

    def answer(self, unit, function, address, count):
        if unit == 3:
            return answer(METER, struct.pack(">BHH", function, address, count))
        return super().answer(unit, function, address, count)


class WrongSpeedFirst(MeterBus):
    """Hears nothing that is said at the first speed, where both units are asked once."""

    def _hear(self, request):
        self.silent = set() if self.asked.total() >= 2 else {1, 3}
        super()._hear(request)


async def machikoba(*words):
    return await asyncio.to_thread(commands.main, [str(word) for word in words])


def meters():
    bus = MeterBus(3)
    bus.silent.add(2)
    return bus


async def test_a_scan_finds_names_and_writes_what_then_reads(tmp_path, capsys):
    path = tmp_path / "edge.yaml"
    words = ("--units", "1-4", "--baud", "9600", "--parity", "N", "--timeout", "0.15")
    async with meters() as bus:
        code = await machikoba("scan", "serial", bus.path, *words, "--json", "--write", path)
        found = json.loads(capsys.readouterr().out.splitlines()[0])
        checked = await machikoba("check", "--config", path)
        said = capsys.readouterr().out
        assert await machikoba("check", "--json", "--config", path) == 0
        told = json.loads(capsys.readouterr().out)
        assert bus.functions <= {1, 2, 3, 4}, "only reads"

    assert code == 0
    way = {"protocol": "modbus", "serial": bus.path, "baud": 9600, "parity": "N", "says": None}
    assert found == [
        {**way, "device_id": 1, "profiles": []},
        {**way, "device_id": 3, "profiles": ["carlo-gavazzi-em340"]},
    ]
    machines = {one.modbus.device_id: one for one in strict(path, {}).machines}
    assert machines[3].modbus.way == f"{bus.path} 9600-8-N-1"
    assert "power_w" in machines[3].signals
    assert f"modbus {bus.path} 9600-8-N-1" in said
    assert "%" in said
    assert checked == 0, said
    (meter,) = [one for one in told["machines"] if one["at"].endswith("device 3")]
    assert {(one["quality"], one["reason"]) for one in meter["read"]} == {("good", None)}


async def test_a_port_that_cannot_talk_like_that_is_said_and_is_no_success(tmp_path, capsys):
    """A pseudo terminal has no parity: asked for nothing else, the C library may refuse it."""
    path = tmp_path / "edge.yaml"
    async with meters() as bus:
        path.write_text(
            LINE.format(baud=9600, every="1s").replace("/dev/ttyUSB0", f"{bus.path}, parity: E"),
            encoding="utf-8",
        )
        for _ in range(2):
            code = await machikoba("check", "--config", path)
            said = capsys.readouterr()
            assert (code == 0) is ("2/2" in said.out)
            assert "unforeseen" not in said.err
            assert code == 0 or "cannot talk like that" in said.err


async def test_a_scan_goes_on_to_the_speed_at_which_somebody_answers(capsys):
    words = ("--units", "1,3", "--baud", "19200,9600", "--parity", "N", "--timeout", "0.1")
    async with WrongSpeedFirst(3) as bus:
        code = await machikoba("scan", "serial", bus.path, *words, "--json")

    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert {(one["device_id"], one["baud"]) for one in found} == {(1, 9600), (3, 9600)}


async def test_nobody_on_the_line_is_said(capsys):
    async with Bus(0) as bus:
        words = ("--units", "1-2", "--baud", "9600", "--parity", "N", "--timeout", "0.05")
        code = await machikoba("scan", "serial", bus.path, *words)

    assert code == 1
    assert "nobody answers" in capsys.readouterr().out


async def test_probe_reads_a_serial_line(capsys):
    async with meters() as bus:
        way = ("--serial", bus.path, "--device-id", "3", "--count", "4")
        code = await machikoba("probe", "holding 12", *way, "--display", "70.123")
        silent = await machikoba(
            "probe", "holding 12", "--serial", bus.path, "--device-id", "2", "--timeout", "0.1"
        )

    said = capsys.readouterr()
    assert code == 0
    likely = said.out.split("the likeliest first:")[1].splitlines()[2]
    assert "{register: holding 12, type: uint32, word_order: little, scale: 0.001}" in likely
    assert silent == 1
    assert "device 2: no answer" in said.err


async def test_probe_reads_through_a_transparent_gateway(capsys):
    words = {address: 1_000 + address for address in range(8)}
    async with Plc(serial=True, words=words) as plc:
        code = await machikoba(
            "probe", "holding 0", "--rtu-tcp", f"127.0.0.1:{plc.port}", "--display", "100.3"
        )

    assert code == 0
    assert "{register: holding 3, type: uint16, scale: 0.1}" in capsys.readouterr().out


LINE = """
site: ota-precision
agent: line-1
broker: {{url: mqtt://127.0.0.1}}
machines:
  - id: meter
    modbus: {{serial: /dev/ttyUSB0, baud: {baud}}}
    signals:
      first: {{register: input 0, type: uint16, every: {every}}}
      last: {{register: input 99, type: uint16, every: {every}}}
"""


@pytest.mark.parametrize(
    ("baud", "every", "verdict"),
    # A request is 8 + 7 bytes and two gaps of 3.5 characters of 11 bits, and 10 ms for the unit.
    [(9600, "1s", (0, "7%")), (1200, "500ms", (0, "85% busy")), (300, "1s", (2, "TOO MUCH"))],
)
def test_check_tells_how_busy_a_serial_line_will_be(baud, every, verdict, tmp_path, capsys):
    path = tmp_path / "edge.yaml"
    path.write_text(LINE.format(baud=baud, every=every), encoding="utf-8")

    code, busy = verdict
    assert commands.main(["check", "--offline", "--config", str(path)]) == code
    assert f" {busy}" in capsys.readouterr().out
    assert commands.main(["check", "--offline", "--json", "--config", str(path)]) == code
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    assert line["line"] == f"modbus /dev/ttyUSB0 {baud}-8-N-1"
    assert (line["utilisation"] > 1) is (code == 2)


async def test_people_see_a_bar_while_they_wait_and_programs_do_not():
    words = ["--units", "1-3", "--baud", "9600", "--parity", "N", "--timeout", "0.1"]
    async with meters() as bus:
        master, slave = pty.openpty()
        program = [sys.executable, "-m", "gateway.cli", "agent", "scan", "serial", bus.path, *words]
        shown = await asyncio.to_thread(seen_on_a_terminal, program, master, slave)
        quiet = await asyncio.to_thread(
            subprocess.run, program, capture_output=True, text=True, check=True
        )

    assert "░ 1/3" in shown
    assert f"9600 baud, parity N {'█' * 30} 3/3" in shown
    assert "█" not in quiet.stderr
    assert "carlo-gavazzi-em340" in quiet.stdout


def seen_on_a_terminal(program, master, slave):
    """Run a program whose stderr is a terminal; return what was shown there."""
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=slave) as process:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal that nobody holds any more ends
            while data := os.read(master, 4_096):
                shown += data
        os.close(master)
        wait_until(lambda: process.poll() is not None, "the scan to end", 20)
    assert process.returncode == 0
    return shown.decode()
