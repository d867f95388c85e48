"""A small TCP proxy that can be slow, swallow everything, or cut, to test what networks do."""

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass

CHUNK = 65_536


@dataclass(eq=False, slots=True)
class _Pair:
    """Both ends of one forwarded connection."""

    writers: list[asyncio.StreamWriter]
    swallowed: bool


class Proxy:
    """Forwards a free loopback port to a target; its methods may be called from any thread.

    ``latency_s`` delays each chunk in both directions. ``black_hole`` keeps connections open but
    lets nothing through, for the present ones for ever; ``reset`` ends all with RST.
    """

    def __init__(self, target_port, *, latency_s=0.0):
        self.target_port = target_port
        self.latency_s = latency_s
        self.accepted = 0
        self._swallowing = False
        self._refusing = False
        self._pairs = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self):
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self):
        return f"mqtt://127.0.0.1:{self.port}"

    def black_hole(self):
        """From now on nothing gets through, and nobody is told."""
        self._swallowing = True
        for pair in self._pairs:
            pair.swallowed = True

    def heal(self):
        """New connections work again; those that lost bytes stay dead."""
        self._swallowing = self._refusing = False

    def cut(self):
        """End all connections with RST and every new one at once, until healed."""
        self._refusing = True
        self.reset()

    def reset(self):
        """End all connections with RST; new ones work."""
        self._call(self._reset())

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _accept(self, reader, writer):
        # Whoever closes the proxy cancels this; the server would complain of a cancelled task.
        with contextlib.suppress(asyncio.CancelledError):
            await self._forward(reader, writer)

    async def _forward(self, reader, writer):
        self.accepted += 1
        if self._refusing:
            _reset(writer)
            return
        pair = _Pair([writer], swallowed=self._swallowing)
        self._pairs.add(pair)
        try:
            with contextlib.suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", self.target_port)
                pair.writers.append(there[1])
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, there[1], pair))
                    group.create_task(self._pump(there[0], writer, pair))
        finally:
            self._pairs.discard(pair)
            for end in pair.writers:
                end.close()

    async def _pump(self, reader, writer, pair):
        """Forward until either end closes; a swallowed pair stays open on purpose."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                if not pair.swallowed:
                    writer.write(data)
                    await writer.drain()
        if not pair.swallowed:
            writer.close()

    async def _reset(self):
        for pair in self._pairs:
            for writer in pair.writers:
                _reset(writer)

    async def _close(self):
        self._server.close()
        await self._reset()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _reset(writer):
    linger = struct.pack("ii", 1, 0)
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
