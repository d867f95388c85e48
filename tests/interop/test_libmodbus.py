"""What a server of libmodbus holds is what we read, and what mbpoll reads, over TCP and RTU.

The server is compiled from ``libmodbus_server.c`` against Debian's libmodbus; mbpoll is Debian's.
Neither knows anything of this project.
"""

import contextlib
import os
import random
import re
import select
import shutil
import subprocess
import threading
import tty
from pathlib import Path

import pytest

from edge_agents.config import AgentConfig
from edge_agents.drivers import open_transport, read_once
from edge_agents.drivers.enquiry import enquiring
from edge_agents.drivers.registers import Block, Table
from gateway.model import Quality
from tests.contract.test_drivers import now_ms

pytestmark = pytest.mark.system

SOURCE = Path(__file__).parent / "libmodbus_server.c"
UNIT = 17
DEADLINE_S = 30
PI32, PI64 = 3.1415927410125732, 3.141592653589793
ORDERS = {"ABCD": ("big", "big"), "CDAB": ("little", "big"), "BADC": ("big", "little"),
          "DCBA": ("little", "little")}  # fmt: skip
"""Word order and byte order."""
LONG = -1_234_567_890_123_456_789


def ordered(name, address, step, kind, value):
    """A value that lies in the registers once in each of the four orders, the server's way."""
    names = ["ABCD", "CDAB", "BADC", "DCBA"]
    return {
        f"{name} {order}": (
            {"register": f"holding {address + step * place}", "type": kind,
             "word_order": ORDERS[order][0], "byte_order": ORDERS[order][1]},
            value,
        )
        for place, order in enumerate(names)
    }  # fmt: skip


def at(address, kind, table="input", **more):
    return {"register": f"{table} {address}", "type": kind, **more}


EXPECTED = {
    "uint16": (at(0, "uint16"), 54_321.0),
    "int16": (at(1, "int16"), -12_345.0),
    "uint16 swapped": (at(0, "uint16", byte_order="little"), float(0x31D4)),
    "int8 low": (at(2, "int8"), -1.0),
    "uint8 low": (at(2, "uint8"), 255.0),
    "int8 high": (at(2, "int8", byte_order="little"), -128.0),
    "float16": (at(3, "float16"), 1.5),
    "bcd16": (at(4, "bcd16"), 1_234.0),
    **{f"bit {bit}": ({"register": f"input 5.{bit}"}, bit in {0, 5, 10, 15}) for bit in range(16)},
    **ordered("int32", 10, 2, "int32", -1_234_567_890.0),
    **ordered("uint32", 10, 2, "uint32", float(2**32 - 1_234_567_890)),
    **ordered("float32", 20, 2, "float32", PI32),
    **ordered("bcd32", 30, 2, "bcd32", 12_345_678.0),
    "their own float": (at(38, "float32", word_order="little"), -273.1499938964844),
    **ordered("int64", 40, 4, "int64", LONG),
    **ordered("float64", 60, 4, "float64", PI64),
    **ordered("bcd64", 80, 4, "bcd64", 1_234_567_890_123_456),
    "text": (at(100, "string", length=8), "MC-100"),
    "japanese": (at(104, "string", length=4, encoding="shift_jis"), "加工"),
    "scaled": (at(1, "int16", scale=0.1, offset=-5), -1_239.5),
    "words": (at(4, "uint16", enum={4660: "automatic"}), "automatic"),
    **{f"coil {one}": ({"register": f"coil {one}"}, one % 3 == 0 or one % 7 == 0)
       for one in range(64)},
    **{f"discrete {one}": ({"register": f"discrete {one}"}, one % 3 == 0 or one % 7 == 0)
       for one in range(5, 30)},
    **{f"far {one}": (at(200 + one, "uint16"), float(one * 191 % 65_536))
       for one in range(0, 300, 7)},
}  # fmt: skip
"""By signal: where it lies, and what the server holds there."""


class PortPair:
    """Two serial ports with a cable between them, made of pseudo terminals."""

    def __init__(self):
        self._ends = [os.openpty(), os.openpty()]
        for _, slave in self._ends:
            tty.setraw(slave)
        self.ports = [os.ttyname(slave) for _, slave in self._ends]
        self._stop_r, self._stop_w = os.pipe()
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def _relay(self):
        masters = [master for master, _ in self._ends]
        while True:
            ready, _, _ = select.select([*masters, self._stop_r], [], [])
            if self._stop_r in ready:
                return
            for one in ready:
                os.write(masters[1 - masters.index(one)], os.read(one, 4_096))

    def close(self):
        os.write(self._stop_w, b"x")
        self._thread.join()
        for end in (*self._ends, (self._stop_r, self._stop_w)):
            for file in end:
                os.close(file)


