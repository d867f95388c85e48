"""The child process in which OPC UA servers are talked to: ``python -m … .opcua_child``.

What a server sends is decoded by a large library that was seen to stall and to allocate without
bound on hostile bytes. So it runs here, with a limit on memory, and with a thread that watches
the event loop: when it stalls, the thread tells the parent whose bytes were being read, and ends
the process. Orders come as lines of JSON on standard input, readings leave on standard output; the
end of the input is the end of the child. The log goes to standard error, as the parent's does.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from types import FrameType
from typing import Any, Final, NoReturn, Protocol

from edge_agents.drivers.driver import Deliver, Delivery, DriverStatus
from edge_agents.drivers.nodes import Server, from_json
from gateway.logs import configure

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)

BEAT_S: Final = 1.0
STALL_S: Final = 4.0
"""The event loop stands still for this long: somebody's bytes are to blame."""
BACKLOG_MAX: Final = 8 * 1024**2
"""Bytes that wait for the parent before the child gives up on it."""
STACK_BYTES: Final = 512 * 1024
"""Of a thread; the usual 8 MiB would count against the limit on memory."""
ORDER_BYTES_MAX: Final = 4 * 1024**2


class ServerDriver(Protocol):
    """What the child runs: a driver that can tell whether an object is part of its conversation."""

    async def run(self, deliver: Deliver) -> None:
        """Read and deliver until cancelled."""

    def status(self) -> DriverStatus:
        """Tell how the conversation is going."""

    def owns(self, thing: object) -> bool:
        """Tell whether `thing` works for this driver's conversation."""


class ChildClock:
    """The time as the parent knows it; the system's, as long as the parent trusts that."""

    def __init__(self) -> None:
        self.offset_ms: int | None = None
        """What makes UTC of the steady clock."""

    def now_ms(self) -> int:
        """Return the time in milliseconds UTC."""
        if self.offset_ms is None:
            return time.time_ns() // 1_000_000
        return time.monotonic_ns() // 1_000_000 + self.offset_ms


MakeDriver = Callable[[Server, ChildClock], ServerDriver]


class Child:
    """Runs the drivers that the parent orders, and says what they read."""

    def __init__(self, make: MakeDriver, write: Callable[[bytes], None]) -> None:
        self._make = make
        self._write = write
        self._drivers: dict[int, ServerDriver] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._clock = ChildClock()
        self.beat_s = time.monotonic()

    def obey(self, line: bytes) -> None:
        """Follow one order of the parent."""
        order = json.loads(line)
        if "add" in order:
            number = int(order["add"])
            driver = self._make(from_json(order["server"]), self._clock)
            self._drivers[number] = driver
            task = asyncio.create_task(driver.run(self._sender(number)))
            task.add_done_callback(lambda ended: self._ended(number, ended))
            self._tasks[number] = task
        elif "clock" in order:
            self._clock.offset_ms = order["clock"]
        else:
            number = int(order["remove"])
            self._drivers.pop(number, None)
            running = self._tasks.pop(number, None)
            if running is not None:
                running.cancel()

    async def live(self) -> NoReturn:
        """Tell from time to time that all is well, and how the conversations are going."""
        while True:
            self.beat_s = time.monotonic()
            statuses = {number: asdict(one.status()) for number, one in self._drivers.items()}
            self._say(["beat", statuses])
            await asyncio.sleep(BEAT_S)

    def culprit(self, frame: FrameType | None) -> int | None:
        """Find the driver whose conversation the frames of a stalled thread belong to."""
        while frame is not None:
            worker = frame.f_locals.get("self")
            for number, driver in list(self._drivers.items()):
                if worker is not None and driver.owns(worker):
                    return number
            frame = frame.f_back
        return None

    def blame(self, number: int | None) -> None:
        """Tell the parent who is to blame, past whatever is being written, and end."""
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), b"\n" + json.dumps(["stuck", number]).encode() + b"\n")
        os._exit(3)

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        """A driver never ends by itself; where one did, for want of memory say, begin anew."""
        if not task.cancelled():
            log.error("a driver ended", exc_info=task.exception())
            self.blame(number)

    def out_of_memory(self, _: object, context: dict[str, Any]) -> None:
        """Take in what no task handled: only a lack of memory is fatal."""
        error = context.get("exception")
        if isinstance(error, MemoryError):
            things = (context.get("protocol"), context.get("transport"))
            guilty = [
                number
                for number, driver in self._drivers.items()
                if any(thing is not None and driver.owns(thing) for thing in things)
            ]
            self.blame(guilty[0] if guilty else None)

    def _sender(self, number: int) -> Deliver:
        def deliver(delivery: Delivery) -> None:
            samples = [
                [one.signal, one.value, one.time_ms, one.quality, one.reason]
                for one in delivery.samples
            ]
            said = [number, delivery.machine, delivery.at_ms, delivery.link, samples]
            self._say(["read", *said, self._clock.offset_ms])

        return deliver

    def _say(self, message: list[Any]) -> None:
        self._write(json.dumps(message, separators=(",", ":")).encode() + b"\n")


def watch(child: Child, thread_id: int) -> NoReturn:
    """Look at the event loop from another thread; end the process when it stands still."""
    while True:
        time.sleep(BEAT_S / 2)
        if time.monotonic() - child.beat_s > STALL_S:
            # There is no other way to see what another thread is doing.
            frame = sys._current_frames().get(thread_id)  # noqa: SLF001
            child.blame(child.culprit(frame))


def limit_memory(bytes_max: int) -> None:
    """Make allocations beyond `bytes_max` of private memory fail, where the system can do that.

    Not of address space: the allocator reserves much of that and uses little (Linux 4.7 and later
    count private writable mappings, see setrlimit(2)).
    """
    if sys.platform != "win32" and bytes_max:
        resource.setrlimit(resource.RLIMIT_DATA, (bytes_max, bytes_max))


async def serve(make: MakeDriver) -> None:
    """Follow the parent's orders until its end of the pipe closes."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=ORDER_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    pipe, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)

    def write(data: bytes) -> None:
        if pipe.is_closing() or pipe.get_write_buffer_size() > BACKLOG_MAX:
            os._exit(4)
        pipe.write(data)

    child = Child(make, write)
    loop.set_exception_handler(child.out_of_memory)
    here = threading.get_ident()
    threading.Thread(target=watch, args=(child, here), daemon=True, name="watch").start()
    living = asyncio.create_task(child.live())
    while line := await orders.readline():
        child.obey(line)
    living.cancel()
    os._exit(0)


def make_opcua(server: Server, clock: ChildClock) -> ServerDriver:
    """Make the driver of one OPC UA server."""
    from edge_agents.drivers.opcua import OpcuaServer  # noqa: PLC0415 (after the memory limit)

    return OpcuaServer(
        server,
        now_ms=clock.now_ms,
        own_time=lambda: clock.offset_ms is not None,
        rng=random.Random(),  # noqa: S311 (jitter, no secret)
    )


def main(make: MakeDriver = make_opcua) -> None:
    """Run the child; the first argument is its memory limit in bytes."""
    configure("machikoba-opcua")
    threading.stack_size(STACK_BYTES)
    limit_memory(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    asyncio.run(serve(make))


if __name__ == "__main__":
    main()
