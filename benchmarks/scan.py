"""How long a person waits for `machikoba agent scan tcp` on a /28 of a workshop."""

import asyncio
import contextlib
import io
import time
from contextlib import redirect_stdout
from typing import Any, Final

from benchmarks.figures import figure
from edge_agents import commands

DEVICES: Final = 7
HOSTS: Final = 14
RUNS: Final = 5
WORD: Final = b"\x02\x00\x01"


async def _device(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every read with ones, and refuse what an old device does not know."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readexactly(7)
            pdu = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
            count = int.from_bytes(pdu[3:5], "big")
            known = pdu[0] in {3, 4} and count <= 125
            answer = bytes((pdu[0], 2 * count)) + b"\x00\x01" * count
            answer = answer if known else bytes((pdu[0] | 0x80, 1))
            writer.write(head[:4] + (len(answer) + 1).to_bytes(2, "big") + head[6:] + answer)
    writer.close()


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take connections and never say a word: the worst neighbour of a scan."""
    await reader.read()
    writer.close()


async def _scan(port: int) -> float:
    words = ["scan", "tcp", "127.9.9.0/28", "--port", str(port), "--json"]
    begin_s = time.perf_counter()
    with redirect_stdout(io.StringIO()):
        await asyncio.to_thread(commands.main, words)
    return time.perf_counter() - begin_s


async def _measure(*, silent: bool) -> list[float]:
    first = await asyncio.start_server(_device, "127.9.9.1", 0)
    port = first.sockets[0].getsockname()[1]
    servers = [first]
    for at in range(2, HOSTS + 1):
        if at <= DEVICES or silent:
            serve = _device if at <= DEVICES else _silent
            servers.append(await asyncio.start_server(serve, f"127.9.9.{at}", port))
    try:
        return [await _scan(port) for _ in range(RUNS)]
    finally:
        for server in servers:
            server.close()


def run() -> dict[str, dict[str, Any]]:
    """Scan a network where the other hosts are absent, and one where they say nothing."""
    told = {"devices": DEVICES, "hosts": HOSTS, "profiles": "all"}
    absent = asyncio.run(_measure(silent=False))
    silent = asyncio.run(_measure(silent=True))
    return {
        "scan_28_s": figure("s", absent, **told, others="absent"),
        "scan_28_silent_s": figure("s", silent, **told, others="accept and say nothing"),
    }