@pytest.fixture(scope="module")
def server_program(tmp_path_factory):
    if shutil.which("gcc") is None or shutil.which("mbpoll") is None:
        pytest.fail("gcc, libmodbus-dev and mbpoll are needed; see the Makefile's Debian packages")
    program = tmp_path_factory.mktemp("libmodbus") / "server"
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-O1", SOURCE, "-o", program,
               "-I/usr/include/modbus", "-lmodbus"]  # fmt: skip
    subprocess.run(command, check=True, timeout=DEADLINE_S)
    return program


@contextlib.contextmanager
def running(program, *words):
    process = subprocess.Popen([program, *words], stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(params=["tcp", "rtu"])
def way(request, server_program):
    """How the server is reached: our configuration's words, and mbpoll's."""
    if request.param == "tcp":
        with running(server_program, "tcp") as port:
            yield {"tcp": f"127.0.0.1:{port}"}, ["-m", "tcp", "-p", str(port), "127.0.0.1"]
        return
    pair = PortPair()
    try:
        with running(server_program, "rtu", pair.ports[0]):
            yield (
                {"serial": pair.ports[1], "baud": 115_200},
                ["-m", "rtu", "-b", "115200", "-P", "none", pair.ports[1]],
            )
    finally:
        pair.close()


def config(modbus, **more):
    return AgentConfig.model_validate(
        {
            "site": "site",
            "agent": "agent",
            "broker": {"url": "mqtt://127.0.0.1"},
            "machines": [
                {
                    "id": "m",
                    "modbus": {**modbus, "device_id": UNIT, **more},
                    "signals": {
                        name.replace(":", "-"): where for name, (where, _) in EXPECTED.items()
                    },
                }
            ],
        }
    )


async def read_all(settings):
    samples = await read_once(
        settings, "m", now_ms=now_ms, rng=random.Random(1), timeout_s=DEADLINE_S
    )
    return {one.signal: one.value for one in samples if one.quality is Quality.GOOD}


@pytest.mark.parametrize(
    "more",
    [{}, {"one_request_per_signal": True}, {"max_gap": 0}, {"max_read": 7}],
    ids=["planned", "one by one", "no gaps", "short"],
)
async def test_every_type_in_every_order_is_read_as_it_was_stored(way, more):
    values = await read_all(config(way[0], **more))

    assert values == {name: value for name, (_, value) in EXPECTED.items()}


def polled(way, kind, first, count, *more):
    """Read with mbpoll; return the values as it prints them."""
    command = ["mbpoll", "-1", "-0", "-q", "-a", str(UNIT), "-t", kind, "-r", str(first),
               "-c", str(count), *more, *way[1]]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"^\[\d+\]:\s+(\S+)", done.stdout, re.MULTILINE)


async def test_mbpoll_reads_the_same(way):
    theirs = {
        "coils": polled(way, "0", 0, 64),
        "discretes": polled(way, "1", 5, 25),
        "words": polled(way, "3", 200, 100),
        "hexadecimal": polled(way, "3:hex", 0, 6),
        "big floats": polled(way, "4:float", 20, 1, "-B"),
        "little floats": polled(way, "4:float", 38, 1),
        "big integers": polled(way, "4:int", 10, 1, "-B"),
        "little integers": polled(way, "4:int", 12, 1),
    }
    ours = await read_all(config(way[0]))

    assert theirs["coils"] == [str(int(ours[f"coil {one}"])) for one in range(64)]
    assert theirs["discretes"] == [str(int(ours[f"discrete {one}"])) for one in range(5, 30)]
    for one in range(0, 100, 7):
        assert float(theirs["words"][one].split("(")[0]) == ours[f"far {one}"]
    assert theirs["hexadecimal"][0] == f"0x{int(ours['uint16']):04X}"
    assert float(theirs["big floats"][0]) == pytest.approx(ours["float32 ABCD"], rel=1e-5)
    assert float(theirs["little floats"][0]) == pytest.approx(ours["their own float"], rel=1e-5)
    assert float(theirs["big integers"][0]) == ours["int32 ABCD"]
    assert float(theirs["little integers"][0]) == ours["int32 CDAB"]


async def test_nothing_that_we_send_is_a_write(way):
    await read_all(config(way[0], one_request_per_signal=True))
    transport = open_transport(config(way[0]).machines[0].modbus)
    async with enquiring(transport, 1.0) as line:
        assert await line.identify(UNIT, 2.0) == {}
        writes = await line.read(UNIT, Block(Table.INPUT, 900, 1, 1_000, ()), 1.0)

    assert writes == b"\0\0"
